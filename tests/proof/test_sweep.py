"""The sweep: a stem's gain against the score of all stems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schedopt.cli import call
from schedopt.data import mix
from schedopt.errors import ConfigError
from schedopt.metrics import sdr
from schedopt.proof.sweep import sweep
from schedopt.search import prepared
from schedopt.types import STEMS
from tests.models import RATE, noise_excerpt, tiny_separator
from tests.studies import make_study, write_study

Capture = pytest.CaptureFixture[str]


class MixtureForAll:
    """A made separator: it hands out the mixture as every stem, so a stem's score is its share of the mixture."""

    name, stems, sample_rate, channels = "mixture", STEMS, RATE, 2
    fingerprint = weights = "0" * 16
    device = torch.device("cpu")
    batch_segments = 1

    def __call__(self, mixtures: Tensor, *, shift: int = 0, stems: Sequence[str] | None = None) -> Tensor:
        return mixtures[:, None].expand(-1, len(STEMS if stems is None else stems), -1, -1).clone()


def test_the_stems_score_rises_with_its_gain_and_the_others_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_study(tmp_path, study={"name": "made"})
    monkeypatch.setattr(prepared, "load_separator", lambda *_, **__: MixtureForAll())
    done = sweep(config, "vocals", [0.25, 0.5, 2, 4])
    assert done.gains == [0.25, 0.5, 1, 2, 4]
    for stem in STEMS:
        scores = [done.mean(gain, stem) for gain in done.gains]
        assert scores == sorted(scores, reverse=stem != "vocals")
        assert done.change(1, stem).ties == 3


def test_scores_are_those_of_one_pass_on_the_weighted_mixture(tmp_path: Path) -> None:
    config = make_study(tmp_path, study={"name": "one"}, data={"tracks": 1, "excerpt": 0.5})
    done = sweep(config, "bass", [3])
    references = noise_excerpt(0).references
    gains = [1.0, 3.0, 1.0, 1.0]
    estimates = tiny_separator()(mix(references, gains)[None])[0]
    for k, stem in enumerate(STEMS):
        expected = float(sdr(gains[k] * references[k], estimates[k]))
        assert done.tracks[3.0][stem]["track-0"] == pytest.approx(expected, abs=1e-5)


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path)
    figures = tmp_path / "figures"
    assert call(["sweep", str(path), "--stem", "drums", "--gains", "0.5,2", "--figures", str(figures)]) == 0
    assert {path.name for path in figures.iterdir()} == {"sweep.html", "change.html", "plotly-basic.min.js"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["gain", "of", "drums", *STEMS]
    assert [line.split()[0] for line in lines[2:5]] == ["0.5", "1", "2"]
    assert call(["sweep", str(path), "--gains", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["gain"] for row in document["rows"]] == [1, 2]
    assert len(document["rows"][1]["stems"]["vocals"]["tracks"]) == 3


def test_gains_and_stems_that_cannot_be(tmp_path: Path, capsys: Capture) -> None:
    config = make_study(tmp_path)
    for gains in ([0.0], [-1.0], [float("nan")], [1e9]):
        with pytest.raises(ConfigError, match=r"is not a number within|takes the stem out"):
            sweep(config, "vocals", gains)
    with pytest.raises(ConfigError, match="no stem 'piano'"):
        sweep(config, "piano", [1.0])
    assert call(["sweep", "x.toml", "--gains", "loud"]) == 2
    assert "'loud' is not a list of numbers" in capsys.readouterr().err


def test_stems_are_those_that_model_and_music_both_have(tmp_path: Path) -> None:
    rest = {"rest": ["drums", "bass", "other"]}
    study = make_study(tmp_path, data={"stems": rest}, separator={"stems": rest})
    result = sweep(study, "rest", [0.5])
    assert set(result.tracks[0.5]) == {"rest", "vocals"}
    assert result.left_out == {}
    with pytest.raises(ConfigError, match="no stem 'drums'; model and music both have "):
        sweep(study, "drums", [0.5])
