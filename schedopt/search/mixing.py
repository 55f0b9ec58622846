"""Weights of the mixers (`schedopt.outputs.mixer`) in closed form, and their worth on tracks that are left out.

With f_i what the passes of an excerpt left (the target's estimate of each step, the means of the other stems' and of
the residual, and for `mixer-wiener` that output; in each band of those that have bands), x its true stem, w the
weights and w₀ those of the mean output:

    e_t(w) = ‖x − Σ_i w_i·f_i‖² / ‖x − Σ_i w₀_i·f_i‖²          of track t, mean over its excerpts
    w(λ)   = argmin  mean_t e_t(w) + λ·Σ_i H_ii·(w_i − w₀_i)²     with H = mean_t of the f's inner products
           = w₀ + (H + λ·diag H)⁻¹·(g − H·w₀)                      g = mean_t of the f's inner products with x

Every track counts alike, whatever its level and difficulty: e_t is 1 for the mean output, and −10·log₁₀ e_t the gain in
SNR. λ = ∞ is the mean output itself. λ is the one with the surest gain on tracks that are left out, in SNR and in
SI-SDR (the smaller of the two lower bounds, `schedopt.search.selection`); where no bound is above 0, that is the mean
output. Only squared errors are fitted: BSS Eval's SDR forgives any filter, and weights fitted on it gain nothing that
can be heard. But where the study's metric does not surely gain on left-out tracks, the mean output stays too.

All of it is arithmetic on inner products: no pass is run. A trial's score is that of tracks under weights (and λ) that
were fitted on the other tracks, so that more weights cannot flatter themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.evaluation import Evaluator, Scores
from schedopt.metrics._base import float64_device
from schedopt.outputs import OUTPUTS, Output, Pass, Weights, bands
from schedopt.outputs.mixer import mean_weights
from schedopt.outputs.step import LARGEST
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.search.selection import lower_bound

Array = NDArray[np.float64]

PENALTIES = np.geomspace(1e-4, 10, 11)
"""Candidates for λ, besides ∞."""

FOLDS = 10
"""Groups of tracks that are left out in turn; with fewer tracks each is one."""

FEWEST_TRACKS = 3
"""With fewer, nothing is left to choose the ridge by once a track is left out: the output is the mean."""

BLOCK = 2**18
"""Samples whose inner products are taken at once; a filter sees silence beyond them."""

FREQUENCIES = 2**13
"""Those whose inner products are taken at once."""


@dataclass(frozen=True)
class Products:
    """Inner products of what one excerpt's trajectory left with one another, with its true stem x and with ones.

    A signal is (step m, part p, band k); parts are the target's estimate less its mean, those of the other stems, the
    residual, and the `output.terms` after step m. `gram` (steps, parts, bands, steps, parts, bands); `cross` and
    `ones` (steps, parts, bands); `means` (steps,): what each step's estimates hold of their input's mean; `energy` ⟨x,
    x⟩, `total` ⟨x, 1⟩, `count` ⟨1, 1⟩.
    """

    gram: Array
    cross: Array
    ones: Array
    means: Array
    energy: float
    total: float
    count: int
    output: Output

    def after(self, n: int, share: float) -> Quadratic:
        """The error as a function of the weights of an output after step n; `share`: of the residual, in the mean's."""
        steps, parts, rows = self.cross.shape
        means = parts - len(self.output.terms)
        chosen = np.zeros((rows, n + parts, steps, parts, rows))
        for k in range(rows):
            for m in range(n + 1):
                chosen[k, m, m, 0, k] = 1
                for p in range(1, means):
                    chosen[k, n + p, m, p, k] = 1 / (n + 1)
            for p in range(means, parts):
                chosen[k, n + p, n, p, k] = 1
        flat = chosen.reshape(rows * (n + parts), -1)
        size = flat.shape[1]
        mean = float(self.means[: n + 1].mean())
        made = Quadratic(
            flat @ self.gram.reshape(size, size) @ flat.T,
            flat @ (self.cross - mean * self.ones).ravel(),
            self.energy - 2 * mean * self.total + mean**2 * self.count,
        )
        start = self.mean_weights(n, share)
        return made.scaled(1 / max(made.error(start), 1e-12 * made.constant, 1e-300))

    def mean_weights(self, n: int, share: float) -> Array:
        """Those of the mean output: (W,)."""
        stems = self.cross.shape[1] - 1 - len(self.output.terms)
        return np.ravel(mean_weights(n, stems, self.output, share))


@dataclass(frozen=True)
class Quadratic:
    """‖x − Σ_i w_i·f_i‖² = constant − 2·linear·w + w·gram·w, divided by its value at the mean output."""

    gram: Array
    linear: Array
    constant: float

    def scaled(self, factor: float) -> Quadratic:
        return Quadratic(factor * self.gram, factor * self.linear, factor * self.constant)

    def error(self, w: Array) -> float:
        return float(self.constant - 2 * self.linear @ w + w @ self.gram @ w)


@dataclass(frozen=True)
class Tracks:
    """Quadratics of tracks: (T, W, W), (T, W), (T,); `start` (W,): the weights of the mean output."""

    gram: Array
    linear: Array
    constant: Array
    start: Array

    @classmethod
    def of(cls, products: Sequence[Products], tracks: Sequence[str], n: int, share: float = 0.0) -> Tracks:
        """Of excerpts after step n, by their tracks in order of appearance."""
        each = [one.after(n, share) for one in products]
        groups = [
            [part for part, name in zip(each, tracks, strict=True) if name == track] for track in dict.fromkeys(tracks)
        ]
        return cls(
            np.stack([np.mean([part.gram for part in group], axis=0) for group in groups]),
            np.stack([np.mean([part.linear for part in group], axis=0) for group in groups]),
            np.array([np.mean([part.constant for part in group]) for group in groups]),
            products[0].mean_weights(n, share),
        )

    def __len__(self) -> int:
        return len(self.constant)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Tracks:
        return Tracks(self.gram[chosen], self.linear[chosen], self.constant[chosen], self.start)

    def closed_form(self, penalties: Array) -> Array:
        """w(λ) of each penalty λ: (penalties, W)."""
        h, g = self.gram.mean(axis=0), self.linear.mean(axis=0)
        diagonal = np.diag(h) + 1e-12 * max(float(np.trace(h)), 1e-300)
        matrices = h + penalties[:, None, None] * np.diag(diagonal)
        moved = np.linalg.solve(matrices, np.broadcast_to((g - h @ self.start)[:, None], (len(penalties), len(g), 1)))
        return np.asarray(self.start + moved[..., 0])

    def gains(self, weights: Array) -> Array:
        """Gain over the mean output in SNR and SI-SDR of every track under weights (…, W): (2, …, T), dB."""

        def levels(w: Array) -> tuple[Array, Array]:
            inner = np.einsum("...w,tw->...t", w, self.linear)
            energy = np.einsum("...v,tvw,...w->...t", w, self.gram, w, optimize=True)
            error = np.maximum(self.constant - 2 * inner + energy, 1e-12)
            signal = inner**2 / np.maximum(self.constant, 1e-300)
            return -10 * np.log10(error), 10 * np.log10(np.maximum(signal, 1e-300) / np.maximum(energy - signal, 1e-12))

        found, before = np.stack(levels(weights)), np.stack(levels(self.start))
        return found - before.reshape(2, *[1] * (weights.ndim - 1), -1)


def fitted(tracks: Tracks) -> Array:
    """The weights (W,): those of the penalty with the surest gain on tracks that are left out, or the mean output's."""
    groups = list(_groups(len(tracks)))
    if len(groups) < FEWEST_TRACKS - 1:  # a trial's score is of weights from which one more group is left out
        return tracks.start
    gains = np.empty((2, len(PENALTIES), len(tracks)))
    for group in groups:
        gains[..., group] = tracks[group].gains(tracks[~group].closed_form(PENALTIES))
    bounds = lower_bound(gains).min(axis=0)
    weights = tracks.closed_form(PENALTIES)
    bounds[np.abs(weights).max(axis=-1) > LARGEST] = -np.inf
    return weights[bounds.argmax()] if bounds.max() > 0 else tracks.start


def left_out(tracks: Tracks) -> Array:
    """For every track the weights that were fitted on others: (T, W)."""
    found = np.tile(tracks.start, (len(tracks), 1))
    for group in _groups(len(tracks)):
        if not group.all():
            found[group] = fitted(tracks[~group])
    return found


def _groups(tracks: int) -> Iterator[NDArray[np.bool_]]:
    """Masks (tracks,) of the groups that are left out in turn."""
    number = np.arange(tracks) % FOLDS
    for group in range(min(tracks, FOLDS)):
        yield number == group


def as_rows(weights: Array, rows: int) -> Weights:
    """(W,) by band, with the digits that a file keeps."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in weights.reshape(rows, -1))


@dataclass(frozen=True)
class Mixed:
    """What the mixer makes of a schedule: left-out scores (tasks, N+1) in dB, and weights fitted on all tracks, by n.

    `weights` has None where the mean output is as good.
    """

    scores: Scores
    weights: dict[int, Weights | None]


def mixed(how: Refinement, evaluator: Evaluator, betas: Schedule, scores: Scores, steps: Sequence[int]) -> Mixed:
    """Fit the weights of the output of `how` after each of `steps`, and score them on tracks that are left out.

    Where the evaluator's metric does not surely gain on left-out tracks, the mean output stays, and so do its scores.
    Where it does, the same is asked of the other tracks for each one's own score.

    Args:
        how: as the evaluator's refinement, but for the output perhaps.
        scores: those of the mean output, (tasks, N+1), which stay where a step is not asked for.

    Costs no pass while the store holds those of `scores`.
    """
    output = OUTPUTS.find(how.output)
    rows, products = output.bands, [products_of(evaluator, betas, index, output) for index in range(len(scores))]
    track_of = _numbers(evaluator.tracks)
    found, weights = scores.copy(), dict[int, Weights | None]()
    for n in steps:
        tracks = Tracks.of(products, evaluator.tracks, n, how.residual)
        change = np.zeros(len(scores))
        for track, w in enumerate(left_out(tracks)):
            if not np.array_equal(w, tracks.start):
                here = how.model_copy(update={"weights": as_rows(w, rows)})
                mine = np.flatnonzero(track_of == track).tolist()
                made = evaluator.scores(betas[:n], mine, every_step=False, refinement=here, again=True)
                change[mine] = made[:, 0] - scores[mine, n]
        gains = np.array([change[track_of == track].mean() for track in range(len(tracks))])
        w = fitted(tracks)
        weights[n] = as_rows(w, rows) if _surely(gains) and not np.array_equal(w, tracks.start) else None
        if weights[n] is not None:
            surely = np.array([_surely(np.delete(gains, track)) for track in range(len(tracks))])
            found[:, n] += np.where(surely[track_of], change, 0.0)
    return Mixed(found, weights)


def _surely(gains: Array) -> bool:
    """Whether gains by track are surely above 0."""
    return len(gains) > 0 and bool(lower_bound(gains) > 0)


def _numbers(tracks: Sequence[str]) -> NDArray[np.int64]:
    """(tasks,): the number of each task's track, in order of appearance."""
    names = list(dict.fromkeys(tracks))
    return np.array([names.index(track) for track in tracks])


def products_of(evaluator: Evaluator, betas: Schedule, index: int, output: Output) -> Products:
    """Of one task's trajectory, for the weights of `output`."""
    task, rate = evaluator.tasks[index], evaluator.separator.sample_rate
    passes = list[Pass]()
    terms: list[list[Tensor]] = [[] for _ in range(len(betas) + 1)]
    for number, name in enumerate(output.terms or (evaluator.refinement.output,)):
        how = evaluator.refinement.model_copy(update={"output": name})
        for state in evaluator.states(betas, index, refinement=how, again=True):
            if number == 0:
                passes.append(state.last)
            if output.terms:
                terms[state.step].append(state.output() - state.last.mean)
    return products(passes, terms, task.reference, output, rate)


def products(
    passes: Sequence[Pass], terms: Sequence[Sequence[Tensor]], reference: Tensor, output: Output, sample_rate: int
) -> Products:
    """Inner products of what `passes` left, of all stems each, with `reference` (channels, samples).

    `terms`: those of the output after each step, (channels, samples) without the mean.
    """
    rows = output.bands
    device = float64_device(reference)
    samples, count, parts = reference.shape[-1], len(passes), len(passes[0].stems) + 1 + len(output.terms)
    size = count * parts
    gram = torch.zeros(size, rows, size, rows, dtype=torch.float64, device=device)
    cross = torch.zeros(2, size, rows, dtype=torch.float64, device=device)
    own = torch.zeros(2, dtype=torch.float64, device=device)
    for first in range(0, samples, BLOCK):
        block = slice(first, min(first + BLOCK, samples))
        parted = [_parts(one, of, block) for one, of in zip(passes, terms, strict=True)]
        signals = torch.cat(parted).to(device)  # (size, channels, samples)
        x = reference[:, block].to(device)
        fixed = torch.stack([x, torch.ones_like(x)])
        own += torch.stack([x.double().square().sum(), x.double().sum()])
        _add_products(gram, cross, signals, fixed, sample_rate)
    shape = (count, parts, rows)
    return Products(
        gram=gram.cpu().numpy().reshape(*shape, *shape),
        cross=cross[0].cpu().numpy().reshape(shape),
        ones=cross[1].cpu().numpy().reshape(shape),
        means=np.array([float(one.mean) for one in passes]),
        energy=float(own[0]),
        total=float(own[1]),
        count=reference.numel(),
        output=output,
    )


def _parts(one: Pass, terms: Sequence[Tensor], block: slice) -> Tensor:
    """(parts, channels, samples of the block): see `Products`."""
    target = one.target(block) - one.mean
    return torch.stack([target, *one.each_other(block), one.residual(block), *(term[..., block] for term in terms)])


def _add_products(gram: Tensor, cross: Tensor, signals: Tensor, fixed: Tensor, sample_rate: int) -> None:
    """Add those of a block to gram (size, bands, size, bands) and cross (fixed, size, bands)."""
    rows = gram.shape[1]
    if rows == 1:
        flat, other = signals.flatten(1).double(), fixed.flatten(1).double()
        gram[:, 0, :, 0] += flat @ flat.T
        cross[:, :, 0] += other @ flat.T
        return
    length = bands.size_for(signals.shape[-1])
    low = torch.from_numpy(bands.responses(length, sample_rate)).to(gram.device)
    edges = torch.cat([torch.zeros_like(low[:1]), low, torch.ones_like(low[:1])])
    gains = edges[1:] - edges[:-1]  # (bands, frequencies)
    counted = torch.full_like(low[0], 2 / length)  # Parseval: all but the first and the last stand for two
    counted[0] = 1 / length
    if length % 2 == 0:
        counted[-1] = 1 / length
    pairs = (gains[:, None] * gains * counted).flatten(0, 1)  # (bands², frequencies)
    spectra, others = _by_frequency(signals, length), _by_frequency(fixed, length)
    for first in range(0, len(spectra), FREQUENCIES):
        part = slice(first, first + FREQUENCIES)
        left, right = spectra[part].double(), others[part].double()
        inner = left @ left.mT  # (frequencies, size, size)
        made = (pairs[:, part] @ inner.flatten(1)).reshape(rows, rows, *inner.shape[1:])
        gram += made.permute(2, 0, 3, 1)
        inner = right @ left.mT  # (frequencies, fixed, size)
        made = ((gains * counted)[:, part] @ inner.flatten(1)).reshape(rows, *inner.shape[1:])
        cross += made.permute(1, 2, 0)


def _by_frequency(signals: Tensor, length: int) -> Tensor:
    """(signals, channels, samples) → (frequencies, signals, channels · 2), real and imaginary parts."""
    return torch.view_as_real(torch.fft.rfft(signals, length)).permute(2, 0, 1, 3).flatten(2)
