"""Tests that every backend has to pass; subclass `BackendContract` in a test file to run them on yours.

Example:
    >>> class TestHighs(BackendContract):
    ...     backend = "highs"
    >>> TestHighs().test_infeasible()
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from naivegraph.solvers.arrays import Arrays, FloatArray, IntArray, Rows
from naivegraph.solvers.backend.interface import Answer, Backend, Limits, backends, find_backend
from naivegraph.solvers.infeasible import irreducible_infeasible_set
from naivegraph.solvers.program import Program
from naivegraph.solvers.solution import Outcome, Solution
from naivegraph.solvers.solve import solve


@dataclass(frozen=True)
class Case:
    """A small program of integer columns as plain arrays, whose best answer is found by trying everything.

    Attributes:
        lower: least value of each column.
        upper: largest value of each column.
        cost: objective coefficient of each column.
        matrix: rows x columns.
        row_lower: least activity of each row.
        row_upper: largest activity of each row.
        curves: by column, the values `F(0)` to `F(n)` of a concave term.
    """

    lower: IntArray
    upper: IntArray
    cost: FloatArray
    matrix: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    curves: dict[int, FloatArray]

    @staticmethod
    def random(seed: int, scale: float = 1.0) -> Case:
        """A case of 2 to 4 columns; about one in six has no answer."""
        rng = np.random.default_rng(seed)
        count, rows = int(rng.integers(2, 5)), int(rng.integers(0, 4))
        lower = rng.integers(0, 3, count)
        upper = lower + rng.integers(0, 6, count)
        matrix = rng.integers(-3, 4, (rows, count)).astype(np.float64)
        centre = matrix @ rng.integers(lower, upper + 1) + rng.integers(-1, 2, rows)
        row_lower = np.where(rng.random(rows) < 0.5, centre - rng.integers(0, 3, rows), -np.inf)
        row_upper = np.where(rng.random(rows) < 0.7, centre + rng.integers(0, 3, rows), np.inf)
        row_upper = np.maximum(row_upper, row_lower)
        curves = {}
        for column in range(count):
            if rng.random() < 0.6:
                gains = -np.sort(-rng.normal(0.5, 1.0, int(upper[column])))
                curves[column] = scale * (rng.normal() + np.concatenate([[0.0], np.cumsum(gains)]))
        cost = scale * rng.normal(0, 1, count) * (rng.random(count) < 0.7)
        return Case(lower, upper, cost, matrix, row_lower, row_upper, curves)

    def program(self) -> Program:
        """The case as a program; columns `x0`, `x1`..., terms `f0`..., row i of request `r<i>`."""
        program = Program()
        count = len(self.cost)
        program.columns([f"x{i}" for i in range(count)], self.lower, self.upper, objective=self.cost)
        for i, (low, high) in enumerate(zip(self.row_lower, self.row_upper, strict=True)):
            program.row(f"r{i}", range(count), self.matrix[i], lower=low, upper=high, request=f"r{i}")
        for column, values in self.curves.items():
            program.concave(f"f{column}", column, values)
        return program

    def plain(self) -> Arrays:
        """The case without its curves, as a backend takes it; every column has an objective."""
        steps = 0.1 + np.arange(len(self.cost)) / 3
        return (
            Case(self.lower, self.upper, self.cost + steps, self.matrix, self.row_lower, self.row_upper, {})
            .program()
            .arrays()
        )

    def objective(self, x: IntArray) -> float:
        """The objective of whole values."""
        return float(self.cost @ x) + sum(float(values[x[i]]) for i, values in self.curves.items())

    def satisfies_rows(self, x: IntArray) -> bool:
        """Tell whether whole values satisfy the rows."""
        activity = self.matrix @ x
        return bool(((activity >= self.row_lower - 1e-9) & (activity <= self.row_upper + 1e-9)).all())

    def best(self) -> float:
        """The largest objective, by trying everything; -inf if nothing satisfies the rows."""
        ranges = [range(low, high + 1) for low, high in zip(self.lower, self.upper, strict=True)]
        points = (np.array(point, dtype=np.int64) for point in itertools.product(*ranges))
        return max((self.objective(x) for x in points if self.satisfies_rows(x)), default=-math.inf)


class BackendContract:
    """Tests of one backend: what `solve` promises with it, and what `solve` relies on in it.

    Run them by pytest, as a subclass whose name begins with `Test`, or by calling the methods; each raises an
    AssertionError that says what is wrong.

    Attributes:
        backend: the name to pass as `backend=`, or the backend itself.
        cases: the number of random programs to compare with trying everything.
    """

    backend: ClassVar[str | Backend]
    cases: ClassVar[int] = 60

    def run(self, program: Program, *, gap: float = 0.0, time_limit: float | None = None) -> Solution:
        """Solve with the backend under test."""
        return solve(program, backend=self.backend, gap=gap, time_limit=time_limit)

    def test_is_listed(self) -> None:
        """The backend is registered, can be used here, and is found by its name."""
        name = self.backend.name if isinstance(self.backend, Backend) else self.backend
        _expect(isinstance(backends().get(name), Backend), f"{name!r} is not in backends()")
        for variant in find_backend(name).variants():
            own = variant.partition(":")[0] == name.partition(":")[0]
            _expect(own, f"the variant {variant!r} has to be {name!r} or begin with '{name}:' to be found")

    def test_agrees_with_trying_everything(self) -> None:
        """Small random programs get the best objective, or the outcome INFEASIBLE where none is."""
        for seed in range(self.cases):
            self.check(Case.random(seed), f"seed {seed}")

    def test_scale_of_the_objective_does_not_matter(self) -> None:
        """Objectives from 1e-9 to 1e12 are answered as well as those near 1."""
        for seed, power in enumerate([-9, -6, -3, 3, 6, 9, 12]):
            self.check(Case.random(1000 + seed, 10.0**power), f"seed {1000 + seed}, scale 1e{power}")

    def check(self, case: Case, which: str) -> None:
        """Compare one case with trying everything."""
        best, solution = case.best(), self.run(case.program())
        if math.isinf(best):
            _expect(solution.outcome is Outcome.INFEASIBLE, f"{which}: {solution} should be infeasible")
            return
        _expect(solution.outcome is Outcome.OPTIMAL, f"{which}: {solution} should be optimal, {best}")
        values = solution.values
        x = np.array([] if values is None else values[: len(case.cost)])
        _expect(bool((x == np.round(x)).all()), f"{which}: {x} are not whole")
        _expect(case.satisfies_rows(x.astype(np.int64)), f"{which}: {x} violates a row")
        size = float(np.abs(case.cost).sum()) + sum(float(np.abs(v).max()) for v in case.curves.values())
        objective = case.objective(x.astype(np.int64))
        _expect(abs(objective - solution.objective) <= 1e-9 * size, f"{which}: the objective is {objective}")
        _expect(abs(best - solution.objective) <= 1e-7 * size, f"{which}: {solution} misses {best}")
        _expect(solution.bound >= best - 1e-7 * size, f"{which}: {solution.bound} is no bound of {best}")

    def test_keeps_the_gap(self) -> None:
        """With a gap the answer is that good and the bound holds."""
        for seed in range(10):
            case = Case.random(2000 + seed)
            best, solution = case.best(), self.run(case.program(), gap=0.2)
            if math.isinf(best):
                continue
            _expect(solution.bound >= best - 1e-6, f"seed {2000 + seed}: {solution} is below {best}")
            allowed = 0.2 * max(abs(best), abs(solution.objective)) + 1e-6
            _expect(solution.objective >= best - allowed, f"seed {2000 + seed}: {solution} misses {best}")

    def test_infeasible(self) -> None:
        """Rows that contradict each other have the outcome INFEASIBLE."""
        program = Program()
        x, y = program.columns(["x", "y"], 0, 10)
        program.row("odd", [x, y], [2.0, 2.0], lower=3, upper=3)
        solution = self.run(program)
        _expect(solution.outcome is Outcome.INFEASIBLE and solution.values is None, f"{solution}")

    def test_unbounded(self) -> None:
        """An objective without end is told from rows that contradict each other."""
        program = Program()
        x, y = program.columns(["x", "y"], 0, np.inf, objective=[1.0, 0.0])
        program.row("free", [x, y], [1.0, -1.0], upper=3)
        _expect(self.run(program).outcome is Outcome.UNBOUNDED, f"{self.run(program)}")
        program.row("odd", [y], [2.0], lower=3, upper=3)
        _expect(self.run(program).outcome is Outcome.INFEASIBLE, f"{self.run(program)}")

    def test_continuous_columns(self) -> None:
        """A mixed program whose answer is known: y takes the room that a whole x leaves."""
        program = Program()
        x = program.column("x", 0, 10, objective=2.0)
        y = program.column("y", 0, np.inf, integer=False, objective=1.0)
        program.row("room", [x, y], [3.0, 1.5], upper=10)
        solution = self.run(program)
        _expect(abs(solution.objective - 20 / 3) < 1e-6, f"{solution} misses 20/3")
        _expect(solution["x"] == round(solution["x"]), f"{solution} is not whole")

    def test_bounds(self) -> None:
        """Bounds below 0, on one side alone, on neither, and a column that cannot move."""
        program = Program()
        x = program.column("x", -7, -2, objective=-2.0)
        y = program.column("y", -np.inf, 4, objective=3.0)
        z = program.column("z", -np.inf, np.inf, objective=-1.0)
        program.column("still", 5, 5, objective=-10.0)
        program.row("least", [x, y, z], 1.0, lower=-12)
        solution = self.run(program)
        _expect(solution.outcome is Outcome.OPTIMAL, f"{solution} should be optimal")
        found = [solution[name] for name in ("x", "y", "still")]
        _expect(found == [-7.0, 4.0, 5.0], f"x, y, still are {found}, not [-7, 4, 5]")
        _expect(solution["z"] == -9.0, f"z is {solution['z']}, not -9")

    def test_whole_numbers(self) -> None:
        """A program whose best whole answer is far from the relaxation's, and from any rounding of it."""
        program = Program()
        x, y = program.columns(["x", "y"], 0, 10, objective=[5.0, 4.0])
        program.row("first", [x, y], [6.0, 4.0], upper=24.5)
        program.row("second", [x, y], [1.0, 2.0], upper=6.5)
        program.row("apart", [x, y], [4.0, -4.0], lower=1, upper=11)
        solution = self.run(program)
        # x - y is 1 or 2, so (2, 1), (3, 1) and (3, 2), which breaks the first row, are what could be best.
        _expect(solution.outcome is Outcome.OPTIMAL, f"{solution} should be optimal")
        _expect((solution["x"], solution["y"]) == (3.0, 1.0), f"{solution} is not at x=3, y=1")

    def test_answers_hold(self) -> None:
        """Asked directly: values for every column, within bounds and rows, and a bound that is one."""
        for seed in range(20):
            arrays = Case.random(3000 + seed).plain()
            answer = self._solver().solve_arrays(arrays, Limits())
            self._holds(arrays, answer, f"seed {3000 + seed}")

    def test_rows_added_between_solves(self) -> None:
        """A session that gained rows answers as one that had them from the start."""
        for seed in range(20):
            case = Case.random(4000 + seed)
            arrays = case.plain()
            session = self._solver().open(arrays)
            self._holds(arrays, session.run(Limits()), f"seed {4000 + seed}")
            one = Rows(np.array([0, 2]), np.array([0, 1]), np.ones(2), np.array([-np.inf]), np.array([4.0]))
            session.add(one)
            more = arrays.with_rows(one)
            answer, fresh = session.run(Limits()), self._solver().solve_arrays(more, Limits())
            self._holds(more, answer, f"seed {4000 + seed}, with a row more")
            _expect(_value(more, answer) == _value(more, fresh), f"seed {4000 + seed}: {answer} but {fresh}")

    def test_start_is_a_hint(self) -> None:
        """Wherever a solve begins, outside the rows or half unknown, it ends at the best."""
        for seed in range(10):
            case = Case.random(5000 + seed)
            arrays = case.plain()
            best = _value(arrays, self._solver().solve_arrays(arrays, Limits()))
            for name, start in _starts(case).items():
                answer = self._solver().solve_arrays(arrays, Limits(), start)
                self._holds(arrays, answer, f"seed {5000 + seed}, {name}")
                found = _value(arrays, answer)
                _expect(found == best, f"seed {5000 + seed}: {found} from {name}, but {best} from none")

    def test_threads_do_not_matter(self) -> None:
        """Two threads are taken, and find what one does."""
        for seed in range(5):
            arrays = Case.random(6000 + seed).plain()
            one, two = (self._solver().solve_arrays(arrays, Limits(threads=count)) for count in (1, 2))
            self._holds(arrays, two, f"seed {6000 + seed}, two threads")
            same = _value(arrays, one) == _value(arrays, two)
            _expect(same, f"seed {6000 + seed}: {one} by one thread, {two} by two")

    def test_leaves_the_arrays_alone(self) -> None:
        """The arrays it is given are read, not written to."""
        case = Case.random(7000)
        arrays, before = case.plain(), case.plain()
        self._solver().solve_arrays(arrays, Limits(), np.zeros(len(arrays.cost)))
        for owner, same in ((arrays, before), (arrays.rows, before.rows)):
            for field in fields(owner):
                now, then = getattr(owner, field.name), getattr(same, field.name)
                if isinstance(now, np.ndarray):
                    _expect(np.array_equal(now, then), f"{field.name} was {then} and is {now}")

    def test_failure_is_an_outcome(self) -> None:
        """A program no solver can take, with bounds that contradict each other, gets an answer that says so.

        Whatever the solver underneath does about it, raise or write nonsense, its caller is told by the
        outcome.
        """
        plain = Case.random(8000).plain()
        arrays = Arrays(plain.cost, plain.upper + 2, plain.upper + 1, plain.integer, plain.rows)
        try:
            answer = self._solver().solve_arrays(arrays, Limits())
        except Exception as error:
            raise AssertionError(f"it raised {error!r} instead of giving Outcome.ERROR") from error
        told = answer.outcome in (Outcome.INFEASIBLE, Outcome.ERROR) and answer.values is None
        _expect(told, f"{answer} for bounds that contradict each other")

    def test_time_limit_is_an_outcome(self) -> None:
        """A hard program stops soon after its limit and says so; a bound, if any, holds."""
        program, answer = hard_program()
        began = time.perf_counter()
        solution = self.run(program, time_limit=0.5)
        _expect(time.perf_counter() - began < 10, "the time limit was ignored")
        _expect(solution.outcome in (Outcome.FEASIBLE, Outcome.NO_ANSWER), f"{solution} within 0.5 s?")
        _expect(solution.bound >= answer, f"{solution.bound} is no bound of {answer}")
        if self._solver().reports_bound:
            _expect(math.isfinite(solution.bound), f"reports_bound is True, but {solution} has no bound")

    def test_hardly_any_time_is_an_outcome(self) -> None:
        """A limit which is over before the solver has begun is an outcome as well."""
        program, _ = hard_program()
        answer = self._solver().solve_arrays(program.arrays(), Limits(time=1e-6))
        _expect(answer.outcome in (Outcome.FEASIBLE, Outcome.NO_ANSWER), f"{answer} within a microsecond?")

    def test_same_answer_twice(self) -> None:
        """Deterministic, ties included."""
        program = Program()
        columns = program.columns([f"x{i}" for i in range(8)], 0, 3, objective=1.0)
        program.row("room", columns, 1.0, upper=11)
        first, second = self.run(program).values, self.run(program.copy()).values
        _expect(first is not None and second is not None and bool((first == second).all()), "not the same")

    def test_irreducible_infeasible_set(self) -> None:
        """Of three requests the two that contradict each other are found."""
        program = Program()
        x, y = program.columns(["x", "y"], 0, 9)
        program.row("same", [x, y], [1.0, -1.0], lower=0, upper=0)
        program.row("a", [x], [1.0], lower=5, request="a")
        program.row("b", [x], [1.0], lower=2, request="b")
        program.row("c", [y], [1.0], upper=3, request="c")
        found = irreducible_infeasible_set(program, backend=self.backend)
        _expect(found == ("a", "c"), f"{found} are not the requests that contradict each other")

    def _solver(self) -> Backend:
        return find_backend(self.backend)

    def _holds(self, arrays: Arrays, answer: Answer, which: str) -> None:
        """Check an answer to arrays of whole columns."""
        infeasible = answer.outcome in (Outcome.INFEASIBLE, Outcome.UNBOUNDED)
        if answer.values is None:
            _expect(infeasible, f"{which}: {answer} has no values, and does not say why")
            return
        _expect(answer.outcome is Outcome.OPTIMAL, f"{which}: {answer} should be optimal")
        values = np.asarray(answer.values)
        _expect(values.shape == arrays.cost.shape, f"{which}: {values.shape} values, not {arrays.cost.shape}")
        inside = (values >= arrays.lower - 1e-6) & (values <= arrays.upper + 1e-6)
        _expect(bool(inside.all()), f"{which}: {values} leave their bounds")
        _expect(bool((np.abs(values - np.round(values)) <= 1e-6).all()), f"{which}: {values} are not whole")
        activity = arrays.rows.activity(values)
        kept = (activity >= arrays.rows.lower - 1e-5) & (activity <= arrays.rows.upper + 1e-5)
        _expect(bool(kept.all()), f"{which}: {values} violate a row")
        value = float(arrays.cost @ values)
        _expect(answer.bound >= value - 1e-6, f"{which}: the bound {answer.bound} is below {value}")


def _value(arrays: Arrays, answer: Answer) -> float | None:
    """The objective of an answer but for the solver's tolerance; None without one."""
    return None if answer.values is None else round(float(arrays.cost @ np.round(answer.values)), 6)


def _starts(case: Case) -> dict[str, FloatArray]:
    lower, upper = case.lower.astype(np.float64), case.upper.astype(np.float64)
    half = np.where(np.arange(len(lower)) % 2 == 0, lower, np.nan)
    nothing = np.full(len(lower), np.nan)
    return {"the lower bounds": lower, "the upper bounds": upper, "half a start": half, "nothing": nothing}


def hard_program() -> tuple[Program, float]:
    """A market split program (Cornuejols and Dawande, 1999), and an objective it can reach for certain.

    Its 40 binaries are to meet 5 random sums as nearly as can be, which branching finds very hard.
    """
    rng = np.random.default_rng(5)
    matrix = rng.integers(0, 100, (5, 40)).astype(np.float64)
    target = np.floor(matrix.sum(axis=1) / 2)
    program = Program()
    x = program.columns([f"x{i}" for i in range(40)], 0, 1)
    off = program.columns([f"off{i}" for i in range(5)], 0, np.inf, integer=False, objective=-1.0)
    for i in range(5):
        program.row(f"over{i}", [*x, off[i]], [*matrix[i], -1.0], upper=target[i])
        program.row(f"under{i}", [*x, off[i]], [*matrix[i], 1.0], lower=target[i])
    return program, -float(np.abs(matrix[:, :20].sum(axis=1) - target).sum())


def _expect(holds: bool, otherwise: str) -> None:
    """Fail the running test unless `holds`."""
    if not holds:
        raise AssertionError(otherwise)
