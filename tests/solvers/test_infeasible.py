import itertools

import numpy as np
import pytest

from naivegraph.solvers import Answer, Backend, Limits, Outcome, Program, irreducible_infeasible_set
from naivegraph.solvers.arrays import Arrays, FloatArray
from naivegraph.solvers.backend_contract import Case, hard_program


def feasible(case: Case, rows: set[int]) -> bool:
    """Whether whole values meet these rows, by trying everything."""
    ranges = [range(low, high + 1) for low, high in zip(case.lower, case.upper, strict=True)]
    keep = sorted(rows)
    for point in itertools.product(*ranges):
        activity = case.matrix[keep] @ np.array(point)
        if ((activity >= case.row_lower[keep]) & (activity <= case.row_upper[keep])).all():
            return True
    return False


def contradictory(seed: int) -> Case:
    """Random equations over three small columns, most of which cannot hold together."""
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-2, 3, (6, 3)).astype(np.float64)
    level = matrix @ rng.integers(0, 4, 3) + rng.integers(-1, 2, 6)
    lower = np.where(rng.random(6) < 0.7, level, -np.inf)
    upper = np.where(rng.random(6) < 0.7, level + rng.integers(0, 2, 6), np.inf)
    nothing = np.zeros(3)
    curves = {0: np.array([0.0, 2.0, 3.0, 3.0])}
    return Case(np.zeros(3, dtype=np.int64), np.full(3, 3), nothing, matrix, lower, upper, curves)


def test_conflicts_are_infeasible_and_no_request_of_them_can_be_spared() -> None:
    found = 0
    for seed in range(60):
        case = contradictory(seed)
        program = case.program()
        names = irreducible_infeasible_set(program)
        rows = {int(name[1:]) for name in names}
        if feasible(case, set(range(6))):
            assert names == ()
            continue
        found += 1
        assert list(names) == [name for name in program.requests if name in names]
        assert not feasible(case, rows)
        for row in rows:
            assert feasible(case, rows - {row}), f"seed {seed}: {row} is not needed in {rows}"
    assert 20 < found < 60


def test_rows_that_share_a_request_are_blamed_together() -> None:
    program = Program()
    x, y = program.columns(["x", "y"], 0, 10)
    program.row("low x", [x], [1.0], lower=6, request="large")
    program.row("low y", [y], [1.0], lower=6, request="large")
    program.row("room", [x, y], [1.0, 1.0], upper=11, request="small")
    assert irreducible_infeasible_set(program) == ("large", "small")


def test_a_conflict_only_whole_numbers_have_is_found() -> None:
    program = Program()
    x, y = program.columns(["x", "y"], 0, 10)
    program.row("even", [x, y], [1.0, -2.0], lower=0, upper=0)
    program.row("odd", [x], [1.0], lower=5, upper=5, request="exactly 5")
    program.row("spare", [y], [1.0], lower=1, request="at least 1")
    assert irreducible_infeasible_set(program) == ("exactly 5",)


def test_structure_alone_is_never_blamed() -> None:
    program = Program()
    x = program.column("x", 0, 10)
    program.row("low", [x], [1.0], lower=6)
    program.row("high", [x], [1.0], upper=5)
    program.row("r", [x], [1.0], upper=9, request="r")
    with pytest.raises(ValueError, match="the program is infeasible without any request"):
        irreducible_infeasible_set(program)


def test_a_feasible_program_has_no_conflict_even_if_unbounded() -> None:
    program = Program()
    program.column("x", 0, np.inf, objective=1.0)
    assert irreducible_infeasible_set(program) == ()


def test_a_concave_term_asked_to_be_large_takes_part() -> None:
    program = Program()
    x = program.column("x", 0, 3)
    f = program.concave("f", x, [0.0, 4.0, 6.0, 7.0])
    program.row("worth", [f], [1.0], lower=5, request="worth at least 5")
    program.row("size", [x], [1.0], upper=1, request="at most 1")
    program.row("any", [x], [1.0], upper=2, request="at most 2")
    assert irreducible_infeasible_set(program) == ("worth at least 5", "at most 1")
    assert irreducible_infeasible_set(program.without(["at most 1"])) == ()


def test_running_out_of_time_before_anything_is_known_is_an_error() -> None:
    program, _ = hard_program()
    program.row("all met", [program.index(f"off{i}") for i in range(5)], 1.0, upper=0, request="met")
    with pytest.raises(TimeoutError, match="before it was known whether the program is feasible"):
        irreducible_infeasible_set(program, time_limit=0.05)


class _Failing(Backend):
    name = "failing"

    @classmethod
    def available(cls) -> bool:
        return False

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        return Answer(Outcome.ERROR, None, np.inf, "out of order")


def test_a_failing_solver_is_not_mistaken_for_a_conflict() -> None:
    program = Program()
    program.column("x", 0, 1)
    with pytest.raises(RuntimeError, match="out of order"):
        irreducible_infeasible_set(program, backend=_Failing())
