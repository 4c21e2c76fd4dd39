"""The page of the app in a browser, for tests and scripts. Needs chromium and chromium-driver."""

import shutil
import socket
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 240  # seconds for what a busy machine takes


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait(met, seconds=PATIENCE):
    """What `met` returns, as soon as that is true."""
    return WebDriverWait(None, seconds, 0.1).until(lambda _: met())


def opened(downloads):
    """A browser whose downloads land in a folder."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1500"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


class Page:
    """A tab of a browser with the app in it."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        wait(lambda: self.value("#solver input") == "the model's own")

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def value(self, selector):
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return found[0].get_attribute("value") if found else None

    def text(self, name):
        return self.browser.execute_script(f"return document.querySelector('#{name}').innerText")

    def click(self, name):
        self.browser.execute_script("arguments[0].click()", self.one(f"#{name}"))

    def turn_to(self, tab):
        tabs = self.browser.find_elements(By.CSS_SELECTOR, "button[role=tab]")
        (button,) = [one for one in tabs if one.text == tab]
        button.click()

    def type(self, selector, text):
        field = self.one(selector)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE, text, Keys.TAB)

    def upload(self, name, path):
        self.one(f"#{name} input[type=file]").send_keys(str(path))
        wait(lambda: Path(path).stem in self.text(name))

    def said(self, name, *texts):
        """Wait until one of the texts stands in a part of the page; what does then."""
        return wait(lambda: any(text in self.text(name) for text in texts) and self.text(name))

    def count(self, selector):
        return len(self.browser.find_elements(By.CSS_SELECTOR, selector))
