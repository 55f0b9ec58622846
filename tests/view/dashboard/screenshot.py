"""Makes the README's picture of the dashboard: the page of the first study in a storage, as Chromium shows it."""

from __future__ import annotations

import argparse

from tests.view.browser import chromium
from tests.view.dashboard.serving import serving, wait_for_figures

WIDTH, HEIGHT, SCALE = 1280, 2830, 0.75
"""Of the window: down to the last of our figures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", help="URL of the storage, as sqlite:///studies/schedopt.db")
    parser.add_argument("picture", help="PNG file to write")
    options = parser.parse_args()
    with serving(options.storage) as answers, chromium(WIDTH, HEIGHT, SCALE) as browser:
        browser.get(answers.server.address)
        wait_for_figures(browser)
        assert browser.save_screenshot(options.picture)


if __name__ == "__main__":
    main()
