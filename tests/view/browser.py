"""A headless Chromium for tests, with an empty profile of its own; both programs are Debian's."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.servers import wait_for
from tests.system_parts import find_program

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)


@contextlib.contextmanager
def chromium(width: int = 1280, height: int = 1600, scale: float = 1.0) -> Iterator[Chrome]:
    """A browser window of that size; a picture of it has `scale` times as many pixels."""
    programs = {name: find_program(name) for name in ("chromium", "chromedriver")}
    for name, path in programs.items():
        assert path is not None, f"{name} is missing: install it (Debian: apt-get install chromium chromium-driver)"
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for argument in (*ARGUMENTS, f"--window-size={width},{height}", f"--force-device-scale-factor={scale}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Nothing is to be downloaded, and no use counted.
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    with tempfile.TemporaryDirectory(prefix="schedopt-chromium-", ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        browser = Chrome(options, Service(str(programs["chromedriver"])))
        try:
            yield browser
        finally:
            browser.quit()


def wait_in_page(browser: Chrome, script: str, seconds: float = 120) -> Any:
    """The first true value of the JavaScript expression `script` in the page."""
    return wait_for(lambda: browser.execute_script(f"return {script}"), seconds, every=0.3)


def emulate(browser: Chrome, width: int, *, dark: bool = False, printed: bool = False) -> None:
    """Show pages at `width` CSS pixels (a window has at least 500), to a reader who prefers dark, or as on paper."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    media = {"media": "print" if printed else "", "features": [scheme]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def complaints(browser: Chrome) -> list[str]:
    """What the page logged as errors."""
    entries: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
