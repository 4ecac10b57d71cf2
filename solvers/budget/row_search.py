"""Local search where rows couple sizes: each linearised problem is a mixed-integer program.

With rows, sizes cannot be chosen one by one at given prices. The linearised problem of `local_search` then is
a program with concave terms, one column per variable, which a backend solves; everything around it stays the
same. Budgets are elastic in it: an excess is allowed at a penalty, so that a program is feasible whenever the
rows are.
"""

from collections.abc import Callable

import numpy as np

from naivegraph.solvers.backend.interface import Backend
from naivegraph.solvers.budget.compact import Compact, magnitude
from naivegraph.solvers.budget.local_search import Deadline, LocalSearch
from naivegraph.solvers.budget.problem import BudgetError, Floats, Ints
from naivegraph.solvers.program import Program
from naivegraph.solvers.solution import Outcome
from naivegraph.solvers.solve import solve

_PENALTY = 4.0  # utility lost per unit of a budget's excess, as a multiple of its price
# Of the gap asked for, what each linearised program may leave: its answer is one of many on the way.
_SHARE = 0.5
_PART, _LEAST = 0.05, 0.3  # of the time that is left, for each of these programs; and seconds in any case


def program_of(c: Compact, low: Ints, high: Ints) -> Program:
    """Return a program over positions `low` to `high` (columns 0, 1, ...) with the rows of the problem."""
    program = Program()
    for v in range(len(c.count)):
        program.column(f"x{v}", float(low[v]), float(high[v]))
    for row in c.rows:
        offset = float(row.coefficients @ c.start[row.indices])
        program.row(
            row.name,
            row.indices,
            row.coefficients * c.step[row.indices],
            lower=row.lower - offset,
            upper=row.upper - offset,
        )
    return program


def smallest_positions(
    c: Compact, weigh: Callable[[Floats], Floats], backend: str | Backend = "highs"
) -> Ints:
    """Return positions at which a cost is smallest.

    Without rows that is the first position of every variable. With rows, programs that minimise the cost's
    tangent are solved, at most five, until the answer stays the same.

    Args:
        c: The problem.
        weigh: The derivatives of the cost by each variable at given values.
        backend: Solves the programs.

    Raises:
        BudgetError: The rows contradict each other or the bounds.
    """
    x = np.zeros_like(c.count)
    if not c.rows:
        return x
    previous: Ints | None = None
    for _ in range(5):
        slopes = weigh(c.size(x)) * c.step
        slopes = slopes / (slopes.max(initial=0.0) or 1.0) + 1e-3
        program = program_of(c, np.zeros_like(c.count), c.count - 1)
        total = program.column("total", 0.0, float("inf"), integer=False, objective=-1.0)
        program.row("total", [*range(len(c.count)), total], [*slopes, -1.0], upper=0.0)
        answer = solve(program, backend=backend)
        if answer.values is None:
            names = ", ".join(row.name for row in c.rows)
            raise BudgetError(f"no sizes meet the rows {names} together with the bounds and steps", {})
        x = np.rint(answer.values[: len(c.count)]).astype(np.int64)
        if previous is not None and np.array_equal(x, previous):
            break
        previous = x
    return x


class RowSearch(LocalSearch):
    """Local search whose linearised problems are programs, so that every step keeps the rows."""

    def __init__(
        self, c: Compact, backend: str | Backend, gap: float, seconds_left: Callable[[], float]
    ) -> None:
        super().__init__(c)
        self.backend, self.gap, self.seconds_left = backend, gap, seconds_left
        self._excess = np.zeros(len(c.limits))

    def allot(self, x: Ints, low: Ints, high: Ints) -> Ints:
        """Solve the problem with rows and the tangents of the costs at `x`, from `low` to `high`."""
        c, n = self.c, len(x)
        costs, slopes = c.slopes(c.size(x))
        program = program_of(c, low, high)
        for v in range(n):
            run = slice(c.base[v], c.base[v] + c.count[v])
            rises = c.density[run][:-1] * c.step[v]
            program.concave(f"worth{v}", v, c.gain[run][0] + np.concatenate([[0.0], np.cumsum(rises)]))
        scale = magnitude(c.limits)
        worth = max(abs(c.value(c.count - 1)), 1e-9)
        for b in range(len(costs)):
            # A continuous excess keeps the program feasible; its penalty makes it a last resort.
            fine = max(_PENALTY * float(self.prices[b]) * scale[b], worth)
            over = program.column(f"over{b}", 0.0, float("inf"), integer=False, objective=-fine)
            room = (c.limits[b] - self._excess[b] - costs[b] + slopes[b] @ (c.step * x)) / scale[b]
            unit = slopes[b] * c.step / scale[b]
            used = np.flatnonzero(unit)
            program.row(f"budget{b}", [*used, over], [*unit[used], -1.0], upper=float(room))
        answer = solve(
            program,
            backend=self.backend,
            gap=max(_SHARE * self.gap, 1e-5),
            time_limit=max(_PART * self.seconds_left(), _LEAST),
        )
        if answer.outcome is Outcome.INFEASIBLE or answer.values is None:
            return x
        out: Ints = np.rint(answer.values[:n]).astype(np.int64)
        return out

    def climb(self, x: Ints, trust: float = 0.5, late: Deadline | None = None) -> Ints:
        """Estimate the prices without the rows, then follow linearised programs from `x`."""
        if not len(self.prices):  # without budgets nothing is linearised: the program is the problem
            return self.allot(x, np.zeros_like(x), self.c.count - 1)
        if not self.prices.any():
            free = LocalSearch(self.c)
            free.climb(self.c.count - 1, late=late)
            self.prices = free.prices
        return super().climb(x, trust, late)

    def shave(self, x: Ints) -> Ints | None:
        """Solve again nearby with a little less of each exceeded budget until every budget is kept."""
        c = self.c
        self._excess = np.zeros(len(c.limits))
        for _ in range(8):
            k = c.size(x)
            over = c.costs(k) - c.limits
            if not np.any(over > 0):
                break
            self._excess += np.maximum(0.0, over) * 1.1
            reach = np.maximum(2, np.ceil(0.05 * (c.start / c.step + x))).astype(np.int64)
            x = self.allot(x, np.maximum(0, x - reach), np.minimum(c.count - 1, x + reach))
        self._excess = np.zeros(len(c.limits))
        return x if c.fits(c.size(x)) else None
