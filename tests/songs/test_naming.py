"""Whatever the names inside, no file lies outside the output folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schedopt.errors import DataError
from schedopt.songs import Template
from schedopt.songs.naming import inside, model_folder, part_of_a_name

NASTY = st.sampled_from(
    ["..", ".", "/", "\\", "{track}", "{stem}", "{ext}", "{trackext}", "a", ":", "\0", "~", "{", "}"]
)
TEXT = st.one_of(st.text(max_size=20), st.lists(NASTY, max_size=8).map("".join))
NAMES = TEXT.map(lambda text: text.replace("/", "").replace("\0", "")).filter(lambda name: name not in ("", ".", ".."))


@settings(max_examples=300, deadline=None)
@example("{track}/{stem}.{ext}", "...wav", "vocals")
@example("{track}/{stem}.{ext}", "..", "../../x")
@example("{track}{stem}", "..", "a")
@given(TEXT, NAMES, st.text(max_size=12))
def test_no_path_leads_out(text: str, song: str, stem: str) -> None:
    try:
        path = Path("/out/model") / Template(text).path(Path("/music") / song, stem, "wav")
    except DataError:
        return
    assert os.path.normpath(path).startswith("/out/model/")


@settings(max_examples=50, deadline=None)
@given(st.one_of(TEXT, TEXT.map("hf://{}".format)))
def test_the_models_folder_is_one_folder(model: str) -> None:
    name = model_folder(model)
    assert len(Path(name).parts) == 1
    assert name not in ("", ".", "..")


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("htdemucs", "htdemucs"),
        ("hf://someuser/somemodel", "someuser_somemodel"),
        ("/models/mine.safetensors", "mine"),
        ("../models/bag", "bag"),
    ],
)
def test_model_folders_are_those_of_demucs(model: str, folder: str) -> None:
    assert model_folder(model) == folder


def test_the_default_is_demucs_layout() -> None:
    assert Template().path(Path("/music/a b.c.mp3"), "vocals", "wav") == Path("a b.c/vocals.wav")
    assert Template("{stem}/{track}-{trackext}.{ext}").path(Path("x.ogg"), "no_bass", "flac") == Path(
        "no_bass/x-ogg.flac"
    )
    assert Template().path(Path("noext"), "bass", "wav") == Path("noext/bass.wav")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{track}.{ext}", "without {stem}"),
        ("../{stem}", "leads out"),
        ("/tmp/{stem}", "leads out"),
        ("C:\\{stem}", "leads out"),
        ("{stem.__class__}", "is not one of"),
        ("{stem!r}", "is not one of"),
        ("{stem:>99999999}", "is not one of"),
        ("{0}{stem}", "is not one of"),
        ("{stem", "expected '}'"),
    ],
)
def test_bad_templates_say_why(text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        Template(text)
    assert says in str(caught.value)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out of the output folder"):
        inside(tmp_path / "out", Path("link/x.wav"))
    assert inside(tmp_path / "out", Path("a/x.wav")) == tmp_path / "out" / "a" / "x.wav"


def test_parts_of_names() -> None:
    assert part_of_a_name("a/b\\c\nd") == "a_b_c_d"
    assert part_of_a_name("..") == "__"
    assert part_of_a_name("Ünï.cödé") == "Ünï.cödé"
