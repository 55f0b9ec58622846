"""The replay of the published table against the notebook's own loop, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from schedopt.metrics import si_sdr
from schedopt.proof.reproduce import ORACLE_NOTE, Reproduction, oracle_line, reproduce
from schedopt.types import STEMS
from tests.models import noise_excerpt, tiny_separator
from tests.studies import make_study, write_tracks

STEPS, TRACKS = 4, (10, 11)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    folder = tmp_path_factory.mktemp("reproduce")
    config = make_study(
        folder,
        data={"source": "folder:music", "excerpt": 0.5},
        refinement={"target": "vocals", "rule": "remix", "steps": STEPS},
        search={"metric": "si_sdr"},
    )
    write_tracks(folder / "music", len(TRACKS), split="held-out", first=TRACKS[0])
    return reproduce(config)


def oracle_cell(seed: int) -> list[float]:
    """SI-SDR of vocals after each step, with the dictionary that the notebook's oracle cell sums."""
    references, separator = noise_excerpt(seed).references, tiny_separator()
    mixture = references.sum(dim=0)
    data = {**dict(zip(STEMS, references, strict=True)), "mixture": mixture, "new_mixture": mixture}
    scores = []
    for n in range(STEPS + 1):
        beta = n / STEPS
        others = torch.stack([audio for name, audio in data.items() if name != "vocals"]).sum(dim=0)
        y = mixture if n == 0 else data["vocals"] + (1 - beta) * others
        estimate = separator(y[None], stems=("vocals",))[0, 0]
        scores.append(float(si_sdr(data["vocals"], estimate)))
    return scores


def remix_cell(seed: int) -> list[float]:
    references, separator = noise_excerpt(seed).references, tiny_separator()
    mixture = references.sum(dim=0)
    estimate, scores = mixture, []
    for n in range(STEPS + 1):
        beta = n / STEPS
        estimate = separator(((1 - beta) * mixture + beta * estimate)[None], stems=("vocals",))[0, 0]
        scores.append(float(si_sdr(references[STEMS.index("vocals")], estimate)))
    return scores


@pytest.mark.parametrize(("rule", "cell"), [("oracle", oracle_cell), ("remix", remix_cell)])
def test_rows_equal_the_notebooks_loop(replayed: Reproduction, rule: str, cell: object) -> None:
    by_track = np.array([cell(seed) for seed in TRACKS])  # type: ignore[operator]
    assert replayed.rows[rule, "vocals"] == pytest.approx(by_track.mean(axis=0), abs=1e-3)
    lowest, highest = replayed.ranges[rule, "vocals"]
    assert lowest == pytest.approx(by_track.min(axis=0), abs=1e-3)
    assert highest == pytest.approx(by_track.max(axis=0), abs=1e-3)
    assert lowest[-1] < highest[-1]


def test_the_oracles_betas_are_those_of_the_published_row(replayed: Reproduction) -> None:
    assert oracle_line(10)[8] == pytest.approx(0.75)
    assert oracle_line(10)[9] == 1
    assert ORACLE_NOTE in replayed.sentences()
    assert Reproduction("x", "demo", "si_sdr", 1, {("remix", "bass"): (1.0, 2.0)}).sentences()[-1] != ORACLE_NOTE
