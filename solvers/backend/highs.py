"""HiGHS, the default backend, fed with arrays through `Highs.passModel`."""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from naivegraph.solvers.arrays import Arrays, FloatArray, Rows
from naivegraph.solvers.backend.interface import Answer, Backend, Limits, Session, register_backend
from naivegraph.solvers.backend.interruptible import interruptible
from naivegraph.solvers.backend.quiet import first_highs
from naivegraph.solvers.solution import Outcome

_OPTIONS: dict[str, bool | float] = {
    "output_flag": False,
    # With the defaults (1e-6, 1e-7 and 1e-9) an answer that is worse by as much counts as best.
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
    "small_matrix_value": 1e-12,
    "mip_abs_gap": 1e-9,
}
_GLANCE = 0.2  # seconds of a solve before it goes on in a thread


@register_backend
class HighsBackend(Backend):
    """HiGHS: linear programs by simplex, integers by branch and cut; deterministic for given threads."""

    name = "highs"
    warm_start = True
    reports_bound = True

    @classmethod
    def available(cls) -> bool:
        """Tell whether `highspy` is installed."""
        return importlib.util.find_spec("highspy") is not None

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise once; see `Backend.solve_arrays`."""
        return self.open(arrays).run(limits, start)

    def open(self, arrays: Arrays) -> Session:
        """Open a live HiGHS model, which keeps its basis between rounds."""
        return _HighsSession(self, arrays)


class _HighsSession(Session):
    def __init__(self, backend: Backend, arrays: Arrays) -> None:
        super().__init__(backend, arrays)
        import highspy

        self._module: Any = highspy
        self._integers = bool(arrays.integer.any())
        self._width = len(arrays.cost)
        first_highs()
        self._highs = self._module.Highs()
        for option, value in _OPTIONS.items():
            self._highs.setOptionValue(option, value)
        self._refused = "" if self._load(arrays) else "HiGHS refused the program"

    def _load(self, arrays: Arrays) -> bool:
        """Pass the program to HiGHS; tell whether it was taken."""
        highspy, rows = self._module, arrays.rows
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._width, rows.count
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = arrays.cost, arrays.lower, arrays.upper
        lp.row_lower_, lp.row_upper_ = rows.lower, rows.upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = rows.starts.astype(np.int32)
        lp.a_matrix_.index_ = rows.indices.astype(np.int32)
        lp.a_matrix_.value_ = rows.values
        loaded = bool(self._highs.passModel(lp) != highspy.HighsStatus.kError)
        whole = np.flatnonzero(arrays.integer).astype(np.int32)
        if loaded and len(whole):
            kinds = np.full(len(whole), int(highspy.HighsVarType.kInteger), dtype=np.uint8)
            self._highs.changeColsIntegrality(len(whole), whole, kinds)
        return loaded

    def add(self, rows: Rows) -> None:
        """Add rows to the live model."""
        status = self._highs.addRows(
            rows.count,
            rows.lower,
            rows.upper,
            len(rows.values),
            rows.starts[:-1].astype(np.int32),
            rows.indices.astype(np.int32),
            rows.values,
        )
        if status == self._module.HighsStatus.kError:
            self._refused = "HiGHS refused the tangents of a concave term"

    def run(self, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise with the rows so far."""
        if self._refused:
            return Answer(Outcome.ERROR, None, math.inf, self._refused)
        highs = self._highs
        highs.setOptionValue("mip_rel_gap", limits.gap)
        highs.setOptionValue("threads", limits.threads)
        if start is not None and self._integers:
            known = np.flatnonzero(~np.isnan(start)).astype(np.int32)
            highs.setSolution(len(known), known, start[known])
            if len(known) < len(start) and limits.time is not None:
                # HiGHS may take the whole limit to complete a partial start, and once more to solve.
                limits = replace(limits, time=limits.time / 2)
        if not self._run(limits.time):
            return Answer(Outcome.ERROR, None, math.inf, "HiGHS could not run")
        return self._answer()

    def _run(self, time_limit: float | None) -> bool:
        """Run HiGHS so that Ctrl-C ends it; whether it ran.

        Python handles signals between its own steps only, so a solve that takes longer than a glance goes on
        in a thread, for which the main thread waits.
        """
        limit = math.inf if time_limit is None else time_limit
        began = time.perf_counter()
        if threading.current_thread() is not threading.main_thread() or limit <= _GLANCE:
            return self._run_until(limit)
        if not self._run_until(_GLANCE):
            return False
        if self._highs.getModelStatus() != self._module.HighsModelStatus.kTimeLimit:
            return True
        left = limit - (time.perf_counter() - began)
        # HiGHS looks at its time limit again and again while it runs.
        return interruptible(
            lambda: self._run_until(left), lambda _: self._highs.setOptionValue("time_limit", 0.0)
        )

    def _run_until(self, limit: float) -> bool:
        highs = self._highs
        highs.setOptionValue("time_limit", highs.getRunTime() + max(limit, 0.0))  # it counts all runs
        try:
            if highs.run() != self._module.HighsStatus.kError:
                return True
            # Refused where the thread ran HiGHS with another number of threads before.
            highs.resetGlobalScheduler(True)
            return bool(highs.run() != self._module.HighsStatus.kError)
        finally:
            highs.resetGlobalScheduler(True)  # or it would refuse another program's number of threads

    def _answer(self) -> Answer:
        highs, status = self._highs, self._module.HighsModelStatus
        found = highs.getModelStatus()
        detail = f"HiGHS: {highs.modelStatusToString(found)}"
        if found == status.kInfeasible:
            return Answer(Outcome.INFEASIBLE, None, -math.inf, detail)
        if found in (status.kUnbounded, status.kUnboundedOrInfeasible):
            return Answer(Outcome.UNBOUNDED, None, math.inf, detail)
        info = highs.getInfo()
        done = found in (status.kOptimal, status.kModelEmpty)
        limited = found in (status.kTimeLimit, status.kIterationLimit, status.kSolutionLimit)
        if not done and not limited and found != status.kInterrupt:
            return Answer(Outcome.ERROR, None, math.inf, detail)
        bound = self._bound(info, done)
        # An interrupted linear program leaves a point on its way, which proves nothing.
        feasible = int(self._module.SolutionStatus.kSolutionStatusFeasible)
        if not (done or self._integers) or info.primal_solution_status != feasible:
            return Answer(Outcome.NO_ANSWER, None, bound, detail)
        values = np.array(highs.getSolution().col_value, dtype=np.float64)
        return Answer(Outcome.OPTIMAL if done else Outcome.FEASIBLE, values, bound, detail)

    def _bound(self, info: Any, done: bool) -> float:
        if self._integers:
            return float(info.mip_dual_bound)
        return float(info.objective_function_value) if done else math.inf
