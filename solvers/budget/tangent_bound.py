"""A bound from one tangent: cheap, whatever the sizes are multiplied with.

A sum of products of sizes is a convex function of the sizes' logarithms (Boyd et al., "A tutorial on
geometric programming", 2007), so it lies above its tangent `C(k') + sum_v slope_v * k'_v * log(k_v / k'_v)`
at any k'. With that in place of the cost every size can be chosen on its own. Tight where marginal utilities
fall faster than 1/k on the range that is left; it also tells for every size which values can be ruled out.
"""

from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.problem import Floats, Ints


@dataclass(frozen=True, eq=False)
class Separate:
    """The bound, and what is behind it.

    Args:
        value: No answer in the box is worth more.
        best: The position of each variable that the bound counts.
        excess: By how much that is better, for each variable, than the point the tangent touches.
        low: The smallest position of each variable that could beat the cutoff.
        high: The largest.
        aside: The highest bound of what lies outside of `low` to `high`.
    """

    value: float
    best: Ints
    excess: Floats
    low: Ints
    high: Ints
    aside: float


class Tangent:
    """Bounds for boxes of one compact problem."""

    def __init__(self, c: Compact) -> None:
        self.c = c
        self._owner = np.repeat(np.arange(len(c.count)), c.count)
        self._position = np.arange(len(self._owner)) - c.base[self._owner]
        self._k = (c.start[self._owner] + c.step[self._owner] * self._position).astype(np.float64)
        with np.errstate(divide="ignore"):
            self._log = np.log(self._k)
        straight = np.count_nonzero(c.factors, axis=1) <= 1  # such terms are their own tangents
        self._straight = c.weights[:, straight] @ c.matrix[c.factors[straight].max(axis=1, initial=0)]

    def bound(self, x: Ints, prices: Floats, low: Ints, high: Ints, cutoff: float) -> Separate:
        """Return the bound on the box `low` to `high` from the tangent at `x` and the budgets' prices."""
        c = self.c
        k = c.size(x)
        costs, slopes = c.slopes(k)
        line = prices @ self._straight
        bend = np.maximum(0.0, prices @ slopes - line) * k
        worth = c.gain - line[self._owner] * self._k
        curved = bend[self._owner] > 0
        worth[curved] -= bend[self._owner][curved] * self._log[curved]
        inside = (self._position >= low[self._owner]) & (self._position <= high[self._owner])
        worth[~inside] = -np.inf
        most = np.maximum.reduceat(worth, c.base)
        if not np.all(np.isfinite(most)):
            return Separate(np.inf, x, np.zeros(len(x)), low, high, -np.inf)
        bending = bend > 0
        fixed = (
            float(prices @ (c.limits - costs)) + float(line @ k) + float(bend[bending] @ np.log(k[bending]))
        )
        value = float(most.sum()) + fixed
        value += 1e-11 * (
            abs(value) + float(prices @ np.abs(c.limits)) + float(np.abs(most).sum()) + abs(fixed)
        )
        best = np.zeros_like(x)
        winners = np.flatnonzero(worth == most[self._owner])
        best[self._owner[winners[::-1]]] = self._position[winners[::-1]]
        alone = worth + (value - most)[self._owner]
        good = np.flatnonzero(alone > cutoff)
        first, last = high + 1, low - 1
        np.minimum.at(first, self._owner[good], self._position[good])
        np.maximum.at(last, self._owner[good], self._position[good])
        out = (self._position < first[self._owner]) | (self._position > last[self._owner])
        aside = float(alone[out & inside].max(initial=-np.inf))
        return Separate(value, best, most - worth[c.base + x], first, last, aside)
