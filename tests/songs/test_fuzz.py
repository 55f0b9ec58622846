"""Whatever songs, templates and models are called, stems go into the output folder and nowhere else."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedopt.errors import SchedoptError
from schedopt.separators import Separator
from schedopt.songs import Encoding, Options, Template, separate_songs
from tests.fuzz import NAMES
from tests.songs.songs import tiny, write_song

EXAMPLES = int(os.environ.get("SCHEDOPT_FUZZ", "60"))
PIECES = st.one_of(
    st.sampled_from(["{track}", "{stem}", "{ext}", "{trackext}", "/", "..", "\\", ".", "\0", "C:", "~", "{0}", "{{"]),
    NAMES,
)
TEMPLATES = st.lists(PIECES, max_size=5).map("".join)
SUFFIXES = st.sampled_from([".wav", "", ".", "..", ".mp3"])


@pytest.fixture(scope="module")
def separator() -> Separator:
    return tiny()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_song(tmp_path_factory.mktemp("song") / "song.wav", 0.05)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(TEMPLATES, TEMPLATES.map("{}/{{track}}/{{stem}}".format)), NAMES, SUFFIXES)
def test_songs_write_into_their_folder_only(
    separator: Separator, song: Path, template: str, name: str, suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as base:
        named = Path(base) / "songs" / f"{name}{suffix}".replace("/", "∕")
        (Path(base) / "songs").mkdir()
        try:
            shutil.copyfile(song, named)
        except (OSError, ValueError):  # no file can be called so
            named = song
        before = set(Path(base).rglob("*"))
        try:
            options = Options(Path(base) / "out", template=Template(template), encoding=Encoding())
            (result,) = separate_songs([named], separator, options)
        except SchedoptError:
            return
        made = set(Path(base).rglob("*")) - before
        assert all(path.is_relative_to(Path(base) / "out") for path in made), made
        assert result.error.isprintable(), result.error
        assert result.state == ("failed" if result.error else "done")
        assert len({*result.files}) == (0 if result.error else len(separator.stems))
        assert all(path.resolve().is_relative_to((Path(base) / "out").resolve()) for path in result.files)
