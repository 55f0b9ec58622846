"""What holds for every metric: shapes, finite scores, refusals."""

import doctest
import logging
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import Tensor

import schedopt.metrics
from schedopt.errors import ConfigError, DataError
from schedopt.metrics import CEILING_DB, FLOOR_DB, METRICS, Metric, Score, Truth, register_metric, scorer
from schedopt.metrics._base import _warn_once
from tests.metrics.signals import noise

NAMES = ("sdr", "si_sdr", "snr", "si_sir", "si_sar", "global_sdr", "csdr", "bleedless", "fullness")
OF_THE_TARGET = tuple(name for name in NAMES if not METRICS[name].needs_all_stems)
BY_CHANNEL = ("sdr", "si_sdr", "snr", "si_sir", "si_sar")
ZERO_FOR_SILENCE = ("snr", "global_sdr")


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def score_with(metric: str, reference: Tensor) -> Score:
    """The metric on `reference` (channels, samples), beside another stem of noise."""
    return scorer(metric, references=torch.stack([noise(*reference.shape, seed=99), reference]), target=1)


def lowest(metric: str) -> float:
    return FLOOR_DB if METRICS[metric].unit == "dB" else 0.0


def test_every_metric_is_tested_here() -> None:
    assert set(METRICS) == set(NAMES)
    assert all(metric.name == name and metric.direction == "maximize" for name, metric in METRICS.items())


def test_the_examples_of_the_docstring() -> None:
    assert doctest.testmod(schedopt.metrics).failed == 0


def test_batch_equals_loop(metric: str) -> None:
    reference = noise(2, 6000)
    estimates = reference + 0.2 * noise(3, 2, 2, 6000, seed=1)  # (3, 2, channels, samples)
    score = score_with(metric, reference)
    scores = score(estimates)
    assert scores.shape == (3, 2)
    assert scores.dtype == torch.float64
    loop = [[score(estimate).item() for estimate in row] for row in estimates]
    assert torch.allclose(scores, torch.tensor(loop, dtype=torch.float64), rtol=0, atol=1e-9)
    assert score(estimates[0, 0]).shape == ()


@pytest.mark.parametrize("metric", OF_THE_TARGET)
def test_several_references_at_once(metric: str) -> None:
    references = noise(2, 2, 1500)  # (stems, channels, samples)
    estimates = references + 0.2 * noise(3, 2, 2, 1500, seed=1)  # (steps, stems, channels, samples)
    scores = scorer(metric, references)(estimates)
    assert scores.shape == (3, 2)
    loop = [[scorer(metric, references[stem])(step[stem]).item() for stem in range(2)] for step in estimates]
    assert torch.allclose(scores, torch.tensor(loop, dtype=torch.float64), rtol=0, atol=1e-9)


def test_scorer_equals_the_function(metric: str) -> None:
    references = noise(2, 2, 1500)
    estimates = references[0] + 0.2 * noise(4, 2, 1500, seed=1)
    function: Callable[..., Tensor] = getattr(schedopt.metrics, metric)
    truth = (references, 0) if METRICS[metric].needs_all_stems else (references[0],)
    expected = function(*truth, estimates)
    assert torch.allclose(scorer(metric, references=references, target=0)(estimates), expected, rtol=0, atol=1e-9)
    if metric in OF_THE_TARGET:
        score = scorer(metric, references[0], keep_transform=False)
        assert torch.allclose(score(estimates), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("metric", BY_CHANNEL)
def test_channels_are_averaged(metric: str) -> None:
    references, estimate = noise(2, 2, 1500), noise(2, 1500) + 0.2 * noise(2, 1500, seed=1)
    alone = [
        scorer(metric, references=references[:, c : c + 1], target=0)(estimate[c : c + 1]).item() for c in range(2)
    ]
    together = scorer(metric, references=references, target=0)(estimate).item()
    assert together == pytest.approx(sum(alone) / 2, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["everywhere", "one sample"])
def test_silent_and_broken_estimates_score_finite_and_are_logged_once(
    metric: str, value: float, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    reference = noise(2, 1500)
    estimates = reference + 0.1 * noise(3, 2, 1500, seed=1)
    good = score_with(metric, reference)(estimates)
    broken = estimates.clone()
    broken[1, :, slice(None) if where == "everywhere" else 700] = value
    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="schedopt"):
        scores = score_with(metric, reference)(broken)
        assert torch.equal(score_with(metric, reference)(broken), scores)
    assert torch.allclose(scores[[0, 2]], good[[0, 2]], rtol=0, atol=1e-9)
    assert lowest(metric) <= scores[1] <= CEILING_DB
    usable = value == 0 and where == "one sample"
    assert len(caplog.records) == (0 if usable else 1)
    if value != 0:
        assert scores[1] == lowest(metric)
    elif not usable and METRICS[metric].unit == "dB":
        assert scores[1] == (0 if metric in ZERO_FOR_SILENCE else FLOOR_DB)


def test_a_broken_channel_of_two(metric: str) -> None:
    reference = noise(2, 1500)
    estimate = reference + 0.1 * noise(2, 1500, seed=1)
    references = torch.stack([noise(2, 1500, seed=99), reference])
    left = scorer(metric, references=references[:, :1], target=1)(estimate[:1]).item()
    estimate[1] = torch.nan
    expected = (left + FLOOR_DB) / 2 if metric in BY_CHANNEL else lowest(metric)
    assert scorer(metric, references=references, target=1)(estimate).item() == pytest.approx(expected, abs=1e-9)


def test_silent_references_are_refused(metric: str) -> None:
    with pytest.raises(DataError, match="the reference is silent"):
        score_with(metric, torch.zeros(2, 100))


@pytest.mark.parametrize("metric", OF_THE_TARGET)
def test_a_silent_reference_among_several_is_named(metric: str) -> None:
    references = noise(3, 2, 100)
    references[1] = 0
    with pytest.raises(DataError, match=r"reference \(1,\) is silent"):
        scorer(metric, references)


@pytest.mark.parametrize("gain", [1e-20, -1e-12, 1e-3])
@pytest.mark.parametrize("metric", ["sdr", "si_sdr", "si_sir", "si_sar"])
def test_any_gain_is_forgiven(metric: str, gain: float) -> None:
    reference = noise(2, 6000)
    estimate = (reference + 0.3 * noise(2, 6000, seed=1) + 0.1 * noise(2, 6000, seed=99)).double()
    score = score_with(metric, reference)
    assert score(gain * estimate).item() == pytest.approx(score(estimate).item(), abs=1e-9)


@pytest.mark.parametrize(
    "reference",
    [torch.zeros(2, 0), torch.ones(100), torch.ones(0, 100), torch.ones(2, 100, dtype=torch.int16)],
    ids=["no samples", "no channel axis", "no channels", "integers"],
)
def test_what_is_no_reference_is_refused(metric: str, reference: Tensor) -> None:
    with pytest.raises(DataError, match=r"a reference needs the shape \(…, channels, samples\)"):
        scorer(metric, references=torch.stack([reference, reference]), target=0)


@pytest.mark.parametrize("stem", [0, 1])
def test_references_that_are_not_finite_are_refused(metric: str, stem: int) -> None:
    references = noise(2, 2, 100)
    references[stem, 1, 50] = torch.nan
    if stem == 1 and metric in OF_THE_TARGET:
        scorer(metric, references=references, target=0)
        return
    with pytest.raises(DataError, match="not finite"):
        scorer(metric, references=references, target=0)


@pytest.mark.parametrize("shape", [(2, 99), (1, 100), (100,), (3, 1, 100), (0, 2, 100)])
def test_other_shapes_are_refused(metric: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="does not fit its reference of shape") as caught:
        score_with(metric, noise(2, 100))(noise(*shape))
    assert "\n" not in str(caught.value)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"there is no metric 'sdri' \(did you mean sdr\?\); there are sdr, si_sdr"):
        scorer("sdri", noise(2, 100))


def test_missing_references_are_an_error() -> None:
    with pytest.raises(ConfigError, match="needs the references of all stems"):
        scorer("si_sir", noise(2, 100))
    with pytest.raises(ConfigError, match="needs a reference"):
        scorer("snr")


def _mae(truth: Truth) -> Score:
    return lambda estimates: -(estimates - truth.reference).double().abs().mean(dim=(-2, -1))


MAE = Metric("mae", "MAE", "mean absolute error, negated", _mae, unit="")


def test_metrics_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "added", {})
    assert register_metric(MAE) is MAE
    reference = noise(2, 100)
    assert scorer("mae", reference)(torch.stack([reference, reference + 0.5])).tolist() == pytest.approx([0, -0.5])
    with pytest.raises(ConfigError, match="metric 'snr' belongs to schedopt"):
        register_metric(Metric("snr", "SNR", "another one", _mae))


def test_metrics_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "added", {})
    points = [EntryPoint("mae", f"{__name__}:MAE", "schedopt.metrics")]
    monkeypatch.setattr("schedopt.registry.entry_points", lambda group: points if group == "schedopt.metrics" else [])
    assert scorer("mae", noise(2, 100))(noise(2, 100)).item() == 0


def test_the_metric_of_the_readme_works_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "added", {})
    readme = (Path(__file__).parents[2] / "schedopt" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python metric\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    exec(block, {name: getattr(schedopt.metrics, name) for name in schedopt.metrics.__all__})
    reference = noise(2, 100)
    assert scorer("mae", reference)(reference + 0.5).item() == pytest.approx(-0.5)
