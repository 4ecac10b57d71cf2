"""How much better any answer could be: priced budgets give a bound, boxes are split until it is close enough.

Lagrangian relaxation inside branch and bound (Geoffrion, "Lagrangean relaxation for integer programming",
1974). With the prices of the incumbent the first bound is often within a few neurons of it. Where it is not,
two far apart choices are equally good at those prices, and splitting the variable on which they differ most
tells them apart.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from naivegraph.solvers.budget.bucket_elimination import Grid, Maximum
from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.factor_graph import Factors
from naivegraph.solvers.budget.local_search import Search
from naivegraph.solvers.budget.problem import Floats, Ints
from naivegraph.solvers.budget.tangent_bound import Separate, Tangent

EXACT = 1e-9  # gaps below this are rounding
_ROUNDS = 8  # relaxations per box before it is split


@dataclass(order=True)
class Box:
    """Positions `low` to `high`, a bound on what they can be worth, and the prices it was found at."""

    rank: tuple[float, int]
    low: Ints = field(compare=False)
    high: Ints = field(compare=False)
    prices: Floats = field(compare=False)

    @property
    def bound(self) -> float:
        """No answer in the box is worth more."""
        return -self.rank[0]


@dataclass(eq=False)
class Branching:
    """Raises the incumbent and lowers the bound until they meet.

    Args:
        c: The problem.
        x: The incumbent's positions.
        repair: Turns positions that may break a budget into an answer, or None.
        gap: Relative distance of value and bound to stop at.
        late: Tells when time is over.
        progress: Called with a line of text now and then.
    """

    c: Compact
    x: Ints
    repair: Callable[[Ints], Ints | None]
    gap: float
    late: Callable[[], bool]
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.value = self.c.value(self.x)
        self.factors = Factors(self.c)
        self.closed = self.value  # the highest bound of any part that was put aside as good enough
        self.boxes = 0
        self.tangent = Tangent(self.c)
        self.guide = Search(self.c)
        self._skip_tables = False  # once tables have proved too coarse to help
        self._seen: set[bytes] = set()

    @property
    def cutoff(self) -> float:
        """A part whose bound is no higher needs no further look."""
        return self.value + 0.999 * max(self.gap, EXACT) * abs(self.value)

    @property
    def near(self) -> float:
        """A stricter cutoff for what is cheap to rule out, so that the gap that is reported is small."""
        return self.value + 0.1 * (self.cutoff - self.value)

    def run(self, prices: Floats) -> float:
        """Return the bound on every answer."""
        c = self.c
        heap = [Box((-np.inf, 0), np.zeros_like(c.count), c.count - 1, prices)]
        while heap and heap[0].bound > self.cutoff and not (self.boxes and self.late()):
            box = heapq.heappop(heap)
            for part in self._look(box):
                heapq.heappush(heap, part)
            if self.boxes & (self.boxes - 1) == 0:
                top = max([self.closed, *(b.bound for b in heap[:1])])
                self.progress(f"{self.boxes} boxes: value {self.value:.6g}, bound {top:.6g}")
        return float(max([self.closed, self.value, *(b.bound for b in heap)]))

    def _look(self, box: Box) -> list[Box]:
        """Bound one box; return what is left of it: nothing, or its parts."""
        self.boxes += 1
        if self._plain(box):
            return []
        separate = self._separate(box)
        if separate is None:
            return []
        if self._skip_tables:
            return self._split_separate(box, separate)
        low, high, bound = box.low.copy(), box.high.copy(), box.bound
        prices, best_prices = box.prices, box.prices
        search = Prices(self.c.limits)
        centres = [np.clip(self.x, low, high)]
        answers: list[Maximum] = []
        for _ in range(_ROUNDS):
            grid = Grid(self.factors, low, high, centres[-3:])
            found = grid.maximise(prices)
            answers.append(found)
            if found.value < bound:
                bound, best_prices = found.value, prices
            self._try(found.first)
            if bound <= self.cutoff:
                self.closed = max(self.closed, bound)
                return []
            if grid.crude and not self.c.rows:  # tables this coarse are slow and seldom get better
                self._skip_tables = True
                box.rank = (-bound, box.rank[1])
                return self._split_separate(box, separate)
            if self.late():
                break
            narrowed = self._narrow(found, grid, low, high)
            if np.any(low > high):
                return []
            centres.append(np.clip(found.first, low, high))
            optimism = found.value - self._priced(found, prices)
            moved = not np.array_equal(centres[-1], centres[-2])
            if narrowed or (moved and optimism > 0.2 * self.gap * abs(self.value)):
                continue
            change = search.next(prices, found, self.cutoff)
            if change is None:
                break
            prices = change
        return self._split(low, high, bound, best_prices, answers)

    def _separate(self, box: Box) -> Separate | None:
        """Bound and narrow a box by tangents alone; None if nothing is left of it."""
        at = np.clip(self.x, box.low, box.high)
        if not np.array_equal(at, self.x):  # the incumbent lies elsewhere: find a good point of this box
            self.guide.prices = box.prices.copy()
            for _ in range(3):
                at = self.guide.allot(at, box.low, box.high)
            box.prices = self.guide.prices.copy()
            if self._skip_tables:
                self._try(at)
        while True:
            found = self.tangent.bound(at, box.prices, box.low, box.high, self.near)
            if found.value < box.bound:
                box.rank = (-found.value, box.rank[1])
            if box.bound <= (self.near if self.boxes == 1 else self.cutoff):
                self.closed = max(self.closed, box.bound)
                return None
            if np.array_equal(found.low, box.low) and np.array_equal(found.high, box.high):
                return found
            self.closed = max(self.closed, found.aside)
            if np.any(found.low > found.high):
                return None
            box.low, box.high = found.low, found.high
            at = np.clip(at, box.low, box.high)

    def _split_separate(self, box: Box, found: Separate) -> list[Box]:
        """Halve the box where the tangent is furthest off."""
        wide = box.high > box.low
        if not wide.any():
            return [box]
        v = int(np.argmax(np.where(wide, found.excess + 1e-12 * (box.high - box.low), -1.0)))
        at = int(np.clip(self.x[v], box.low[v], box.high[v]))
        middle = (
            (at + int(found.best[v])) // 2
            if at != found.best[v]
            else (int(box.low[v]) + int(box.high[v])) // 2
        )
        return self._halve(box.low, box.high, v, middle, box.bound, box.prices)

    def _plain(self, box: Box) -> bool:
        """Settle a box whose smallest corner breaks a budget, or whose largest corner fits."""
        c = self.c
        if np.any(c.costs(c.size(box.low)) > c.limits + c.rounding):
            return True
        single = bool(np.all(box.low == box.high))
        if (single or not c.rows) and c.fits(c.size(box.high)):
            if c.value(box.high) > self.value:
                self.x, self.value = box.high, c.value(box.high)
            return True
        if single and c.in_rows(c.size(box.low)):  # over a limit, but by no more than rounding
            self.closed = max(self.closed, c.value(box.low))
        return single

    def _priced(self, found: Maximum, prices: Floats) -> float:
        """Return utility plus priced slack at the lower ends of the runs, as if there were no runs."""
        return self.c.value(found.first) + float(prices @ (self.c.limits - found.costs))

    def _try(self, x: Ints) -> None:
        """See whether an answer near `x` beats the incumbent."""
        key = x.tobytes()
        if key in self._seen:
            return
        self._seen.add(key)
        trial = self.repair(x)
        if trial is not None and self.c.value(trial) > self.value:
            self.x, self.value = trial, self.c.value(trial)

    def _narrow(self, found: Maximum, grid: Grid, low: Ints, high: Ints) -> bool:
        """Cut runs off both ends of the box that cannot hold anything better."""
        changed = False
        for v, marginal in found.marginals.items():
            good = np.flatnonzero(marginal > self.near)
            first, last = (int(good[0]), int(good[-1])) if len(good) else (len(marginal), -1)
            aside = np.concatenate([marginal[:first], marginal[max(last, first - 1) + 1 :]])
            self.closed = max(self.closed, float(aside.max(initial=-np.inf)))
            if not len(good):
                high[v] = low[v] - 1
                return True
            begin, end = int(grid.bins[v].first[first]), int(grid.bins[v].last[last])
            if end - begin < 0.8 * (high[v] - low[v]):
                changed = True
            low[v], high[v] = begin, end
        return changed

    def _split(
        self, low: Ints, high: Ints, bound: float, prices: Floats, answers: list[Maximum]
    ) -> list[Box]:
        """Halve the box between two answers that its prices cannot tell apart."""
        c = self.c
        wide = high > low
        if not wide.any():
            return [Box((-bound, 2 * self.boxes), low, high, prices)]
        last = answers[-1]
        over = [a for a in answers if np.any(a.costs > c.limits)]
        under = [a for a in answers if not np.any(a.costs > c.limits)]
        one = over[-1] if over else last
        two = under[-1] if under else last
        unit = (
            np.maximum(c.density[c.base + np.clip(one.first, low, high)], 0.0)
            + prices @ c.slopes(c.size(self.x))[1]
        )
        apart = np.abs(one.first - two.first) + 0.5 * (last.last - last.first)
        score = np.where(wide, unit * c.step * (apart + 1e-6 * (high - low)), -1.0)
        v = int(np.argmax(score))
        return self._halve(low, high, v, int(one.first[v] + two.first[v]) // 2, bound, prices)

    def _halve(self, low: Ints, high: Ints, v: int, middle: int, bound: float, prices: Floats) -> list[Box]:
        """Return the parts of a box up to and beyond a position of one variable."""
        middle = int(np.clip(middle, low[v], high[v] - 1))
        parts = []
        for i, (begin, end) in enumerate(((low[v], middle), (middle + 1, high[v]))):
            part_low, part_high = low.copy(), high.copy()
            part_low[v], part_high[v] = begin, end
            parts.append(Box((-bound, 2 * self.boxes + i), part_low, part_high, prices))
        return parts


class Prices:
    """Looks for the prices with the lowest bound: one price by its two tangents, several by Polyak's step."""

    def __init__(self, limits: Floats) -> None:
        self.limits = limits
        self._sides: dict[bool, tuple[float, float, float]] = {}

    def next(self, prices: Floats, found: Maximum, target: float) -> Floats | None:
        """Return prices to try next, or None when there is little left to gain."""
        slope = self.limits - found.costs
        if len(prices) != 1:
            return self._polyak(prices, slope, found.value, target)
        price, s = float(prices[0]), float(slope[0])
        if s == 0 or (price == 0 and s > 0):
            return None
        self._sides[s > 0] = (price, found.value, s)
        if len(self._sides) < 2:
            step = (found.value - target) / abs(s)
            other = price - step if s > 0 else price + step
            return np.array([float(np.clip(other, price * 0.7, max(price * 1.4, 1e-12)))])
        (p1, d1, s1), (p2, d2, s2) = self._sides[False], self._sides[True]
        cross = (d2 - d1 + s1 * p1 - s2 * p2) / (s1 - s2)
        floor = d1 + s1 * (cross - p1)
        if floor > target and min(d1, d2) - floor < 0.1 * (min(d1, d2) - target):
            return None
        if abs(p1 - p2) < 1e-9 * max(p1, p2):
            return None
        near, far = min(p1, p2), max(p1, p2)
        return np.array([float(np.clip(cross, near + 0.05 * (far - near), far - 0.05 * (far - near)))])

    def _polyak(self, prices: Floats, slope: Floats, value: float, target: float) -> Floats | None:
        scaled = slope / np.maximum(np.abs(self.limits), 1.0)
        free = (prices > 0) | (scaled < 0)
        length = float(np.sum(scaled[free] ** 2))
        if length == 0:
            return None
        move = np.where(free, (value - target) / length * scaled, 0.0) / np.maximum(np.abs(self.limits), 1.0)
        out: Floats = np.maximum(0.0, prices - np.clip(move, -0.5 * prices.max(), 0.5 * prices.max()))
        return out
