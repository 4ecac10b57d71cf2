"""A good answer, fast: sequential linear programming, then single neurons are added and exchanged.

1. `climb` replaces every cost by its tangent at the present sizes, solves that problem within a trust region
   around them, and repeats at its answer. A step that does not raise utility minus penalty halves the trust
   region (sequential linear programming with an exact penalty; Fletcher and Sainz de la Maza, "Nonlinear
   programming and nonsmooth optimization by successive linear programming", Mathematical Programming 43,
   1989).
2. A linearised problem has concave utilities of single sizes and linear costs. At a price per budget each
   size is chosen on its own, and the price is raised until the budget is satisfied (Everett, "Generalized
   Lagrange multiplier method for solving problems of optimum allocation of resources", Operations Research
   11, 1963).
3. `shave`, `fill` and `exchange` make an answer fit and use up what is left: greedily, by utility per priced
   unit of budget (marginal analysis; Fox, "Discrete optimization via marginal analysis", Management Science
   13, 1966), then by the best swaps of two sizes' neurons.
"""

from collections.abc import Callable

import numpy as np

from naivegraph.solvers.budget.compact import Compact, magnitude
from naivegraph.solvers.budget.problem import Floats, Ints

Deadline = Callable[[], bool]
_TINY = 1e-300


class LocalSearch:
    """Search for positions of high utility within the budgets of a compact problem.

    `prices` are kept from one call to the next: utility per unit of each budget, as the last linearised
    problem found them. They rank moves, and they are where the upper bound starts.
    """

    def __init__(self, c: Compact) -> None:
        self.c = c
        self.prices = np.zeros(len(c.limits))
        self._rounds = int(np.ceil(np.log2(max(2, int(c.count.max(initial=1)))))) + 1

    def respond(self, prices: Floats, low: Ints, high: Ints) -> Ints:
        """Return the best position of each variable at given prices: the first not worth leaving.

        Args:
            prices: The price of one unit of each variable.
            low: First position of each variable.
            high: Last position of each variable.
        """
        low, high = low.copy(), high.copy()
        for _ in range(self._rounds):  # a binary search in all runs at once
            middle = (low + high) // 2
            up = (self.c.density[self.c.base + middle] > prices) & (low < high)
            low = np.where(up, middle + 1, low)
            high = np.where(up, high, np.maximum(middle, low))
        return low

    def allot(self, x: Ints, low: Ints, high: Ints) -> Ints:
        """Solve the problem with every cost replaced by its tangent at `x`, within `low` to `high`.

        With several budgets one price after the other is set, three times over; `prices` are updated.
        """
        costs, slopes = self.c.slopes(self.c.size(x))
        room = self.c.limits - costs + slopes @ self.c.size(x)
        best = self.respond(self.prices @ slopes, low, high)
        for _ in range(1 if len(room) == 1 else 3):
            for b in range(len(room)):
                best = self._price(b, slopes, room, low, high)
        return best

    def _price(self, b: int, slopes: Floats, room: Floats, low: Ints, high: Ints) -> Ints:
        """Set the price of budget `b` to the lowest that keeps the budget, and return the answer at it.

        Consumption falls as the price rises, so doubling brackets the price and bisection finds it.
        """
        rest = self.prices @ slopes - self.prices[b] * slopes[b]

        def answer(price: float) -> tuple[bool, Ints]:
            """Return the best positions at a price, and whether they keep the budget."""
            x = self.respond(rest + price * slopes[b], low, high)
            return float(slopes[b] @ self.c.size(x)) <= room[b], x

        kept, x = answer(0.0)
        if kept:
            self.prices[b] = 0.0
            return x
        used = slopes[b] > 0
        worth = (self.c.density[self.c.base + low] - rest)[used] / slopes[b][used]
        dearest = float(worth.max(initial=0.0))
        cheap, dear = 0.0, self.prices[b] or dearest / 2
        while not answer(dear)[0] and dear < 2 * dearest:
            cheap, dear = dear, dear * 2
        x = answer(dear)[1]
        for _ in range(60):
            if dear - cheap <= 1e-7 * dear:
                break
            price = (cheap + dear) / 2
            kept, trial = answer(price)
            if kept:
                dear, x = price, trial
                if float(slopes[b] @ self.c.size(x)) >= room[b] * (1 - 1e-6):
                    break
            else:
                cheap = price
        self.prices[b] = dear
        return x

    def climb(self, x: Ints, trust: float = 0.5, late: Deadline | None = None) -> Ints:
        """Follow linearised problems from `x`; the trust region shrinks when a step does not help.

        Args:
            x: Positions to begin at; they may exceed budgets, and so may the result.
            trust: Largest relative change of a size per step.
            late: Tells whether the time is over.
        """
        c = self.c
        merit = -np.inf
        for _ in range(60):
            reach = np.maximum(1, np.ceil(trust * (c.start / c.step + x))).astype(np.int64)
            trial = self.allot(x, np.maximum(0, x - reach), np.minimum(c.count - 1, x + reach))
            over = np.maximum(0.0, c.costs(c.size(trial)) - c.limits)
            # An excess costs twice its price: more than the multiplier, so that the penalty is exact.
            score = c.value(trial) - 2.0 * float(self.prices @ over)
            strictly = merit + 1e-9 * abs(merit) if np.isfinite(merit) else merit
            if score > strictly:
                x, merit = trial, score
            elif trust < 0.004:
                break
            else:
                trust /= 2
            if late is not None and late():
                break
        self.allot(x, np.zeros_like(x), c.count - 1)  # prices that do not depend on the trust region
        return x

    def weigh(self, slopes: Floats) -> Floats:
        """Return the price of one unit of each variable, by which moves are ranked."""
        prices = self.prices if self.prices.any() else 1.0 / magnitude(self.c.limits)
        out: Floats = np.maximum(prices @ slopes, _TINY)
        return out

    def shave(self, x: Ints) -> Ints | None:
        """Remove what is worth least per unit of budget until every budget is kept; None if none can be."""
        c, x = self.c, x.copy()
        while True:
            k = c.size(x)
            costs, slopes = c.slopes(k)
            over = costs > c.limits
            if not over.any():
                return x if c.in_rows(k) else None
            relief = slopes[over].max(axis=0) > 0
            usable = (x > 0) & relief
            if not usable.any():
                return None
            far = bool(np.any(costs > 1.05 * np.abs(c.limits)))
            target = np.maximum(0, x - (np.maximum(1, x // 64) if far else 1))
            loss = (c.gain[c.base + x] - c.gain[c.base + target]) / np.maximum(1, (x - target) * c.step)
            v = int(np.argmin(np.where(usable, loss / self.weigh(slopes), np.inf)))
            x[v] = target[v]

    def fill(self, x: Ints) -> Ints:
        """Add what is worth most per unit of budget until nothing more fits; nothing of negative utility."""
        c, x = self.c, x.copy()
        barred = np.zeros(len(x), dtype=bool)
        while True:
            costs, slopes = c.slopes(c.size(x))
            more = np.minimum(x + 1, c.count - 1)
            gain = c.gain[c.base + more] - c.gain[c.base + x]
            fits = np.all(slopes * c.step <= (c.limits - costs)[:, None], axis=0)
            usable = (x < c.count - 1) & (gain >= 0) & fits & ~barred
            if not usable.any():
                return x
            v = int(np.argmax(np.where(usable, gain / (self.weigh(slopes) * c.step), -1.0)))
            steps = self._strides(v, x, slopes[:, v] * c.step[v], c.limits - costs)
            x[v] += steps
            if not c.fits(c.size(x)):
                x[v] -= steps
                barred[v] = True

    def _strides(self, v: int, x: Ints, unit: Floats, slack: Floats) -> int:
        """Return the number of steps to add at once: several while far more fit and there are no rows."""
        if self.c.rows or not unit.any():
            return 1
        fitting = float(np.min(slack[unit > 0] / unit[unit > 0]))
        ahead = self.c.gain[self.c.base[v] + x[v] : self.c.base[v] + self.c.count[v]]
        rising = int(np.argmax(ahead))
        return int(max(1, min(fitting // 32, rising)))

    def exchange(self, x: Ints, late: Deadline | None = None) -> Ints:
        """Swap neurons of one variable for neurons of another while that gains; fill up after each swap."""
        x = self.fill(x)
        for _ in range(400):
            better = self._swap(x)
            if better is None or (late is not None and late()):
                return x
            x = self.fill(better)
        return x

    def _swap(self, x: Ints) -> Ints | None:
        """Return the positions after the best swap that fits and gains, or None."""
        c = self.c
        costs, slopes = c.slopes(c.size(x))
        if not len(costs):
            return None
        unit = np.maximum(slopes * c.step, _TINY)
        slack = c.limits - costs
        options = [self._one_up(x, unit, slack), self._one_down(x, unit, slack)]
        net = np.concatenate([o[0].ravel() for o in options])
        floor = 1e-9 * abs(c.value(x))
        gaining = np.flatnonzero(net > floor)
        for flat in gaining[np.argsort(-net[gaining], kind="stable")[:24]]:
            which, at = divmod(int(flat), len(x) ** 2)
            i, j = divmod(at, len(x))
            trial = x.copy()
            trial[i] += options[which][1][i, j]
            trial[j] -= options[which][2][i, j]
            if c.fits(c.size(trial)):
                return trial
        return None

    def _one_up(self, x: Ints, unit: Floats, slack: Floats) -> tuple[Floats, Ints, Ints]:
        """Net gain of one step up of i with as many steps down of j as that takes.

        Returns:
            For each i and j (variables by variables): net gain, steps up of i, steps down of j.
        """
        c, n = self.c, len(x)
        short = np.maximum(0.0, unit - slack[:, None])
        with np.errstate(over="ignore"):  # of sizes that cost nothing, as inside of what is left out
            steps = np.ceil(np.max(short[:, :, None] / unit[:, None, :], axis=0) - 1e-9)
        down = np.minimum(steps, c.count[None, :] * 2.0).astype(np.int64)
        possible = (down <= x[None, :]) & (x < c.count - 1)[:, None] & ~np.eye(n, dtype=bool)
        gain = c.gain[c.base + np.minimum(x + 1, c.count - 1)] - c.gain[c.base + x]
        loss = (c.gain[c.base + x])[None, :] - c.gain[c.base[None, :] + np.maximum(0, x[None, :] - down)]
        return np.where(possible, gain[:, None] - loss, -np.inf), np.ones((n, n), dtype=np.int64), down

    def _one_down(self, x: Ints, unit: Floats, slack: Floats) -> tuple[Floats, Ints, Ints]:
        """Net gain of one step down of j with as many steps up of i as that makes room for; as `_one_up`."""
        c, n = self.c, len(x)
        room = slack[:, None] + unit
        with np.errstate(over="ignore"):
            steps = np.floor(np.min(room[:, None, :] / unit[:, :, None], axis=0) + 1e-9)
        up = np.clip(steps, 0, (c.count - 1 - x)[:, None]).astype(np.int64)
        possible = (up > 0) & (x > 0)[None, :] & ~np.eye(n, dtype=bool)
        gain = c.gain[(c.base + x)[:, None] + up] - c.gain[c.base + x][:, None]
        loss = c.gain[c.base + x] - c.gain[c.base + np.maximum(x - 1, 0)]
        return np.where(possible, gain - loss[None, :], -np.inf), up, np.ones((n, n), dtype=np.int64)

    def finish(self, x: Ints, late: Deadline | None = None) -> Ints | None:
        """Make `x` fit, then exchange; None where the budgets cannot be kept from there."""
        fitting = self.shave(x)
        return None if fitting is None else self.exchange(fitting, late)
