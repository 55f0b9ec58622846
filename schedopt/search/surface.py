"""A statistical model of the score as a function of β, learnt from what has been scored.

A mixture of Gaussian processes (Matérn 5/2; each of `LENGTHS` with a constant and with a quadratic mean), weighted by
their marginal likelihood, the variance integrated out. Inputs are the β of one node, last step last, and their running
products from the end: under the rules that mix the last estimate into the mixture, step n−k reaches the estimate of
step n with weight β_n · … · β_{n−k+1} only. Costs no pass.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 2.7 and 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.3, 0.5, 0.8, 1.3, 2.0)
"""Distances, in units of β, over which scores are alike; that which explains the scores best has the most weight."""

MEANS = (0.0, 0.2)
"""Prior variance of the coefficients of the quadratic mean, relative to the process; 0 for a constant mean."""

CONSTANT = 4.0
"""Prior variance of the constant, relative to that of the process."""

JITTER = 1e-6
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
    """The posterior of the score, given `values` (M,) in dB at the nodes `x` (M, N), with standard errors (M,)."""

    def __init__(self, x: Array, values: Array, errors: Array) -> None:
        self._features = features(x)
        self._center = float(values.mean())
        self._scale = max(float(values.std()), 1e-6)
        y = (values - self._center) / self._scale
        noise = JITTER + (errors / self._scale) ** 2
        found = [self._condition(y, noise, length, mean) for length in LENGTHS for mean in MEANS]
        evidence = np.array([one.evidence for one in found])
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        kept = weights >= NEGLIGIBLE
        self._components = [one for one, keep in zip(found, kept, strict=True) if keep]
        self._weights = weights[kept] / weights[kept].sum()

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the score at the nodes `x` (P, N); (P,) each, dB."""
        at = features(x)
        parts = [self._posterior(one, at) for one in self._components]
        means = np.stack([mean for mean, _ in parts])
        squares = np.stack([variance + mean**2 for mean, variance in parts])
        mean = self._weights @ means
        variance = np.maximum(self._weights @ squares - mean**2, 1e-12)
        return self._center + self._scale * mean, self._scale * np.sqrt(variance)

    def _condition(self, y: Array, noise: Array, length: float, quadratic: float) -> _Component:
        shape = _Component(length, quadratic, y, y, 1.0, 0.0)
        covariance = self._kernel(shape, self._features, self._features)
        covariance[np.diag_indices(len(y))] += noise
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        whitened: Array = scipy.linalg.solve_triangular(factor, y, lower=True)
        # Inverse gamma prior with one observation's weight at variance 1.
        variance = (float(whitened @ whitened) + 1) / (len(y) + 1)
        evidence = -0.5 * (len(y) + 1) * np.log(variance) - np.log(np.diag(factor)).sum()
        return _Component(length, quadratic, factor, whitened, variance, float(evidence))

    def _posterior(self, one: _Component, at: Array) -> tuple[Array, Array]:
        solved = scipy.linalg.solve_triangular(one.factor, self._kernel(one, self._features, at), lower=True)
        prior = 1 + CONSTANT * (one.quadratic == 0) + one.quadratic * (_quadratic(at) ** 2).sum(axis=1)
        variance = one.variance * np.maximum(prior - (solved**2).sum(axis=0), 1e-9)
        return np.asarray(solved.T @ one.whitened), np.asarray(variance)

    def _kernel(self, one: _Component, a: Array, b: Array) -> Array:
        """(len(a), len(b)): prior covariance of the scores, relative to the process's variance."""
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        r = np.sqrt(5 * np.maximum(squares, 0)) / one.length
        matern = (1 + r + r**2 / 3) * np.exp(-r)
        mean = one.quadratic * _quadratic(a) @ _quadratic(b).T if one.quadratic else CONSTANT
        return np.asarray(matern + mean)


def features(x: Array) -> Array:
    """(P, N) → (P, 2N): β_N … β_1 and β_N, β_N·β_{N−1}, …"""
    last_first = x[:, ::-1]
    return np.hstack([last_first, np.cumprod(last_first, axis=1)])


def _quadratic(at: Array) -> Array:
    return np.hstack([np.ones((len(at), 1)), at, at**2])
