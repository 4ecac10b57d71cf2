"""A third party's solver, small enough to read: simplex with Bland's rule, and branching on fractions.

The simplex method is that of Chvatal, "Linear programming" (1983), chapters 2 and 3, on a dense tableau.
"""

from __future__ import annotations

import math
import time

import numpy as np

from naivegraph.solvers import Answer, Backend, Limits, Outcome, register_backend
from naivegraph.solvers.arrays import Arrays, FloatArray

_SMALL = 1e-9


@register_backend
class BranchingBackend(Backend):
    """Branches on the first fraction, best bound first forgotten: for programs of a few columns."""

    name = "branching"

    @classmethod
    def available(cls) -> bool:
        return True

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        end = math.inf if limits.time is None else time.perf_counter() + limits.time
        best, value = None, -math.inf
        open_boxes = [(arrays.lower, arrays.upper)]
        while open_boxes:
            if time.perf_counter() > end:
                outcome = Outcome.NO_ANSWER if best is None else Outcome.FEASIBLE
                return Answer(outcome, best, math.inf, "out of time")
            lower, upper = open_boxes.pop()
            found = _relaxation(arrays, lower, upper)
            if found is None:
                continue
            if not np.isfinite(found).all():
                return Answer(Outcome.UNBOUNDED, None, math.inf, "a ray without end")
            if arrays.cost @ found <= value + _SMALL:
                continue
            away = np.abs(found - np.round(found)) * arrays.integer
            at = int(np.argmax(away > 1e-7))
            if away[at] <= 1e-7:
                best, value = found, float(arrays.cost @ found)
                continue
            below, above = upper.copy(), lower.copy()
            below[at], above[at] = np.floor(found[at]), np.ceil(found[at])
            open_boxes += [(lower, below), (above, upper)]
        if best is None:
            return Answer(Outcome.INFEASIBLE, None, -math.inf, "every branch is empty")
        return Answer(Outcome.OPTIMAL, best, value + _SMALL)


def _relaxation(arrays: Arrays, lower: FloatArray, upper: FloatArray) -> FloatArray | None:
    """The best point of the box, whole or not; infinite where there is no best, None if there is no point."""
    if (lower > upper).any():
        return None
    rows, width = arrays.rows, len(lower)
    matrix = np.zeros((rows.count, width))
    np.add.at(matrix, (rows.owners, rows.indices), rows.values)
    matrix = np.concatenate([matrix, np.eye(width)])
    low, high = np.concatenate([rows.lower, lower]), np.concatenate([rows.upper, upper])
    # Every column as the difference of two that are at least 0, every side of a row as one of its own.
    sides = [(matrix[np.isfinite(high)], high[np.isfinite(high)])]
    sides.append((-matrix[np.isfinite(low)], -low[np.isfinite(low)]))
    a, b = np.concatenate([side for side, _ in sides]), np.concatenate([limit for _, limit in sides])
    found = _simplex(np.concatenate([arrays.cost, -arrays.cost]), np.concatenate([a, -a], axis=1), b)
    return None if found is None else found[:width] - found[width:]


def _simplex(cost: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray | None:
    """Maximise `cost x` where `a x <= b` and `x >= 0`; all nan if that has no end, None if nothing is."""
    count, width = a.shape
    # One column more, the last, is what all rows are violated by; it is driven to 0 first.
    tableau = np.concatenate([a, np.eye(count), -np.ones((count, 1)), b[:, None]], axis=1)
    basis = np.arange(width, width + count)
    excess = width + count
    if count and b.min() < 0:
        _pivot(tableau, basis, int(np.argmin(b)), excess)
        first = np.zeros(excess + 1)
        first[excess] = -1.0
        _climb(tableau, basis, first)
        if excess in basis:
            row = int(np.argmax(basis == excess))
            if tableau[row, -1] > 1e-7:
                return None
            others = np.abs(tableau[row, :excess])
            _pivot(tableau, basis, row, int(np.argmax(others)))
    tableau[:, excess] = 0.0
    if not _climb(tableau, basis, np.concatenate([cost, np.zeros(count + 1)])):
        return np.full(width, np.nan)
    x = np.zeros(excess + 1)
    x[basis] = tableau[:, -1]
    return x[:width]


def _climb(tableau: FloatArray, basis: np.ndarray[tuple[int], np.dtype[np.int64]], cost: FloatArray) -> bool:
    """Pivot until nothing is gained; False if the gain has no end. Bland's rule keeps it from circling."""
    while True:
        gain = cost - cost[basis] @ tableau[:, :-1]
        gaining = np.flatnonzero(gain > _SMALL)
        if not len(gaining):
            return True
        column = int(gaining[0])
        steep = tableau[:, column] > _SMALL
        if not steep.any():
            return False
        steps = np.where(steep, tableau[:, -1] / np.where(steep, tableau[:, column], 1.0), np.inf)
        tied = np.flatnonzero(steps <= steps.min() + 1e-12)
        _pivot(tableau, basis, int(tied[np.argmin(basis[tied])]), column)


def _pivot(
    tableau: FloatArray, basis: np.ndarray[tuple[int], np.dtype[np.int64]], row: int, column: int
) -> None:
    tableau[row] /= tableau[row, column]
    others = np.arange(len(tableau)) != row
    tableau[others] -= np.outer(tableau[others, column], tableau[row])
    basis[row] = column
