"""Regression by a Gaussian process, whose length and noise are those of the greatest likelihood."""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import NDArray

__all__ = ["GaussianProcess", "expected_improvement", "normal_scores"]

Floats = NDArray[np.float64]

_NORMAL = statistics.NormalDist()
_LENGTHS = (0.5, 1.0, 2.0, 4.0)  # of squares, in medians of the squared distances
_NOISES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the variance


class GaussianProcess:
    """A Gaussian process with a squared exponential kernel (Rasmussen and Williams 2006, sections 2.2, 5.4).

    Length scale and noise are chosen from a grid by the marginal likelihood, the variance in closed form; one
    eigenvalue decomposition for each length serves all noises.

    Args:
        points: A row of features for each value.
        values: What was measured there, with mean zero.

    Attributes:
        fitted: The posterior mean at the points: the values without their noise.

    Example:
        >>> model = GaussianProcess(np.arange(6.0)[:, None], np.sin(np.arange(6.0)))
        >>> mean, deviation = model(np.array([[2.5]]))
        >>> bool(abs(mean[0] - np.sin(2.5)) < 0.05)
        True
    """

    def __init__(self, points: Floats, values: Floats) -> None:
        self.points, count = points, len(values)
        squares = _squared_distances(points, points)
        apart = squares[squares > 0]
        unit = float(np.median(apart)) if apart.size else 1.0
        likeliest = -np.inf
        for length in _LENGTHS:
            eigenvalues, vectors = np.linalg.eigh(np.exp(-squares / (length * unit)))
            projected = vectors.T @ values
            for noise in _NOISES:
                spread = np.maximum(eigenvalues, 0) + noise
                scaled = projected / spread
                variance = max(float(projected @ scaled) / count, 1e-12)
                likelihood = -0.5 * (count * np.log(variance) + np.log(spread).sum())
                if likelihood > likeliest:
                    likeliest, self._length, self._variance = likelihood, length * unit, variance
                    self._vectors, self._spread = vectors, spread
                    self._weights = vectors @ scaled
                    self.noise = noise
        self.fitted: Floats = values - self.noise * self._weights

    def __call__(self, points: Floats) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation, without noise, at each row of features."""
        kernel = np.exp(-_squared_distances(points, self.points) / self._length)
        inner = kernel @ self._vectors
        explained = (inner * inner / self._spread).sum(1)
        return kernel @ self._weights, np.sqrt(np.maximum(1 - explained, 1e-9) * self._variance)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """The expected amount by which normal values exceed the best (Jones et al., J. Global Optim. 1998).

    Example:
        >>> expected_improvement(np.array([1.0]), np.array([1e-6]), 0.0).round(3)
        array([1.])
    """
    by = (mean - best) / deviation
    below = np.array([_NORMAL.cdf(each) for each in by])
    gain: Floats = (mean - best) * below + deviation * np.exp(-by * by / 2) / np.sqrt(2 * np.pi)
    return gain


def normal_scores(values: Floats) -> Floats:
    """The quantiles of a normal distribution at the places of values, so that outliers have no weight.

    Equal values get equal scores.

    Example:
        >>> normal_scores(np.array([3.0, -100.0, 4.0])).round(2)
        array([ 0.  , -0.97,  0.97])
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    scores = np.array([_NORMAL.inv_cdf(each / len(values)) for each in middle])
    return np.asarray(scores[places], np.float64).reshape(len(values))


def _squared_distances(one: Floats, two: Floats) -> Floats:
    lengths = (one * one).sum(1)[:, None] + (two * two).sum(1)[None]
    return np.asarray(np.maximum(lengths - 2 * one @ two.T, 0.0), np.float64)
