"""Reports: one HTML file that needs nothing else, whatever the names in it are."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import soundfile
import torch
from plotly.offline import get_plotlyjs

from schedopt.cli import call
from schedopt.view.report.clips import flac, loudest, places
from schedopt.view.report.html import render
from schedopt.view.report.sources import Audio, benchmark_page
from tests.models import RATE
from tests.proof.schedules import write_bench, write_schedule
from tests.studies import write_study
from tests.system_parts import find_program
from tests.view.figures.benchmarks import made_benchmark

Capture = pytest.CaptureFixture[str]
TRACK = "Zoë & <img src=x onerror=alert(1)> $x$"
STUDY = "<script>alert('study')<∕script>"


class Outline(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._in or self._in[-1] not in ("script", "style"):
            self.text += data

    def sounds(self) -> Iterator[bytes]:
        for tag, attrs in self.tags:
            if tag == "audio":
                head, _, data = str(attrs["src"]).partition(",")
                assert head == "data:audio/flac;base64"
                yield base64.b64decode(data)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in a folder with spaces, of tracks and a study with HTML in their names."""
    folder = tmp_path_factory.mktemp("Mein Ordner é")
    path = write_study(
        folder,
        tracks=3,
        study={"name": STUDY, "trials": 5},
        refinement={"steps": 2},
        search={"pruner": "none", "choose": "best"},
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
    assert content.count(get_plotlyjs()) == 1
    assert not re.search(r"https?:|//[a-z]+\.", content.replace(get_plotlyjs(), ""))
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "base")
        for name in ("src", "href", "action"):
            assert str(attrs.get(name, "data:")).startswith("data:")
    (policy,) = (a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; ")


def test_names_are_text(page: Outline) -> None:
    assert STUDY in page.text
    assert f"Study {STUDY}" in page.text
    assert TRACK in page.text
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert sum(tag == "script" for tag, _ in page.tags) == 1 + sum(tag == "figure" for tag, _ in page.tags)


def test_it_tells_what_the_study_holds(study: Path, page: Outline) -> None:
    stored = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{study.parent}/studies.db")
    best = max((t for t in stored.trials if t.value is not None), key=lambda t: (t.values[0], -t.number))
    assert f"(trial {best.number}): {best.value:.2f} dB" in page.text
    assert f"{best.user_attrs['gain']:+.3f} dB over one pass" in page.text
    assert stored.user_attrs["weights"] in page.text
    assert "schedule.family" in page.text
    assert "version of torch" in page.text
    figures = [attrs["id"] for tag, attrs in page.tags if tag == "div" and str(attrs.get("id")).startswith("figure-")]
    assert figures == [
        f"figure-vocals-{n}" for n in ("schedules", "steps", "progress", "tracks", "passes", "importance")
    ]


def test_clips_are_the_seconds_of_best_median_and_worst(study: Path, page: Outline) -> None:
    sounds = list(page.sounds())
    assert len(sounds) == 3 * 4
    stored = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{study.parent}/studies.db")
    best = max((t for t in stored.trials if t.value is not None), key=lambda t: (t.values[0], -t.number))
    gains = dict(zip(stored.user_attrs["tracks"], best.user_attrs["gain_by_track"], strict=True))
    for place, track in places(gains).items():
        assert f"{place}, vocals: {track} @ " in page.text
        assert f"{gains[track]:+.2f} dB" in page.text
    for n, track in enumerate(places(gains).values()):
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
window.addEventListener("load", async () => {
  const sounds = [...document.querySelectorAll("audio")];
  seen.seconds = await Promise.all(sounds.map(sound => new Promise(done => {
    sound.addEventListener("loadedmetadata", () => done(sound.duration));
    sound.addEventListener("error", () => done(-1));
    sound.preload = "metadata";
    sound.load();
  })));
  seen.figures = document.querySelectorAll("figure svg.main-svg .cartesianlayer .subplot").length;
  seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40));
  document.title = "probe " + JSON.stringify(seen);
});
</script>"""


def test_it_opens_in_a_browser_without_a_network(study: Path, page: Outline, tmp_path: Path) -> None:
    """In headless Chromium: all figures are drawn, all sounds can be played, nothing is fetched, no name runs."""
    chromium = find_program("chromium")
    assert chromium is not None, "install chromium: the report is opened in it"
    content = (study.parent / "Ünter ordner" / "my report.html").read_text(encoding="utf-8")
    probed = study.parent / "Ünter ordner" / "with probe.html"
    probed.write_text(content.replace("<head>", PROBE, 1), encoding="utf-8")
    command = [str(chromium), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"<title>probe (.*?)</title>", done.stdout)
    assert found is not None, done.stderr[-500:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["figures"] == 6
    assert seen["seconds"] == pytest.approx([0.2] * 12, abs=1e-3)
    assert (seen["alerts"], seen["violations"], seen["errors"]) == (0, [], [])
    assert all(name.startswith(("data:", "blob:")) for name in seen["fetched"])


def test_a_benchmark_and_its_figures(tmp_path: Path, capsys: Capture) -> None:
    folder = write_bench(tmp_path)
    path = write_schedule(folder, "ours", bass={"betas": [0.5]}, vocals={"betas": [0.2, 0.4]})
    output = folder / "Ergebnis ü.json"
    assert call(["benchmark", str(path), "--against", "shift", "-o", str(output)]) == 0
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    figures = folder / "figures"
    assert call(["report", str(output), "--audio", "0.1", "--figures", str(figures)]) == 0
    assert {one.name for one in figures.iterdir()} == {
        f"{n}.png" for n in ("steps", "tracks", "gains", "passes", "stems")
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


def test_places_and_windows() -> None:
    assert places({"a": 1.0, "b": 3.0, "c": 2.0, "d": -1.0}) == {"best": "b", "median": "a", "worst": "d"}
    assert places({"a": 1.0, "b": 0.0}) == {"best": "a", "median": "b"}
    assert places({"a": 1.0}) == {"best": "a"}
    assert places({}) == {}
    audio = torch.zeros(2, 100)
    audio[:, 60:70] = 1
    assert loudest(audio, 10) == (60, 70)
    assert loudest(audio, 200) == (0, 100)
    samples, rate = soundfile.read(io.BytesIO(flac(audio, 8000)))
    assert rate == 8000
    assert samples[60:70].min() > 0.99
