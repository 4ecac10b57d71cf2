"""Concave piecewise linear terms, bounded from above by the tangents of their segments.

A program with the term `F(x)` in its objective gets a column t in its place and rows `t <= slope * x +
intercept`, one per segment of F. With all of them t is at most F(x), but F can have thousands of segments:
rows are added where an answer lies above the curve (outer approximation, as in Kelley's cutting planes; see
`solve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.arrays import BoolArray, FloatArray, IntArray, Rows

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Concave:
    """One term `F(x)` of the objective: `values[i]` at `x = i`, straight lines between.

    Attributes:
        name: its name in messages, and that of the auxiliary column.
        column: index of x.
        auxiliary: index of the column that stands for `F(x)`.
        values: `F(0)` to `F(n)`.
    """

    name: str
    column: int
    auxiliary: int
    values: FloatArray


class Curves:
    """All concave terms of a program at once, as flat arrays, with the tangents already in use.

    Segment i of a term lies between `x = i` and `x = i + 1`; segments are numbered through all terms.
    A tangent is the row `t - slope * x <= intercept` of one segment.
    """

    def __init__(self, terms: Sequence[Concave], scale: float, matters: BoolArray) -> None:
        """Lay out the terms with their values multiplied by `scale`.

        Args:
            terms: the concave terms.
            scale: factor from the user's units to those of the scaled objective.
            matters: for each term, whether the objective or a row depends on its auxiliary column.
        """
        self.columns = np.array([term.column for term in terms], dtype=np.int64)
        self.auxiliaries = np.array([term.auxiliary for term in terms], dtype=np.int64)
        self._matters = matters
        self._last = np.array([len(term.values) - 1 for term in terms], dtype=np.int64)
        self._point = np.concatenate([[0], np.cumsum(self._last + 1)]).astype(np.int64)[:-1]
        self._segment = np.concatenate([[0], np.cumsum(self._last)]).astype(np.int64)[:-1]
        self._values = _flat([term.values * scale for term in terms])
        # Largest slopes first: exactly concave, nowhere below F, and equal to F but for rounding errors.
        slopes = [-np.sort(-np.diff(term.values * scale)) for term in terms]
        self._slopes = _flat(slopes)
        self._intercepts = _flat(
            [
                term.values[0] * scale + np.cumsum(slope) - slope * np.arange(1, len(slope) + 1)
                for term, slope in zip(terms, slopes, strict=True)
            ]
        )
        self._term = np.repeat(np.arange(len(terms)), self._last)
        self._known = np.zeros(len(self._slopes), dtype=np.bool_)

    def evaluate(self, x: FloatArray) -> FloatArray:
        """`F(x)` of each term, where `x` holds one value per column of the program."""
        at = np.clip(x[self.columns], 0, self._last)
        left = np.floor(at).astype(np.int64)
        right = np.minimum(left + 1, self._last)
        low, high = self._values[self._point + left], self._values[self._point + right]
        result: FloatArray = low + (at - left) * (high - low)
        return result

    def spread(self, lower: FloatArray, upper: FloatArray, count: int) -> Rows:
        """The tangents of `count` segments per term, spread evenly over its column's range."""
        low, high = np.floor(lower[self.columns]), np.ceil(upper[self.columns]) - 1
        steps = np.linspace(0, 1, count)[:, None]
        return self._take(np.floor(low + steps * (high - low)))

    def near(self, x: FloatArray, reach: int) -> Rows:
        """The tangents of the segments at most `reach` away from `x`, all others forgotten."""
        self._known[:] = False
        at = np.floor(x[self.columns])
        return self._take(at + np.arange(-reach, reach + 1)[:, None])

    def cuts(self, x: FloatArray) -> Rows:
        """New tangents at `x` of the terms whose auxiliary column lies above the curve there."""
        true = self.evaluate(x)
        above = self._matters & (x[self.auxiliaries] > true + _TOLERANCE * np.maximum(1, np.abs(true)))
        at = np.where(above, x[self.columns], np.nan)
        # Both segments at a corner of the curve; elsewhere the two are the same.
        return self._take(np.stack([np.floor(at - 1e-7), np.floor(at + 1e-7)]))

    def _take(self, positions: FloatArray) -> Rows:
        """Tangents not yet in use of the segments at `positions` (any number x terms; nan for none)."""
        if not len(self.columns):
            return self._rows(np.zeros(0, dtype=np.int64))
        inside = (positions >= 0) & (positions < self._last) & self._matters
        numbers = np.where(inside, positions, 0).astype(np.int64) + self._segment
        chosen = np.unique(numbers[inside])
        chosen = chosen[~self._known[chosen]]
        self._known[chosen] = True
        return self._rows(chosen)

    def _rows(self, segments: IntArray) -> Rows:
        """Rows `t - slope * x <= intercept`, one per segment."""
        terms = self._term[segments]
        indices = np.stack([self.columns[terms], self.auxiliaries[terms]], axis=1)
        values = np.stack([-self._slopes[segments], np.ones(len(segments))], axis=1)
        upper = self._intercepts[segments]
        starts = np.arange(0, 2 * len(segments) + 1, 2, dtype=np.int64)
        return Rows(starts, indices.ravel(), values.ravel(), np.full(len(segments), -np.inf), upper)


def check_concave(name: str, values: FloatArray) -> None:
    """Raise ValueError where a term gains more than the step before, by more than rounding errors."""
    bends = np.diff(values, 2)
    if len(bends) and bends.max() > 1e-9 * np.abs(values).max():
        at = int(np.argmax(bends)) + 1
        raise ValueError(
            f"concave term {name!r} is not concave at {at}: it gains {values[at] - values[at - 1]:g} before "
            f"and {values[at + 1] - values[at]:g} after; sort the gains, largest first, and sum in float64"
        )


def _flat(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.zeros(0)
