"""Least squares with coefficients from 0 up, of few unknowns."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

__all__ = ["fit_nonnegative"]

Floats = npt.NDArray[np.float64]


def fit_nonnegative(features: Floats, values: Floats) -> Floats:
    """Coefficients, none below 0, with which features come nearest to values, relative to the values.

    Every subset of features is tried, for a solution of the whole problem solves that of its positive
    coefficients without bounds (Lawson and Hanson, "Solving least squares problems", 1974, chapter 23).

    Args:
        features: Samples by features, all from 0 up, at most about six of them.
        values: Samples, all above 0.

    Returns:
        One coefficient per feature.

    Example:
        >>> samples = np.array([[1.0, 2.0, 8.0], [1.0, 4.0, 3.0], [1.0, 8.0, 1.0], [1.0, 9.0, 5.0]])
        >>> [round(float(c), 6) for c in fit_nonnegative(samples, 3.0 + 2.0 * samples[:, 1])]
        [3.0, 2.0, 0.0]
    """
    scale = features.max(axis=0)
    relative = features / np.where(scale > 0, scale, 1.0) / values[:, None]
    best, least = np.zeros(features.shape[1]), float(len(values))
    usable = [int(index) for index in np.flatnonzero(scale > 0)]
    for size in range(1, len(usable) + 1):
        for chosen in map(list, itertools.combinations(usable, size)):
            part = relative[:, chosen]
            found = np.linalg.lstsq(part, np.ones(len(values)), rcond=None)[0]
            error = float(np.sum((part @ found - 1.0) ** 2))
            if bool(np.all(found >= 0)) and error < least * (1 - 1e-9) - 1e-15:
                best, least = np.zeros(features.shape[1]), error
                best[chosen] = found / scale[chosen]
    return best
