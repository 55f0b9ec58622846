"""Which stems a model and the data share, and what adds up to what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedopt.data import check_source, cut_excerpts, load_tracks, mix, plan_stems, stems_of
from schedopt.data.stems import add_up
from schedopt.errors import DataError
from schedopt.types import STEMS

from .music import tone, write, write_track

SIX = (*STEMS, "guitar", "piano")
names = st.sampled_from(["a", "b", "c", "d", "e"])


def test_a_six_stem_model_on_four_stem_data_where_guitar_and_piano_count_as_other() -> None:
    plan = plan_stems(SIX, STEMS, {"other": ["other", "guitar", "piano"]})
    assert plan.targets == STEMS
    assert plan.estimates == {
        "drums": ("drums",),
        "bass": ("bass",),
        "other": ("other", "guitar", "piano"),
        "vocals": ("vocals",),
    }
    assert plan.references == {stem: (stem,) for stem in STEMS}
    assert plan.notes == ()


def test_a_four_stem_model_on_six_stem_data() -> None:
    plan = plan_stems(STEMS, SIX, data_sums={"other": ["other", "guitar", "piano"]})
    assert plan.targets == STEMS
    assert plan.references["other"] == ("other", "guitar", "piano")


def test_without_a_mapping_the_song_stays_whole_and_both_sides_are_noted() -> None:
    plan = plan_stems(("vocals", "guitar", "bass"), ("bass", "keys", "vocals"))
    assert plan.targets == ("vocals", "bass")
    assert list(plan.references) == ["vocals", "bass", "keys"]
    assert (plan.model_only, plan.data_only) == (("guitar",), ("keys",))
    assert plan.notes[0].startswith("keys: in the mixture, but no stem of the model")
    assert plan.notes[1].startswith("guitar: of the model, but not in the data")


def test_both_sides_may_be_mapped() -> None:
    plan = plan_stems(
        ("vocals", "drums", "bass", "other"),
        SIX,
        {"rest": ["drums", "bass", "other"]},
        {"rest": [*STEMS[:3], *SIX[4:]]},
    )
    assert plan.estimates == {"vocals": ("vocals",), "rest": ("drums", "bass", "other")}
    assert plan.references == {"vocals": ("vocals",), "rest": ("drums", "bass", "other", "guitar", "piano")}


def test_a_list_stands_for_the_stem_itself_too_only_where_it_is_in_it() -> None:
    assert add_up(("other", "guitar"), {"other": ["guitar"]}) == {"other": ("guitar",)}
    assert add_up(("other", "guitar"), {"other": ["other", "guitar"]}) == {"other": ("other", "guitar")}
    assert add_up(("other",), {"other": ["guitar", "keys"]}) == {}
    assert add_up(("guitar", "drums"), {"other": ["guitar", "keys"]}) == {"other": ("guitar",), "drums": ("drums",)}


@given(st.lists(names, unique=True), st.dictionaries(names, st.lists(names, min_size=1, max_size=3), max_size=2))
def test_no_stem_counts_twice(stems: list[str], sums: dict[str, list[str]]) -> None:
    listed = [member for members in sums.values() for member in members]
    if len(set(listed)) < len(listed):
        with pytest.raises(DataError, match="name it in one list, once"):
            add_up(stems, sums)
        return
    made = add_up(stems, sums)
    used = [part for parts in made.values() for part in parts]
    assert len(set(used)) == len(used)
    assert set(used) == {stem for stem in stems if stem in listed or stem not in sums}


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(DataError, match=r"the model's stems are speech, noise, the data's drums, .*: none is in both"):
        plan_stems(("speech", "noise"), STEMS)


def test_a_mapping_of_stems_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"separator\.stems\.other: the model has no stem guitr, only drums"):
        plan_stems(SIX, STEMS, {"other": ["other", "guitr"]})


def moisesdb(root: Path) -> Path:
    """Two tracks: a folder a stem, with one or two files of names that say nothing."""
    pitches = {"drums": [100], "bass": [200], "vocals": [300, 350], "guitar": [400, 450], "piano": [500]}
    for track in ("0a1b", "2c3d"):
        for stem, tones in pitches.items():
            if (track, stem) == ("2c3d", "piano"):
                continue
            for number, hz in enumerate(tones):
                write(
                    root / track / stem / f"{number}ff0.wav", tone(1.0 - 0.25 * number, hz, level=0.1), subtype="FLOAT"
                )
        (root / track / "data.json").write_text("{}")
    return root


def test_a_stem_is_the_sum_of_its_folder(tmp_path: Path) -> None:
    tracks = [track for split in ("search", "held-out") for track in load_tracks(f"folder:{moisesdb(tmp_path)}", split)]
    assert sorted(track.name for track in tracks) == ["0a1b", "2c3d"]
    full = next(track for track in tracks if track.name == "0a1b")
    assert full.stems == ("drums", "bass", "vocals", "guitar", "piano")
    assert stems_of(tracks) == full.stems
    guitar = tone(1.0, 400, level=0.1).T
    guitar[:, :33_075] += tone(0.75, 450, level=0.1).T
    np.testing.assert_allclose(full.read(0, 1)[3], guitar, atol=1e-6)
    np.testing.assert_allclose(full.read(0.7, 0.1)[3], guitar[:, 30_870:35_280], atol=1e-6)


def test_parts_that_a_track_lacks_are_silent_where_another_is_there(tmp_path: Path) -> None:
    source = f"folder:{moisesdb(tmp_path)}"
    mapping = {"other": ["guitar", "piano", "keys"]}
    plain = {t.name: t for split in ("search", "held-out") for t in load_tracks(source, split)}
    for split in ("search", "held-out"):
        (track,) = load_tracks(source, split, mapping=mapping)
        assert track.stems == ("drums", "bass", "other", "vocals")
        own = plain[track.name].read(0, 1)
        torch.testing.assert_close(track.read(0, 1)[2], own[3:].sum(dim=0), rtol=0, atol=1e-6)
        (excerpt,) = cut_excerpts([track], "track")
        assert excerpt.stems == STEMS
        torch.testing.assert_close(mix(excerpt.references), own.sum(dim=0), rtol=0, atol=1e-6)


def test_a_mapping_of_nothing_that_is_there_is_one_line(tmp_path: Path) -> None:
    write_track(tmp_path / "search" / "song")
    with pytest.raises(DataError, match=r"data\.stems\.keys: no search track of folder:.* has piano or organ"):
        load_tracks(f"folder:{tmp_path}", "search", mapping={"keys": ["piano", "organ"]})
    with pytest.raises(DataError, match=r"data\.stems\.keys: no search track of demo has piano"):
        check_source("demo", "search", {"keys": ["piano"]})


def test_a_track_without_any_of_the_parts_is_left_out_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        write_track(tmp_path / "search" / name)
    write(tmp_path / "search" / "b" / "piano.wav", tone(1.0, 700))
    tracks = load_tracks(f"folder:{tmp_path}", "search", mapping={"keys": ["piano", "organ"]})
    (excerpt,) = cut_excerpts(tracks, 0.5, stems=(*STEMS, "keys"))
    assert (excerpt.track, excerpt.stems) == ("b", (*STEMS, "keys"))
    missing = f"{tmp_path / 'search' / 'a'}: keys is missing; a track needs drums, bass, other, vocals, keys; left out"
    assert caplog.messages == [missing]


def test_optional_stems_are_silent_where_a_track_lacks_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        write_track(tmp_path / "search" / name)
    write(tmp_path / "search" / "b" / "piano.wav", tone(1.0, 700))
    tracks = load_tracks(f"folder:{tmp_path}", "search")
    without, with_piano = cut_excerpts(tracks, 0.5, stems=("vocals",), optional=("piano", "drums"))
    assert without.stems == with_piano.stems == ("vocals", "piano", "drums")
    assert not without.references[1].any()
    assert without.audible == {"vocals", "drums"}
    assert with_piano.audible == {"vocals", "piano", "drums"}
    assert caplog.messages == ["piano is absent from 1 of 2 tracks, so silent there: a"]


def test_six_stems_in_files_are_offered_and_strangers_are_not(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "search" / "song")
    for stem in ("guitar", "piano", "mixture", "no_vocals", "theremin"):
        write(folder / f"{stem}.wav", tone(1.0, 600))
    assert load_tracks(f"folder:{tmp_path}", "search")[0].stems == SIX
    (track,) = load_tracks(f"folder:{tmp_path}", "search", stems=("theremin", "vocals"))
    assert track.stems == (*SIX, "theremin")


def test_stems_of_other_names_make_a_track_where_the_model_or_a_mapping_has_them(tmp_path: Path) -> None:
    for stem in ("speech", "noise", "hum"):
        write(tmp_path / "search" / "talk" / f"{stem}.wav", tone(1.0, 600))
    with pytest.raises(DataError, match="holds no tracks"):
        load_tracks(f"folder:{tmp_path}", "search")
    check_source(f"folder:{tmp_path}", "search")  # the model may have stems of these names
    (tmp_path / "empty" / "search" / "talk").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no tracks"):
        check_source(f"folder:{tmp_path}/empty", "search")
    assert load_tracks(f"folder:{tmp_path}", "search", stems=("speech", "noise"))[0].stems == ("noise", "speech")
    (track,) = load_tracks(f"folder:{tmp_path}", "search", mapping={"noise": ["noise", "hum"], "speech": ["speech"]})
    assert track.stems == ("noise", "speech")
    assert stems_of([track]) == ("noise", "speech")


def test_a_track_that_is_called_like_a_stem_is_a_track(tmp_path: Path) -> None:
    for name in ("Piano", "Guitar", "Other"):
        write_track(tmp_path / name, 0.2)
    found = [track.name for split in ("search", "held-out") for track in load_tracks(f"folder:{tmp_path}", split)]
    assert sorted(found) == ["Guitar", "Other", "Piano"]


def test_a_file_and_a_folder_of_one_stem_are_refused(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "search" / "song")
    write(folder / "vocals" / "take 1.wav", tone(1.0, 600))
    with pytest.raises(DataError, match=r"a file and a folder for vocals: vocals\.wav and vocals; remove one"):
        load_tracks(f"folder:{tmp_path}", "search")


def test_demo_stems_add_up_too() -> None:
    (plain,), (mapped,) = (
        load_tracks("demo", "search", 1),
        load_tracks("demo", "search", 1, mapping={"rest": STEMS[:3]}),
    )
    assert mapped.stems == ("rest", "vocals")
    own = plain.read(2.0, 0.5)
    torch.testing.assert_close(mapped.read(2.0, 0.5), torch.stack([own[:3].sum(dim=0), own[3]]))
