"""The app in a real browser, from end to end. Needs Debian's chromium and chromium-driver."""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from conftest import NEEDS_BROWSER
from frdiff.models import shipped_folder
from frdiff.policy import load_policy

webdriver = pytest.importorskip("selenium.webdriver")
pytest.importorskip("gradio")
from app_page import Page, free_port, opened, wait  # noqa: E402

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the app, as its command serves it."""
    port = free_port()
    folder, log = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("app") / "log"
    command = [sys.executable, "-m", "frdiff", "app", "digits", "--no-browser", "--port", str(port)]
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | {"TMPDIR": str(folder)}
        ) as server,
    ):
        try:
            wait(lambda: "is ready" in log.read_text() or server.poll() is not None)
            assert server.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
            assert any(path.suffix == ".json" for path in folder.rglob("*"))
            # Nothing that the tests did was worth a traceback.
            assert "Traceback" not in log.read_text()
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 130
    assert "stopped: by Ctrl-C" in log.read_text()
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.fixture
def browser(tmp_path):
    with opened(tmp_path) as driver:
        yield driver


@pytest.fixture
def page(browser, address):
    return Page(browser, address)


def test_compare_draws_side_by_side_and_loads_nothing_from_elsewhere(page, address):
    page.click("compare")
    page.said("compare-status", "seconds are those of one call")
    assert page.count("#cards figure") == 3
    shown = page.text("cards")
    for part in ("full run", "digits/", "fewer steps", "dB to the converged solution", "MACs"):
        assert part in shown
    wait(lambda: page.count("#slider img") >= 2)
    logged = page.browser.get_log("performance")
    events = [json.loads(one["message"])["message"] for one in logged]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) > 10
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome"))]
    # What the page of gradio itself names is asked for by nobody: browsers are told not to.
    done = [
        event["params"]["response"]["url"]
        for event in events
        if event["method"] == "Network.responseReceived"
    ]
    assert [url for url in elsewhere if url in done] == []
    wrong = [one["message"] for one in page.browser.get_log("browser") if one["level"] == "SEVERE"]
    assert [line for line in wrong if address in line.split()[0]] == []


@pytest.mark.parametrize(
    ("selector", "value", "said"),
    [
        ("#steps input", "0", "steps must be from 1 to 250, got 0"),
        ("#steps input", "10000", "steps must be from 1 to 250, got 10000"),
        ("#seed input", "-1", "seed must be from 0"),
    ],
)
def test_bad_input_is_answered_with_a_message_and_nothing_is_drawn(page, selector, value, said):
    page.type(selector, value)
    page.click("compare")
    page.said("compare-status", said)
    assert page.count("#cards figure") == 0


HOSTILE = {
    "not-json": b"GIF89a",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "version": b'{"frdiff_policy": 99, "kind": "uniform"}',
    "pickled": pickle.dumps({"frdiff_policy": 1}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(page, tmp_path, name):
    path = tmp_path / f"{name}.json"
    path.write_bytes(HOSTILE[name])
    page.upload("upload", path)
    page.click("compare")
    page.said("compare-status", f"'{name}.json': not a valid policy file")
    assert page.count("#cards figure") == 0


def test_a_file_that_is_too_large_is_not_even_taken(page, tmp_path):
    path = tmp_path / "huge.json"
    path.write_bytes(b" " * 5_000_000)
    page.one("#upload input[type=file]").send_keys(str(path))
    wait(lambda: "maximum" in page.one("body").text.lower())
    assert "huge" not in page.text("upload")


def test_a_policy_of_another_model_is_refused(page):
    page.upload("upload", shipped_folder("emoji") / "policies/dpm++-25-speedup-2.json")
    page.click("compare")
    page.said("compare-status", "this policy was tuned on UNet2DConditionModel")
    assert page.count("#cards figure") == 0


def test_compare_can_be_cancelled(page):
    page.type("#steps input", "250")
    page.click("compare")
    page.said("compare-status", "waiting for a turn")
    time.sleep(0.5)  # now the converged solution or the full run is being drawn
    page.click("compare-cancel")
    page.said("compare-status", "stopped; what was drawn before stays")
    assert page.count("#cards figure") == 0


def test_two_tabs_at_once_draw_what_each_draws_alone(page, address):
    def drawn(seed):
        page.type("#seed input", str(seed))
        page.click("compare")

    def pictures():
        page.said("compare-status", "seconds are those of one call")
        return page.browser.execute_script(
            "return [...document.querySelectorAll('#cards img')].map(one => one.src)"
        )

    alone = []
    for seed in (3, 4):
        page.browser.get(address)
        page = Page(page.browser, address)
        drawn(seed)
        alone.append(pictures())
    assert alone[0] != alone[1]
    driver = page.browser
    first = driver.current_window_handle
    page = Page(driver, address)
    driver.switch_to.new_window("tab")
    page = Page(driver, address)
    second = driver.current_window_handle
    drawn(4)
    driver.switch_to.window(first)
    drawn(3)
    assert pictures() == alone[0]
    driver.switch_to.window(second)
    assert pictures() == alone[1]


def begin_search(page, steps=6, samples=2):
    page.turn_to("Choose")
    page.browser.execute_script("document.querySelector('#more button').click()")
    wait(lambda: page.one("#samples input").is_displayed())
    page.type("#choose-steps input", str(steps))
    page.type("#samples input", str(samples))
    page.type("#evaluations textarea, #evaluations input", "2")
    page.click("choose")


def test_a_search_to_its_end_gives_a_file_that_can_be_used(page, tmp_path):
    begin_search(page)
    page.said("choose-status", "of about")
    page.said("choose-status", "found")
    assert page.count("#front .fr-point") > 10
    assert page.count("#front .fr-tip img") == page.count("#front .fr-point")
    point = page.one("#fr-p3")
    webdriver.ActionChains(page.browser).scroll_to_element(point).move_to_element(point).perform()
    wait(lambda: page.one("#fr-t3").is_displayed())
    assert "dB" in page.one("#fr-t3").text
    page.click("download")
    path = tmp_path / "policy.json"
    wait(path.is_file)
    policy = load_policy(path)
    assert policy.origin.figures["full_steps"] == 6
    href = page.one("#download").get_attribute("href")
    assert base64.b64decode(href.split(",")[1]) == path.read_bytes()
    assert "frdiff.enable(pipe, 'policy.json')" in page.text("lines")
    # And back again: compared, and inspected.
    page.turn_to("Inspect")
    page.upload("inspect-upload", path)
    page.click("inspect")
    shown = page.said("inspected", "Tuned for")
    assert "predicted seconds" in shown
    assert page.count("#inspected .fr-plan img") == 1
    page.turn_to("Compare")
    page.upload("upload", path)
    page.click("compare")
    page.said("compare-status", "seconds are those of one call")
    assert "policy.json" in page.text("cards")


def test_a_search_can_be_cancelled_and_another_is_told_to_wait(page, address):
    begin_search(page, steps=25, samples=16)
    page.said("choose-status", "drawing", "measuring")
    driver = page.browser
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    other = Page(driver, address)
    begin_search(other)
    other.said("choose-status", "one search at a time")
    driver.switch_to.window(first)
    page.click("choose-cancel")
    page.said("choose-status", "stopped; nothing was kept")


def test_a_search_whose_tab_is_closed_stops(page, address):
    begin_search(page, steps=25, samples=16)
    page.said("choose-status", "drawing", "measuring")
    driver = page.browser
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    other = Page(driver, address)
    second = driver.current_window_handle
    driver.switch_to.window(first)
    driver.close()
    driver.switch_to.window(second)

    def begins():
        other.click("choose")
        told = other.said("choose-status", "one search at a time", "drawing", "measuring")
        return "one search" not in told

    begin_search(other, steps=25, samples=16)
    wait(begins)
    other.click("choose-cancel")
    other.said("choose-status", "stopped; nothing was kept")


def test_an_unknown_policy_is_told_in_inspect(page):
    page.turn_to("Inspect")
    page.type("#inspect-steps textarea, #inspect-steps input", "7")
    page.click("inspect")
    page.said("inspected", "this policy was made for")


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_screen(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.click("compare")
    page.said("compare-status", "seconds are those of one call")
    for tab in ("Compare", "Choose", "Inspect"):
        page.turn_to(tab)
        wide = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width


def test_browsers_are_told_to_load_nothing_from_elsewhere(address):
    with urllib.request.urlopen(address) as answer:
        told = answer.headers["content-security-policy"]
    assert told.startswith("default-src 'self'")
    assert "http" not in told
