"""Solving a program: scale it, tighten its concave terms by tangents, run a backend, check the answer."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from naivegraph.solvers.arrays import Arrays, FloatArray, Rows, choose_units
from naivegraph.solvers.backend.guarded import GuardedSession
from naivegraph.solvers.backend.interface import Answer, Backend, Limits, Session, find_backend
from naivegraph.solvers.program import Program
from naivegraph.solvers.solution import Outcome, Solution
from naivegraph.solvers.tangents import Concave, Curves
from naivegraph.solvers.whole_rows import broken_row, cover_cuts, split_box, tightened, whole_rows, with_slack

_FIRST_TANGENTS = 8  # per concave term, before the linear relaxation
_REACH = 2  # segments on either side of the relaxation's answer to start the integers with
_MOST_COVERS = 50  # rounds in which an answer is cut off that the solver should not have given
_MOST_BOXES = 10_000  # parts of a program, split where only exact integers tell its answers apart
_ANSWERED = (Outcome.OPTIMAL, Outcome.FEASIBLE)


def solve(
    program: Program,
    *,
    backend: str | Backend = "highs",
    time_limit: float | None = None,
    gap: float = 0.0,
    start: ArrayLike | None = None,
    threads: int = 1,
) -> Solution:
    """Find the best answer of a program.

    Concave terms are relaxed to a few of their tangents. The linear relaxation is solved with tangents added
    where its answer lies above a curve, then the mixed-integer program with the tangents near that answer,
    again until nothing lies above (cutting planes: Kelley, "The cutting-plane method for solving convex
    programs", Journal of the Society for Industrial and Applied Mathematics 8, 1960). The objective is worked
    out from the integer answer and the true curves, and every row is checked once more.

    Args:
        program: the program to maximise.
        backend: a name out of `backends()`, or a backend.
        time_limit: seconds for everything; the solver may overrun it a little. None for no limit.
        gap: accept an answer once `|bound - objective| / |objective|` is at most this.
        start: one value per column to begin from, nan where unknown; the answer is never worse than a
            complete start that satisfies the rows.
        threads: the number of threads the solver may use.

    Returns:
        The solution. Reaching the time limit is an outcome of it, as is a failure of the solver.

    Raises:
        ValueError: no such backend, a limit out of range, or a start of the wrong length.

    >>> from naivegraph.solvers import Program, solve
    >>> program = Program()
    >>> size = program.column("size", 0, 10, objective=1.0)
    >>> _ = program.row("at most 7.5", [size], [2.0], upper=15)
    >>> solution = solve(program)
    >>> solution.outcome.name, solution["size"], solution.bound
    ('OPTIMAL', 7.0, 7.0)
    """
    if time_limit is not None and not time_limit >= 0:
        raise ValueError(f"time_limit must be a number of seconds, not {time_limit}")
    if not 0 <= gap < math.inf:
        raise ValueError(f"gap must be a number from 0 up, not {gap}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    search = _Search(program, find_backend(backend), program.arrays(), Limits(time_limit, gap, threads))
    return search.run(None if start is None else search.check_start(np.asarray(start, dtype=np.float64)))


def find_feasible(
    program: Program, *, backend: str | Backend = "highs", time_limit: float | None = None
) -> Solution:
    """Find any answer that satisfies the rows; the objective does not matter. Arguments as for `solve`."""
    arrays = program.arrays().without_cost()
    return _Search(program, find_backend(backend), arrays, Limits(time_limit)).run(None)


class _Search:
    """State of one solve: the scaled program, the best answer and the best bound so far, in scaled units."""

    def __init__(self, program: Program, backend: Backend, arrays: Arrays, limits: Limits) -> None:
        self._began = time.perf_counter()
        self._cost = arrays.cost
        self._program, self._backend, self._limits = program, backend, limits
        self._whole = whole_rows(arrays)
        terms, arrays, self._constant = _without_constant(program.terms, with_slack(arrays, self._whole))
        auxiliaries = np.array([term.auxiliary for term in terms], dtype=np.int64)
        counted = arrays.cost[auxiliaries] != 0
        slopes = [np.diff(term.values) for term, counts in zip(terms, counted, strict=True) if counts]
        self._units = choose_units(arrays, auxiliaries, np.concatenate([np.zeros(0), *slopes]))
        self._arrays = self._units.scaled(arrays)
        matters = counted | np.isin(auxiliaries, arrays.rows.indices)
        self._curves = Curves(terms, self._units.cost, matters)
        # Columns that may need polishing: the others are whole numbers or follow from them.
        self._free = ~arrays.integer
        self._free[auxiliaries] = False
        self._hint: FloatArray | None = None
        self._best: FloatArray | None = None
        self._value = -math.inf
        self._bound = math.inf
        self._complaint = ""

    def check_start(self, start: FloatArray) -> FloatArray:
        """Return the start; ValueError if it has the wrong length."""
        if start.shape != self._arrays.cost.shape:
            raise ValueError(
                f"start has shape {start.shape}, but the program has {len(self._arrays.cost)} columns "
                "(auxiliary columns of concave terms among them)"
            )
        return start

    def run(self, start: FloatArray | None) -> Solution:
        """Search from `start`, which is in the user's units."""
        if start is not None:
            self._hint = start / self._units.column
            self._hint[self._curves.auxiliaries] = np.nan
            self._offer(self._hint)
            self._complaint = ""  # a start need not satisfy the rows
        answer = self._solve()
        if answer.outcome is Outcome.UNBOUNDED:
            answer = self._tell_unbounded(answer)
        return self._report(answer)

    def _solve(self) -> Answer:
        """Solve the relaxation with a few tangents, then the integers with the tangents near its answer."""
        curves, arrays = self._curves, self._arrays
        if not len(arrays.cost):
            return self._nothing_to_choose()
        if not len(curves.columns):
            return self._split(self._rounds(self._open(arrays), relaxed=False))
        first = curves.spread(arrays.lower, arrays.upper, _FIRST_TANGENTS)
        whole = bool(arrays.integer.any())
        answer = self._rounds(self._open(arrays.relaxed().with_rows(first)), relaxed=whole)
        if not whole or answer.outcome is not Outcome.OPTIMAL or answer.values is None or self._closed():
            return answer
        near = curves.near(answer.values, _REACH)
        return self._split(self._rounds(self._open(arrays.with_rows(near)), relaxed=False))

    def _open(self, arrays: Arrays) -> Session:
        return GuardedSession(self._backend, arrays)

    def _nothing_to_choose(self) -> Answer:
        """Answer for a program without columns, which not every solver takes: its rows hold or do not."""
        nothing = np.zeros(0)
        self._offer(nothing)
        if self._best is None:
            return Answer(Outcome.INFEASIBLE, None, -math.inf, self._complaint)
        self._bound = 0.0
        return Answer(Outcome.OPTIMAL, nothing, 0.0)

    def _rounds(self, session: Session, *, relaxed: bool) -> Answer:
        """Solve and add tangents until the answer lies on the curves, is good enough, or time is up."""
        covers = 0
        while True:
            left = self._left()
            if left is not None and left <= 0:
                return Answer(Outcome.NO_ANSWER, None, self._bound, "the time limit was reached")
            hint = None if relaxed or not self._backend.warm_start else self._hint
            answer = session.run(replace(self._limits, time=left), hint)
            if answer.outcome is not Outcome.UNBOUNDED:
                self._bound = min(self._bound, answer.bound)
            if answer.values is None:
                return answer
            if not relaxed or self._is_whole(answer.values):
                self._offer(answer.values)
            cuts = self._curves.cuts(answer.values if relaxed else self._rounded(answer.values))
            if answer.outcome is not Outcome.OPTIMAL or self._closed():
                return answer
            if not relaxed and not cuts.count and self._complaint and covers < _MOST_COVERS:
                cuts, covers = self._covers(answer.values), covers + 1
            if not cuts.count:
                return answer
            session.add(cuts)

    def _split(self, answer: Answer) -> Answer:
        """The answer; instead of one that breaks a row of whole numbers unseen by the solver, the best other.

        Branch and bound, where the solver answers for each box of the columns and exact integers tell whether
        what it found is one: a box with a false answer is split around it.
        """
        if answer.values is None or not self._is_false(answer):
            return answer
        arrays, done, boxes = self._arrays, -math.inf, 0
        waiting = [(-self._bound, boxes, answer.values, arrays.lower, arrays.upper)]
        while waiting and boxes < _MOST_BOXES and answer.outcome is not Outcome.NO_ANSWER:
            bound, _, values, *box = heapq.heappop(waiting)
            for lower, upper in split_box(self._whole, self._rounded(values), *box):
                inside = tightened(self._whole, lower, upper)
                if inside is None:
                    continue
                part = replace(arrays, lower=inside[0], upper=inside[1])
                boxes, self._bound, self._complaint = boxes + 1, -bound, ""
                near = self._curves.near(values, _REACH)
                answer = self._rounds(self._open(part.with_rows(near)), relaxed=False)
                if answer.values is not None and self._is_false(answer):
                    heapq.heappush(waiting, (-self._bound, boxes, answer.values, *inside))
                else:
                    done = max(done, self._bound)
        self._bound = max([done, self._value, *(-each[0] for each in waiting)])
        if waiting and not self._closed():
            return replace(answer, outcome=Outcome.NO_ANSWER, values=None)
        self._complaint = ""
        outcome = Outcome.INFEASIBLE if self._best is None else Outcome.OPTIMAL
        return Answer(outcome, None, self._bound, answer.detail)

    def _is_false(self, answer: Answer) -> bool:
        """Tell whether a solver's best answer breaks a row of whole numbers, and a better one is needed."""
        if answer.outcome is not Outcome.OPTIMAL or answer.values is None or self._closed():
            return False
        values, rows = self._rounded(answer.values), self._arrays.rows
        activity = rows.activity(values)
        # What is further off than a solver's tolerance is the solver's mistake.
        close = (
            np.maximum(rows.lower - activity, activity - rows.upper) <= 1e-6 * (1 + rows.weight(values))
        ).all()
        return bool(close) and broken_row(self._whole, values) is not None

    def _covers(self, values: FloatArray) -> Rows:
        """Rows against an answer that breaks a row of whole numbers by less than the solver's tolerance."""
        arrays = self._arrays
        return cover_cuts(self._whole, self._rounded(values), arrays.lower, arrays.upper)

    def _left(self) -> float | None:
        """Seconds left; None without a limit."""
        if self._limits.time is None:
            return None
        return self._limits.time - (time.perf_counter() - self._began)

    def _closed(self) -> bool:
        """Tell whether the bound proves the best answer good enough."""
        slack = self._limits.gap * abs(self._value) + 1e-9 * max(1.0, abs(self._value))
        return self._best is not None and self._bound - self._value <= slack

    def _is_whole(self, values: FloatArray) -> bool:
        """Tell whether all integer columns are whole, but for rounding."""
        whole = values[self._arrays.integer]
        return bool((np.abs(whole - np.round(whole)) <= 1e-9).all())

    def _rounded(self, values: FloatArray) -> FloatArray:
        """The values with integer columns whole, all within their bounds; auxiliary columns untouched."""
        arrays = self._arrays
        whole = np.where(arrays.integer, np.round(values), np.clip(values, arrays.lower, arrays.upper))
        whole[self._curves.auxiliaries] = values[self._curves.auxiliaries]
        return whole

    def _offer(self, values: FloatArray) -> None:
        """Round an answer, put it onto the curves, check it, and keep it if it is the best so far."""
        values = values.copy()
        values[self._curves.auxiliaries] = 0.0
        if np.isnan(values).any():
            return
        whole = self._settle(self._rounded(values))
        complaint = self._violation(whole)
        if complaint and self._free.any():
            whole = self._settle(self._polished(whole))
            complaint = self._violation(whole)
        self._complaint = complaint
        if complaint:
            return
        value = float(self._arrays.cost @ whole)
        if value > self._value:
            self._best, self._value, self._hint = whole, value, whole

    def _settle(self, values: FloatArray) -> FloatArray:
        """The values, changed in place, with the auxiliary columns on the true curves."""
        values[self._curves.auxiliaries] = self._curves.evaluate(values)
        return values

    def _polished(self, values: FloatArray) -> FloatArray:
        """The best continuous values for the rounded whole ones, on which they may depend."""
        arrays = self._arrays
        # A term of a continuous column stays where it is, which keeps the answer but may not be the best.
        fixed = ~self._free
        fixed[self._curves.columns] = True
        pinned = replace(
            arrays.relaxed(),
            lower=np.where(fixed, values, arrays.lower),
            upper=np.where(fixed, values, arrays.upper),
        )
        left = self._left()
        limits = replace(self._limits, time=None if left is None else max(left, 0.0))
        answer = self._open(pinned).run(limits)
        return values if answer.values is None else np.where(fixed, values, answer.values)

    def _violation(self, values: FloatArray) -> str:
        """Complaint about an answer that violates bounds or rows; the empty string if it violates none."""
        arrays, rows = self._arrays, self._arrays.rows
        outside = (values < arrays.lower - 1e-9) | (values > arrays.upper + 1e-9)
        outside[self._curves.auxiliaries] = False
        if outside.any():
            return f"column {self._program.column_names[int(np.argmax(outside))]!r} leaves its bounds"
        broken = broken_row(self._whole, values)
        if broken is not None:
            return f"row {self._program.row_names[broken]!r} is violated once the integers are whole"
        activity = rows.activity(values)
        over = np.maximum(rows.lower - activity, activity - rows.upper)
        # Rows of whole numbers alone can only be off by rounding errors and by the solver's own tolerance.
        loose = np.bincount(rows.owners, ~self._arrays.integer[rows.indices], minlength=rows.count) > 0
        over -= np.where(loose, 1e-6, 2e-9) + 1e-12 * rows.weight(values)
        if not (over > 0).any():
            return ""
        at = int(np.argmax(over))
        return f"row {self._program.row_names[at]!r} is violated once the integers are whole"

    def _tell_unbounded(self, answer: Answer) -> Answer:
        """Tell unbounded from infeasible, which some solvers confuse, by asking for any answer at all."""
        if self._best is not None:
            return answer
        left = self._left()
        if left is not None and left <= 0:
            return Answer(Outcome.NO_ANSWER, None, math.inf, answer.detail)
        found = self._open(self._arrays.without_cost()).run(replace(self._limits, time=left))
        if found.outcome in _ANSWERED:
            return answer
        # With nothing to maximise, "unbounded" can only mean that nothing satisfies the rows.
        outcome = Outcome.INFEASIBLE if found.outcome is Outcome.UNBOUNDED else found.outcome
        return Answer(outcome, None, found.bound, found.detail)

    def _report(self, answer: Answer) -> Solution:
        """The solution in the user's units."""
        outcome, detail = answer.outcome, answer.detail
        if outcome is Outcome.UNBOUNDED or (outcome is Outcome.INFEASIBLE and self._best is None):
            self._best, extreme = None, math.inf if outcome is Outcome.UNBOUNDED else -math.inf
            return self._solution(outcome, None, extreme, extreme, detail)
        if self._best is None:
            if outcome is not Outcome.NO_ANSWER:
                outcome, detail = Outcome.ERROR, self._complaint or detail
            return self._solution(outcome, None, -math.inf, self._in_users_units(self._bound), detail)
        if outcome is Outcome.OPTIMAL and self._complaint and not self._closed():
            outcome, detail = Outcome.FEASIBLE, self._complaint
        elif self._closed():
            outcome = Outcome.OPTIMAL
        elif outcome is not Outcome.OPTIMAL:
            outcome = Outcome.FEASIBLE
        values = self._best * self._units.column
        for term in self._program.terms:
            values[term.auxiliary] = np.interp(values[term.column], np.arange(len(term.values)), term.values)
        objective = float(self._cost @ values)
        bound = max(self._in_users_units(self._bound), objective)
        return self._solution(outcome, values, objective, bound, detail)

    def _in_users_units(self, bound: float) -> float:
        return bound / self._units.cost + self._constant

    def _solution(
        self, outcome: Outcome, values: FloatArray | None, objective: float, bound: float, detail: str
    ) -> Solution:
        """A solution with the time it took and the columns' names."""
        seconds = time.perf_counter() - self._began
        names = {name: i for i, name in enumerate(self._program.column_names)}
        return Solution(outcome, values, objective, bound, seconds, detail, names)


def _without_constant(terms: Sequence[Concave], arrays: Arrays) -> tuple[list[Concave], Arrays, float]:
    """The program with what every answer has taken off its objective, and that constant.

    A gap relative to the objective would mean nothing beside a large constant.
    Every concave term starts at 0 at the least value of its column, and fixed columns cost nothing.
    """
    shift = np.zeros(len(arrays.cost))
    for term in terms:
        shift[term.auxiliary] = np.interp(arrays.lower[term.column], np.arange(len(term.values)), term.values)
    fixed = (arrays.lower == arrays.upper) & (shift == 0)
    fixed[[term.auxiliary for term in terms]] = False
    constant = float(arrays.cost @ shift + arrays.cost[fixed] @ arrays.lower[fixed])
    rows, moved = arrays.rows, arrays.rows.activity(shift)
    shifted = Arrays(
        np.where(fixed, 0.0, arrays.cost),
        arrays.lower - shift,
        arrays.upper - shift,
        arrays.integer,
        replace(rows, lower=rows.lower - moved, upper=rows.upper - moved),
    )
    started = [replace(term, values=term.values - shift[term.auxiliary]) for term in terms]
    return started, shifted, constant
