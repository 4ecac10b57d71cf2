"""The search for sizes: budgets and options in, sizes with a certificate out, or why there are none."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.costs import Cost
from naivegraph.costs.cost import sum_of
from naivegraph.edits.config.sync_config import with_config
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import InfeasibleError
from naivegraph.prune.branch_choices import widths_gone
from naivegraph.prune.branches import Branch
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.prune.floors import AT_LEAST, ratios
from naivegraph.prune.leave_out import without_gone
from naivegraph.solvers import Backend
from naivegraph.solvers.budget import (
    BudgetError,
    BudgetProblem,
    BudgetSolution,
    CostFunction,
    optimise,
    smallest,
)
from naivegraph.solvers.budget.problem import Certificate, Ints
from naivegraph.utility.collect import Floats
from naivegraph.widths import Width
from naivegraph.widths.widths import UNUSED

__all__ = [
    "Chosen",
    "Limited",
    "SolveOptions",
    "choose_sizes",
    "fixed_reasons",
    "smallest_cost",
    "told_rounding",
]

Progress = Callable[[str], None]

_ROUGH = 1e-2  # the gap while it is not yet known which sums are needed
_ROUNDING = 1e-12  # of a sum, relative
_FREELY, _SPARE = 3, 0.005  # corrections that need leave nothing spare, and what each after them adds to that


@dataclasses.dataclass(frozen=True)
class SolveOptions:
    """Options of the search for sizes, as `prune` takes them.

    Attributes:
        may_lower: Whether floors may be given up where nothing can be met with them.
    """

    ratio: float | Mapping[Any, float] | None
    round_to: int
    gap: float
    time_limit: float
    backend: str | Backend
    say: Progress
    may_lower: bool


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The sizes that were chosen, and by them the neurons.

    Attributes:
        program: The program.
        values: The utilities of neurons.
        solution: Its answer.
        notes: A note where floors were given up for it.
    """

    program: BudgetProgram
    values: Mapping[Width, Floats]
    solution: BudgetSolution
    notes: tuple[str, ...] = ()

    @property
    def utility(self) -> float:
        """The utility kept, as the program counts it: neurons of branches that go are not lost."""
        return self.program.utility(self.values, self.solution.k)

    @functools.cached_property
    def dropped(self) -> list[Branch]:
        """The branches that go."""
        return self.program.choices.dropped(self.solution.k)

    @property
    def gone(self) -> frozenset[str]:
        """The vertices that go with them."""
        return self.program.choices.gone(self.solution.k)

    def count(self, atom: Atom) -> int:
        """The number of neurons of a width that are kept."""
        column = self.program.column.get(atom)
        return atom.length if column is None else int(self.solution.k[column])

    @functools.cached_property
    def planned(self) -> tuple[Change, tuple[str, ...]]:
        """The change that keeps the best neurons, with what the network's config says of it, and notes."""
        program, graph = self.program, self.program.widths.graph
        leaving = {width.atom for width in widths_gone(program.widths, self.gone)}
        kept = {
            width: program.ranking(width, self.values[width]).best(int(size))
            for width, size in zip(program.free, self.solution.k, strict=False)  # branches follow
            if width.atom not in leaving
        }
        change = plan(program.widths, program.constraints, kept)
        if self.dropped:
            return without_gone(change, graph, self.gone), ()
        return with_config(change, program.constraints)

    def change(self) -> Change:
        """The change that keeps the best neurons."""
        return self.planned[0]


def choose_sizes(
    program: BudgetProgram,
    values: Mapping[Width, Floats],
    by_cost: Mapping[Cost, float],
    options: SolveOptions,
) -> Chosen:
    """The sizes that keep the most utility within budgets.

    Raises:
        InfeasibleError: No sizes keep the budgets.
    """
    try:
        return Chosen(program, values, _solve(program, values, by_cost, options))
    except BudgetError as error:
        if options.may_lower and program.floors:
            program.floors = {}
            again = dataclasses.replace(options, may_lower=False)
            return dataclasses.replace(choose_sizes(program, values, by_cost, again), notes=(_LOWERED,))
        raise InfeasibleError(_infeasible(program, by_cost, error, int(options.round_to))) from error


def told_rounding(
    chosen: Chosen, values: Mapping[Width, Floats], by_cost: Mapping[Cost, float], options: SolveOptions
) -> Chosen:
    """A choice of rounded sizes with a note on the utility that others would keep."""
    free = choose_sizes(chosen.program, values, by_cost, dataclasses.replace(options, round_to=1))
    gain = (free.utility - chosen.utility) / abs(chosen.utility) if chosen.utility else 0.0
    note = (
        f"Sizes are multiples of {options.round_to}, which the runtime is quick at; others would keep "
        f"{max(gain, 0.0):.2%} more of the utility within the same budgets, and may take longer."
    )
    return dataclasses.replace(chosen, notes=(*chosen.notes, note))


def smallest_cost(program: BudgetProgram, cost: Cost, step: int) -> int | float:
    """The least that a cost can be, with every width at its floor; of several sums the least of the largest.

    Raises:
        InfeasibleError: The constraints contradict each other.
    """
    steps = program.steps(step)
    nothing = {width: np.zeros(width.size) for width in program.free}
    limited = Limited(program, cost, 1.0)
    try:
        sizes = smallest(program.budgets(nothing, limited.active, steps))
    except BudgetError as error:
        raise InfeasibleError(str(error)) from error
    column, gone = program.column, program.choices.gone(sizes)
    return cost.value(
        program.widths, lambda atom: int(sizes[column[atom]]) if atom in column else atom.length, gone
    )


def _solve(
    program: BudgetProgram,
    values: Mapping[Width, Floats],
    by_cost: Mapping[Cost, float],
    options: SolveOptions,
) -> BudgetSolution:
    """Solve, and again with what exceeds a budget then, of costs that are the largest of several sums."""
    steps = program.steps(int(options.round_to))
    if options.ratio is not None:
        return _optimise(program.ratio(ratios(program.widths, options.ratio), steps), options)
    limits = [Limited(program, cost, budget) for cost, budget in by_cost.items()]
    started = time.perf_counter()
    rough = any(each.several for each in limits)
    while True:
        problem = program.budgets(values, [pair for each in limits for pair in each.active], steps)
        left = options.time_limit - (time.perf_counter() - started)
        gap = max(options.gap, _ROUGH) if rough else options.gap
        solution = _optimise(problem, dataclasses.replace(options, time_limit=max(left, 0.0), gap=gap))
        rows = program.choices.broken_rows(solution.k)
        program.rows += rows
        if not rows and not [each for each in limits if each.exceeded(solution.k)]:
            if not rough:
                return _without_dropped(program, values, solution)
            rough = False  # once the sums are found, in earnest


def _without_dropped(
    program: BudgetProgram, values: Mapping[Width, Floats], solution: BudgetSolution
) -> BudgetSolution:
    """The solution with a certificate of what is really kept.

    In the program neurons of branches that go count as kept. Their utility is the same number in the value of
    this answer and in the bound on all answers; without it in both, what is between them stays.
    """
    if not program.choices.dropped(solution.k):
        return solution
    also = program.choices.idle_value(solution.k)
    for width in widths_gone(program.widths, program.choices.gone(solution.k)):
        if width.atom in program.column:
            also += float(program.ranking(width, values[width]).sums[solution.k[program.column[width.atom]]])
    found = solution.certificate
    return dataclasses.replace(solution, certificate=Certificate(found.value - also, found.bound - also))


def _optimise(problem: BudgetProblem, options: SolveOptions) -> BudgetSolution:
    return optimise(
        problem,
        gap=options.gap,
        time_limit=options.time_limit,
        backend=options.backend,
        progress=options.say,
    )


class Limited:
    """A cost with its limit: the sums of it that the program has a budget for, and the others.

    A cost that is the largest of many sums (memory, at each moment) is above its limit in few of them. So the
    search begins with the one that is largest now, and the one that exceeds the limit most is added after it
    until none does (the cutting planes of Kelley, "The cutting-plane method for solving convex programs",
    1960). Each answer is the best for the budgets it was found with, which are some of all; so the last one
    is the best, and its certificate holds. Estimated sums are replaced by what is known better for the
    sizes found, and the certificate is for these.
    """

    def __init__(self, program: BudgetProgram, cost: Cost, budget: float) -> None:
        self._program, self._cost, self._corrections = program, cost, 0
        self._sums = [list(products) for products in cost.sums(program.widths)]
        self._limit = cost.limit(budget, cost.value(program.widths))
        self._active: dict[int, tuple[CostFunction, float]] = {}
        now = [sum_of(products) for products in self._sums]
        if now:
            self._limit_sum(now.index(max(now)), self._limit)

    @property
    def several(self) -> bool:
        """True if the cost is the largest of several sums."""
        return len(self._sums) > 1

    @property
    def active(self) -> list[tuple[CostFunction, float]]:
        """The sums there are budgets for, as functions of the columns, with their limits."""
        return list(self._active.values())

    def _limit_sum(self, place: int, limit: float) -> None:
        self._active[place] = self._program.cost(self._cost.name, self._sums[place], limit)

    def exceeded(self, sizes: Ints) -> bool:
        """Add the sum that exceeds the limit most at the sizes of the columns; tell whether one does."""
        column, gone = self._program.column, self._program.choices.gone(sizes)

        def count(atom: Atom) -> int:
            """The number of neurons of a width."""
            return int(sizes[column[atom]]) if atom in column else atom.length

        waiting = (place for place in range(len(self._sums)) if place not in self._active)
        values = {place: sum_of(self._sums[place], count, gone) for place in waiting}
        worst = max(values, key=values.__getitem__, default=None)
        if worst is not None and values[worst] > self._limit:
            self._limit_sum(worst, self._limit)
            return True
        return self._correct(count, gone)

    def _correct(self, count: Callable[[Atom], int], gone: frozenset[str]) -> bool:
        """Correct the sums there are budgets for, and add the one that exceeds the limit most, if one does.

        From the fourth time on they have to stay below the limit by ever more, so that the search ends.
        """
        corrected = self._cost.corrected(self._program.widths, count, gone)
        better = {place: list(products) for place, products in corrected.items()}
        values = {place: sum_of(products, count, gone) for place, products in better.items()}
        worst = max(values, key=values.__getitem__, default=None)
        if worst is None or values[worst] <= self._limit + _ROUNDING * abs(self._limit):
            return False
        self._corrections += 1
        spare = _SPARE * max(self._corrections - _FREELY, 0)
        for place in {worst, *self._active} & better.keys():
            if values[place] > sum_of(self._sums[place], count, gone):
                self._sums[place] = better[place]
            self._limit_sum(place, self._limit * (1 - spare))
        return True


_LOWERED = (
    f"Some layers keep less than {AT_LEAST:.0%} of their neurons, which is the least by default: the budget "
    "cannot be met otherwise (at_least= says how many are to stay)."
)


def _infeasible(program: BudgetProgram, by_cost: Mapping[Cost, float], error: BudgetError, step: int) -> str:
    """The message: of several budgets the smallest conflict, and the least that each can be.

    Without constraints between sizes all costs are least for the same sizes, so each budget that cannot be
    met is a conflict by itself.
    """
    if not error.smallest:
        return f"no sizes meet what was asked: {error}"
    told, alone = {}, set()
    for cost, budget in by_cost.items():
        now, least = cost.value(program.widths), smallest_cost(program, cost, step)
        if len(by_cost) == 1:  # weights that several branches share count in the program until the last goes
            least = max(least, error.smallest.get(cost.name, least))
        told[cost] = (
            f"at least {cost.format(least)} {cost.name} remain ({least / now:.2%} of {cost.format(now)})"
        )
        if least > cost.limit(budget, now):
            alone.add(cost)
    parts = [text for cost, text in told.items() if cost in alone or not alone]
    reasons = [*program.reasons(), *program.bounds(), *fixed_reasons(program)]
    if any(floor > 1 for floor in program.floors.values()):
        reasons.insert(0, "what at_least= names is to stay")
    because = f". What cannot change, among others: {reasons[0]}" if reasons else ""
    if not alone:
        return (
            f"the budgets cannot be met together, though each can alone, where {' and '.join(parts)}; raise "
            f"one of them or keep less{because}"
        )
    others = [cost.name for cost in told if cost not in alone]
    beside = f" (the budget of {' and '.join(others)} could be met)" if others else ""
    return (
        f"the budget cannot be met: whatever is removed, {' and '.join(parts)}; raise the budget or keep less"
        f"{beside}{because}"
    )


def fixed_reasons(program: BudgetProgram) -> list[str]:
    """The reasons for which parameters keep their sizes, if no size of the network can change."""
    if program.free:
        return []
    found: dict[str, list[str]] = {}
    for axis in program.widths.fixed():
        if axis.reason != UNUSED:
            found.setdefault(axis.reason, []).append(axis.name)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [f"{reason} ({names[0]}{', ...' * (len(names) > 1)})" for reason, names in ordered]
