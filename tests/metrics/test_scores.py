"""What holds for every metric: shapes, finite scores, refusals."""

import doctest
import logging

import pytest
import torch

import schedopt.metrics
from schedopt.errors import ConfigError, DataError
from schedopt.metrics import CEILING_DB, FLOOR_DB, METRICS, Metric, scorer
from schedopt.metrics._common import _warn_once
from tests.metrics.signals import noise

NAMES: tuple[Metric, ...] = ("sdr", "si_sdr", "snr")


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest) -> Metric:
    name: Metric = request.param
    return name


def test_every_metric_is_tested_here() -> None:
    assert set(METRICS) == set(NAMES)


def test_the_examples_of_the_docstring() -> None:
    assert doctest.testmod(schedopt.metrics).failed == 0


def test_batch_equals_loop(metric: Metric) -> None:
    references = noise(2, 2, 1500)  # (stems, channels, samples)
    estimates = references + 0.2 * noise(3, 2, 2, 1500, seed=1)  # (steps, stems, channels, samples)
    scores = METRICS[metric](references, estimates)
    assert scores.shape == (3, 2)
    assert scores.dtype == torch.float64
    loop = [[METRICS[metric](references[stem], step[stem]).item() for stem in range(2)] for step in estimates]
    assert torch.allclose(scores, torch.tensor(loop, dtype=torch.float64), rtol=0, atol=1e-9)


def test_scorer_equals_the_function(metric: Metric) -> None:
    reference = noise(2, 1500)
    estimates = reference + 0.2 * noise(4, 2, 1500, seed=1)
    assert torch.allclose(
        scorer(metric, reference)(estimates), METRICS[metric](reference, estimates), rtol=0, atol=1e-9
    )
    assert scorer(metric, reference)(estimates[0]).shape == ()


def test_channels_are_averaged(metric: Metric) -> None:
    reference, estimate = noise(2, 1500), noise(2, 1500) + 0.2 * noise(2, 1500, seed=1)
    alone = [METRICS[metric](reference[c : c + 1], estimate[c : c + 1]).item() for c in range(2)]
    assert METRICS[metric](reference, estimate).item() == pytest.approx(sum(alone) / 2, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["everywhere", "one sample"])
def test_silent_and_broken_estimates_score_finite_and_are_logged_once(
    metric: Metric, value: float, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    reference = noise(2, 1500)
    estimates = reference + 0.1 * noise(3, 2, 1500, seed=1)
    good = METRICS[metric](reference, estimates)
    broken = estimates.clone()
    broken[1, :, slice(None) if where == "everywhere" else 700] = value
    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="schedopt"):
        scores = scorer(metric, reference)(broken)
        assert torch.equal(scorer(metric, reference)(broken), scores)
    assert torch.allclose(scores[[0, 2]], good[[0, 2]], rtol=0, atol=1e-9)
    assert FLOOR_DB <= scores[1] <= CEILING_DB
    usable = value == 0 and where == "one sample"
    assert len(caplog.records) == (0 if usable else 1)
    if not usable:
        assert scores[1] == (0 if (metric, value) == ("snr", 0.0) else FLOOR_DB)


def test_one_broken_channel_of_two_gets_the_floor(metric: Metric) -> None:
    reference = noise(2, 1500)
    estimate = reference + 0.1 * noise(2, 1500, seed=1)
    left = METRICS[metric](reference[:1], estimate[:1]).item()
    estimate[1] = torch.nan
    assert METRICS[metric](reference, estimate).item() == pytest.approx((left + FLOOR_DB) / 2, abs=1e-9)


def test_silent_references_are_refused(metric: Metric) -> None:
    with pytest.raises(DataError, match="the reference is silent"):
        scorer(metric, torch.zeros(2, 100))
    references = noise(3, 2, 100)
    references[1] = 0
    with pytest.raises(DataError, match=r"reference \(1,\) is silent"):
        METRICS[metric](references, references)


@pytest.mark.parametrize(
    "reference",
    [torch.zeros(2, 0), torch.ones(100), torch.ones(0, 100), torch.ones(2, 100, dtype=torch.int16)],
    ids=["no samples", "no channel axis", "no channels", "integers"],
)
def test_what_is_no_reference_is_refused(metric: Metric, reference: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"a reference needs the shape \(…, channels, samples\)"):
        scorer(metric, reference)


def test_references_that_are_not_finite_are_refused(metric: Metric) -> None:
    reference = noise(2, 100)
    reference[1, 50] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        scorer(metric, reference)


@pytest.mark.parametrize("shape", [(2, 99), (1, 100), (100,), (3, 1, 100), (0, 2, 100)])
def test_other_shapes_are_refused(metric: Metric, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="does not fit its reference of shape") as caught:
        scorer(metric, noise(2, 100))(noise(*shape))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not fit its reference of shape"):
        METRICS[metric](noise(2, 100), noise(*shape))


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="metric 'sdri' is not known: choose one of sdr, si_sdr, snr"):
        scorer("sdri", noise(2, 100))  # type: ignore[arg-type]
