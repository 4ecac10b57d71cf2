"""One step of the elimination: the maximum over one variable for every choice of its neighbours."""

from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.problem import Floats, Ints


@dataclass(eq=False)
class Elimination:
    """The removal of one variable: its functions, and the neighbours for whom the maximum is kept."""

    v: int
    scope: tuple[int, ...]
    terms: list[int]
    relations: list[int]
    tables: list[int]
    linear: bool
    by: int | None
    size: int


class Tables:
    """One step with everything computed that does not depend on prices."""

    def __init__(self, step: Elimination, axes: tuple[int, ...], place: dict[int, int]) -> None:
        self.step = step
        self.axes = axes
        self.place = place
        self.open: list[tuple[Ints | None, Floats]] = []
        self._groups: dict[tuple[str, tuple[int, ...]], list[tuple[int, Floats]]] = {}
        self._stacks: dict[str, list[tuple[Ints, Floats]]] = {}

    def add(self, what: str, t: int, array: Floats) -> None:
        """Note a term's array; arrays of one shape are stacked."""
        array = array.reshape((1,) * (len(self.axes) - array.ndim) + array.shape)
        self._groups.setdefault((what, array.shape), []).append((t, array))

    def stack(self) -> None:
        """Stack the arrays noted so far."""
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
        self, best: Floats, low: Floats, weights: Floats, tables: list[Floats], before: list["Tables"]
    ) -> tuple[Floats, Floats | None]:
        """Return the maximum per choice of the neighbours; without neighbours also what it is taken over."""
        scopes = [(i, before[i].step.scope) for i in self.step.tables]
        if self.step.linear:
            for i, _ in scopes:
                best = best + tables[i]
            slope = self.weighed("slope", weights)
            out = _conjugate(low, best, slope) - self.weighed("rest", weights)
            return out, None if self.axes else best - slope * low - self.weighed("rest", weights)
        if self.step.by is None:
            whole = self.open[0][1] - self.weighed("rest", weights) + best
            for i, scope in scopes:
                whole = whole + self._aligned(tables[i], scope)
            return whole.max(axis=-1), None if self.step.scope else whole
        out = np.full([1] * len(self.axes), -np.inf)
        for offset, (at, mask) in enumerate(self.open):
            whole = mask - self.weighed(f"rest{offset}", weights) + best[at]
            for i, scope in scopes:
                whole = whole + self._picked(tables[i], scope, at)
            out = np.maximum(out, whole)
        return out, None

    def _aligned(self, table: Floats, scope: tuple[int, ...]) -> Floats:
        """Return a table with its axes where this step has them."""
        order = sorted(range(len(scope)), key=lambda i: self.place[scope[i]])
        shape = [1] * len(self.axes)
        for i, size in enumerate(table.shape):
            shape[self.place[scope[i]]] = size
        return table.transpose(order).reshape(shape)

    def _picked(self, table: Floats, scope: tuple[int, ...], at: Ints | None) -> Floats:
        """Return a table with the variable at the positions `at`, its other axes where this step has them."""
        index: list[Ints | None] = []
        for i, u in enumerate(scope):
            if u == self.step.v:
                index.append(at)
            else:
                shape = [-1 if j == self.place[u] else 1 for j in range(len(self.axes))]
                index.append(np.arange(table.shape[i]).reshape(shape))
        out: Floats = table[tuple(index)]
        return out


def _conjugate(low: Floats, best: Floats, slope: Floats) -> Floats:
    """Return `max_i best[i] - slope * low[i]` for every slope, through the upper hull of the points."""
    finite = np.isfinite(best)
    if not finite.all():
        low, best = low[finite], best[finite]
        if not len(low):
            return np.full(slope.shape, -np.inf)
    begins = np.flatnonzero(np.diff(low, prepend=-np.inf) > 0)
    low, best = low[begins], np.maximum.reduceat(best, begins)
    while True:
        rise = np.diff(best) / np.diff(low)
        under = np.flatnonzero(np.diff(rise) > 0) + 1  # below the line between its neighbours: no corner
        if not len(under):
            break
        low, best = np.delete(low, under), np.delete(best, under)
    at = np.searchsorted(-rise, -slope)
    out: Floats = best[at] - slope * low[at]
    return out
