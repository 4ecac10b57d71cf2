import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naivegraph.solvers import Outcome, Program, solve
from naivegraph.solvers.arrays import FloatArray
from naivegraph.solvers.backend_contract import Case, hard_program


def concave_values(rng: np.random.Generator, points: int, scale: float = 1.0) -> FloatArray:
    gains = -np.sort(-rng.lognormal(0, 1, points)) - 0.2
    return scale * np.concatenate([[0.0], np.cumsum(gains)])


def dense_optimum(curves: list[FloatArray], matrix: FloatArray, upper: FloatArray, whole: bool) -> float:
    """The optimum with one column per segment of every curve: no tangents, no rounds, no rescaling.

    The gains of a concave curve fall, so its segments fill from the left by themselves.
    """
    gains = [np.diff(values) for values in curves]
    owners = np.repeat(np.arange(len(curves)), [len(g) for g in gains])
    solver: Any = highspy.Highs
    highs = solver()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    count = len(owners)
    kind = highspy.HighsVarType.kInteger if whole else highspy.HighsVarType.kContinuous
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count, len(matrix)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.concatenate(gains), np.zeros(count), np.ones(count)
    lp.row_lower_, lp.row_upper_ = np.full(len(matrix), -np.inf), upper
    lp.integrality_ = [kind] * count
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.arange(len(matrix) + 1) * count
    lp.a_matrix_.index_ = np.tile(np.arange(count), len(matrix))
    lp.a_matrix_.value_ = matrix[:, owners].ravel()
    highs.passModel(lp)
    highs.run()
    return float(highs.getInfo().objective_function_value) + sum(float(values[0]) for values in curves)


@pytest.mark.parametrize("whole", [True, False])
def test_concave_terms_equal_one_column_per_segment(whole: bool) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        curves = [concave_values(rng, int(rng.integers(1, 40))) for _ in range(8)]
        matrix = rng.integers(0, 4, (3, 8)).astype(np.float64)
        upper = np.floor(0.45 * matrix @ np.array([len(values) - 1 for values in curves])) + 0.5
        program = Program()
        for i, values in enumerate(curves):
            program.concave(f"f{i}", program.column(f"x{i}", 0, len(values) - 1, integer=whole), values)
        columns = [program.index(f"x{i}") for i in range(8)]
        for i in range(3):
            program.row(f"r{i}", columns, matrix[i], upper=float(upper[i]))
        solution = solve(program)
        assert solution.outcome is Outcome.OPTIMAL
        assert solution.objective == pytest.approx(dense_optimum(curves, matrix, upper, whole), rel=1e-9)
        assert solution.bound == pytest.approx(solution.objective, rel=1e-8)
        true = [float(np.interp(solution[f"x{i}"], range(len(v)), v)) for i, v in enumerate(curves)]
        assert [solution[f"f{i}"] for i in range(8)] == pytest.approx(true, rel=1e-12)
        assert solution.objective == pytest.approx(sum(true), rel=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(-9, 12))
def test_small_programs_equal_trying_everything_at_any_scale(seed: int, power: int) -> None:
    case = Case.random(seed, 10.0**power)
    best, solution = case.best(), solve(case.program())
    assert solution.objective == pytest.approx(best, rel=1e-9, abs=1e-7 * 10.0**power)
    assert solution.outcome is (Outcome.INFEASIBLE if math.isinf(best) else Outcome.OPTIMAL)


@pytest.mark.parametrize("scale", [10.0**power for power in range(-9, 13, 3)])
def test_objectives_far_from_one_are_not_answered_wrongly(scale: float) -> None:
    # The trap: at 1e-6 HiGHS calls a wrong answer optimal, at 1e9 a feasible program infeasible.
    rng = np.random.default_rng(3)
    curves = [concave_values(rng, 64, scale) for _ in range(10)]
    program = Program()
    for i, values in enumerate(curves):
        program.concave(f"f{i}", program.column(f"x{i}", 1, 64), values)
    columns = [program.index(f"x{i}") for i in range(10)]
    program.row("half", columns, 1.0, upper=320)
    solution = solve(program)
    # One row of ones: the best is to take the largest gains there are.
    gains = np.sort(np.concatenate([np.diff(values)[1:] for values in curves]))[::-1]
    gains = gains[: 320 - 10]
    best = sum(float(values[1]) for values in curves) + float(gains[gains > 0].sum())
    assert solution.outcome is Outcome.OPTIMAL
    assert solution.objective == pytest.approx(best, rel=1e-10)
    assert best <= solution.bound * (1 + 1e-10)


@pytest.mark.parametrize("scale", [10.0**power for power in range(-9, 13, 3)])
def test_continuous_columns_in_the_unit_of_the_utility(scale: float) -> None:
    # z stands for the largest weighted distance to a target, as size terms do: its rows hold the scale too.
    weights, targets = np.array([3.0, 1.0, 2.0]) * scale, np.array([4.0, 7.0, 2.0])
    utility = np.array([0.4, -0.3, 0.9]) * scale
    program = Program()
    x = program.columns(["a", "b", "c"], 0, 9, objective=utility)
    z = program.column("z", 0, np.inf, integer=False, objective=-0.8)
    for i in range(3):
        program.row(f"over{i}", [z, x[i]], [1.0, -weights[i]], lower=-weights[i] * targets[i])
        program.row(f"under{i}", [z, x[i]], [1.0, weights[i]], lower=weights[i] * targets[i])
    program.row("sum", x, [1.0, 1.0, 1.0], lower=16, upper=16)
    best = max(
        float(utility @ point - 0.8 * np.max(weights * np.abs(point - targets)))
        for point in map(np.array, itertools.product(range(10), repeat=3))
        if point.sum() == 16
    )
    solution = solve(program)
    assert solution.outcome is Outcome.OPTIMAL
    assert solution.objective == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_rows_far_from_one_still_bind(scale: float) -> None:
    program = Program()
    x, y = program.columns(["x", "y"], 0, 10, objective=[3.0, 2.0])
    program.row("cost", [x, y], [5.0 * scale, 3.0 * scale], upper=23.5 * scale)
    best = max(3.0 * i + 2.0 * j for i in range(11) for j in range(11) if 5 * i + 3 * j <= 23.5)
    assert solve(program).objective == best


def test_answers_which_differ_by_a_millionth_are_told_apart() -> None:
    # With the solver's own tolerances 19 of 60 such knapsacks are answered with the second best or worse.
    points = np.array(list(itertools.product((0, 1), repeat=10)))
    for seed in range(30):
        rng = np.random.default_rng(seed)
        weights = rng.integers(3, 12, 10)
        worth = weights / 6 + 1e-6 * rng.normal(size=10)
        room = int(weights.sum() // 2)
        program = Program()
        x = program.columns([f"x{i}" for i in range(10)], 0, 1, objective=worth)
        program.row("room", x, 2 * weights, upper=2 * room + 1)
        best = float((points @ worth)[points @ weights <= room].max())
        assert solve(program).objective >= best - 5e-9


def test_bound_and_gap_are_kept_under_a_gap() -> None:
    rng = np.random.default_rng(11)
    for _ in range(5):
        program = Program()
        for i in range(10):
            program.concave(f"f{i}", program.column(f"x{i}", 0, 50), concave_values(rng, 50))
        columns = [program.index(f"x{i}") for i in range(10)]
        program.row("room", columns, rng.uniform(0.5, 2.0, 10), upper=200.0)
        exact, near = solve(program), solve(program, gap=0.01)
        assert exact.gap <= 1e-8
        assert near.outcome is Outcome.OPTIMAL
        assert near.gap <= 0.01
        assert near.bound >= exact.objective * (1 - 1e-9)
        assert near.objective <= exact.objective * (1 + 1e-9)


def test_time_limit_is_kept_and_told_and_a_start_is_an_answer() -> None:
    program, reached = hard_program()
    program.concave("f", 0, [0.0, 0.5])
    began = time.perf_counter()
    solution = solve(program, time_limit=0.3)
    assert time.perf_counter() - began < 5
    assert solution.outcome is Outcome.FEASIBLE
    assert solution.bound >= max(reached, solution.objective)
    nothing = solve(program, time_limit=0)
    assert nothing.outcome is Outcome.NO_ANSWER
    assert nothing.values is None
    assert nothing.bound == np.inf
    assert nothing.gap == np.inf
    kept = solve(program, time_limit=0, start=solution.values)
    assert kept.outcome is Outcome.FEASIBLE
    assert kept.objective == pytest.approx(solution.objective, rel=1e-12)


def test_starts_partial_infeasible_or_best_leave_the_answer_as_good() -> None:
    for seed in range(30):
        case = Case.random(seed)
        best, program = case.best(), case.program()
        if math.isinf(best):
            continue
        width = len(program.column_names)
        partial = np.full(width, np.nan)
        partial[0] = case.lower[0]
        for start in (partial, np.full(width, 99.0), solve(program).values):
            solution = solve(program, start=start)
            assert solution.outcome is Outcome.OPTIMAL
            assert solution.objective == pytest.approx(best, abs=1e-7)


def test_threads_may_change_between_solves() -> None:
    case = Case.random(1)
    answers = [solve(case.program(), threads=threads).objective for threads in (1, 2, 1)]
    assert answers == pytest.approx([case.best()] * 3, abs=1e-9)


def test_arguments_out_of_range_are_refused() -> None:
    program = Program()
    program.column("x", 0, 1)
    with pytest.raises(ValueError, match="time_limit must be a number of seconds, not nan"):
        solve(program, time_limit=math.nan)
    with pytest.raises(ValueError, match=r"gap must be a number from 0 up, not -0\.1"):
        solve(program, gap=-0.1)
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        solve(program, threads=0)
    with pytest.raises(ValueError, match=r"start has shape \(2,\), but the program has 1 columns"):
        solve(program, start=[0.0, 1.0])


def test_two_concave_terms_of_one_column_and_bounds_inside_the_range_add_up() -> None:
    program = Program()
    x = program.column("x", 2, 3, objective=-1.5)
    program.concave("f", x, [0.0, 4.0, 6.0, 7.0, 100.0 - 93.0])
    program.concave("g", x, [-1.0, 0.0, 0.25, 0.25, 0.25])
    solution = solve(program)
    assert solution["x"] == 2.0
    assert solution.objective == 6.0 + 0.25 - 3.0


def test_a_curve_of_equal_or_nearly_equal_gains_is_exact() -> None:
    # Sums of equal gains bend upwards by rounding errors, which must neither be refused nor cut too deep.
    values = np.concatenate([[0.0], np.cumsum(np.full(300, 0.1))])
    program = Program()
    x = program.columns(["x", "y"], 0, 300)
    for i in x:
        program.concave(f"f{i}", i, values)
    program.row("room", x, [1.0, 2.0], upper=401)
    solution = solve(program)
    assert solution.outcome is Outcome.OPTIMAL
    assert solution.objective == pytest.approx(values[300] + values[50], rel=1e-12)


def test_a_column_with_a_single_value_and_a_single_point_is_allowed() -> None:
    program = Program()
    x = program.column("x", 0, 0)
    program.concave("f", x, [2.5])
    assert solve(program).objective == 2.5


def test_many_columns_stay_quick() -> None:
    rng = np.random.default_rng(0)
    program = Program()
    columns = program.columns([f"x{i}" for i in range(100)], 0, 512)
    program.row("room", columns, 1.0, upper=25_600)
    for i in range(0, 20, 2):
        program.row(f"same{i}", [i, i + 1], [1.0, -1.0], lower=0, upper=0)
    for i in columns:
        program.concave(f"f{i}", i, concave_values(rng, 512))
    solution = solve(program)
    assert solution.outcome is Outcome.OPTIMAL
    assert min(solve(program).seconds for _ in range(3)) < 0.5  # 0.014 s alone on one core


def test_a_budget_of_whole_numbers_is_not_exceeded_by_one() -> None:
    a = 1234567890
    program = Program()
    x, y = program.column("x", 0, 1, objective=1.0), program.column("y", 0, 1, objective=1.0)
    program.row("budget", [x, y], [a, a + 1], upper=2 * a)
    for backend in ("highs", "pulp:CBC"):
        found = solve(program, backend=backend)
        assert found.outcome is Outcome.OPTIMAL
        assert found.objective == found.bound == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_whole_budgets_of_thousands_of_millions_against_exhaustive_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, unit = 8, int(random.integers(10**9, 10**11))
    weights = [unit + int(w) for w in random.integers(0, 3, count)]
    values = random.integers(1, 5, count).astype(float)
    limit = unit * int(random.integers(2, 6)) + int(random.integers(0, 3))
    program = Program()
    columns = program.columns([f"x{i}" for i in range(count)], 0, 1, objective=values)
    program.row("budget", list(columns), weights, upper=limit)
    choices = itertools.product((0, 1), repeat=count)
    best = max(
        float(values @ choice)
        for choice in choices
        if sum(w * x for w, x in zip(weights, choice, strict=True)) <= limit
    )
    found = solve(program)
    assert found.values is not None
    assert sum(w * int(x) for w, x in zip(weights, found.values, strict=True)) <= limit
    assert found.objective == pytest.approx(best)
    assert found.bound >= best - 1e-9


@pytest.mark.parametrize("constant", [1e5, 1e7, 1e9])
@pytest.mark.parametrize("backend", ["highs", "pulp:CBC"])
def test_a_constant_in_the_objective_loosens_no_gap(backend: str, constant: float) -> None:
    random = np.random.default_rng(0)
    gains = [-np.sort(-random.random(30) * 1000) for _ in range(6)]
    weights = random.integers(1, 9, 6)

    def answer(constant: float) -> float:
        program = Program()
        columns = [program.column(f"x{i}", 0, 30) for i in range(6)]
        for i, column in enumerate(columns):
            program.concave(f"f{i}", column, np.concatenate([[0.0], np.cumsum(gains[i])]) + constant)
        program.row("budget", columns, weights, upper=100)
        return solve(program, backend=backend, gap=1e-4).objective - 6 * constant

    assert answer(constant) == pytest.approx(answer(0.0), rel=2e-4)


def test_numbers_written_with_eight_digits_are_not_taken_as_exact() -> None:
    program = Program()
    program.column("x", 0, 123456789, objective=1.0)
    found = solve(program, backend="pulp:CBC")
    assert found.outcome is Outcome.OPTIMAL
    assert found.objective == 123456789
    program = Program()
    program.column("x", 0, 7000000001, objective=1.0)
    assert solve(program, backend="pulp:CBC").bound >= 7000000001


def test_a_partial_start_takes_no_time_of_its_own() -> None:
    program, _ = hard_program()
    start = np.full(len(program.column_names), np.nan)
    start[: len(start) // 8] = 0.0
    began = time.perf_counter()
    solve(program, time_limit=1.0, start=start)
    assert time.perf_counter() - began < 1.8


@pytest.fixture
def interruptible() -> Iterator[None]:
    """The signal handler of a terminal; where the tests run in the background, shells have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("after", [0.1, 0.6])
@pytest.mark.parametrize("backend", ["highs", "pulp:CBC", "pulp:HiGHS"])
def test_ctrl_c_ends_a_solve(backend: str, after: float, monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[Any]] = []

    class Noted(subprocess.Popen[Any]):
        """A process that is remembered."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            processes.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    solve(Program(), backend=backend)  # Which imports.
    program, _ = hard_program()
    timer = threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        solve(program, time_limit=20.0, backend=backend)
    assert time.perf_counter() - began - after < 1.0  # 0.3 s where nothing else runs
    timer.join()
    assert all(process.wait(5.0) is not None for process in processes)  # Killed, not left to run.
    assert bool(processes) == (backend == "pulp:CBC")


def test_highs_by_way_of_pulp_takes_another_number_of_threads() -> None:
    program = Program()
    program.column("x", 0, 5, objective=1.0)
    for threads in (1, 2, 1):
        assert solve(program, backend="pulp:HiGHS", threads=threads).outcome is Outcome.OPTIMAL
        assert solve(program, threads=threads).outcome is Outcome.OPTIMAL


def test_other_programs_may_use_highs_with_another_number_of_threads() -> None:
    program = Program()
    program.column("x", 0, 5, objective=1.0)
    assert solve(program).outcome is Outcome.OPTIMAL
    script = (
        "import highspy\n"
        "from naivegraph.solvers import Program, solve\n"
        "program = Program(); program.column('x', 0, 5, objective=1.0); solve(program)\n"
        "highs = highspy.Highs(); highs.setOptionValue('output_flag', False)\n"
        "highs.setOptionValue('threads', 2); highs.addVar(0, 1)\n"
        "assert highs.run() == highspy.HighsStatus.kOk\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
