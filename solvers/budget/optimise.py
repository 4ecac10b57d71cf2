"""Sizes worth the most within budgets, with a proof of how good they are.

Costs such as multiply-accumulates are sums of products of sizes, so a budget is neither linear nor convex.
Three parts, each of which stands alone: `local_search` finds a good answer in milliseconds,
`bucket_elimination` puts a price on every budget and maximises what is left exactly, which gives an upper
bound, and `branch_and_bound` splits the sizes' ranges until bound and answer meet.

Examples:
    Two layers in a row, 3 inputs and 10 outputs; the first neurons are worth most:

    >>> worth = [np.cumsum([0.0, 8, 4, 2, 1]), np.cumsum([0.0, 5, 4, 3, 2])]
    >>> macs = CostFunction("macs", (Term.of(3, 0), Term.of(1, 0, 1), Term.of(10, 1)))
    >>> answer = optimise(BudgetProblem.of(worth, [(macs, 40)]))
    >>> answer.k.tolist(), macs(answer.k), answer.certificate.value
    ([4, 2], 40, 24.0)
"""

import time
from collections.abc import Callable

import numpy as np

from naivegraph.solvers.backend.interface import Backend
from naivegraph.solvers.budget.branch_and_bound import EXACT, BranchAndBound
from naivegraph.solvers.budget.compact import Compact, compact, magnitude
from naivegraph.solvers.budget.local_search import LocalSearch
from naivegraph.solvers.budget.problem import (
    BudgetError,
    BudgetProblem,
    BudgetSolution,
    Certificate,
    CostFunction,
    Floats,
    Ints,
    LinearSum,
    Row,
    Term,
)
from naivegraph.solvers.budget.row_search import RowSearch, smallest_positions
from naivegraph.solvers.solution import Outcome

__all__ = [
    "BudgetError",
    "BudgetProblem",
    "BudgetSolution",
    "Certificate",
    "CostFunction",
    "LinearSum",
    "Row",
    "Term",
    "optimise",
    "smallest",
]


def optimise(
    problem: BudgetProblem,
    *,
    gap: float = 1e-3,
    time_limit: float = 20.0,
    backend: str | Backend = "highs",
    progress: Callable[[str], None] | None = None,
) -> BudgetSolution:
    """Find sizes worth the most with every cost within its limit.

    No budget is ever exceeded (exact where all numbers are whole), and nothing that still fits and is worth
    at least nothing is left out. Neurons of negative utility are left out unless rows or bounds require them.

    Args:
        problem: The sizes, their utilities, costs and rows.
        gap: Stop when the answer is known to be within this fraction of the best.
        time_limit: Stop after about this many seconds; the first answer and the first bound are always worked
            out.
        backend: Solves the programs that are needed where rows couple sizes.
        progress: Called with a line of text now and then.

    Raises:
        ValueError: The problem's parts do not fit together.
        BudgetError: No sizes keep the budgets; carries the smallest cost of each.
    """
    started = time.perf_counter()

    def seconds_left() -> float:
        """Return the time that is left."""
        return started + time_limit - time.perf_counter()

    def late() -> bool:
        """Tell whether the time is over."""
        return seconds_left() < 0

    problem.validate()
    c = compact(problem)
    search = RowSearch(c, backend, gap, seconds_left) if c.rows else LocalSearch(c)
    x = _first(problem, c, search, late, backend)
    first_seconds = time.perf_counter() - started
    if progress is not None:
        progress(f"first answer: value {c.value(x):.6g} after {first_seconds:.2f} s")
    if not c.rows and bool(np.all(x == c.count - 1)):
        bound = c.value(x)  # everything worth keeping is kept
    else:
        branching = BranchAndBound(c, x, _repair(search), gap, late, progress or (lambda line: None))
        bound = branching.run(search.prices.copy())
        x = branching.x
    k = c.lift(_within(problem, c, search, x, backend))
    certificate = Certificate(problem.value(k), max(bound, problem.value(k)))
    outcome = Outcome.OPTIMAL if certificate.gap <= max(gap, EXACT) else Outcome.FEASIBLE
    return BudgetSolution(k, certificate, outcome, time.perf_counter() - started, first_seconds)


def smallest(problem: BudgetProblem, cost: str | None = None, *, backend: str | Backend = "highs") -> Ints:
    """Return sizes at which a cost is smallest within bounds, steps and rows.

    Args:
        problem: The sizes, costs and rows.
        cost: Name of the cost; by default the sum of all costs, each relative to its limit. Without rows one
            answer is smallest for all costs at once.
        backend: Solves the programs that are needed where rows couple sizes.

    Raises:
        ValueError: The problem's parts do not fit together, or it has no cost of that name.
        BudgetError: The rows and bounds contradict each other.

    Examples:
        >>> smallest(BudgetProblem.of([[0, 1, 2]] * 2, lower=[1, 2])).tolist()
        [1, 2]
    """
    problem.validate()
    names = [c.name for c, _ in problem.costs]
    if cost is not None and cost not in names:
        raise ValueError(f"no cost is named {cost}; there are {', '.join(names) or 'none'}")
    c = compact(problem)
    return c.lift(_smallest(c, None if cost is None else names.index(cost), backend))


def _smallest(c: Compact, b: int | None, backend: str | Backend) -> Ints:
    """Return the positions at which budget `b`, or all together, are smallest."""
    shares = 1.0 / magnitude(c.limits) if b is None else np.eye(len(c.limits))[b]

    def weigh(k: Floats) -> Floats:
        """Return the derivatives at the values `k`."""
        return shares @ c.slopes(k)[1]

    return smallest_positions(c, weigh, backend)


def _first(
    problem: BudgetProblem, c: Compact, search: LocalSearch, late: Callable[[], bool], backend: str | Backend
) -> Ints:
    """Return a first answer: from everything downwards, or else from the smallest upwards.

    Raises:
        BudgetError: No sizes keep the budgets.
    """
    if not c.rows and c.fits(c.size(c.count - 1)):
        return c.count - 1
    least = _smallest(c, None, backend)
    if not c.fits(c.size(least)):
        _refuse(problem, c, backend)
    start = c.count - 1
    if c.rows and len(c.limits):
        start = search.allot(least, np.zeros_like(least), c.count - 1)
    for begin in (start, least):
        answer = search.finish(search.climb(begin, late=late), late)
        if answer is not None:
            return answer
    return search.exchange(least, late)


def _within(problem: BudgetProblem, c: Compact, search: LocalSearch, x: Ints, backend: str | Backend) -> Ints:
    """Remove what exceeds a limit by rounding alone; here costs are added up exactly."""
    while any(cost(c.lift(x)) > limit for cost, limit in problem.costs):
        c.limits = c.limits - np.maximum(c.rounding, 1e-12 * np.abs(c.limits))
        fitting = search.shave(x)
        if fitting is None:
            _refuse(problem, c, backend)
        else:
            x = fitting
    return x


def _refuse(problem: BudgetProblem, c: Compact, backend: str | Backend) -> None:
    """Raise BudgetError with the smallest cost that can be reached for each budget."""
    reached: dict[str, float] = {}
    parts = []
    for b, (cost, limit) in enumerate(problem.costs):
        least = cost(c.lift(_smallest(c, b, backend)))
        reached[cost.name] = max(least, reached.get(cost.name, least))
        note = "" if least <= limit else " (impossible)"
        parts.append(f"{cost.name} at most {limit:g}{note}; the smallest that can be reached is {least:g}")
    raise BudgetError("no sizes meet the budgets: " + "; ".join(parts), reached)


def _repair(search: LocalSearch) -> Callable[[Ints], Ints | None]:
    """Return a function that makes a relaxation's answer fit and leaves the search's prices as they are."""
    prices = search.prices.copy()

    def repair(x: Ints) -> Ints | None:
        """Return an answer near the positions `x`, or None."""
        search.prices = prices.copy()
        if search.c.rows and search.c.fits(search.c.size(x)):
            return search.exchange(x)
        return search.finish(search.climb(x, 0.1))

    return repair
