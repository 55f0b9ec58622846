"""Outputs through the engine, against the same arithmetic written out plainly; long songs block by block."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schedopt import arrays
from schedopt.arrays import ScratchFiles
from schedopt.errors import ScheduleError
from schedopt.outputs import OUTPUTS, Output, Step, bands, register_output, wiener
from schedopt.outputs.mixer import mean_weights
from schedopt.refinement import Refinement
from schedopt.separators import as_separator
from schedopt.trajectory import Scene, State, refine, trajectories
from tests.models import RATE, noise_excerpt, tiny_separator

SEPARATOR = tiny_separator()
EXCERPT = noise_excerpt(5, seconds=0.6)
MIXTURE = EXCERPT.references.sum(0)
BETAS = (0.3, 0.6)
STEMS = len(SEPARATOR.stems)
WITH_WEIGHTS = [name for name, output in OUTPUTS.items() if output.bands]
ALL_STEMS = [name for name, output in OUTPUTS.items() if output.needs_all_stems]


def random_weights(output: str, steps: int = len(BETAS), seed: int = 0) -> tuple[tuple[float, ...], ...]:
    rng = np.random.default_rng(seed)
    known = OUTPUTS.find(output)
    return tuple(map(tuple, rng.normal(0.3, 0.5, (known.bands, steps + 1 + STEMS + len(known.terms))).tolist()))


def last(refinement: Refinement, mixture: Tensor = MIXTURE) -> Tensor:
    *_, made = refine(SEPARATOR, Scene(mixture), BETAS, refinement)
    return made


def states(refinement: Refinement) -> list[State]:
    return [state for (state,) in trajectories(SEPARATOR, [Scene(MIXTURE)], BETAS, refinement)]


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("residual", [0.0, 0.25])
@pytest.mark.parametrize("output", WITH_WEIGHTS)
def test_a_mixer_without_weights_and_with_those_of_the_mean_is_the_mean(output: str, residual: float) -> None:
    mean = list(refine(SEPARATOR, Scene(MIXTURE), BETAS, Refinement("bass", output="mean", residual=residual)))
    plain = list(refine(SEPARATOR, Scene(MIXTURE), BETAS, Refinement("bass", output=output, residual=residual)))
    assert all(torch.equal(a, b) for a, b in zip(mean, plain, strict=True))
    weights = mean_weights(len(BETAS), STEMS, OUTPUTS.find(output), residual)
    assert difference(last(Refinement("bass", output=output, weights=weights)), mean[-1]) < 1e-6


@pytest.mark.parametrize("dc", [0.0, 0.2])
def test_the_mixer_is_the_weighted_sum_and_holds_the_mean_once(dc: float) -> None:
    weights = random_weights("mixer")
    found = last(Refinement("bass", output="mixer", weights=weights), MIXTURE + dc)
    expected, count, k = torch.zeros_like(MIXTURE), len(BETAS) + 1, 1
    row = weights[0]
    for (state,) in trajectories(SEPARATOR, [Scene(MIXTURE + dc)], BETAS, Refinement("bass", rule="remix", residual=1)):
        estimates = state.last.estimates - state.last.mean
        others = [j for j in range(STEMS) if j != k]
        residual = state.last.input - state.last.mean - estimates.sum(0)
        expected += row[state.step] * estimates[k] + state.last.mean / count
        expected += sum(b * estimates[j] for b, j in zip(row[count:-1], others, strict=True)) / count
        expected += row[-1] * residual / count
    assert difference(found, expected) < 1e-5


def test_bands_are_smooth_add_up_to_one_and_keep_phase() -> None:
    size = bands.size_for(RATE)
    low = bands.responses(size, RATE)
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    gains = np.diff(np.concatenate([np.zeros((1, len(hertz))), low, np.ones((1, len(hertz)))]), axis=0)
    np.testing.assert_allclose(gains.sum(axis=0), 1, atol=1e-12)
    edges = (0, *bands.EDGES, RATE / 2)
    for gain, below, above in zip(gains, edges[:-1], edges[1:], strict=True):
        middle = (hertz > 1.5 * below) & (hertz < above / 1.5)
        outside = (hertz < below / 1.5) | (hertz > 1.5 * above)
        assert np.abs(gain[middle] - 1).max(initial=0) < 0.02
        assert np.abs(gain[outside]).max(initial=0) < 0.02
    # An impulse stays where it is: the filters are symmetric around it.
    impulse = torch.zeros(bands.BANDS, 1, 8001)
    impulse[1, 0, 4000] = 1
    made = bands.joined(impulse, RATE)[0]
    torch.testing.assert_close(made, made.flip(0), rtol=0, atol=1e-6)
    assert made.abs().argmax() == 4000


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_filters_stay_within_the_reach_and_equal_rows_come_back(rate: int) -> None:
    assert max(len(bands.kernel(edge, rate)) // 2 for edge in bands.EDGES) <= bands.REACH
    same = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bands.joined(same.expand(bands.BANDS, 2, 3000), rate), same)


def test_bands_with_their_own_weights_are_the_filtered_mixers() -> None:
    weights = random_weights("mixer-bands")
    found = last(Refinement("other", output="mixer-bands", weights=weights))
    rows = torch.stack([last(Refinement("other", output="mixer", weights=(row,))) for row in weights])
    size = 2 * MIXTURE.shape[-1]
    low = torch.from_numpy(bands.responses(size, RATE))
    gains = torch.diff(torch.cat([torch.zeros_like(low[:1]), low, torch.ones_like(low[:1])]), dim=0)
    spectrum = (torch.fft.rfft(rows.double(), size) * gains[:, None]).sum(0)
    assert difference(found, torch.fft.irfft(spectrum, size)[:, : MIXTURE.shape[-1]].float()) < 1e-5


def test_the_wiener_filter_is_one_more_term_of_a_mixer() -> None:
    rows = random_weights("mixer-bands")
    plain = last(Refinement("bass", output="mixer-bands", weights=rows))
    filtered = last(Refinement("bass", output="wiener"))
    found = last(Refinement("bass", output="mixer-wiener", weights=tuple((*row, 0.3) for row in rows)))
    mean = states(Refinement("bass"))[-1].last.mean
    assert difference(found, plain + 0.3 * (filtered - mean)) < 1e-5


@pytest.mark.parametrize("block", [4096, 7000, 11_111])
@pytest.mark.parametrize("output", OUTPUTS)
def test_blocks_are_the_whole(output: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A song of several windows of the Wiener filter, each shorter than they are for users.
    monkeypatch.setattr(wiener, "WINDOW", 4)
    short = OUTPUTS.find(output)
    if "wiener" in output:
        reach = short.reach - wiener.REACH + 4 * wiener.HOP + 2 * wiener.FFT
        monkeypatch.setitem(OUTPUTS._own, output, replace(short, reach=reach))
    how = Refinement("vocals", output=output, weights=random_weights(output) if short.bands else None)
    song = torch.cat([MIXTURE, 0.5 * MIXTURE.flip(1), MIXTURE], dim=1)
    expected = last(how, song)
    monkeypatch.setattr(arrays, "BLOCK", block)
    for (state,) in trajectories(SEPARATOR, [Scene(song)], BETAS, how, ScratchFiles(tmp_path)):
        found = state
    made = torch.cat([found.output(part) for part in arrays.blocks(song.shape[-1])], dim=-1)
    assert difference(made, expected) < 1e-6


@pytest.mark.parametrize("output", ALL_STEMS)
def test_an_offset_is_in_the_output_once(output: str) -> None:
    weights = random_weights(output) if OUTPUTS.find(output).bands else None
    how = Refinement("vocals", output=output, weights=weights)
    middle = MIXTURE - MIXTURE.mean()
    plain, moved = last(how, middle), last(how, middle + 0.2)
    assert float((moved - 0.2 - plain).abs().max()) < 1e-3 * float(plain.abs().max())


def naive_wiener(estimates: Tensor, mixture: Tensor, k: int) -> Tensor:
    """In float64, bin by bin: (stems, 2, samples), (2, samples) → (2, samples)."""
    window = torch.hann_window(wiener.FFT, dtype=torch.float64)

    def spectrum(x: Tensor) -> Tensor:
        options: dict[str, Any] = {"window": window, "center": True, "pad_mode": "constant", "return_complex": True}
        return torch.stft(x.double(), wiener.FFT, wiener.HOP, **options)

    s, y = torch.stack([spectrum(one) for one in estimates]), spectrum(mixture)
    power = s.abs().square().mean(1)
    made = torch.zeros_like(y)
    for f in range(y.shape[1]):
        spatial = [s[j, :, f] @ s[j, :, f].conj().T / power[j, f].sum() for j in range(len(s))]
        for t in range(y.shape[2]):
            total = sum(power[j, f, t] * spatial[j] for j in range(len(s)))
            assert isinstance(total, Tensor)
            total = total + wiener.LOADING * total.diagonal().real.mean() * torch.eye(2)
            made[:, f, t] = power[k, f, t] * spatial[k] @ torch.linalg.solve(total, y[:, f, t])
    return torch.istft(made, wiener.FFT, wiener.HOP, window=window, length=mixture.shape[-1])


def test_the_wiener_filter_is_that_of_its_formula() -> None:
    class Parts:
        """Estimates that are the mixture of two tones and noise in wrong shares."""

        stems, sample_rate, channels, fingerprint = ("a", "b", "c"), RATE, 2, "parts"
        device = torch.device("cpu")

        def __call__(self, mixtures: Tensor) -> Tensor:
            noise = torch.randn(len(mixtures), 3, *mixtures.shape[1:], generator=torch.Generator().manual_seed(1))
            shares = torch.tensor([0.5, 0.3, 0.2])[:, None, None]
            return shares * mixtures[:, None] + 0.05 * noise

    mixture = MIXTURE[:, : 4 * wiener.FFT]
    separator = as_separator(Parts())
    *_, found = refine(separator, Scene(mixture), (0.0,), Refinement("b", output="wiener"))
    expected = naive_wiener(separator(mixture[None])[0], mixture, 1)
    assert difference(found.double(), expected) < 1e-4


def test_wiener_outputs_of_all_stems_add_up_to_the_mixture() -> None:
    total = torch.stack([last(Refinement(stem, output="wiener")) for stem in SEPARATOR.stems]).sum(0)
    excess = (STEMS - 1) * SEPARATOR.mean_of(MIXTURE)
    assert difference(total - excess, MIXTURE) < 0.01  # less the loading, where the channels are alike


def test_weights_that_do_not_fit_are_refused() -> None:
    how = Refinement("bass", output="mixer", weights=((0.5, 0.5, 0.0, 0.0, 0.0, 0.1),))  # of one step
    with pytest.raises(ScheduleError, match="weights have 6 numbers in a row, not 7: one each for steps 0 … 2,"):
        last(how)


def test_a_step_shows_all_that_a_pass_left() -> None:
    seen: list[Step] = []

    def note(total: Tensor | None, step: Step) -> Tensor:
        seen.append(step)
        return step.estimate

    OUTPUTS.register("noted", Output("noted", note, lambda total, step: total, needs_all_stems=True))
    try:
        list(refine(SEPARATOR, Scene(MIXTURE), BETAS, Refinement("bass", output="noted")))
    finally:
        del OUTPUTS.added["noted"]
    assert [step.n for step in seen] == [0, 1, 2]
    for step in seen:
        assert step.others.shape == (STEMS - 1, *MIXTURE.shape)
        assert torch.equal(step.mixture, MIXTURE)
        whole = step.target + step.others.sum(0) + step.residual
        torch.testing.assert_close(whole, step.last.input, rtol=1e-5, atol=1e-5)
        assert torch.equal(step.estimates[step.index] + step.mean, step.target)


def test_the_example_of_the_documentation_is_a_weighted_mean() -> None:
    readme = (Path(__file__).parents[2] / "schedopt" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python output\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    try:
        exec(block, {"Tensor": Tensor, "Step": Step, "Output": Output, "register_output": register_output})
        found = last(Refinement("bass", output="late"))
    finally:
        OUTPUTS.added.pop("late", None)
    estimates = list(refine(SEPARATOR, Scene(MIXTURE), BETAS, Refinement("bass")))
    expected = sum((n + 1) * one for n, one in enumerate(estimates)) / 6
    assert isinstance(expected, Tensor)
    assert difference(found, expected) < 1e-6
