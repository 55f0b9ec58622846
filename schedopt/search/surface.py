"""A statistical model of the score as a function of β, learnt from what has been scored.

A mixture of Gaussian processes (Matérn 5/2; each of `LENGTHS` with a constant and with a quadratic mean), weighted by
their marginal likelihood, the variance integrated out. Costs no pass.

Inputs are the β of one node, last step last, and their running products from the end: under the rules that mix the last
estimate into the mixture, step n−k reaches the estimate of step n with weight β_n · … · β_{n−k+1} only. Where β = 0 is
not the plain pass again, the score is the sum of what each step adds, and each step has a process of its own.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 2.7 and 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded at their first use
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Distances, in units of β, over which scores are alike; that which explains the scores best has the most weight."""

MEANS = (0.0, 1.0)
"""Prior variance of the coefficients of the quadratic mean, relative to the process; 0 for a constant mean."""

CONSTANT = 4.0
"""Prior variance of the constant, relative to that of the process."""

ABSENT = -1.0
"""In place of the β of steps that come after a node, where steps have processes of their own."""

JITTER = 1e-6

TOGETHER = 512
"""Nodes that are predicted at once."""

NEGLIGIBLE = 0.03
"""Weight below which a component is left out."""


@dataclass(frozen=True)
class _Component:
    """One process, conditioned on the scores; `factor` is the lower Cholesky factor of their covariance."""

    length: float
    quadratic: float
    factor: Array
    whitened: Array
    variance: float
    evidence: float


class Surface:
    """The posterior of the score, given `values` (M,) in dB at the nodes `x` (M, N), with standard errors (M,).

    `freedom`: degrees of freedom of its t distribution, since the variance is learnt as well.

    `chained`: β = 0 is the plain pass again. Else steps have processes of their own, and `x` holds `ABSENT` after the
    last step of a node.
    """

    def __init__(self, x: Array, values: Array, errors: Array, *, chained: bool) -> None:
        self._chained = chained
        self._inputs = inputs(x, chained)
        self.freedom = len(x) + 1
        self._center = float(values.mean())
        self._scale = max(float(values.std()), 1e-6)
        y = (values - self._center) / self._scale
        noise = JITTER + (errors / self._scale) ** 2
        pairs = _Pairs.of(self._inputs, self._inputs)
        found = [self._condition(pairs, y, noise, length, mean) for length in LENGTHS for mean in MEANS]
        evidence = np.array([one.evidence for one in found])
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        kept = weights >= NEGLIGIBLE
        self._components = [one for one, keep in zip(found, kept, strict=True) if keep]
        self._weights = weights[kept] / weights[kept].sum()

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the score at the nodes `x` (P, N); (P,) each, dB."""
        # In parts that stay in a core's cache.
        parts = [self._predict(x[first : first + TOGETHER]) for first in range(0, max(1, len(x)), TOGETHER)]
        mean, deviation = (np.concatenate(some) for some in zip(*parts, strict=True))
        return mean, deviation

    def _predict(self, x: Array) -> tuple[Array, Array]:
        at = inputs(x, self._chained)
        pairs = _Pairs.of(self._inputs, at)
        parts = [self._posterior(one, pairs, at) for one in self._components]
        means = np.stack([mean for mean, _ in parts])
        squares = np.stack([variance + mean**2 for mean, variance in parts])
        mean = self._weights @ means
        variance = np.maximum(self._weights @ squares - mean**2, 1e-12)
        return self._center + self._scale * mean, self._scale * np.sqrt(variance)

    def _condition(self, pairs: _Pairs, y: Array, noise: Array, length: float, quadratic: float) -> _Component:
        covariance = pairs.covariance(length, quadratic)
        covariance[np.diag_indices(len(y))] += noise
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        whitened: Array = scipy.linalg.solve_triangular(factor, y, lower=True)
        # Inverse gamma prior with one observation's weight at variance 1.
        variance = (float(whitened @ whitened) + 1) / (len(y) + 1)
        evidence = -0.5 * (len(y) + 1) * np.log(variance) - np.log(np.diag(factor)).sum()
        return _Component(length, quadratic, factor, whitened, variance, float(evidence))

    def _posterior(self, one: _Component, pairs: _Pairs, at: Array) -> tuple[Array, Array]:
        across = pairs.covariance(one.length, one.quadratic)
        solved = scipy.linalg.solve_triangular(one.factor, across, lower=True)
        variance = one.variance * np.maximum(_prior(one.quadratic, at) - (solved**2).sum(axis=0), 1e-9)
        return np.asarray(solved.T @ one.whitened), np.asarray(variance)


def inputs(x: Array, chained: bool) -> Array:
    """(P, N) → (processes, P, 1 + 2N): for each process 1 where a node has a part of it and else 0, then β_n … β_1 and
    their running products β_n, β_n·β_{n−1}, … of the step n that the process is about, filled with zeros."""
    count, steps = x.shape
    ends = [steps] if chained else range(1, steps + 1)
    found = np.zeros((len(ends), count, 1 + 2 * steps))
    for part, end in zip(found, ends, strict=True):
        there = x[:, end - 1] != ABSENT
        last_first = x[there, :end][:, ::-1]
        part[there, 0] = 1
        part[there, 1 : 1 + end] = last_first
        part[there, 1 + steps : 1 + steps + end] = np.cumprod(last_first, axis=1)
    return found


@dataclass(frozen=True)
class _Pairs:
    """What every covariance of two sets of nodes is made of: for each process the distances (A, B), whether both have
    a part of it, and the products of their quadratic features."""

    distances: list[Array]
    both: list[Array]
    products: list[Array]

    @classmethod
    def of(cls, a: Array, b: Array) -> _Pairs:
        squares = [(x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T for x, y in zip(a, b, strict=True)]
        return cls(
            [np.sqrt(5 * np.maximum(one, 0)) for one in squares],
            [x[:, :1] * y[:, 0] for x, y in zip(a, b, strict=True)],
            [_quadratic(x) @ _quadratic(y).T for x, y in zip(a, b, strict=True)],
        )

    def covariance(self, length: float, quadratic: float) -> Array:
        """(A, B): prior covariance of the scores, relative to the process's variance."""
        total = np.full(self.distances[0].shape, CONSTANT)
        for distances, both, products in zip(self.distances, self.both, self.products, strict=True):
            r = distances / length
            part = (1 + r + r**2 / 3) * np.exp(-r)
            if quadratic:
                part += quadratic * products
            total += part * both
        return np.asarray(total)


def _prior(quadratic: float, at: Array) -> Array:
    """The diagonal of the covariance of `at` with itself."""
    return np.asarray(CONSTANT + ((1 + quadratic * (_quadratic(at) ** 2).sum(axis=2)) * at[..., 0]).sum(axis=0))


def _quadratic(at: Array) -> Array:
    return np.concatenate([at, at[..., 1:] ** 2], axis=-1)
