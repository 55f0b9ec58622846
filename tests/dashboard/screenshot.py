"""Makes the README's picture of the dashboard: python -m tests.dashboard.screenshot STORAGE_URL PICTURE.png"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.dashboard.browser import chromium, wait_for_figures
from tests.dashboard.serving import serving

WIDTH, HEIGHT = 1280, 1980
"""Pixels of the window: down to the last of our figures."""


def main(url: str, picture: Path) -> None:
    """Photograph the page of the first study in the storage `url`."""
    with serving(url) as answers, chromium(WIDTH, HEIGHT) as browser:
        browser.get(answers.server.address)
        wait_for_figures(browser)
        assert browser.save_screenshot(str(picture))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
