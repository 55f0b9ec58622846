"""Issue 13, items 35 and 37: sums of estimates hold the mixture's mean once; `ddpm` keeps loudness.

Recomputed against the authors' notebook: every stem gets the mean added back, as demucs does for one pass, so sums of
stems held it several times.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from schedopt.metrics import si_sdr
from schedopt.refinement import Refinement
from schedopt.rules import RULES
from schedopt.trajectory import Scene, refine, trajectories
from tests.models import noise_excerpt, tiny_separator

SEPARATOR = tiny_separator()
REFERENCES = noise_excerpt(4, seconds=0.6).references
MIXTURE = REFERENCES.sum(0) - REFERENCES.sum(0).mean()
BETAS = (0.3, 0.6)


def outputs(mixture: Tensor, **options: object) -> list[Tensor]:
    return list(refine(SEPARATOR, Scene(mixture), BETAS, Refinement("vocals", **options)))


@pytest.mark.parametrize("dc", [0.003, -0.05, 0.2])
@pytest.mark.parametrize(
    "options",
    [
        {"rule": rule, "output": output, "residual": residual}
        for rule, known in RULES.items()
        if not known.needs_references
        for output in ("last", "mean")
        for residual in (0.0, 0.5)
    ],
    ids=str,
)
def test_an_offset_of_the_mixture_is_in_every_estimate_once(options: dict[str, object], dc: float) -> None:
    """The separator is the same with and without the offset; then every rule and output must be too."""
    for plain, moved in zip(outputs(MIXTURE, **options), outputs(MIXTURE + dc, **options), strict=True):
        assert float((moved - dc - plain).abs().max()) < 2e-4 * float(plain.abs().max()) + 1e-5 * abs(dc)


@pytest.mark.parametrize("rule", ["resum", "unmix"])
def test_the_next_input_holds_the_mean_of_the_mixture(rule: str) -> None:
    """`resum` multiplied it at every step."""
    mixture = MIXTURE + 0.1
    for (state,) in trajectories(SEPARATOR, [Scene(mixture)], (0.0, 0.5, 1.0), Refinement("bass", rule=rule)):
        assert float(state.last.input.mean()) == pytest.approx(0.1, abs=0.001)


def test_target_others_and_residual_add_up_to_the_input() -> None:
    ((state,),) = trajectories(SEPARATOR, [Scene(MIXTURE + 0.2)], (), Refinement("vocals", rule="unmix"))
    one = state.last
    torch.testing.assert_close(one.target() + one.others() + one.residual(), one.input, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("betas", [(0.3,), (0.9, 0.9, 0.9), (1.0, 1.0, 1.0), (0.1, 0.5, 0.2)])
def test_ddpm_keeps_loudness(betas: tuple[float, ...]) -> None:
    """β = 0.3 once gave 1.21 times the RMS, (0.9, 0.9, 0.9) 28 times, (1, 1, 1) 21,600 times."""
    for (state,) in trajectories(SEPARATOR, [Scene(MIXTURE)], betas, Refinement("drums", rule="ddpm")):
        # Each input is a mean of the mixture and of estimates: no louder than the loudest of them.
        assert float(state.last.input.abs().max()) < 3 * float(MIXTURE.abs().max())


def test_ddpm_is_the_published_step_with_its_gain_taken_off() -> None:
    """The report's equation 2 as a plain loop; its result is √ᾱ_N times louder, and the same up to that gain."""
    betas, k = (0.2, 0.5, 0.3), 0
    x, bar = MIXTURE, 1.0
    for beta in betas:
        bar *= 1 - beta
        noise = x - SEPARATOR(x[None])[0, k]
        x = (x - beta / math.sqrt(1 - bar) * noise) / math.sqrt(1 - beta)
    published = SEPARATOR(x[None])[0, k]
    *_, ours = refine(SEPARATOR, Scene(MIXTURE), betas, Refinement("drums", rule="ddpm"))
    torch.testing.assert_close(ours, published * math.sqrt(bar), rtol=1e-3, atol=1e-5)
    reference = REFERENCES[k]
    assert float(si_sdr(reference, ours)) == pytest.approx(float(si_sdr(reference, published)), abs=1e-3)
