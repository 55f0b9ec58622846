"""Trajectories against the authors' loop written out plainly, with `apply_model` of demucs itself."""

from __future__ import annotations

import pytest
import torch
from demucs.apply import apply_model
from torch import Tensor

from schedopt.data import mix
from schedopt.errors import ScheduleError
from schedopt.metrics import si_sdr
from schedopt.refinement import Refinement
from schedopt.rules import RULES
from schedopt.schedules import line
from schedopt.trajectory import Scene, guard_peak, refine
from schedopt.types import STEMS
from tests.models import RATE, noise_excerpt, tiny_hdemucs, tiny_separator

SEPARATOR = tiny_separator()
MODEL = tiny_hdemucs().eval()
EXCERPT = noise_excerpt(3, seconds=1.0)
MIXTURE = mix(EXCERPT.references, None)


def scene(k: int) -> Scene:
    return Scene(MIXTURE, EXCERPT.references[k], MIXTURE - EXCERPT.references[k])


def separate_plainly(mixture: Tensor) -> Tensor:
    """As `demucs.api.Separator.separate_tensor` does, without its random shift."""
    ref = mixture.mean(0)
    with torch.no_grad():
        out = apply_model(MODEL, ((mixture - ref.mean()) / (ref.std() + 1e-8))[None], shifts=0)[0]
    return out * (ref.std() + 1e-8) + ref.mean()


def others(estimates: Tensor, k: int, y: Tensor) -> Tensor:
    """The other stems' sum. Each estimate holds its input's mean, which their sum with the target is to hold once."""
    return torch.stack([estimates[j] - y.mean() for j in range(4) if j != k]).sum(0)


def authors_loop(rule: str, k: int, steps: int, guard: bool) -> list[Tensor]:
    """The notebook's loop: β_n = n/N, three mixing rules, the peak guard."""
    truth = EXCERPT.references
    y = MIXTURE
    estimates = separate_plainly(y)
    outputs = [estimates[k]]
    for n in range(1, steps + 1):
        beta = n / steps
        if rule == "remix":
            y = (1 - beta) * MIXTURE + beta * estimates[k]
        elif rule == "resum":
            y = estimates[k] + (1 - beta) * others(estimates, k, y)
        elif rule == "unmix":  # not in the notebook, but the same loop
            y = MIXTURE - beta * others(estimates, k, y)
        else:
            y = truth[k] + (1 - beta) * sum(truth[j] for j in range(4) if j != k)
        if guard and y.abs().max() > 1:
            y = y / y.abs().max()
        estimates = separate_plainly(y)
        outputs.append(estimates[k])
    return outputs


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("rule", ["remix", "resum", "unmix", "oracle"])
def test_equals_the_authors_loop(rule: str, guard: bool) -> None:
    k, steps = 3, 4
    ours = refine(SEPARATOR, scene(k), line(steps), Refinement(STEMS[k], rule=rule, peak_guard=guard))
    for mine, plain in zip(ours, authors_loop(rule, k, steps, guard), strict=True):
        reference = EXCERPT.references[k]
        assert float(si_sdr(reference, mine)) == pytest.approx(float(si_sdr(reference, plain)), abs=1e-4)


@pytest.mark.parametrize("rule", ["remix", "unmix"])
def test_beta_0_is_one_pass_bit_for_bit(rule: str) -> None:
    outputs = list(refine(SEPARATOR, scene(0), (0.0, 0.0, 0.0), Refinement("drums", rule=rule)))
    plain = SEPARATOR(MIXTURE[None])[0, 0]
    assert len(outputs) == 4
    assert all(torch.equal(output, plain) for output in outputs)


def test_oracle_with_beta_1_separates_the_true_stem() -> None:
    *_, last = refine(SEPARATOR, scene(1), (1.0,), Refinement("bass", rule="oracle"))
    torch.testing.assert_close(last, SEPARATOR(EXCERPT.references[1][None])[0, 1], rtol=1e-5, atol=1e-6)


def test_mean_output_is_the_mean_of_all_estimates() -> None:
    betas = (0.3, 0.6)
    last = list(refine(SEPARATOR, scene(2), betas, Refinement("other")))
    mean = list(refine(SEPARATOR, scene(2), betas, Refinement("other", output="mean")))
    for n in range(3):
        torch.testing.assert_close(mean[n], torch.stack(last[: n + 1]).mean(0))


@pytest.mark.parametrize("output", ["last", "mean"])
def test_residual_is_handed_out_from_step_1_on(output: str) -> None:
    """A plain loop: the target's estimate, and a share of what each pass's estimates leave of its input."""
    betas, share, k = (0.3, 0.6), 0.25, 3
    y, with_residual, plain = MIXTURE, [], []
    for beta in (*betas, None):
        estimates = separate_plainly(y)
        plain.append(estimates[k])
        with_residual.append(estimates[k] + share * (y - estimates.sum(0) + 3 * y.mean()))
        if beta is not None:
            y = (1 - beta) * MIXTURE + beta * estimates[k]
    expected = with_residual[1:] if output == "last" else [sum(with_residual[:n]) / n for n in (2, 3)]
    how = Refinement("vocals", output=output, residual=share)
    first, *ours = refine(SEPARATOR, scene(k), betas, how)
    torch.testing.assert_close(first, plain[0], rtol=1e-4, atol=1e-5)
    for mine, by_hand in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, by_hand, rtol=1e-4, atol=1e-5)


def test_a_whole_residual_is_the_input_less_the_others() -> None:
    """Share 1 at β = 0: what the mixture has besides the other stems' estimates. The step costs no pass."""
    how = Refinement("drums", residual=1.0)
    _, last = refine(SEPARATOR, scene(0), (0.0,), how)
    others = SEPARATOR(MIXTURE[None])[0, 1:].sum(0) - 3 * MIXTURE.mean()
    torch.testing.assert_close(last, MIXTURE - others)


def test_shift_and_mean_with_beta_0_is_the_shift_trick() -> None:
    """Steps with β = 0 are passes on the mixture, each shifted by the amount of its own step."""
    refinement = Refinement("vocals", shift=True, output="mean", seed=5)
    *_, last = refine(SEPARATOR, scene(3), (0.0, 0.0), refinement)
    shifts = [refinement.shift_of(n, RATE) for n in range(3)]
    assert shifts[0] == 0
    assert 0 < shifts[1] != shifts[2] <= RATE // 2
    by_hand = torch.stack([SEPARATOR(MIXTURE[None], shift=shift)[0, 3] for shift in shifts]).mean(0)
    torch.testing.assert_close(last, by_hand)


def test_noise_is_seeded_and_off_by_default() -> None:
    def last(**options: float | int) -> Tensor:
        *_, output = refine(SEPARATOR, scene(0), (0.2, 0.3), Refinement("drums", rule="ddpm", **options))
        return output

    assert torch.equal(last(sigma=0.1, seed=1), last(sigma=0.1, seed=1))
    assert not torch.equal(last(sigma=0.1, seed=1), last(sigma=0.1, seed=2))
    assert torch.equal(last(seed=1), last(seed=2))


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("output", ["last", "mean"])
@pytest.mark.parametrize("residual", [0.0, 0.3])
def test_a_longer_schedule_begins_as_its_prefix(rule: str, output: str, residual: float) -> None:
    refinement = Refinement("vocals", rule=rule, shift=True, output=output, residual=residual)
    short = list(refine(SEPARATOR, scene(3), (0.2, 0.5), refinement))
    long = list(refine(SEPARATOR, scene(3), (0.2, 0.5, 0.9), refinement))
    assert all(torch.equal(a, b) for a, b in zip(short, long[:3], strict=True))


def test_what_cannot_be_refined() -> None:
    with pytest.raises(ScheduleError, match="no stem 'piano'"):
        next(refine(SEPARATOR, scene(0), (0.1,), Refinement("piano")))
    with pytest.raises(ScheduleError, match="true stems"):
        list(refine(SEPARATOR, Scene(MIXTURE), (0.1,), Refinement("drums", rule="oracle")))


def test_peak_guard() -> None:
    loud, quiet = torch.tensor([[0.5, -4.0]]), torch.tensor([[0.5, -0.8]])
    assert torch.equal(guard_peak(loud.clone()), torch.tensor([[0.125, -1.0]]))
    assert torch.equal(guard_peak(quiet.clone()), quiet)
