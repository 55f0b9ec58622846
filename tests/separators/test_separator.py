"""What a separator promises beside equality with demucs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import pytest
import torch

from schedopt.config import make_config
from schedopt.errors import SeparatorError
from schedopt.refinement import MAX_SHIFT_SECONDS
from schedopt.separators import Separator
from schedopt.separators.demucs.build import cut_for
from schedopt.types import STEMS
from tests.separators.networks import SAMPLES, demucs, difference, htdemucs, mixed_bag, mixture, one_hot_bag


def make(model: Any, **options: Any) -> Separator:
    return Separator.from_model(model, device="cpu", **options)


def test_attributes_are_the_models() -> None:
    separator = make(htdemucs(sources=[*STEMS, "guitar", "piano"]), name="six")
    assert separator.stems == (*STEMS, "guitar", "piano")
    assert (separator.name, separator.sample_rate, separator.channels) == ("six", 44_100, 2)
    assert (separator.device, separator.precision) == (torch.device("cpu"), "float32")
    with pytest.raises(FrozenInstanceError):
        separator.precision = "bfloat16"  # type: ignore[misc]


def test_a_model_in_memory_is_left_as_it_was() -> None:
    model = demucs().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    make(model)(mixture(SAMPLES)[None])
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_constant_mixture_gives_finite_estimates(level: float) -> None:
    for model in (htdemucs(), demucs()):
        assert make(model)(torch.full((1, 2, 5_000), level)).isfinite().all()


def test_nan_stays_in_its_own_mixture() -> None:
    waves = torch.stack([mixture(SAMPLES), mixture(SAMPLES, 1)])
    waves[1, 0, 17] = torch.nan
    assert make(demucs())(waves)[0].isfinite().all()


def test_the_input_is_not_changed_and_the_output_may_be() -> None:
    waves = mixture(SAMPLES)[None]
    before = waves.clone()
    estimates = make(demucs())(waves)
    estimates.div_(2)  # fails on a tensor of inference mode
    assert torch.equal(waves, before)


def test_chosen_stems_in_the_asked_order() -> None:
    for model in (htdemucs(), mixed_bag()):
        separator, waves = make(model), mixture(SAMPLES)[None]
        chosen = separator(waves, stems=("vocals", "bass"))
        assert torch.equal(chosen, separator(waves)[:, [3, 1]])


def test_only_the_models_that_matter_are_run() -> None:
    bag = one_hot_bag()
    separator, waves = make(bag, adopt=True), mixture(SAMPLES)[None]
    runs: list[int] = []
    for number, model in enumerate(bag.models):
        model.register_forward_hook(lambda *_, number=number: runs.append(number))
    full = separator(waves)
    runs.clear()
    assert torch.equal(separator(waves, stems=("vocals",)), full[:, 3:])
    assert set(runs) == {3}


def test_fingerprint_changes_with_all_that_changes_an_estimate() -> None:
    plain = make(demucs())
    assert make(demucs(), name="other name", batch_segments=3).fingerprint == plain.fingerprint
    touched = demucs()
    with torch.no_grad():
        next(touched.parameters()).view(-1)[0] += 1e-3
    others = [
        make(touched),
        make(demucs(normalize=False)),
        make(demucs(), overlap=0.5),
        make(demucs(), segment=0.2),
        make(mixed_bag()),
    ]
    prints = {separator.fingerprint for separator in (plain, *others)}
    assert len(prints) == 1 + len(others)
    assert all(len(print_) == 16 for print_ in prints)


def test_the_print_of_the_weights_leaves_settings_out() -> None:
    plain = make(demucs())
    assert make(demucs(), overlap=0.5, segment=0.2, precision="bfloat16").weights == plain.weights
    assert len({plain.weights, make(demucs(1)).weights, make(mixed_bag()).weights}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1.0}, "overlap 1 is not in"),
        ({"overlap": -0.1}, "overlap -0.1 is not in"),
        ({"segment": 0.0}, "segment 0 is not a number of seconds"),
        ({"segment": 1e-5, "overlap": 0.5}, "moves by less than a sample"),
        ({"segment": float("nan")}, "segment nan is not"),
        ({"segment": 3.0}, "longer than the model was trained with"),
        ({"batch_segments": 0}, "batch_segments 0"),
        ({"precision": "float16"}, "precision 'float16' is not known"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SeparatorError, match=message):
        make(htdemucs(), **options)


def test_calls_that_cannot_be_answered() -> None:
    separator, waves = make(demucs(), name="tiny"), mixture(SAMPLES)[None]
    with pytest.raises(SeparatorError, match="tiny has no stem 'piano', only drums, bass, other, vocals"):
        separator(waves, stems=("piano",))
    for wrong in (waves[0], waves[:, :1], waves[..., :0]):
        with pytest.raises(SeparatorError, match="takes mixtures of shape"):
            separator(wrong)
    with pytest.raises(SeparatorError, match="shift -1"):
        separator(waves, shift=-1)
    with pytest.raises(SeparatorError, match="Linear is not one of demucs' model classes"):
        make(torch.nn.Linear(1, 1))


def test_estimates_do_not_depend_on_the_mixtures_level() -> None:
    separator, wave = make(htdemucs()), mixture(SAMPLES)
    assert difference(separator(4 * wave[None]), 4 * separator(wave[None])) < 1e-4


def test_the_default_excerpt_with_the_longest_shift_is_one_segment_of_htdemucs() -> None:
    network = htdemucs(segment=Fraction(39, 5))
    section = make_config({"study": {"name": "s"}}).separator
    samples = int((float(make_config({"study": {"name": "s"}}).data.excerpt) + MAX_SHIFT_SECONDS) * network.samplerate)
    assert len(cut_for(network, section.overlap, None).segments(samples)) == 1
