"""An upper bound on every answer: Lagrangian relaxation inside branch and bound.

The incumbent is the best answer so far. A box is a range of positions per variable, and its bound is at least
the utility of every answer in it. Branch and bound (Land and Doig, "An automatic method of solving discrete
programming problems", Econometrica 28, 1960) takes the box of the highest bound, lowers the bound, and either
puts the box aside, because nothing in it beats the incumbent by more than the gap, or splits it. What is
reported in the end is the highest bound of all boxes, those put aside included.

Bounds come from Lagrangian relaxation (Geoffrion, "Lagrangean relaxation for integer programming",
Mathematical Programming Study 2, 1974; Fisher, "The Lagrangian relaxation method for solving integer
programming problems", Management Science 27, 1981): a price per budget takes the place of the budget, and any
maximum of utility plus priced slack is an upper bound. Relaxations are maximised, the cheap one first:

1. `tangent_bound` replaces each cost by a tangent in which every size stands alone.
2. `bucket_elimination` maximises the priced problem itself, exactly but for runs of values that it treats as
   one. Where so many sizes meet that runs would be long, `message_bound` takes its place.

As a function of the prices the bound is convex, and the slack of the maximiser is a subgradient.
`price_search` looks for the lowest.

At the incumbent's prices the first bound is often within a few neurons of it. Where it is not, there is a
duality gap: two distant choices, one over and one under a budget, are equally good at these prices. Splitting
the variable on which they differ most tells them apart.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from naivegraph.solvers.budget.bucket_elimination import BucketElimination, Maximum
from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.elimination_order import small_enough
from naivegraph.solvers.budget.factor_graph import FactorGraph
from naivegraph.solvers.budget.label_setting import LabelSetting
from naivegraph.solvers.budget.local_search import LocalSearch
from naivegraph.solvers.budget.message_bound import MessageBound
from naivegraph.solvers.budget.price_search import LineSearch, PriceSearch
from naivegraph.solvers.budget.problem import Floats, Ints
from naivegraph.solvers.budget.tangent_bound import SeparableBound, TangentBound

EXACT = 1e-9  # gaps below this are rounding
_ROUNDS = 8  # relaxations per box before it is split
_VAIN = 6  # answers drawn anew in vain before no more are drawn


@dataclass(order=True)
class Box:
    """Positions `low` to `high`, a bound on their utility, and the prices at which it was found.

    Args:
        rank: The negative bound and a running number, so that a heap yields the highest bound first.
        low: First position of each variable.
        high: Last position of each variable.
        prices: Utility per unit of each budget.
    """

    rank: tuple[float, int]
    low: Ints = field(compare=False)
    high: Ints = field(compare=False)
    prices: Floats = field(compare=False)

    @property
    def bound(self) -> float:
        """An upper bound on the utility of every answer in the box."""
        return -self.rank[0]


@dataclass(eq=False)
class BranchAndBound:
    """Search that raises the incumbent and lowers the bound until they are within the gap of each other.

    Args:
        c: The problem.
        x: The incumbent's positions.
        repair: Turns positions that may exceed a budget into an answer, or None.
        gap: Relative distance of value and bound to stop at.
        late: Tells whether the time is over.
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
        self.factors = FactorGraph(self.c)
        self.closed = self.value  # the highest bound of all that was put aside, which nothing there exceeds
        self.boxes = 0
        self.tangent = TangentBound(self.c)
        self.messages = MessageBound(self.c)
        self.guide = LocalSearch(self.c)
        self._draws = np.random.default_rng(0)
        self._vain = 0  # answers drawn anew since one was better
        self._skip_tables = False  # True once tables have proved too coarse to help
        self._seen: set[bytes] = set()

    @property
    def cutoff(self) -> float:
        """The bound up to which a box is put aside: within the gap of the incumbent."""
        return self.value + 0.999 * max(self.gap, EXACT) * abs(self.value)

    @property
    def near(self) -> float:
        """A stricter cutoff for parts that are cheap to rule out, which keeps the gap reported small."""
        return self.value + 0.1 * (self.cutoff - self.value)

    def run(self, prices: Floats) -> float:
        """Search until the gap is closed or the time over, and return an upper bound on every answer.

        Args:
            prices: Prices to begin with.
        """
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
        """Bound one box; return the parts of it that may hold something better, none if it is put aside."""
        self.boxes += 1
        if self._settle_corners(box):
            return []
        separate = self._separate(box)
        if separate is None:
            return []
        if self._skip_tables:
            return self._split_separate(box, separate)
        if self._sweeps_help(box):
            return self._sweep(box)
        low, high, bound = box.low.copy(), box.high.copy(), box.bound
        prices, best_prices = box.prices, box.prices
        search = PriceSearch(self.c.limits)
        centres = [np.clip(self.x, low, high)]
        answers: list[Maximum] = []
        for _ in range(_ROUNDS):
            grid = BucketElimination(self.factors, low, high, centres[-3:])
            found = grid.maximise(prices)
            answers.append(found)
            if found.value < bound:
                bound, best_prices = found.value, prices
            self._try(found.first)
            if bound <= self.cutoff:
                self.closed = max(self.closed, bound)
                return []
            # Tables this coarse are slow and seldom get better: tangents and splitting get further.
            if grid.crude and not self.c.rows:
                self._skip_tables = True
                box.rank = (-bound, box.rank[1])
                return self._split_separate(box, separate)
            if self.late():
                break
            # A bound too high has one of two causes. Where runs were too long (the maximum counts more than
            # its own point is worth), short ones around the new point help; otherwise other prices.
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
        if self._enumerated(BucketElimination(self.factors, low, high, centres[-3:]), best_prices):
            return []
        return self._split(low, high, bound, best_prices, answers)

    def _sweeps_help(self, box: Box) -> bool:
        """Tell whether messages are worth a try: where tables would have to be coarse."""
        return self.messages.possible and not small_enough(self.factors, box.low, box.high)

    def _sweep(self, box: Box) -> list[Box]:
        """Bound and narrow a box by messages, and split what is left of it."""
        prices, answers = box.prices, list[Maximum]()
        one = len(prices) == 1
        search = LineSearch(float(self.c.limits[0])) if one else PriceSearch(self.c.limits)
        for _ in range(_ROUNDS):
            centre = np.clip(self.x, box.low, box.high)
            found = self.messages.bound(prices, box.low, box.high, centre, self.cutoff, self.near)
            if found.value < box.bound:
                box.rank, box.prices = (-found.value, box.rank[1]), prices
            answers.append(Maximum(found.value, found.first, found.first, found.costs, {}))
            self._try(found.first)
            if box.bound > self.cutoff:
                self._shake()
            if box.bound <= self.cutoff:
                self.closed = max(self.closed, box.bound)
                return []
            self.closed = max(self.closed, found.aside)
            if np.any(found.low > found.high):
                return []
            box.low, box.high = found.low, found.high
            change = None if self.late() else search.next(prices, answers[-1], self.cutoff)
            if change is None:
                break
            prices = change
        return self._split(box.low, box.high, box.bound, box.prices, answers)

    def _enumerated(self, grid: BucketElimination, prices: Floats) -> bool:
        """Settle a box by looking at all choices above the cutoff; tell whether they are few enough."""
        if not grid.exact:
            return False
        room = self.cutoff - self.value
        found = LabelSetting(grid, prices).best_above(self.value + 0.5 * room, 0.4 * room)
        if found is None:
            return False
        bound, x = found
        self.closed = max(self.closed, bound)
        if x is not None:
            self._try(x)
            if self.c.fits(self.c.size(x)) and self.c.value(x) > self.value:
                self.x, self.value = x, self.c.value(x)
        return True

    def _separate(self, box: Box) -> SeparableBound | None:
        """Bound and narrow a box by tangents alone, as long as that helps; None if nothing is left of it."""
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

    def _split_separate(self, box: Box, found: SeparableBound) -> list[Box]:
        """Halve the box in the variable that adds most to the bound beyond the point the tangent touches."""
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

    def _settle_corners(self, box: Box) -> bool:
        """Settle a box whose smallest corner exceeds a budget or whose largest fits; tell whether it is one.

        Costs never fall as sizes grow: beyond a smallest corner nothing fits, and a largest corner that fits
        is the best of its box, as utility rises up to the last position unless there are rows.
        """
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
        """Return utility plus priced slack of the maximum's own point, without what runs add to it."""
        return self.c.value(found.first) + float(prices @ (self.c.limits - found.costs))

    def _try(self, x: Ints) -> None:
        """Repair `x`, and make the answer the incumbent if it is better; each `x` is tried once."""
        key = x.tobytes()
        if key in self._seen:
            return
        self._seen.add(key)
        trial = self.repair(x)
        if trial is not None and self.c.value(trial) > self.value:
            self.x, self.value = trial, self.c.value(trial)

    def _shake(self) -> None:
        """Try answers near the incumbent with some of its positions drawn anew.

        Where many sizes meet, the first answer may be a local maximum (iterated local search; Lourenço,
        Martin and Stützle in "Handbook of Metaheuristics", 2003).
        """
        for _ in range(2):
            if self._vain >= _VAIN:
                return
            value, drawn = self.value, self._draws.integers(self.c.count)
            self._try(np.where(self._draws.random(len(drawn)) < 0.1, drawn, self.x))
            self._vain = 0 if self.value > value else self._vain + 1

    def _narrow(self, found: Maximum, grid: BucketElimination, low: Ints, high: Ints) -> bool:
        """Cut runs that cannot hold anything better off both ends of the box; tell whether that is much.

        The bound with a variable in one of its runs (reduced-cost fixing, for runs) rules that run out where
        it does not exceed the incumbent by enough.
        """
        changed = False
        for v, marginal in found.marginals.items():
            good = np.flatnonzero(marginal > self.near)
            first, last = (int(good[0]), int(good[-1])) if len(good) else (len(marginal), -1)
            aside = np.concatenate([marginal[:first], marginal[max(last, first - 1) + 1 :]])
            self.closed = max(self.closed, float(aside.max(initial=-np.inf)))
            if not len(good):
                high[v] = low[v] - 1
                return True
            begin, end = int(grid.runs[v].first[first]), int(grid.runs[v].last[last])
            if end - begin < 0.8 * (high[v] - low[v]):
                changed = True
            low[v], high[v] = begin, end
        return changed

    def _split(
        self, low: Ints, high: Ints, bound: float, prices: Floats, answers: list[Maximum]
    ) -> list[Box]:
        """Halve the box between two choices that its prices cannot tell apart, one of them over a budget."""
        c = self.c
        wide = high > low
        if not wide.any():
            return [Box((-bound, 2 * self.boxes), low, high, prices)]
        last = answers[-1]
        over = [a for a in answers if np.any(a.costs > c.limits)]
        under = [a for a in answers if not np.any(a.costs > c.limits)]
        one = over[-1] if over else last
        two = under[-1] if under else last
        # The variable that matters most: distance between the two, times utility and price of one neuron.
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
