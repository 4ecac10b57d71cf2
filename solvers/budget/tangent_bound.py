"""A bound from one tangent per cost, cheap however many sizes a cost multiplies with each other.

A sum of products of sizes with positive coefficients, a posynomial, is a convex function of the sizes'
logarithms (Boyd, Kim, Vandenberghe and Hassibi, "A tutorial on geometric programming", Optimization and
Engineering 8, 2007), so it lies above its tangent at any point k',

    C(k) >= C(k') + sum_v slope_v * k'_v * log(k_v / k'_v),

where slope_v is the derivative of C by k_v at k'. Tangents of convex functions in place of the functions are
the idea of cutting planes (Kelley, "The cutting-plane method for solving convex programs", 1960); here one
tangent per cost is priced, as in Lagrangian relaxation, rather than added as a constraint. What is left to
maximise,

    sum_v utility_v(k_v) - price * slope_v * k'_v * log(k_v) + constant,

is a sum over single sizes: each is maximised on its own, by looking at all of its values. Terms of one factor
are sums of single sizes already and stay as they are.

The bound is tight where marginal utilities fall faster than 1/k on the range that is left. As it is a sum,
exchanging one size's share for that of another value is the bound for that value, which rules values out.
"""

from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.problem import Floats, Ints


@dataclass(frozen=True, eq=False)
class SeparableBound:
    """A bound that is a sum over variables.

    Args:
        value: The bound: no answer in the box is worth more.
        best: The position of each variable at which its share of the bound is largest.
        excess: Share at `best` minus share at the point the tangent touches, per variable.
        low: The smallest position of each variable that could beat the cutoff.
        high: The largest.
        aside: The highest bound of all that lies outside of `low` to `high`.
    """

    value: float
    best: Ints
    excess: Floats
    low: Ints
    high: Ints
    aside: float


class TangentBound:
    """Bounds for boxes of one compact problem, from tangents of its costs."""

    def __init__(self, c: Compact) -> None:
        """Lay out the values of all variables and their logarithms, in the order of `c.gain`."""
        self.c = c
        self._owner = np.repeat(np.arange(len(c.count)), c.count)
        self._position = np.arange(len(self._owner)) - c.base[self._owner]
        self._k = (c.start[self._owner] + c.step[self._owner] * self._position).astype(np.float64)
        with np.errstate(divide="ignore"):
            self._log = np.log(self._k)
        straight = np.count_nonzero(c.factors, axis=1) <= 1  # sums of single sizes, which need no tangent
        self._straight = c.weights[:, straight] @ c.matrix[c.factors[straight].max(axis=1, initial=0)]

    def bound(self, x: Ints, prices: Floats, low: Ints, high: Ints, cutoff: float) -> SeparableBound:
        """Return the bound on a box of positions from the tangents at one point.

        Args:
            x: Positions of the point, within the box.
            prices: Utility per unit of each budget, at least 0.
            low: First position of each variable.
            high: Last position of each variable.
            cutoff: The bound up to which a value is ruled out.

        Returns:
            The bound; inf, with nothing ruled out, where the tangent has no finite value.
        """
        c = self.c
        k = c.size(x)
        costs, slopes = c.slopes(k)
        line = prices @ self._straight
        bend = np.maximum(0.0, prices @ slopes - line) * k  # the factor of log(k), from all other terms
        worth = c.gain - line[self._owner] * self._k
        curved = bend[self._owner] > 0
        worth[curved] -= bend[self._owner][curved] * self._log[curved]
        inside = (self._position >= low[self._owner]) & (self._position <= high[self._owner])
        worth[~inside] = -np.inf
        most = np.maximum.reduceat(worth, c.base)
        if not np.all(np.isfinite(most)):
            return SeparableBound(np.inf, x, np.zeros(len(x)), low, high, -np.inf)
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
        alone = worth + (value - most)[self._owner]  # the bound with one variable at this value
        good = np.flatnonzero(alone > cutoff)
        first, last = high + 1, low - 1
        np.minimum.at(first, self._owner[good], self._position[good])
        np.maximum.at(last, self._owner[good], self._position[good])
        out = (self._position < first[self._owner]) | (self._position > last[self._owner])
        aside = float(alone[out & inside].max(initial=-np.inf))
        return SeparableBound(value, best, most - worth[c.base + x], first, last, aside)
