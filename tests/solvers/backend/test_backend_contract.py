"""Every test of the contract catches a backend that is wrong in its way, and `solve` survives them all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from naivegraph.solvers import Answer, Backend, HighsBackend, Limits, Outcome, Program, Session, solve
from naivegraph.solvers.arrays import Arrays, FloatArray, Rows
from naivegraph.solvers.backend_contract import BackendContract


class _Flawed(HighsBackend):
    """HiGHS, but for one thing that a subclass gets wrong."""

    name = "flawed"

    def open(self, arrays: Arrays) -> Session:
        return Session(self, arrays)

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        return self.changed(arrays, HighsBackend.open(self, self.seen(arrays)).run(limits, start))

    def seen(self, arrays: Arrays) -> Arrays:
        return arrays

    def changed(self, arrays: Arrays, answer: Answer) -> Answer:
        return answer


class _OtherNames(_Flawed):
    @classmethod
    def variants(cls) -> Mapping[str, Backend]:
        return {}


class _Negligent(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Take the first answer that fits for the best one."""
        found = super().solve_arrays(replace(arrays, cost=np.zeros_like(arrays.cost)), limits, start)
        return found if found.values is None else replace(found, bound=float(arrays.cost @ found.values))


class _CoarseCosts(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        return replace(arrays, cost=np.round(arrays.cost))


class _WorstWithinGap(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        answer = super().solve_arrays(replace(arrays, cost=-arrays.cost) if limits.gap else arrays, limits)
        if answer.values is None:
            return answer
        return replace(answer, bound=float(arrays.cost @ answer.values))


class _ShyOfInfeasible(_Flawed):
    def changed(self, arrays: Arrays, answer: Answer) -> Answer:
        infeasible = answer.outcome is Outcome.INFEASIBLE
        return replace(answer, outcome=Outcome.NO_ANSWER) if infeasible else answer


class _BoundedAnyway(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        return replace(arrays, upper=np.minimum(arrays.upper, 1e6))


class _WholeOnly(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        return replace(arrays, integer=np.ones_like(arrays.integer))


class _FromZero(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        return replace(arrays, lower=np.maximum(arrays.lower, 0.0))


class _Rounding(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        answer = super().solve_arrays(arrays.relaxed(), limits)
        if answer.values is None:
            return answer
        return replace(answer, values=np.where(arrays.integer, np.round(answer.values), answer.values))


class _ShortBound(_Flawed):
    def changed(self, arrays: Arrays, answer: Answer) -> Answer:
        return replace(answer, bound=answer.bound - 0.01)


class _DeafSession(Session):
    def add(self, rows: Rows) -> None:
        pass


class _ForgetsRows(_Flawed):
    def open(self, arrays: Arrays) -> Session:
        return _DeafSession(self, arrays)


class _KeepsTheStart(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        if start is None or np.isnan(start).any():
            return super().solve_arrays(arrays, limits)
        return Answer(Outcome.OPTIMAL, start, float(arrays.cost @ start))


class _OneThread(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        if limits.threads > 1:
            return Answer(Outcome.ERROR, None, math.inf, "one thread only")
        return super().solve_arrays(arrays, limits)


class _WritesIntoCosts(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        arrays.cost[:] *= -1
        return replace(arrays, cost=-arrays.cost)


class _Raises(_Flawed):
    def seen(self, arrays: Arrays) -> Arrays:
        if (arrays.lower > arrays.upper).any():
            raise ValueError("lower > upper")
        return arrays


class _RaisesWhenLate(_Flawed):
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        if limits.time is not None:
            raise TimeoutError("late")
        return super().solve_arrays(arrays, limits)


class _SureWhenLate(_Flawed):
    def changed(self, arrays: Arrays, answer: Answer) -> Answer:
        late = answer.outcome is Outcome.NO_ANSWER
        return Answer(Outcome.INFEASIBLE, None, -math.inf, "nothing found") if late else answer


class _Moody(_Flawed):
    def __init__(self) -> None:
        self.mood = 1.0

    def seen(self, arrays: Arrays) -> Arrays:
        self.mood = -self.mood
        return replace(arrays, cost=arrays.cost + 1e-6 * self.mood * np.arange(len(arrays.cost)))


class _GivesUpEarly(_Flawed):
    def changed(self, arrays: Arrays, answer: Answer) -> Answer:
        crowded = arrays.rows.count > 2 and not arrays.cost.any()
        return Answer(Outcome.INFEASIBLE, None, -math.inf, "so many rows") if crowded else answer


CAUGHT: dict[str, type[_Flawed]] = {
    "test_is_listed": _OtherNames,
    "test_agrees_with_trying_everything": _Negligent,
    "test_scale_of_the_objective_does_not_matter": _CoarseCosts,
    "test_keeps_the_gap": _WorstWithinGap,
    "test_infeasible": _ShyOfInfeasible,
    "test_unbounded": _BoundedAnyway,
    "test_continuous_columns": _WholeOnly,
    "test_bounds": _FromZero,
    "test_whole_numbers": _Rounding,
    "test_answers_hold": _ShortBound,
    "test_rows_added_between_solves": _ForgetsRows,
    "test_start_is_a_hint": _KeepsTheStart,
    "test_threads_do_not_matter": _OneThread,
    "test_leaves_the_arrays_alone": _WritesIntoCosts,
    "test_failure_is_an_outcome": _Raises,
    "test_time_limit_is_an_outcome": _RaisesWhenLate,
    "test_hardly_any_time_is_an_outcome": _SureWhenLate,
    "test_same_answer_twice": _Moody,
    "test_irreducible_infeasible_set": _GivesUpEarly,
}


def test_there_is_a_wrong_backend_for_every_test() -> None:
    assert set(CAUGHT) == {name for name in vars(BackendContract) if name.startswith("test_")}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_wrong_backend_is_caught(name: str) -> None:
    class Contract(BackendContract):
        backend: ClassVar[str | Backend] = CAUGHT[name]()

    with pytest.raises(AssertionError, match=r"\w.* "):
        getattr(Contract(), name)()


@pytest.mark.parametrize("name", [name for name in CAUGHT if name != "test_is_listed"])
def test_without_a_flaw_it_passes(name: str) -> None:
    class Contract(BackendContract):
        backend: ClassVar[str | Backend] = _Flawed()
        cases: ClassVar[int] = 10

    getattr(Contract(), name)()


def small() -> Program:
    program = Program()
    columns = program.columns(["a", "b"], 0, 5, objective=1.0)
    program.row("room", columns, [1.0, 1.0], upper=6)
    return program


class _Answers(_Flawed):
    """Gives what it was made with, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (OSError("no licence found"), "_Answers raised OSError: no licence found"),
        (None, "_Answers gave None, not an Answer"),
        (Answer(Outcome.OPTIMAL, np.zeros(3), 0.0), r"_Answers gave values of shape \(3,\) for 2 columns"),
        (Answer(Outcome.OPTIMAL, np.array([np.nan, 0]), 0.0), "_Answers gave values that are not finite"),
    ],
)
def test_what_a_backend_raises_or_gives_amiss_is_an_outcome(answer: object, says: str) -> None:
    solution = solve(small(), backend=_Answers(answer))
    assert solution.outcome is Outcome.ERROR
    assert solution.values is None
    assert re.fullmatch(says, solution.detail)


def test_a_bound_that_is_no_number_proves_nothing() -> None:
    solution = solve(small(), backend=_Answers(Answer(Outcome.OPTIMAL, np.array([5.0, 1.0]), math.nan)))
    assert (solution.objective, solution.bound) == (6.0, math.inf)


def test_a_session_that_fails_midway_is_an_outcome() -> None:
    class Midway(Session):
        def add(self, rows: Rows) -> None:
            raise MemoryError("rows")

    class Opens(_Flawed):
        def open(self, arrays: Arrays) -> Session:
            return Midway(self, arrays)

    program = Program()
    x, y = program.columns(["x", "y"], 0, 60)
    for column in (x, y):
        program.concave(f"f{column}", column, np.sqrt(np.arange(61.0) + column))
    program.row("room", [x, y], [3.0, 4.0], upper=100.5)
    assert solve(program).outcome is Outcome.OPTIMAL
    solution = solve(program, backend=Opens())
    assert solution.outcome is Outcome.ERROR
    assert solution.detail == "Opens raised MemoryError: rows"


def test_a_program_that_cannot_be_opened_is_an_outcome() -> None:
    class Never(_Flawed):
        def open(self, arrays: Arrays) -> Session:
            raise ImportError("no such library")

    assert solve(small(), backend=Never()).detail == "Never raised ImportError: no such library"
