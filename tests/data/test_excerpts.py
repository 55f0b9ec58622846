"""Where excerpts are cut: all stems first, then the loudest quietest stem, then early; and in bounded memory."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schedopt.data import _demo, audible_stems, cut_excerpts, load_tracks
from schedopt.data.excerpts import SCAN_SLOTS, _choose
from schedopt.demo import synth
from schedopt.errors import DataError
from schedopt.types import STEMS, Excerpt

Parts = Mapping[str, list[tuple[float, float, float]]]  # stem → (from, to, level) of a steady sound, s and full scale


@dataclass
class Song:
    """A track in memory that counts what is read of it."""

    parts: Parts
    seconds: float
    name: str = "song"
    stems: tuple[str, ...] = STEMS
    reads: list[tuple[float, float]] = field(default_factory=list)
    closed: int = 0

    def read(self, start: float, seconds: float) -> torch.Tensor:
        self.reads.append((start, seconds))
        audio = torch.zeros(4, 2, round(self.seconds * 44_100))
        for stem, parts in self.parts.items():
            for begin, end, level in parts:
                audio[STEMS.index(stem), :, round(begin * 44_100) : round(end * 44_100)] = level
        first = round(start * 44_100)
        return audio[..., first : first + round(seconds * 44_100)].clone()

    def close(self) -> None:
        self.closed += 1

    @property
    def location(self) -> str:
        return f"songs/{self.name}"


def everywhere(seconds: float, level: float = 0.1) -> dict[str, list[tuple[float, float, float]]]:
    return {stem: [(0.0, seconds, level)] for stem in STEMS}


def test_the_place_where_all_stems_sound_is_found() -> None:
    song = Song(everywhere(20) | {"vocals": [(12.0, 15.0, 0.01)], "bass": [(0, 4, 0.5), (11, 16, 0.5)]}, 20)
    (excerpt,) = cut_excerpts([song], 2.0)
    assert excerpt.start == 12.0
    assert excerpt.audible == set(STEMS)
    assert (excerpt.track, excerpt.sample_rate, excerpt.stems, excerpt.seconds) == ("song", 44_100, STEMS, 2.0)
    assert torch.equal(excerpt.references, song.read(12.0, 2.0))


def test_else_the_place_with_most_stems_is_taken() -> None:
    song = Song({"drums": [(0, 10, 0.1)], "bass": [(6, 9, 0.1)], "vocals": [(2, 4, 0.1), (8, 10, 0.1)]}, 10)
    (excerpt,) = cut_excerpts([song], 1.0)
    assert excerpt.start == pytest.approx(8.0)
    assert excerpt.audible == {"drums", "bass", "vocals"}


def test_equal_places_are_told_apart_by_the_quietest_stem_then_by_time() -> None:
    song = Song(everywhere(20) | {"vocals": [(0, 5, 0.01), (5, 8, 0.05), (8, 20, 0.02)]}, 20)
    assert cut_excerpts([song], 3.0)[0].start == 5.0
    assert cut_excerpts([Song(everywhere(20), 20)], 3.0)[0].start == 0.0


@pytest.mark.parametrize(("seconds", "enough"), [(4, 1.0), (6, 1.5), (60, 1.5)])
def test_a_stem_that_is_there_for_a_moment_is_not_audible(seconds: int, enough: float) -> None:
    """A quarter of the time is enough, and 1.5 s of a longer one."""
    parts = {"bass": [(1.0, 0.9 + enough, 0.1)], "other": [(1.0, 1 + enough, 0.1)]}
    references = Song(everywhere(seconds) | parts, seconds).read(0, seconds)
    assert audible_stems(references) == {"drums", "other", "vocals"}


def test_vocals_in_a_small_part_of_a_whole_track_are_scored() -> None:
    song = Song(everywhere(40) | {"vocals": [(3, 6, 0.1)]}, 40)
    (excerpt,) = cut_excerpts([song], "track")
    assert excerpt.audible == set(STEMS)


def test_what_is_audible_depends_on_the_level() -> None:
    references = Song(everywhere(1) | {"bass": [(0, 1, 0.0009)], "other": [(0, 1, 0.0011)]}, 1).read(0, 1)
    assert audible_stems(references) == {"drums", "other", "vocals"}
    assert audible_stems(references, silence_db=-80) == set(STEMS)
    assert audible_stems(references[:2], ("drums", "bass")) == {"drums"}


def test_a_stem_on_one_channel_is_audible() -> None:
    references = torch.zeros(4, 2, 44_100)
    references[3, 1] = 0.1
    assert audible_stems(references) == {"vocals"}


def test_several_excerpts_do_not_overlap_and_are_best_together() -> None:
    # the best single place begins at 1 s and leaves no room for another one
    song = Song(everywhere(6) | {"vocals": [(1.0, 4.0, 0.1)]}, 6)
    assert [excerpt.start for excerpt in cut_excerpts([song], 3.0)] == [1.0]
    assert [excerpt.start for excerpt in cut_excerpts([song], 3.0, per_track=2)] == [0.0, 3.0]


def test_a_short_track_gives_as_many_as_fit() -> None:
    assert len(cut_excerpts([Song(everywhere(7), 7)], 2.0, per_track=5)) == 3
    assert len(cut_excerpts([Song(everywhere(2), 2)], 2.0, per_track=5)) == 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 3))
def test_chosen_windows_have_the_highest_total(ratings: list[int], width: int, count: int) -> None:
    """Against trying out all choices; the earliest of the best wins."""
    fitting = min(count, (len(ratings) - 1) // width + 1)
    choices = [
        starts
        for starts in itertools.combinations(range(len(ratings)), fitting)
        if all(b - a >= width for a, b in itertools.pairwise(starts))
    ]
    best = max(choices, key=lambda starts: (sum(ratings[start] for start in starts), [-start for start in starts]))
    assert _choose(np.array(ratings, np.int64), width, count) == list(best)


def test_a_place_is_found_across_the_blocks_of_a_scan() -> None:
    border = SCAN_SLOTS / 10
    song = Song(everywhere(border + 20) | {"vocals": [(border - 1, border + 1, 0.1)]}, border + 20)
    assert cut_excerpts([song], 2.0)[0].start == border - 1
    assert len(song.reads) == 3  # two blocks and the excerpt


def test_samples_far_above_full_scale_are_rated_without_overflow() -> None:
    song = Song({"bass": [(3.0, 5.0, 1e30)]}, 9)
    (excerpt,) = cut_excerpts([song], 2.0)
    assert excerpt.start == 3.0
    assert excerpt.audible == {"bass"}


def test_excerpts_have_one_length_that_need_not_be_whole_slots() -> None:
    tracks = [Song(everywhere(5), 5, "a"), Song(everywhere(3.21), 3.21, "b")]
    assert {excerpt.references.shape[-1] for excerpt in cut_excerpts(tracks, 3.2099)} == {round(3.2099 * 44_100)}


@pytest.mark.parametrize("workers", [1, 2])
def test_short_and_silent_tracks_are_left_out_with_a_note(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    tracks = [Song(everywhere(1), 1, "short"), Song({}, 9, "silent"), Song(everywhere(9), 9, "good")]
    (excerpt,) = cut_excerpts(tracks, 2.0, workers=workers)
    assert excerpt.track == "good"
    assert excerpt.fingerprint == cut_excerpts(tracks[-1:], 2.0)[0].fingerprint
    assert caplog.messages == [
        "short: 1.000 s long, shorter than an excerpt of 2 s; left out",
        "silent: no stem sounds anywhere (above -60 dBFS); left out",
    ]


def test_nothing_left_is_refused() -> None:
    with pytest.raises(DataError, match=r"the longest, b, lasts 1\.500 s: ask for shorter excerpts"):
        cut_excerpts([Song(everywhere(1), 1, "a"), Song(everywhere(1.5), 1.5, "b")], 2.0)
    with pytest.raises(DataError, match="no stem sounds in any of the 1 tracks"):
        cut_excerpts([Song({}, 9)], 2.0)
    with pytest.raises(DataError, match="no tracks"):
        cut_excerpts([], 2.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.05, float("nan"), float("inf")])
def test_lengths_that_cannot_be_are_refused(seconds: float) -> None:
    with pytest.raises(DataError, match=r"at least 0\.1 s, got"):
        cut_excerpts([Song(everywhere(9), 9)], seconds)


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1, got 0"):
        cut_excerpts([Song(everywhere(9), 9)], 1.0, per_track=0)


def test_the_fingerprint_follows_the_samples() -> None:
    def fingerprint(level: float, seconds: float = 1.0) -> str:
        return cut_excerpts([Song(everywhere(2, level), 2)], seconds)[0].fingerprint

    assert fingerprint(0.1) == fingerprint(0.1)
    assert len({fingerprint(0.1), fingerprint(0.1 + 1e-8), fingerprint(0.1, 1.1)}) == 3
    assert len(fingerprint(0.1)) == 32


def write_long(folder: Path, minutes: int, level: float = 0.0) -> None:
    """A track of `minutes` at `level` that sounds in its last ten seconds; its stems share one file."""
    folder.mkdir(parents=True)
    with soundfile.SoundFile(folder / "drums.flac", "w", 44_100, 2) as file:
        for _ in range(6 * minutes - 1):
            file.write(np.full((441_000, 2), level))
        file.write(np.full((441_000, 2), 0.1))
    for stem in STEMS[1:]:
        os.link(folder / "drums.flac", folder / f"{stem}.flac")


def peak_bytes(source: str) -> int:
    tracemalloc.start()
    try:
        (excerpt,) = cut_excerpts(load_tracks(source, "search"), 10.0)
        assert excerpt.audible == set(STEMS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path: Path) -> None:
    write_long(tmp_path / "short" / "song", 1)
    write_long(tmp_path / "long" / "song", 4)
    short, long = peak_bytes(f"folder:{tmp_path / 'short'}"), peak_bytes(f"folder:{tmp_path / 'long'}")
    assert long < short + 5e6, f"{short / 1e6:.0f} MB for 1 minute, {long / 1e6:.0f} MB for 4"
    assert long < 250e6


def test_whole_tracks_are_excerpts_from_end_to_end(caplog: pytest.LogCaptureFixture) -> None:
    long = SCAN_SLOTS / 10 + 3.21
    songs = [
        Song(everywhere(long) | {"bass": [(0, 1, 0.1)]}, long, "long"),
        Song(everywhere(1.005), 1.005, "short"),
    ]
    first, second = cut_excerpts([*songs, Song({}, 2, "silent"), Song(everywhere(1), 0.01, "click")], "track")
    assert (first.track, first.start, first.seconds) == ("long", 0.0, round(long * 44_100) / 44_100)
    assert torch.equal(first.references, songs[0].read(0, long))
    assert torch.equal(second.references, songs[1].read(0, 1.005))
    assert first.audible == {"drums", "other", "vocals"}, "the bass sounds for 1 s"
    assert second.audible == set(STEMS)
    assert first.fingerprint != second.fingerprint
    assert caplog.messages == [
        "silent: no stem sounds anywhere (above -60 dBFS); left out",
        "click: 0.010 s long, shorter than 0.1 s; left out",
    ]


def test_a_whole_track_and_an_excerpt_of_its_length_are_the_same() -> None:
    song = Song(everywhere(3), 3)
    (whole,), (cut,) = cut_excerpts([song], "track"), cut_excerpts([song], 3.0)
    assert (whole.fingerprint, whole.audible, whole.name) == (cut.fingerprint, cut.audible, cut.name)


def test_references_of_whole_tracks_take_no_memory_of_the_process(tmp_path: Path) -> None:
    write_long(tmp_path / "music" / "song", 4, 0.1)
    tracks = load_tracks(f"folder:{tmp_path / 'music'}", "search")
    tracemalloc.start()
    try:
        (excerpt,) = cut_excerpts(tracks, "track")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = excerpt.references.numel() * 4
    assert size > 300e6
    assert kept < 5e6
    assert peak < 0.8 * size


@pytest.mark.parametrize("workers", [1, 2])
def test_tracks_are_let_go_of_once_they_are_cut(workers: int) -> None:
    songs = [Song(everywhere(2), 2, "a"), Song({}, 2, "b"), Song(everywhere(2), 2, "c")]
    assert [excerpt.track for excerpt in cut_excerpts(songs, 1.0, workers=workers)] == ["a", "c"]
    assert [song.closed for song in songs] == [1, 1, 1]


def test_excerpts_of_generated_tracks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    synthesize = synth.synthesize

    def counted(seed: int, seconds: float) -> np.ndarray[Any, Any]:
        rendered.append(seed)
        return synthesize(seed, seconds)

    def cut(length: float = 1.0, **options: Any) -> list[Excerpt]:
        _demo._render.cache_clear()
        return cut_excerpts(load_tracks("demo", "search", 2), length, 2, **options)

    monkeypatch.setattr(synth, "synthesize", counted)
    first = cut()
    assert len(rendered) == 2
    again = cut()
    assert len(rendered) == 2
    for one, other in zip(again, first, strict=True):
        assert torch.equal(one.references, other.references)
        assert dataclasses.replace(one, references=other.references).__dict__ == other.__dict__
    # Whatever changes an excerpt makes another one.
    assert cut(2.0)[0].seconds == 2
    assert cut(stems=STEMS[::-1])[0].stems == STEMS[::-1]
    monkeypatch.setattr(_demo, "_code", lambda: "other code")
    cut()
    assert len(rendered) == 8


def test_a_cache_folder_that_cannot_be_written_costs_time_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCHEDOPT_CACHE", str(tmp_path / "file"))
    assert len(cut_excerpts(load_tracks("demo", "search", 1), 1.0)) == 1


def test_fewer_excerpts_than_were_asked_for_are_said(caplog: pytest.LogCaptureFixture) -> None:
    songs = [Song(everywhere(5), 5, "short"), Song(everywhere(9), 9, "long")]
    assert len(cut_excerpts(songs, 2.0, 4)) == 6
    assert caplog.messages == [
        "1 of 2 tracks give fewer than 4 excerpts (no more of 2 s fit or sound): there are 6 in all"
    ]
    caplog.clear()
    assert len(cut_excerpts(songs, "track", 3)) == 2
    assert caplog.messages == [
        "2 of 2 tracks give fewer than 3 excerpts (whole tracks are one each): there are 2 in all"
    ]
