"""One step of bucket elimination: the maximum over one variable for every choice of its neighbours.

What a step computes from prices is a weighted sum of arrays, one per term. The arrays do not depend on the
prices, so they are computed once per box and stacked by shape, and each change of prices costs a few products
of matrices.
"""

from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.problem import Floats, Ints

_ROUNDS = 6  # of removing points of a hull all at once, before the rest goes one by one


@dataclass(eq=False)
class Elimination:
    """The removal of one variable, as planned.

    Args:
        v: The variable to remove.
        scope: Its neighbours, for each choice of which the maximum over v is kept.
        terms: Indices of the terms in its bucket.
        constraints: Indices of the constraints in its bucket.
        tables: Steps before this one whose tables are in its bucket.
        linear: Whether all its terms are affine in v and nothing else couples v to its neighbours, so that
            the maximum is a Legendre-Fenchel conjugate.
        equation: The constraint that determines v given its neighbours; None if there is none.
        size: The number of cells the step computes with.
    """

    v: int
    scope: tuple[int, ...]
    terms: list[int]
    constraints: list[int]
    tables: list[int]
    linear: bool
    equation: int | None
    size: int


class StepTables:
    """One step with everything computed that does not depend on prices.

    Args:
        step: The step.
        axes: The variable of each axis: the neighbours, and v at the end unless it is linear or in an
            equation.
        place: The axis of each of these variables.

    Attributes:
        choices: Pairs of the run of v (per choice of the neighbours; None for an axis of its own) and 0 or
            minus infinity where the constraints rule that run out.
    """

    def __init__(self, step: Elimination, axes: tuple[int, ...], place: dict[int, int]) -> None:
        self.step = step
        self.axes = axes
        self.place = place
        self.choices: list[tuple[Ints | None, Floats]] = []
        self._groups: dict[tuple[str, tuple[int, ...]], list[tuple[int, Floats]]] = {}
        self._stacks: dict[str, list[tuple[Ints, Floats]]] = {}

    def add(self, what: str, t: int, array: Floats) -> None:
        """Add the array of term t to the sum called `what`; arrays of one shape are stacked later."""
        array = array.reshape((1,) * (len(self.axes) - array.ndim) + array.shape)
        self._groups.setdefault((what, array.shape), []).append((t, array))

    def stack(self) -> None:
        """Stack the arrays added so far."""
        for (what, _), items in self._groups.items():
            pair = np.array([t for t, _ in items]), np.stack([a for _, a in items])
            self._stacks.setdefault(what, []).append(pair)
        self._groups.clear()

    def weighed(self, what: str, weights: Floats) -> Floats:
        """Return the sum of the arrays, each times its term's weight."""
        out = np.zeros((1,) * len(self.axes))
        for terms, stacked in self._stacks.get(what, []):
            out = out + np.tensordot(weights[terms], stacked, axes=1)
        return out

    def reduce(
        self, best: Floats, low: Floats, weights: Floats, tables: list[Floats], before: list["StepTables"]
    ) -> tuple[Floats, Floats | None]:
        """Return the maximum over v per choice of the neighbours.

        Args:
            best: Highest utility in each run of v.
            low: Smallest value in each run of v.
            weights: Priced coefficient of every term.
            tables: Tables of the steps before.
            before: These steps.

        Returns:
            The maximum, and, where v has no neighbours, the values it is the maximum of, one per run (else
            None).
        """
        scopes = [(i, before[i].step.scope) for i in self.step.tables]
        if self.step.linear:
            for i, _ in scopes:
                best = best + tables[i]
            slope = self.weighed("slope", weights)
            out = conjugate(low, best, slope) - self.weighed("rest", weights)
            return out, None if self.axes else best - slope * low - self.weighed("rest", weights)
        if self.step.equation is None:
            whole = self.choices[0][1] - self.weighed("rest", weights) + best
            for i, scope in scopes:
                whole = whole + self._aligned(tables[i], scope)
            return whole.max(axis=-1), None if self.step.scope else whole
        out = np.full([1] * len(self.axes), -np.inf)
        for offset, (at, mask) in enumerate(self.choices):
            whole = mask - self.weighed(f"rest{offset}", weights) + best[at]
            for i, scope in scopes:
                whole = whole + self._picked(tables[i], scope, at)
            out = np.maximum(out, whole)
        return out, None

    def _aligned(self, table: Floats, scope: tuple[int, ...]) -> Floats:
        """Return a table with its axes moved to those of this step."""
        order = sorted(range(len(scope)), key=lambda i: self.place[scope[i]])
        shape = [1] * len(self.axes)
        for i, size in enumerate(table.shape):
            shape[self.place[scope[i]]] = size
        return table.transpose(order).reshape(shape)

    def _picked(self, table: Floats, scope: tuple[int, ...], at: Ints | None) -> Floats:
        """Return a table at the runs `at` of v, its other axes moved to those of this step."""
        index: list[Ints | None] = []
        for i, u in enumerate(scope):
            if u == self.step.v:
                index.append(at)
            else:
                shape = [-1 if j == self.place[u] else 1 for j in range(len(self.axes))]
                index.append(np.arange(table.shape[i]).reshape(shape))
        out: Floats = table[tuple(index)]
        return out


def conjugate(low: Floats, best: Floats, slope: Floats) -> Floats:
    """Return `max_i best[i] - slope * low[i]` for every slope, a Legendre-Fenchel conjugate.

    Only corners of the upper hull of the points `(low, best)` can be the maximum, and between them the
    steepness falls, so the corner for a slope is found by a binary search.
    """
    finite = np.isfinite(best)
    if not finite.all():
        low, best = low[finite], best[finite]
        if not len(low):
            return np.full(slope.shape, -np.inf)
    begins = np.flatnonzero(np.diff(low, prepend=-np.inf) > 0)
    low, best = _upper_hull(low[begins], np.maximum.reduceat(best, begins))
    rise = np.diff(best) / np.diff(low)
    at = np.searchsorted(-rise, -slope)  # the first corner after which the hull rises no more than the slope
    out: Floats = best[at] - slope * low[at]
    return out


def _upper_hull(low: Floats, best: Floats) -> tuple[Floats, Floats]:
    """Return the corners of the upper hull of points in order of `low`.

    What lies below the line between its neighbours goes, all at once while that takes many; each round may
    uncover further ones, so the rest goes point by point (Andrew, "Another efficient algorithm for convex
    hulls in two dimensions", Information Processing Letters 9, 1979).
    """
    for _ in range(_ROUNDS):
        rise = np.diff(best) / np.diff(low)
        under = np.diff(rise) > 0
        if not under.any():
            return low, best
        corner = np.concatenate([[True], ~under, [True]])
        low, best = low[corner], best[corner]
    kept: list[tuple[float, float]] = []
    for x, y in zip(low.tolist(), best.tolist(), strict=True):
        while len(kept) > 1:
            (a, b), (c, d) = kept[-2:]
            if (y - d) / (x - c) <= (d - b) / (c - a):
                break
            kept.pop()
        kept.append((x, y))
    hull = np.array(kept)
    return hull[:, 0], hull[:, 1]
