"""Figures as files: HTML pages that need only the script beside them, and images that Kaleido's browser draws."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from schedopt.cli import call
from schedopt.errors import StudyError
from schedopt.view.figures import study_figures
from schedopt.view.files import images, save_figures
from schedopt.view.report.html import LIBRARY, plotly_js
from tests.view.browser import chromium, complaints, emulate, wait_in_page
from tests.view.figures.studies import made_study
from tests.view.figures.test_drawing import everything

Capture = pytest.CaptureFixture[str]
FIGURES = study_figures(made_study(5))


def test_html_files_share_one_script_and_are_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "Ordner mit Ä"
    written = save_figures({**FIGURES, "all": everything()}, folder)
    assert [path.name for path in written] == [f"{name}.html" for name in (*FIGURES, "all")]
    assert (folder / LIBRARY).read_text(encoding="utf-8") == plotly_js()
    assert all(path.stat().st_size < 40_000 for path in written)
    with chromium() as browser:
        emulate(browser, 390)
        for path in written:
            browser.get(path.as_uri())
            wait_in_page(browser, "document.querySelector('.js-plotly-plot .main-svg')")
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert complaints(browser) == []


def test_images_open_and_hold_text_as_text() -> None:
    figures = [everything(), FIGURES["tracks"]]
    picture = Image.open(io.BytesIO(images(figures, "png")[0]))
    assert picture.size == (1650, 1.5 * figures[0].layout.height)
    assert np.asarray(picture).std() > 0
    first, second = images(figures, "svg")
    root = ElementTree.fromstring(first)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert any("alert(1)" in (text or "") for text in root.itertext())
    assert b"selected" in second
    assert images(figures[:1], "pdf")[0].startswith(b"%PDF")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="file"):
        save_figures(FIGURES, tmp_path / "file")


def test_without_kaleido_one_line_names_the_extra_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    for style in ("png", "svg", "pdf"):
        command = ["report", str(tmp_path / "none.toml"), "--figures", str(tmp_path), "--figure-format", style]
        assert call(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--figure-format {style}: images need Kaleido: pip install '.[images]'" in line
    assert save_figures(FIGURES, tmp_path)


def test_without_a_browser_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(StudyError, match=r"images need Chrome or Chromium, html needs nothing more") as caught:
        images([FIGURES["tracks"]])
    assert "\n" not in str(caught.value)
