from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedopt.data.splits import searched, split_by_name, validation_names

names = st.sets(st.text(string.ascii_letters + "éß ", min_size=1, max_size=8), max_size=12)


@settings(deadline=None)
@given(names)
def test_every_track_is_on_one_side_and_two_tracks_give_both(tracks: set[str]) -> None:
    sides = split_by_name(tracks)
    assert sorted(sides["search"] + sides["held-out"]) == sorted(tracks)
    assert len(sides["held-out"]) >= (len(tracks) > 1)
    assert len(sides["search"]) >= (len(tracks) > 0)


@settings(deadline=None)
@given(names, names)
def test_tracks_keep_their_side_when_others_come(tracks: set[str], more: set[str]) -> None:
    """But for one track that had to move so that neither side was empty."""
    before, after = split_by_name(tracks), split_by_name(tracks | more)
    if min(len(before["search"]), len(before["held-out"])) > 1:
        assert set(before["search"]) <= set(after["search"])
        assert set(before["held-out"]) <= set(after["held-out"])


def test_about_a_third_is_held_out() -> None:
    sides = split_by_name(f"track {number}" for number in range(3000))
    assert 0.3 < len(sides["held-out"]) / 3000 < 0.37


def test_the_split_is_the_same_everywhere() -> None:
    """Frozen: another split would let old schedules have heard new held-out tracks."""
    assert split_by_name("abcdefgh")["held-out"] == ["b", "c", "d", "e", "f"]


def test_accents_may_be_stored_either_way() -> None:
    tracks = [f"é{number}" for number in range(20)]
    apart = [unicodedata.normalize("NFD", name) for name in tracks]
    expected = [unicodedata.normalize("NFD", name) for name in split_by_name(tracks)["held-out"]]
    assert split_by_name(apart)["held-out"] == expected


def test_the_search_uses_the_validation_tracks(caplog: pytest.LogCaptureFixture) -> None:
    assert len(validation_names()) == 14
    assert searched(["Zed - Unknown", *validation_names()], "train") == sorted(validation_names())
    assert not caplog.messages


def test_the_search_uses_all_tracks_where_none_is_for_validation(caplog: pytest.LogCaptureFixture) -> None:
    assert searched(["b", "a"], "root/train") == ["a", "b"]
    assert caplog.messages == [
        "root/train: none of MUSDB18's 14 validation tracks is here; the search uses all tracks of it"
    ]
