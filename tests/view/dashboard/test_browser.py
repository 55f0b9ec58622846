"""A headless Chromium looks at the dashboard of a demo study that is running."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from selenium.webdriver import Chrome

from tests.servers import environment, poll, wait_for
from tests.view.browser import chromium, complaints, emulate, wait_in_page
from tests.view.dashboard.serving import FIGURES, Answers, serving, wait_for_figures

DEMO = Path(__file__).parents[3] / "studies" / "demo-vocals-linear.toml"

SETTINGS = (
    "data.tracks=2",
    "data.excerpt=1.5",
    "search.pruner=none",
    "search.choose=highest",
    "study.trials=100000",
    "schedule.resolution=0.001",  # so that the family holds more schedules than trials
    "search.sampler=random",
    "store.disk=0",
)
"""Short trials, and more of them than there is time for."""


BRIGHTNESS = """(element, key) => {
  const parts = getComputedStyle(element)[key].match(/[0-9.]+/g).slice(0, 3).map(part => part / 255);
  const [r, g, b] = parts.map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""
"""Relative luminance of a colour (WCAG 2)."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/demo.db"


def finished(url: str) -> int:
    study = optuna.load_study(study_name="demo-vocals-linear", storage=url)
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def test_a_browser_shows_figures_note_and_audio_of_a_running_study(url: str, tmp_path: Path) -> None:
    overrides = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [sys.executable, "-m", "schedopt", "run", str(DEMO), "--storage", url, *overrides]
    with (tmp_path / "errors").open("w+") as errors:
        run = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=tmp_path, env=environment())
        try:
            wait_for(lambda: run.poll() is not None or "finished" in (tmp_path / "errors").read_text(), 300)
            wait_for(lambda: run.poll() is not None or finished(url) >= 3, 300)
            assert run.poll() is None, (tmp_path / "errors").read_text()
            with serving(url, studies=["demo-vocals-linear"]) as answers, chromium() as browser:
                look_at(browser, answers, url)
            before = finished(url)
            wait_for(lambda: finished(url) > before)
            assert run.poll() is None
        finally:
            run.terminate()
            run.wait()
        errors.seek(0)
        said = errors.read()
    assert run.returncode == 130
    assert "database" not in said.replace("demo.db", "")
    study = optuna.load_study(study_name="demo-vocals-linear", storage=url)
    ended = (TrialState.COMPLETE, TrialState.WAITING)
    failures = [trial.user_attrs.get("failure") for trial in study.get_trials() if trial.state not in ended]
    assert set(failures) <= {"interrupted"}


def shows_the_highest_trial(browser: Chrome, answers: Answers, url: str) -> bool:
    """Whether the page of the highest trial says that it is.

    The running study may find a higher one at any time, and the app asks for a trial that has ended once only: what is
    noted on it later is shown when the page is opened again.
    """
    number = optuna.load_study(study_name="demo-vocals-linear", storage=url).best_trial.number
    if "highest trial (" not in answers.study()["trials"][number]["note"]["body"]:
        return False
    browser.get(f"{answers.server.address}/trials?numbers={number}")
    # Not for long: where the note was moved while the page was loading, it never comes.
    said = "document.body.innerText.includes('highest trial (')"
    return bool(poll(lambda: browser.execute_script(f"return {said}"), 20, every=0.3))


def look_at(browser: Chrome, answers: Answers, url: str) -> None:
    """Open the study's page, its note and its best trial as a person would."""
    address = answers.server.address
    before = finished(url)
    browser.get(address)
    wait_for_figures(browser)
    # The page follows the study without being opened again.
    wait_in_page(browser, f"Math.max(...document.getElementById('plot-history').data.map(d => d.x.length)) > {before}")
    browser.get(f"{address}/note")
    wait_in_page(browser, "document.body.innerText.includes('one pass (uniform baseline)')")
    # However the page is shown, our figures' text stands out from it.
    browser.get(address)
    for width, dark in itertools.product((1400, 390), (False, True)):
        emulate(browser, width, dark=dark)
        wait_in_page(browser, f"({BRIGHTNESS})(document.body, 'backgroundColor') {'<' if dark else '>'} 0.5")
        for figure in FIGURES:
            look = f"document.getElementById('user-defined-plot:{figure}')"
            wait_in_page(browser, f"{look}?.querySelector('.xtitle, .ytitle')")
            texts = browser.execute_script(
                f"return [...{look}.querySelectorAll('.main-svg text')].map(text => ({BRIGHTNESS})(text, 'fill'))"
            )
            # 0.22 is the luminance of our grey: its contrast is 3.9 with white and more than 4 with the dark page.
            assert texts
            assert texts == pytest.approx([0.216] * len(texts), abs=0.01)
            clear = browser.execute_script(f"return getComputedStyle({look}.querySelector('.main-svg')).background")
            assert "rgba(0, 0, 0, 0)" in clear
            box = browser.execute_script(f"const box = {look}.getBoundingClientRect(); return [box.width, box.height]")
            # The boxes are the app's own, which wants 424 to 463 pixels on a phone.
            assert box[0] <= max(width, 500)
            assert min(box) > 150
    emulate(browser, 1280)
    wait_for(lambda: shows_the_highest_trial(browser, answers, url), 240, every=0.5)
    wait_in_page(browser, "document.querySelectorAll('audio').length == 4")
    wait_in_page(browser, "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1 && a.duration > 1)")
    browser.execute_script("window.player = document.querySelector('audio'); player.play()")
    wait_in_page(browser, "player.currentTime > 0.2")
    browser.execute_script("document.querySelector('a[href^=\"/listen/\"]').click()")
    wait_for(lambda: "/listen/1" in browser.current_url or len(browser.window_handles) > 1)
    browser.switch_to.window(browser.window_handles[-1])
    wait_in_page(browser, "typeof players == 'object' && players.length > 0")
    browser.find_element("css selector", ".player button").click()
    wait_in_page(browser, "players[0].running && players[0].position() > 0.2")
    browser.execute_script("players[0].box.querySelectorAll('[type=radio]')[2].click()")
    wait_in_page(browser, "players[0].gains[2].gain.value > 0.99 && players[0].gains[0].gain.value < 0.01")
    assert complaints(browser) == []
