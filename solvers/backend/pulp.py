"""The solvers PuLP can reach: CBC, which it brings along, SCIP, Gurobi, CPLEX and others."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from naivegraph.solvers.arrays import Arrays, FloatArray
from naivegraph.solvers.backend.interface import Answer, Backend, Limits, register_backend
from naivegraph.solvers.backend.interruptible import interruptible, kill_processes
from naivegraph.solvers.backend.quiet import first_highs
from naivegraph.solvers.solution import Outcome

# Solvers whose answers PuLP reads from a file that holds each value with so many digits.
_IN_DIGITS, _DIGITS = ("PULP_CBC_CMD", "COIN_CMD"), 8
# CBC's own defaults overlook answers that are better by less than 1e-5.
_CBC_OPTIONS = ["increment 1e-9", "integerTolerance 1e-9", "primalTolerance 1e-9", "dualTolerance 1e-9"]


@register_backend
class PulpBackend(Backend):
    """A solver reached through PuLP, which reports no bound."""

    name: ClassVar[str] = "pulp"

    def __init__(self, solver: str = "PULP_CBC_CMD") -> None:
        """Use the solver that `pulp.getSolver` knows by this name."""
        self.solver = solver

    @classmethod
    def available(cls) -> bool:
        """Tell whether `pulp` is installed and finds a solver."""
        return bool(cls.variants())

    @classmethod
    def variants(cls) -> Mapping[str, Backend]:
        """`pulp:CBC` and so on, PuLP's names without `PULP_` and `_CMD`; `pulp` is the first of them."""
        if importlib.util.find_spec("pulp") is None:
            return {}
        import pulp

        with _quiet():
            solvers: list[str] = pulp.listSolvers(onlyAvailable=True)
        # The bundled CBC first, so that `pulp` means the same wherever it is installed.
        solvers.sort(key=lambda name: name != "PULP_CBC_CMD")
        found: dict[str, Backend] = {}
        for solver in solvers:
            if not _limited(pulp, solver):
                continue
            found.setdefault("pulp", cls(solver))
            short = solver.removeprefix("PULP_").removesuffix("_CMD").removesuffix("_PY")
            found.setdefault(f"pulp:{short}", cls(solver))
        return found

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise once; PuLP's solvers differ too much in how they take a start, so it is not used."""
        import pulp

        with _quiet():
            problem, variables = _problem(pulp, arrays)
            options: dict[str, Any] = {"msg": False, "gapRel": limits.gap, "threads": limits.threads}
            if limits.time is not None:
                options["timeLimit"] = limits.time
            if self.solver in ("PULP_CBC_CMD", "COIN_CMD"):
                options["options"] = _CBC_OPTIONS
            try:
                _run(pulp, problem, self.solver, options)
            except pulp.PulpSolverError as error:
                return Answer(Outcome.ERROR, None, math.inf, str(error))
        detail = f"{self.solver}: {pulp.LpSolution[problem.sol_status]}"
        if problem.status == pulp.LpStatusUnbounded:
            return Answer(Outcome.UNBOUNDED, None, math.inf, detail)
        if problem.status == pulp.LpStatusInfeasible:
            # Some solvers call unbounded programs infeasible; of UNBOUNDED `solve` finds out which it is.
            endless = np.where(arrays.cost > 0, np.isinf(arrays.upper), np.isinf(arrays.lower))
            known = not endless[arrays.cost != 0].any()
            if known:
                return Answer(Outcome.INFEASIBLE, None, -math.inf, detail)
            return Answer(Outcome.UNBOUNDED, None, math.inf, detail)
        values = np.array([np.nan if v.varValue is None else v.varValue for v in variables], dtype=np.float64)
        if self.solver in _IN_DIGITS:
            values = np.clip(values, arrays.lower, arrays.upper)
        if problem.sol_status == pulp.LpSolutionNoSolutionFound or np.isnan(values).any():
            return Answer(Outcome.NO_ANSWER, None, math.inf, detail)
        if problem.sol_status != pulp.LpSolutionOptimal:
            return Answer(Outcome.FEASIBLE, values, math.inf, detail)
        lost = float(np.abs(arrays.cost) @ _lost_digits(values)) if self.solver in _IN_DIGITS else 0.0
        return Answer(Outcome.OPTIMAL, values, _bound(float(arrays.cost @ values), limits.gap) + lost, detail)


def _limited(pulp: Any, solver: str) -> bool:
    """Tell whether a solver of PuLP's takes a gap and a time limit: else its word proves nothing."""
    with _quiet():
        parameters = inspect.signature(type(pulp.getSolver(solver))).parameters
    return {"gapRel", "timeLimit", "threads"} <= parameters.keys()


def _run(pulp: Any, problem: Any, name: str, options: dict[str, Any]) -> None:
    """Solve the problem so that Ctrl-C ends it, and leave no files and no process behind."""
    highs = name == "HiGHS"

    def stop(thread: int) -> None:
        """Stop the solver, in this process or its own."""
        if highs and problem.solverModel is not None:
            problem.solverModel.setOptionValue("time_limit", 0.0)
        kill_processes(thread)

    def work() -> None:
        """Solve with the solver's files in a folder of their own."""
        with tempfile.TemporaryDirectory(prefix="naivegraph-", ignore_cleanup_errors=True) as folder:
            solver = pulp.getSolver(name, **options)
            solver.tmpDir = folder
            problem.solve(solver)

    if highs:
        first_highs()
    interruptible(_with_own_scheduler(work) if highs else work, stop)


def _with_own_scheduler(work: Callable[[], None]) -> Callable[[], None]:
    """The work; before and after it HiGHS forgets the number of threads, another than which it refuses."""
    import highspy

    reset: Any = highspy.Highs.resetGlobalScheduler

    def wrapped() -> None:
        """Do the work."""
        reset(True)
        try:
            work()
        finally:
            reset(True)

    return wrapped


def _lost_digits(values: FloatArray) -> FloatArray:
    """The largest error of numbers written with eight digits; 0 for integers that fit in them."""
    kept = (values == np.round(values)) & (np.abs(values) < 10.0**_DIGITS)
    return np.where(kept, 0.0, np.abs(values) * 0.5 * 10.0 ** (1 - _DIGITS))


def _problem(pulp: Any, arrays: Arrays) -> tuple[Any, list[Any]]:
    """The arrays as PuLP's objects."""
    problem = pulp.LpProblem("program", pulp.LpMaximize)
    variables = [
        pulp.LpVariable(f"x{i}", _finite(low), _finite(high), "Integer" if whole else "Continuous")
        for i, (low, high, whole) in enumerate(zip(arrays.lower, arrays.upper, arrays.integer, strict=True))
    ]
    problem += pulp.LpAffineExpression(zip(variables, arrays.cost.tolist(), strict=True))
    rows = arrays.rows
    for i in range(rows.count):
        entries = slice(rows.starts[i], rows.starts[i + 1])
        members = [variables[j] for j in rows.indices[entries]]
        terms = list(zip(members, rows.values[entries].tolist(), strict=True))
        low, high = float(rows.lower[i]), float(rows.upper[i])
        if low == high:
            problem += pulp.LpConstraint(pulp.LpAffineExpression(terms), 0, f"r{i}", low)
            continue
        if math.isfinite(low):
            problem += pulp.LpConstraint(pulp.LpAffineExpression(terms), 1, f"l{i}", low)
        if math.isfinite(high):
            problem += pulp.LpConstraint(pulp.LpAffineExpression(terms), -1, f"u{i}", high)
    return problem, variables


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bound(objective: float, gap: float) -> float:
    """The bound that "optimal within this gap" proves, whether the gap is relative to bound or objective."""
    if objective >= 0:
        return objective / (1 - gap) if gap < 1 else math.inf
    return objective * (1 - gap) if gap < 1 else math.inf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence PuLP 3.3, which announces changes of version 4 on every call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
