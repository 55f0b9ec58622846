"""Models and data with other stems than the usual four: any stem that both have can be searched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from schedopt.cli import call
from schedopt.config import load_config, make_config
from schedopt.errors import SchedoptError
from schedopt.files.schedule_file import load_schedule_file
from schedopt.search.prepared import PreparedSearch
from schedopt.separators import load_separator, save_safetensors
from schedopt.types import STEMS
from tests.models import RATE
from tests.separators.networks import demucs
from tests.studies import write_study

SIX = (*STEMS, "guitar", "piano")
MERGED = {"other": ["other", "guitar", "piano"]}


def write_music(folder: Path, stems: tuple[str, ...], tracks: int = 2, split: str = "search", first: int = 0) -> None:
    for number in range(first, first + tracks):
        generator = torch.Generator().manual_seed(number)
        track = folder / split / f"song-{number}"
        track.mkdir(parents=True)
        for stem in stems:
            audio = 0.1 * torch.randn(RATE // 2, 2, generator=generator)
            soundfile.write(track / f"{stem}.wav", audio.numpy(), RATE, subtype="FLOAT")


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A model of six stems, and six stems of each track."""
    save_safetensors(demucs(sources=list(SIX)), tmp_path / "six.safetensors")
    write_music(tmp_path / "six", SIX)
    write_music(tmp_path / "six", SIX, split="held-out", first=5)
    write_music(tmp_path / "four", STEMS)
    return tmp_path


def study(folder: Path, music: str, **sections: Any) -> Path:
    sections.setdefault("refinement", {"target": "guitar", "steps": 2})
    sections["separator"] = {"model": "six.safetensors", **sections.get("separator", {})}
    sections["data"] = {"source": f"folder:{folder / music}", **sections.get("data", {})}
    return write_study(folder, **sections)


def test_a_study_of_guitar_is_searched_exported_benchmarked_and_used(
    six: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study(six, "six")
    assert call(["run", str(path), "--trials", "3"]) == 0
    file = six / "small.schedule.json"
    assert list(json.loads(file.read_text())["schedules"]) == ["guitar"]
    capsys.readouterr()
    assert call(["benchmark", str(file), "--against", "shift", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["methods"][0]["stems"]) == {"guitar"}
    song = six / "six" / "search" / "song-0" / "bass.wav"
    assert call(["separate", str(song), "--schedule", str(file), "-o", str(six / "out")]) == 0
    assert {made.stem for made in (six / "out").rglob("*.wav")} == set(SIX)


def test_all_means_every_stem_that_both_have(six: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = {"target": "all", "steps": 1}
    prepared_search = PreparedSearch.prepare(load_config(study(six, "six", refinement=shared)))
    assert {e.refinement.target for e in prepared_search.objective("all").evaluators} == set(SIX)
    prepared_search = PreparedSearch.prepare(load_config(study(six, "four", refinement=shared)))
    assert {e.refinement.target for e in prepared_search.objective("all").evaluators} == set(STEMS)
    assert "guitar, piano: of the model, but not in the data; [separator.stems] says what counts as what" in caplog.text


def test_on_four_stem_data_guitar_and_piano_count_as_other(six: Path) -> None:
    config = load_config(
        study(six, "four", separator={"stems": MERGED}, refinement={"target": "other", "rule": "unmix", "steps": 2})
    )
    prepared_search = PreparedSearch.prepare(config)
    assert set(prepared_search.separator.stems) == set(STEMS)
    mixture = prepared_search.excerpts[0].references.sum(0)
    plain = load_separator(str(six / "six.safetensors"), device="cpu")
    estimates = plain(mixture[None])[0]
    mean = plain.mean_of(mixture)
    parts = [SIX.index(stem) for stem in MERGED["other"]]
    expected = (estimates[parts] - mean).sum(0) + mean
    (other,) = prepared_search.separator(mixture[None], stems=("other",))[0]
    torch.testing.assert_close(other, expected, rtol=1e-5, atol=1e-6)
    assert prepared_search.separator.fingerprint != plain.fingerprint
    scores = prepared_search.objective("other").evaluators[0].scores((0.5, 0.5))
    assert scores.shape == (2, 3)


def test_the_schedule_file_holds_the_mappings_of_model_and_music(six: Path) -> None:
    music = {"other": ["other"], "drums": ["drums", "bass"]}
    refinement = {"target": "vocals", "steps": 1}
    path = study(six, "four", separator={"stems": MERGED}, data={"stems": music}, refinement=refinement)
    assert call(["run", str(path), "--trials", "2"]) == 0
    file = load_schedule_file(six / "small.schedule.json")
    assert file.data is not None
    assert (file.model.stems, file.data.stems) == (
        {stem: tuple(parts) for stem, parts in MERGED.items()},
        {stem: tuple(parts) for stem, parts in music.items()},
    )
    output = six / "again.schedule.json"
    assert call(["export", str(path), "-o", str(output)]) == 0
    assert load_schedule_file(output).model.stems == file.model.stems


def test_data_with_more_stems_than_the_model_has_them_in_the_mixture(
    six: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_safetensors(demucs(), six / "four.safetensors")
    config = load_config(study(six, "six", separator={"model": "four.safetensors"}, refinement={"target": "bass"}))
    prepared_search = PreparedSearch.prepare(config)
    assert set(prepared_search.excerpts[0].stems) == set(SIX)
    assert "guitar, piano: in the mixture, but no stem of the model" in caplog.text
    # Mapped, they are part of the reference of other.
    mapped = make_config(
        {**config.model_dump(exclude={"data", "study"}), "study": {"name": "m"},
         "data": {"source": config.data.source, "stems": MERGED, "excerpt": 0.4}}
    )  # fmt: skip
    excerpt = PreparedSearch.prepare(mapped).excerpts[0]
    assert excerpt.stems == STEMS
    whole = prepared_search.excerpts[0].references.sum(0)
    torch.testing.assert_close(
        excerpt.references.sum(0)[:, : whole.shape[-1]], whole[:, : excerpt.references.shape[-1]]
    )


def test_a_stem_that_the_music_lacks_is_one_line(six: Path) -> None:
    prepared_search = PreparedSearch.prepare(load_config(study(six, "four")))
    with pytest.raises(SchedoptError, match="the music has no stem 'guitar', only drums, bass, other, vocals"):
        prepared_search.objective("guitar")


def test_a_benchmark_on_music_without_the_stem_says_so(six: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(six, "six")
    assert call(["run", str(path), "--trials", "2"]) == 0
    write_music(six / "four", STEMS, split="held-out", first=5)
    file = str(six / "small.schedule.json")
    capsys.readouterr()
    assert call(["benchmark", file, "--data", f"folder:{six / 'four'}", "--against", "none"]) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("schedopt: ")]
    assert "the music has no stem guitar, only drums, bass, other, vocals" in line
