"""Weights of mixers whose truth is known, against a numeric optimiser, and on tracks that nobody fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
import scipy.optimize
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

import schedopt
from schedopt.cli import call
from schedopt.config import load_config
from schedopt.evaluation import Evaluator
from schedopt.files.schedule_file import FORMAT, load_schedule_file
from schedopt.outputs import OUTPUTS
from schedopt.refinement import CHOSEN_FROM, Refinement
from schedopt.search import mixing
from schedopt.search.mixing import PENALTIES, Quadratic, Tracks, fitted, left_out, mixed, products_of
from schedopt.search.prepared import PreparedSearch
from schedopt.separators import Separator, as_separator, load_separator
from schedopt.songs.schedule import load_schedule
from schedopt.trajectory import Scene, refine
from schedopt.types import STEMS, Excerpt
from tests.models import RATE, noise_excerpt, tiny_separator
from tests.studies import write_study, write_tracks

SAMPLES = 8192
MIX = np.array([[0.8, 0.1, 0.0, 0.2], [0.1, 0.9, 0.2, 0.0], [0.2, 0.0, 0.7, 0.1], [0.0, 0.3, 0.1, 0.6]])
"""Row j: the made separator's estimate of stem j as a sum of the true ones."""

WITH_WEIGHTS = [name for name, output in OUTPUTS.items() if output.bands]


class Known:
    """Tells stems apart that have every fourth frequency each, and returns them mixed by `MIX`."""

    stems, sample_rate, channels, fingerprint = STEMS, RATE, 2, "known"
    device = torch.device("cpu")

    def __call__(self, mixtures: Tensor) -> Tensor:
        return torch.einsum("js,bscn->bjcn", torch.from_numpy(MIX).float(), combs(mixtures))


def combs(audio: Tensor) -> Tensor:
    """(…, channels, samples) → (…, stems, channels, samples): each stem's frequencies."""
    spectrum = torch.fft.rfft(audio)
    number = torch.arange(spectrum.shape[-1])
    parts = [torch.where(number % 4 == j, spectrum, 0) for j in range(4)]
    made: Tensor = torch.fft.irfft(torch.stack(parts, dim=-3), audio.shape[-1])
    return made


def excerpt(seed: int, leak: float = 0.0) -> Excerpt:
    """Stems on their own frequencies, of random levels; `leak`: noise on all frequencies, told apart by nobody."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(4, 2, SAMPLES, generator=generator)
    level = torch.exp(0.5 * torch.randn(4, 1, 1, generator=generator))
    own = torch.stack([combs(noise[j])[j] for j in range(4)]) * level
    own += leak * torch.randn(4, 2, SAMPLES, generator=generator) * torch.rand(4, 1, 1, generator=generator)
    return Excerpt(f"track-{seed}", 0.0, RATE, STEMS, 0.1 * own, frozenset(STEMS), f"{seed:016x}")


def evaluator(music: list[Excerpt], output: str, metric: str = "snr", target: str = "bass") -> Evaluator:
    return Evaluator(as_separator(Known()), music, Refinement(target, output=output), metric=metric)


def tracks_of(one: Evaluator, betas: tuple[float, ...], n: int) -> Tracks:
    output = OUTPUTS.find(one.refinement.output)
    return Tracks.of([products_of(one, betas, i, output) for i in range(len(one.tasks))], one.tracks, n)


def test_the_mixer_finds_the_weights_of_a_linear_separator() -> None:
    k, one = 1, evaluator([excerpt(seed) for seed in range(6)], "mixer")
    found = fitted(tracks_of(one, (0.0,), 1))
    a, b, c = found[:2].sum(), found[2:-1], found[-1]
    inverse = np.linalg.inv(MIX)
    # The residual is a sum of the estimates too: y = Σ_j s_j = 1ᵀ·MIX⁻¹·x̂.
    effective = c * (inverse.sum(axis=0) - 1)
    effective[k] += a
    effective[[0, 2, 3]] += b
    np.testing.assert_allclose(effective, inverse[k], atol=0.01)
    made = mixed(one.refinement, one, (0.0,), one.scores((0.0,)), [1])
    assert (made.scores[:, 1] > made.scores[:, 0] + 20).all()


def test_a_left_out_score_is_that_of_fresh_tracks() -> None:
    """16 searched tracks under weights fitted on the others, and 40 fresh ones under those of all: the same mean."""
    for target in ("drums", "vocals"):
        searched = evaluator([excerpt(seed, 1.0) for seed in range(16)], "mixer", target=target)
        scores = searched.scores((0.0,))
        made = mixed(searched.refinement, searched, (0.0,), scores, [1])
        claimed = (made.scores - scores)[:, 1]
        fresh = evaluator([excerpt(seed, 1.0) for seed in range(100, 140)], "mixer", target=target)
        how = fresh.refinement.model_copy(update={"weights": made.weights[1]})
        true = (fresh.scores((0.0,), refinement=how) - fresh.scores((0.0,)))[:, 1]
        assert true.mean() > 0.2  # there is something to be found
        doubt = np.hypot(claimed.std(ddof=1) / 4, true.std(ddof=1) / np.sqrt(40))
        assert abs(claimed.mean() - true.mean()) < 1.96 * doubt


def test_many_weights_on_few_tracks_do_not_flatter_themselves() -> None:
    """Stems of noise have little to be found: fitted on all tracks with the smallest ridge, more than on fresh ones."""
    music = [excerpt(seed, 3.0) for seed in range(5)]
    one = evaluator(music, "mixer-bands", target="other")
    scores = one.scores((0.0, 0.0))
    tracks = tracks_of(one, (0.0, 0.0), 2)
    claimed = tracks.gains(tracks.closed_form(PENALTIES[:1])[0])[0].mean()
    honest = np.diagonal(tracks.gains(left_out(tracks)), axis1=1, axis2=2)[0].mean()
    assert honest < claimed
    made = mixed(one.refinement, one, (0.0, 0.0), scores, [2])
    fresh = evaluator([excerpt(seed, 3.0) for seed in range(200, 230)], "mixer-bands", target="other")
    how = fresh.refinement.model_copy(update={"weights": made.weights[2]})
    assert (fresh.scores((0.0, 0.0), refinement=how) - fresh.scores((0.0, 0.0)))[:, 2].mean() > -0.05


@pytest.mark.parametrize("penalty", [1e-4, 0.03, 10.0])
@pytest.mark.parametrize("output", WITH_WEIGHTS)
def test_the_closed_form_is_where_an_optimiser_ends(output: str, penalty: float) -> None:
    one = Evaluator(tiny_separator(), [noise_excerpt(s, 0.3) for s in range(4)], Refinement("vocals", output=output))
    tracks = tracks_of(one, (0.3, 0.6), 2)
    diagonal = np.diag(tracks.gram.mean(axis=0))
    scale = np.sqrt(diagonal)

    def loss(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = scaled / scale
        errors = [
            Quadratic(g, h, e).error(w) for g, h, e in zip(tracks.gram, tracks.linear, tracks.constant, strict=True)
        ]
        moved = w - tracks.start
        slope = 2 * (tracks.gram @ w - tracks.linear).mean(axis=0) + 2 * penalty * diagonal * moved
        return float(np.mean(errors) + penalty * (diagonal * moved**2).sum()), slope / scale

    options = {"gtol": 1e-12, "maxiter": 10**4}
    found = scipy.optimize.minimize(loss, scale * tracks.start, jac=True, method="BFGS", options=options)
    closed = scale * tracks.closed_form(np.array([penalty]))[0]
    assert loss(closed)[0] == pytest.approx(found.fun, rel=1e-9)
    np.testing.assert_allclose(closed, found.x, rtol=0, atol=1e-5 * float(np.abs(closed).max()))


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("output", WITH_WEIGHTS)
def test_inner_products_tell_the_error_of_the_engine(output: str, offset: float, share: float) -> None:
    """‖x − x̂‖² over that of the mean output, for random weights. Excerpts fade: filters see silence beyond."""
    music = noise_excerpt(3, 0.4)
    faded = music.references * torch.hann_window(music.references.shape[-1]) + offset / 4
    music = Excerpt("a", 0.0, RATE, STEMS, faded, frozenset(STEMS), "0" * 16)
    how = Refinement("drums", output=output, residual=share)
    one, known = Evaluator(tiny_separator(), [music], how), OUTPUTS.find(output)
    quadratic = products_of(one, (0.4, 0.2), 0, known).after(2, share)
    rng = np.random.default_rng(0)
    *_, mean = one.trajectory((0.4, 0.2), 0)
    before = float((faded[0] - mean).double().square().sum())
    for _ in range(3):
        weights = mixing.as_rows(rng.normal(0.3, 0.3, known.bands * (7 + len(known.terms))), known.bands)
        *_, made = refine(one.separator, Scene(faded.sum(0)), (0.4, 0.2), how.model_copy(update={"weights": weights}))
        error = float((faded[0] - made).double().square().sum()) / before
        assert quadratic.error(np.ravel(weights)) == pytest.approx(error, rel=1e-4)


def test_long_excerpts_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Evaluator(tiny_separator(), [noise_excerpt(1, 0.3)], Refinement("bass", output="mixer"))
    whole = products_of(one, (0.4,), 0, OUTPUTS.find("mixer"))
    monkeypatch.setattr(mixing, "BLOCK", 1000)
    parts = products_of(one, (0.4,), 0, OUTPUTS.find("mixer"))
    np.testing.assert_allclose(parts.gram, whole.gram, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(parts.cross, whole.cross, rtol=1e-9, atol=1e-9)
    assert (parts.energy, parts.total, parts.count) == pytest.approx((whole.energy, whole.total, whole.count))


def test_few_tracks_and_silence_keep_the_mean() -> None:
    one = evaluator([excerpt(0, 1.0)], "mixer")
    tracks = tracks_of(one, (0.0,), 1)
    assert np.array_equal(fitted(tracks), tracks.start)
    made = mixed(one.refinement, one, (0.0,), one.scores((0.0,)), [1])
    assert made.weights == {1: None}
    assert np.array_equal(made.scores, one.scores((0.0,)))


def test_several_excerpts_of_a_track_are_left_out_together() -> None:
    from dataclasses import replace

    music = [replace(excerpt(seed, 1.0), track=f"track-{seed % 4}") for seed in range(12)]
    tracks = tracks_of(evaluator(music, "mixer"), (0.0,), 1)
    assert len(tracks) == 4
    for number, weights in enumerate(left_out(tracks)):
        others = np.arange(4) != number
        np.testing.assert_allclose(weights, fitted(tracks[others]))


def test_fitting_costs_no_pass() -> None:
    one = evaluator([excerpt(seed, 1.0) for seed in range(4)], "mixer-bands")
    scores = one.scores((0.4, 0.2))
    before = one.passes.copy()
    mixed(one.refinement, one, (0.4, 0.2), scores, [1, 2])
    assert one.passes == before


@pytest.fixture(scope="module", params=WITH_WEIGHTS)
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a mixer, and its schedule file."""
    folder = tmp_path_factory.mktemp("study")
    refinement = {"output": request.param, "steps": 2, "target": "bass", "shift": True}
    path = write_study(folder, tracks=5, refinement=refinement, study={"trials": 4}, search={"metric": "snr"})
    assert call(["run", str(path)]) == 0
    return folder


def test_a_study_keeps_the_weights_and_its_file_applies_them(searched: Path) -> None:
    file = load_schedule_file(searched / "small.schedule.json")
    entry = file.schedules["bass"]
    rows = entry.weights["bass"]
    assert file.format == FORMAT == 3
    assert len(rows) == OUTPUTS.find(entry.output).bands
    assert {len(row) for row in rows} == {len(entry.betas) + 1 + 4 + len(OUTPUTS.find(entry.output).terms)}
    (name,) = optuna.get_all_study_names(f"sqlite:///{searched}/studies.db")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{searched}/studies.db")
    trial = study.trials[entry.trial or 0]
    assert trial.user_attrs["weights"] == {"bass": [list(row) for row in rows]}
    assert entry.search is not None
    assert entry.search.value == trial.value == pytest.approx(trial.user_attrs["by_step"][entry.steps or 0], abs=1e-6)
    # The first reports are those of the mean output, which is what it was compared with.
    assert trial.user_attrs["gain"] > 0


def test_separate_and_the_api_make_what_the_engine_makes(searched: Path) -> None:
    path = searched / "small.schedule.json"
    entry = load_schedule_file(path).schedules["bass"]
    song = noise_excerpt(77, 0.7).references.sum(0)
    soundfile.write(searched / "song.wav", song.numpy().T, RATE, subtype="FLOAT")
    separator = load_separator(str(searched / "tiny.safetensors"), device="cpu", precision="float32")
    *_, expected = refine(separator, Scene(song), entry.betas, entry.refinement("bass"))
    *_, mean = refine(
        separator, Scene(song), entry.betas, Refinement("bass", output="mean", shift=True, seed=entry.seed)
    )
    assert float((expected - mean).abs().max()) > 1e-3
    command = ["separate", str(searched / "song.wav"), "--schedule", str(path), "-o", str(searched / "out")]
    assert call([*command, "--float32", "-d", "cpu", "--overwrite"]) == 0
    (made,) = (searched / "out").rglob("song/bass.wav")
    by_command = torch.from_numpy(soundfile.read(made, dtype="float32")[0].T.copy())
    torch.testing.assert_close(by_command, expected, rtol=0, atol=1e-6)
    by_api = load_schedule(path, device="cpu").refine(song, stems=["bass"])["bass"]
    torch.testing.assert_close(by_api, expected, rtol=0, atol=1e-6)
    from schedopt.api import Separator as Drop

    drop = Drop(schedule=str(path), device="cpu", progress=False)
    _, stems = drop.separate_tensor(song, RATE)
    torch.testing.assert_close(stems["bass"], expected, rtol=0, atol=1e-6)


def test_a_benchmark_applies_and_keeps_the_weights(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (searched / "music" / "held-out").exists():
        write_tracks(searched / "music", 2, split="held-out", first=20)
    path = searched / "small.schedule.json"
    capsys.readouterr()
    entry = load_schedule_file(path).schedules["bass"]
    command = ["benchmark", str(path), "--against", "shift", "--device", "cpu", "--json", "--excerpt", "0.4"]
    assert call(command) == 0
    (method,) = [m for m in json.loads(capsys.readouterr().out)["methods"] if m["kind"] == "schedule"]
    part = method["stems"]["bass"]
    assert part["weights"] == [list(row) for row in entry.weights["bass"]]
    music = schedopt.cut_excerpts(schedopt.load_tracks(f"folder:{searched}/music", "held-out"), 0.4)
    separator: Separator = load_separator(str(searched / "tiny.safetensors"), device="cpu", precision="float32")
    mine = Evaluator(separator, music, entry.refinement("bass"), metric="snr").scores(entry.betas)
    theirs = [part["tracks"][one.track]["snr"] for one in music]
    np.testing.assert_allclose(theirs, mine, atol=1e-4)


def test_a_shared_schedule_has_weights_for_each_stem(tmp_path: Path) -> None:
    refinement = {"output": "mixer", "steps": 1, "target": "all"}
    path = write_study(tmp_path, tracks=5, refinement=refinement, study={"trials": 2}, search={"metric": "snr"})
    assert call(["run", str(path)]) == 0
    entry = load_schedule_file(tmp_path / "small.schedule.json").schedules["all"]
    assert len(entry.weights) > 1
    for stem, rows in entry.weights.items():
        assert entry.refinement(stem).weights == rows


def test_where_the_mean_is_as_good_it_is_exported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two tracks are too few for weights, which is said."""
    path = write_study(tmp_path, tracks=2, refinement={"output": "mixer", "steps": 1}, study={"trials": 2})
    assert call(["run", str(path)]) == 0
    entry = load_schedule_file(tmp_path / "small.schedule.json").schedules["vocals"]
    assert (entry.output, entry.weights) == ("mean", {})
    assert "mixer: weights need at least 3 tracks, and there are 2: it is the mean output here" in caplog.messages


def test_auto_takes_the_best_output_of_every_trial(tmp_path: Path) -> None:
    refinement = {"output": "auto", "steps": 2, "target": "bass", "shift": True}
    path = write_study(tmp_path, tracks=5, refinement=refinement, study={"trials": 3}, search={"metric": "snr"})
    assert call(["run", str(path)]) == 0
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/studies.db")
    trial = study.best_trial
    bench = PreparedSearch.prepare(load_config(path))
    values = {}
    for name in CHOSEN_FROM:
        one = bench.objective("bass")
        one.outputs = (name,)
        values[name] = one.outcome(tuple(trial.user_attrs["betas"])).value
    assert trial.value == pytest.approx(max(values.values()), abs=1e-6)
    assert values[trial.user_attrs["output"]] == max(values.values())
    entry = load_schedule_file(tmp_path / "small.schedule.json").schedules["bass"]
    assert entry.output in values
    assert bool(entry.weights) == (entry.output in WITH_WEIGHTS)


def test_auto_costs_the_passes_of_one_output(tmp_path: Path) -> None:
    costs = []
    for output in ("mixer", "auto"):
        path = write_study(tmp_path, tracks=3, name=output, refinement={"output": output, "steps": 2})
        bench = PreparedSearch.prepare(load_config(path, ["store.disk=0"]))
        one = bench.objective("vocals")
        one.outcome((0.4, 0.2))
        costs.append(one.passes())
    assert costs[0] == costs[1]
