"""The page as a browser shows it. Needs Debian's chromium and chromium-driver."""

import shutil

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from conftest import NEEDS_BROWSER
from frdiff.evaluation.page.report import write_report
from frdiff.evaluation.results.files import add_result, key_of, strip_path
from frdiff.evaluation.results.records import Absence
from made_results import distribution, fidelity

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    results = [
        fidelity("fewer steps, DPM-Solver++", "25 steps", 100, 50.0),
        fidelity("fewer steps, DPM-Solver++", "12 steps", 48, 44.0),
        fidelity("fewer steps, DPM-Solver++", "8 steps", 32, 41.0),
        fidelity("frdiff, linear, interval 3", "25 steps", 40, 46.0),
        fidelity("frdiff, linear, interval 3", "19 steps", 30, 43.0),
        fidelity("paper, DDIM 50", "interval 2", 90, 39.0),
    ]
    for result in results:
        add_result(folder, result)
        path = strip_path(folder, key_of(result))
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (96, 16), "teal").save(path)
    loss = distribution("frdiff, linear, interval 3", "25 steps", "2x", 1.5)
    add_result(folder, loss)
    # A name that would break a page which does not escape.
    absence = Absence(model="toy", family="<script>throw 1</script>", reason="not installed")
    add_result(folder, absence)
    (folder / "broken.jsonl").write_text("{")
    Image.new("RGB", (20, 20)).save(folder / "analysis-toy-price.png")
    write_report(folder, folder / "page")
    return folder / "page/index.html"


@pytest.fixture(scope="module")
def browser(page):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        driver.get(page.as_uri())
        driver.execute_script("document.querySelectorAll('details').forEach(it => it.open = true)")
        yield driver


def settings(browser):
    rows = browser.find_elements(By.CSS_SELECTOR, "table.settings tbody tr")
    return [row.text for row in rows if row.is_displayed()]


def test_no_errors_and_every_picture_loads(browser):
    assert browser.get_log("browser") == []
    widths = browser.execute_async_script(
        """
        const done = arguments[0], images = [...document.images];
        images.forEach(image => image.loading = "eager");  // lazy ones wait to be scrolled to
        Promise.all(images.map(image => image.decode()))
          .then(() => done(images.map(image => image.naturalWidth)), error => done([0]));
        """
    )
    assert len(widths) >= 6 and min(widths) > 0


def test_nothing_is_wider_than_a_phone(browser):
    for width in (400, 1200):
        size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width == 400}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_first_that_is_seen_is_a_summary(browser):
    assert browser.find_element(By.TAG_NAME, "h2").text == "All models"
    cells = browser.find_elements(By.CSS_SELECTOR, "table.summary tbody td")
    # At 2x and 3x: 12 and 8 steps, no policy tuned, 25 and 19 steps of ours, nothing of others.
    found = [cell.text.replace("\N{EN DASH}", "none") for cell in cells[1:6]]
    assert found == ["44.0 / 41.0", "none", "46.0 / 43.0", "none", "none / none"]


def test_a_model_opens_where_its_address_leads(browser, page):
    browser.execute_script("document.querySelectorAll('details').forEach(it => it.open = false)")
    assert not settings(browser)
    browser.execute_script("location.hash = 'toy'")
    browser.find_element(By.CSS_SELECTOR, "#toy[open]")
    browser.execute_script("document.querySelectorAll('details').forEach(it => it.open = true)")


def test_it_says_what_is_missing(browser):
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "<script>throw 1</script>: not installed" in text
    assert "Left out:" in text and "broken.jsonl, line 1" in text


def test_a_click_sorts_and_another_turns_round(browser):
    (head,) = (
        head
        for head in browser.find_elements(By.CSS_SELECTOR, "table.settings th[data-sort]")
        if head.text.startswith("PSNR dB")
    )
    quality = head.get_property("cellIndex")

    def column():
        cells = browser.find_elements(
            By.CSS_SELECTOR, f"table.settings td:nth-child({quality + 1})"
        )
        return [float(cell.text) for cell in cells]

    measured = sorted(column())
    head.click()
    assert column() == measured[::-1] and head.get_attribute("aria-sort") == "descending"
    head.click()
    assert column() == measured and head.get_attribute("aria-sort") == "ascending"


def test_typing_filters(browser):
    field = browser.find_element(By.CSS_SELECTOR, "input.filter")
    everything = settings(browser)
    field.send_keys("frdiff 19")
    assert len(everything) == 6 and len(settings(browser)) == 1
    field.clear()
    field.send_keys(" ")
    assert settings(browser) == everything
