"""Reports: one HTML file that needs nothing else, whatever the names in it are."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import soundfile
import torch
from selenium.webdriver import Chrome

from schedopt.cli import call
from schedopt.view.figures import study_figures
from schedopt.view.report.clips import flac_url, ranks
from schedopt.view.report.html import LIBRARY, plotly_js, render
from schedopt.view.report.page import Page, Section
from schedopt.view.report.sources import Audio, benchmark_page
from tests.models import RATE
from tests.proof.schedules import write_bench, write_schedule
from tests.studies import write_study
from tests.view.browser import chromium, complaints, emulate, wait_in_page
from tests.view.figures.benchmarks import made_benchmark
from tests.view.figures.studies import made_study
from tests.view.outline import Outline

Capture = pytest.CaptureFixture[str]
TRACK = "Zoë & <img src=x onerror=alert(1)> $x$"
STUDY = "<script>alert('study')<∕script>"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in a folder with spaces, of tracks and a study with HTML in their names."""
    folder = tmp_path_factory.mktemp("Mein Ordner é")
    path = write_study(
        folder,
        tracks=3,
        study={"name": STUDY, "trials": 5},
        refinement={"steps": 2},
        search={"pruner": "none", "choose": "highest"},
    )
    (folder / "music" / "search" / "track-1").rename(folder / "music" / "search" / TRACK.replace("/", ""))
    assert call(["run", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def page(study: Path) -> Outline:
    output = study.parent / "Ünter ordner" / "my report.html"
    assert call(["report", str(study), "-o", str(output), "--audio", "0.2"]) == 0
    return Outline(output.read_text(encoding="utf-8"))


def test_nothing_is_fetched(study: Path, page: Outline) -> None:
    content = (study.parent / "Ünter ordner" / "my report.html").read_text(encoding="utf-8")
    assert content.count(plotly_js()) == 1
    assert not re.search(r"https?:|//[a-z]+\.", content.replace(plotly_js(), ""))
    for tag, attrs in page.tags:
        assert tag not in ("iframe", "img", "object", "base")
        for name in ("src", "href", "action"):
            assert str(attrs.get(name, "data:")).startswith("data:")
    (policy,) = (a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; ")


def test_names_are_text(page: Outline) -> None:
    assert STUDY in page.text
    assert f"Study {STUDY}" in page.text
    assert TRACK in page.text
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert sum(tag == "script" for tag, _ in page.tags) == 2 + sum(tag == "figure" for tag, _ in page.tags)


def test_it_tells_what_the_study_holds(study: Path, page: Outline) -> None:
    stored = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{study.parent}/studies.db")
    best = max((t for t in stored.trials if t.value is not None), key=lambda t: (t.values[0], -t.number))
    betas = " ".join(f"{beta:g}" for beta in best.user_attrs["betas"])
    assert (
        f"Selected and highest trial ({best.number}): β {betas}; on the search excerpts {best.value:.3f} dB, "
        in page.text
    )
    assert f"{best.user_attrs['gain']:+.3f} dB over one pass" in page.text
    assert "`" not in page.text
    assert stored.user_attrs["weights"] in page.text
    assert "schedule.family" in page.text
    assert "version of torch" in page.text
    figures = [attrs["id"] for tag, attrs in page.tags if tag == "div" and str(attrs.get("id")).startswith("figure-")]
    assert figures == [
        f"figure-vocals-{n}" for n in ("schedules", "steps", "progress", "tracks", "passes", "importance")
    ]


def test_clips_are_of_the_tracks_with_the_highest_median_and_lowest_gain(study: Path, page: Outline) -> None:
    sounds = list(page.sounds())
    assert len(sounds) == 3 * 4
    stored = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{study.parent}/studies.db")
    best = max((t for t in stored.trials if t.value is not None), key=lambda t: (t.values[0], -t.number))
    gains = dict(zip(stored.user_attrs["tracks"], best.user_attrs["gain_by_track"], strict=True))
    for rank, track in ranks(gains).items():
        assert f"vocals, {rank} ({gains[track]:+.2f} dB): {track} @ " in page.text
    for n, track in enumerate(ranks(gains).values()):
        mixture, one_pass, schedule, reference = (
            soundfile.read(io.BytesIO(sound), always_2d=True)[0] for sound in sounds[4 * n : 4 * n + 4]
        )
        assert mixture.shape == one_pass.shape == schedule.shape == reference.shape == (round(0.2 * RATE), 2)
        folder = study.parent / "music" / "search" / track
        truth = soundfile.read(folder / "vocals.wav", always_2d=True)[0]
        # Somewhere in the track lie these samples, up to the common factor and 16 bits.
        start = int(np.argmax(np.correlate(truth[:, 0], reference[:, 0], "valid")))
        assert np.corrcoef(truth[start : start + len(reference), 0], reference[:, 0])[0, 1] > 0.9999
        assert np.abs(reference).max() > 0.1
        assert not np.array_equal(one_pass, mixture)


PROBE = """<head><script>
const seen = {alerts: 0, violations: [], errors: []};
window.alert = () => seen.alerts++;
window.addEventListener("error", event => seen.errors.push(String(event.message)));
document.addEventListener("securitypolicyviolation", event => seen.violations.push(event.blockedURI));
</script>"""


@pytest.fixture(scope="module")
def browser(study: Path, page: Outline) -> Iterator[Chrome]:
    """The report, with a probe for what must not happen, in a browser without a network."""
    content = (study.parent / "Ünter ordner" / "my report.html").read_text(encoding="utf-8")
    probed = study.parent / "Ünter ordner" / "with probe.html"
    probed.write_text(content.replace("<head>", PROBE, 1), encoding="utf-8")
    with chromium() as browser:
        emulate(browser, 1400)
        browser.get(probed.as_uri())
        wait_in_page(browser, "document.querySelectorAll('figure svg.main-svg .cartesianlayer .subplot').length >= 6")
        yield browser


def test_it_opens_in_a_browser_without_a_network(browser: Chrome) -> None:
    """All figures are drawn, nothing is fetched, no name runs."""
    assert browser.execute_script("return document.querySelectorAll('figure .main-svg .subplot').length") == 6
    seen = browser.execute_script("return seen")
    assert seen == {"alerts": 0, "violations": [], "errors": []}
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(("data:", "blob:")) for name in fetched)
    assert complaints(browser) == []
    buttons = browser.execute_script("return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert buttons
    assert not [title for title in buttons if "hare" in title or "loud" in title], "data must not leave the page"


BOXES = """
const box = element => (({left, right, top, bottom, height}) => ({left, right, top, bottom, height}))(
  element.getBoundingClientRect());
const lines = element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  return new Set([...range.getClientRects()].map(line => Math.round(line.top))).size;
};
return {
  overflow: document.documentElement.scrollWidth - innerWidth,
  lines: [...document.querySelectorAll("th, td")].filter(cell => cell.offsetParent && cell.textContent.length < 12)
    .map(cell => [cell.textContent, lines(cell)]),
  figures: [...document.querySelectorAll("figure")].map(figure => ({
    heading: box(figure.querySelector("h3")), caption: box(figure.querySelector("figcaption")),
    plot: box(figure.querySelector(".main-svg")), whole: box(figure)})),
};"""


@pytest.mark.parametrize(("width", "printed"), [(1400, False), (390, False), (680, True)])
def test_it_is_readable_on_a_desk_on_a_phone_and_on_paper(browser: Chrome, width: int, printed: bool) -> None:
    emulate(browser, width, printed=printed)
    event = "beforeprint" if printed else "resize"
    browser.execute_script(f"window.dispatchEvent(new Event('{event}'))")
    wait_in_page(browser, f"[...document.querySelectorAll('.main-svg')].every(s => s.clientWidth <= {width})")
    found = browser.execute_script(BOXES)
    assert found["overflow"] <= 0, "nothing is wider than the page"
    assert len(found["lines"]) > 20
    assert [text for text, lines in found["lines"] if lines > 1] == [], "no short word is broken"
    for figure in found["figures"]:
        assert figure["heading"]["bottom"] <= figure["plot"]["top"] + 1
        assert figure["plot"]["bottom"] <= figure["caption"]["top"] + 1
        assert figure["plot"]["right"] - figure["plot"]["left"] > 0.8 * min(width - 32, 1080)
        if printed:
            assert figure["whole"]["height"] < 1000, "it fits on a page (A4 less margins: 1009 pixels)"
    if printed:
        browser.execute_script("window.dispatchEvent(new Event('afterprint'))")


LUMINANCE = """
const luminance = text => {
  const parts = text.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255);
  const [r, g, b] = parts.map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const page = luminance(getComputedStyle(document.body).backgroundColor);
const contrast = value => (Math.max(value, page) + 0.05) / (Math.min(value, page) + 0.05);
const words = [...document.querySelectorAll("h1, h2, h3, p, td, th, figcaption, label")];
const texts = [...document.querySelectorAll(".main-svg text")].filter(text => text.textContent);
return [page, Math.min(...words.map(word => contrast(luminance(getComputedStyle(word).color)))),
  Math.min(...texts.map(text => contrast(luminance(getComputedStyle(text).fill)))), words.length, texts.length];
"""


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_in_both_themes(browser: Chrome, width: int, dark: bool) -> None:
    emulate(browser, width, dark=dark)
    # The figures are drawn anew when the theme changes.
    wait_in_page(browser, f"(() => {{{LUMINANCE}}})()[2] >= 3.5", 60)
    page, words, texts, *counts = browser.execute_script(LUMINANCE)
    assert (page < 0.1) is dark
    assert words >= 4.5, "WCAG 2, level AA"
    assert texts >= 3.5
    assert min(counts) > 20


def test_dark_readers_print_on_white(browser: Chrome) -> None:
    emulate(browser, 680, dark=True, printed=True)
    assert browser.execute_script(LUMINANCE)[0] != pytest.approx(0.005, abs=0.05)


COVERED = """
const box = element => element.getBoundingClientRect();
const titles = [...document.querySelectorAll(".annotation-text, .gtitle, .xtitle, .ytitle, h3, figcaption, .legend")];
const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
const buttons = [...document.querySelectorAll(".modebar-btn")];
return [buttons.length, titles.length,
  titles.filter(title => buttons.some(button => !apart(box(title), box(button)))).map(title => title.textContent)];
"""


@pytest.mark.parametrize("width", [1400, 390])
def test_no_toolbar_covers_a_title(browser: Chrome, width: int) -> None:
    emulate(browser, width)
    browser.execute_script("window.dispatchEvent(new Event('resize'))")
    wait_in_page(browser, f"[...document.querySelectorAll('.main-svg')].every(s => s.clientWidth <= {width})")
    buttons, titles, covered = browser.execute_script(COVERED)
    assert min(buttons, titles) > 10
    assert covered == []


def test_the_four_sounds_of_a_clip_run_in_one_player(browser: Chrome) -> None:
    emulate(browser, 1400)
    count, labels = browser.execute_script("return [players.length, players[0].audios.map(audio => audio.title)]")
    assert (count, labels) == (3, ["mixture", "one pass", "refined", "reference"])
    button, radios = browser.execute_script(
        "const box = players[0].box; return [box.querySelector('button'), [...box.querySelectorAll('[type=radio]')]]"
    )
    button.click()
    wait_in_page(browser, "players[0].running && players[0].context.currentTime > players[0].began + 0.5")
    seconds = browser.execute_script("return players[0].buffers.map(buffer => buffer.duration)")
    assert seconds == pytest.approx([0.2] * 4, abs=1e-3)
    began = browser.execute_script("return players[0].began")
    for n in (2, 3, 1):
        radios[n].click()
        wait_in_page(browser, f"players[0].gains[{n}].gain.value > 0.99")
        gains = browser.execute_script("return players[0].gains.map(gain => gain.gain.value)")
        assert [round(gain, 1) for gain in gains] == [float(k == n) for k in range(4)], "one is audible"
    assert browser.execute_script("return [players[0].running, players[0].began]") == [True, began], "it plays on"
    button.click()
    assert browser.execute_script("return players[0].running") is False


def test_a_benchmark_and_its_figures(tmp_path: Path, capsys: Capture) -> None:
    folder = write_bench(tmp_path)
    path = write_schedule(folder, "ours", bass={"betas": [0.5]}, vocals={"betas": [0.2, 0.4]})
    output = folder / "Ergebnis ü.json"
    assert call(["benchmark", str(path), "--against", "shift", "-o", str(output)]) == 0
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    figures = folder / "figures"
    assert call(["report", str(output), "--audio", "0.1", "--figures", str(figures)]) == 0
    assert {one.name for one in figures.iterdir()} == {
        LIBRARY,
        *(f"{n}.html" for n in ("steps", "tracks", "gains", "passes", "stems")),
    }
    page = Outline((folder / "Ergebnis ü.report.html").read_text(encoding="utf-8"))
    for sentence in document["sentences"]:
        assert sentence in page.text
    assert len(list(page.sounds())) == 2 * 3 * 4
    assert "silent, so left out of the mean of vocals" in page.text
    assert document["model"]["weights"] in page.text
    # The music goes away: the report stays, and says what it lacks.
    (folder / "music").rename(folder / "elsewhere")
    capsys.readouterr()
    assert call(["report", str(output)]) == 0
    shown = capsys.readouterr()
    assert "note: not all audio could be made: " in shown.err
    again = Outline((folder / "Ergebnis ü.report.html").read_text(encoding="utf-8"))
    assert "not all audio could be made: " in again.text
    assert not list(again.sounds())
    assert document["sentences"][0] in again.text


def test_a_benchmarks_report_fits_a_phone(tmp_path: Path) -> None:
    """Long names of methods, a date of 25 characters, panels below each other."""
    page = tmp_path / "report.html"
    page.write_text(render(benchmark_page(made_benchmark(), Audio(seconds=0))), encoding="utf-8")
    with chromium() as browser:
        emulate(browser, 390)
        browser.get(page.as_uri())
        wait_in_page(browser, "document.readyState == 'complete' && figures.length == 6")
        wait_in_page(browser, "[...figures].every(div => div._fullLayout.grid?.columns !== 2)")
        found = browser.execute_script(BOXES)
        tops = browser.execute_script(
            "return [...document.querySelectorAll('#figure-benchmark-gains .gridlayer path')]"
            ".map(part => part.getBoundingClientRect()).filter(box => box.height > 0).map(box => Math.round(box.top))"
        )
        assert browser.execute_script(COVERED)[2] == [], "no toolbar covers a panel's title"
        assert complaints(browser) == []
    assert found["overflow"] <= 0
    assert len(set(tops)) == 2, "bass stands above vocals"
    for figure in found["figures"]:
        assert figure["plot"]["bottom"] <= figure["caption"]["top"] + 1


def test_made_names_do_no_harm() -> None:
    """Method and source names with HTML in them; no audio, so nothing is computed."""
    page = Outline(render(benchmark_page(made_benchmark(), Audio(seconds=0))))
    assert "<b>ours" in page.text
    assert "folder:<i>music</i>" in page.text
    assert not any(tag in ("b", "i") for tag, _ in page.tags)
    assert "constant: its β were fixed in advance" in page.text
    assert "greedy search, 2 steps (needs the references)" in page.text


def test_mistakes_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    for arguments, says in (
        (["none.json"], "none.json: there is no such benchmark"),
        ([str(tmp_path / "x.json")], "x.json: is no benchmark"),
        ([str(tmp_path / "x.json"), "--storage", "sqlite:///a.db"], "belong to a study file"),
        ([str(write_study(tmp_path)), "-o", "x.html"], "there is no such database"),
    ):
        assert call(["report", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


def test_a_report_without_audio_is_small() -> None:
    """Four studies' figures, each of 300 schedules of ten steps, and the library."""
    figures = study_figures(made_study(300, steps=10))
    page = render(Page("x", "", tuple(Section(f"stem-{n}", "x", figures=figures) for n in range(4))))
    assert 1_200_000 < len(page.encode()) < 1_500_000
    assert len(render(Page("x", "", ())).encode()) < 20_000, "no figure, no library"


def test_backticks_mark_code_in_sentences() -> None:
    page = render(Page("x", "", (Section("x", "x", ("run `schedopt benchmark <FILE>` then `", "a <b>`c`</b>")),)))
    assert "<code>schedopt benchmark &lt;FILE&gt;</code> then `" in page
    assert "a &lt;b&gt;<code>c</code>&lt;/b&gt;" in page


def test_ranks_and_sounds() -> None:
    gains = {"a": 1.0, "b": 3.0, "c": 2.0, "d": -1.0}
    assert ranks(gains) == {"highest gain": "b", "median gain": "a", "lowest gain": "d"}
    assert ranks({"a": 1.0, "b": 0.0}) == {"highest gain": "a", "median gain": "b"}
    assert ranks({"a": 1.0}) == {"highest gain": "a"}
    assert ranks({}) == {}
    audio = torch.zeros(2, 100)
    audio[:, 60:70] = 1
    head, _, data = flac_url(audio, 8000).partition(",")
    assert head == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 8000
    assert samples[60:70].min() > 0.99
