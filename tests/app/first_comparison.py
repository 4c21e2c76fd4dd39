"""Seconds from the start of `frdiff app` to the first comparison on `emoji`; no test, a script.

    python tests/app/first_comparison.py

The browser is open before the app starts, and presses the button as soon as the page is filled.
"""

import subprocess
import sys
import tempfile
import time

from app_page import Page, free_port, opened, wait


def measure():
    """Print when what was there."""
    port = free_port()
    command = [sys.executable, "-m", "frdiff", "app", "--no-browser", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, opened(folder) as browser:
        began = time.perf_counter()

        def there(what):
            print(f"{time.perf_counter() - began:5.1f} s: {what}", flush=True)

        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                server.stdout.readline()
                there("the server is up")
                page = Page(browser, f"http://127.0.0.1:{port}")
                there("the page is filled: the model is open and warm")
                page.click("compare")
                wait(lambda: page.count("#cards figure") >= 2)
                there("two pictures, their seconds, MACs and bytes")
                page.said("cards", "dB to the")
                there("their decibels to the converged solution")
                page.said("compare-status", "seconds are those of one call")
                there("fewer steps of the best solver, and all figures")
            finally:
                server.terminate()


if __name__ == "__main__":
    measure()
