"""The prices at which a bound is lowest.

As a function of the prices a bound by Lagrangian relaxation is convex, and the slack of its maximiser is a
subgradient. One price is found by the crossing of two tangents, several by subgradient steps of Polyak's
length ("Minimization of unsmooth functionals", USSR Computational Mathematics and Mathematical Physics 9,
1969).
"""

import numpy as np

from naivegraph.solvers.budget.bucket_elimination import Maximum
from naivegraph.solvers.budget.compact import magnitude
from naivegraph.solvers.budget.problem import Floats

__all__ = ["LineSearch", "PriceSearch"]

_STEP = 0.05  # of a price, the first step of a line search


class PriceSearch:
    """Search for the prices with the lowest bound, a convex function of them.

    At given prices the maximum is a bound, and the slack of its maximiser (limit minus cost) is a
    subgradient. With one price, the tangents at the last price on either side of the lowest point cross below
    it, and their crossing is tried next (cutting planes in one dimension), a little away from both; until
    both sides have been seen, the price moves to where its one tangent reaches the target, at most by a
    factor of 0.7 or 1.4. With several, Polyak's step `(bound - target) / |slope|^2` is taken against the
    slope, in units of the limits.
    """

    def __init__(self, limits: Floats) -> None:
        """Begin a search for budgets of these limits."""
        self.limits = limits
        self._sides: dict[bool, tuple[float, float, float]] = {}

    def next(self, prices: Floats, found: Maximum, target: float) -> Floats | None:
        """Return prices to try next, or None when there is little left to gain.

        Args:
            prices: The prices tried last.
            found: The maximum at these prices.
            target: The bound that would be low enough.
        """
        slope = self.limits - found.costs
        if len(prices) != 1:
            return self._polyak(prices, slope, found.value, target)
        price, s = float(prices[0]), float(slope[0])
        if s == 0 or (price == 0 and s > 0):  # the lowest point itself: flat, or rising from price 0
            return None
        self._sides[s > 0] = (price, found.value, s)
        if len(self._sides) < 2:
            step = (found.value - target) / abs(s)
            other = price - step if s > 0 else price + step
            return np.array([float(np.clip(other, price * 0.7, max(price * 1.4, 1e-12)))])
        (p1, d1, s1), (p2, d2, s2) = self._sides[False], self._sides[True]
        cross = (d2 - d1 + s1 * p1 - s2 * p2) / (s1 - s2)
        floor = d1 + s1 * (cross - p1)  # no price has a lower bound than this
        if floor > target and min(d1, d2) - floor < 0.1 * (min(d1, d2) - target):
            return None
        if abs(p1 - p2) < 1e-9 * max(p1, p2):
            return None
        near, far = min(p1, p2), max(p1, p2)
        return np.array([float(np.clip(cross, near + 0.05 * (far - near), far - 0.05 * (far - near)))])

    def _polyak(self, prices: Floats, slope: Floats, value: float, target: float) -> Floats | None:
        """Return the prices after one subgradient step, none below 0; None where the slope vanishes."""
        unit = magnitude(self.limits)
        scaled, shares = slope / unit, prices * unit
        free = (prices > 0) | (scaled < 0)
        length = float(np.sum(scaled[free] ** 2))
        if length == 0:
            return None
        move = np.where(free, (value - target) / length * scaled, 0.0)
        most = 0.5 * shares.max()
        out: Floats = np.maximum(0.0, shares - np.clip(move, -most, most)) / unit
        return out


class LineSearch:
    """Search for the one price with the lowest bound by the bounds themselves.

    For bounds whose maximisers say little about the slope, as where parts are maximised one by one and each
    has many maximisers. Steps double until the bound rises; then a parabola through the lowest three is
    followed (successive parabolic interpolation; Brent, "Algorithms for minimization without derivatives",
    1973).
    """

    def __init__(self, limit: float) -> None:
        """Begin a search for a budget of this limit."""
        self.limit = limit
        self._seen: list[tuple[float, float]] = []

    def next(self, prices: Floats, found: Maximum, target: float) -> Floats | None:
        """Return the price to try next, or None when there is little left to gain.

        Args:
            prices: The price tried last.
            found: The maximum at this price.
            target: The bound that would be low enough.
        """
        price = float(prices[0])
        if price <= 0:
            return None
        self._seen = sorted([*self._seen, (price, found.value)])
        seen, at = self._seen, min(range(len(self._seen)), key=lambda i: self._seen[i][1])
        if len(seen) == 1:
            step = -_STEP if found.costs[0] < self.limit else _STEP
            return np.array([price * (1 + step)])
        if at == 0:
            return np.array([max(seen[0][0] - 2 * (seen[1][0] - seen[0][0]), 0.5 * seen[0][0])])
        if at == len(seen) - 1:
            return np.array([min(seen[-1][0] + 2 * (seen[-1][0] - seen[-2][0]), 2 * seen[-1][0])])
        return self._parabola(at, target)

    def _parabola(self, at: int, target: float) -> Floats | None:
        """Return the lowest point of the parabola through a price and its neighbours."""
        (p1, v1), (p2, v2), (p3, v3) = self._seen[at - 1 : at + 2]
        left, right = (v1 - v2) / (p2 - p1), (v3 - v2) / (p3 - p2)
        if left + right <= 0:
            return None
        lowest = 0.5 * (left * (p2 + p3) + right * (p1 + p2)) / (left + right)
        gain = (left + right) / (p3 - p1) * (lowest - p2) ** 2
        if gain < 0.1 * (v2 - target):
            return None
        return np.array([float(np.clip(lowest, p1 + 0.1 * (p2 - p1), p3 - 0.1 * (p3 - p2)))])
