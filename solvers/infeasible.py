"""Irreducible infeasible sets: requests that contradict each other, none of which could be left out."""

from __future__ import annotations

import time

from naivegraph.solvers.backend.interface import Backend
from naivegraph.solvers.program import Program
from naivegraph.solvers.solution import Outcome
from naivegraph.solvers.solve import find_feasible


def irreducible_infeasible_set(
    program: Program, *, backend: str | Backend = "highs", time_limit: float | None = None
) -> tuple[str, ...]:
    """Find requests that are infeasible together, and feasible once any one of them is left out.

    The deletion filter (Chinneck and Dravnieks, "Locating minimal infeasible constraint sets in linear
    programs", ORSA Journal on Computing 3, 1991), with the rows of one request as its unit: one request after
    the other is left out, and stays out where the rest is still infeasible. One pass is enough: a request
    stays because the others left at that time are feasible without it, and later there are only fewer others.
    Rows without a request are structure and always stay. A program can have several such sets; this is one of
    them.

    Args:
        program: the program; its objective does not matter.
        backend: as in `solve`.
        time_limit: seconds for everything. When it is reached, requests not yet tried stay in the set, which
            is then infeasible but may not be irreducible.

    Returns:
        The names of the requests in the order they first appear; empty if the program is feasible.

    Raises:
        ValueError: the structure alone is infeasible, whatever the requests.
        TimeoutError: the time limit was reached before it was known whether the program is feasible.
        RuntimeError: the solver failed.

    >>> from naivegraph.solvers import Program, irreducible_infeasible_set
    >>> program = Program()
    >>> size = program.column("size", 1, 64)
    >>> for name, low, high in [("at least 8", 8, 64), ("at most 32", 1, 32), ("exactly 48", 48, 48)]:
    ...     _ = program.row(name, [size], [1.0], lower=low, upper=high, request=name)
    >>> irreducible_infeasible_set(program)
    ('at most 32', 'exactly 48')
    """
    end = None if time_limit is None else time.perf_counter() + time_limit
    if _feasible(program, backend, end):
        return ()
    needed = list(program.requests)
    if not _feasible(program.without(needed), backend, end):
        raise ValueError(
            "the program is infeasible without any request: its columns' bounds and the rows that belong to "
            "no request contradict each other"
        )
    for request in program.requests:
        rest = [name for name in needed if name != request]
        gone = [name for name in program.requests if name not in rest]
        try:
            if not _feasible(program.without(gone), backend, end):
                needed = rest
        except TimeoutError:
            break
    return tuple(needed)


def _feasible(program: Program, backend: str | Backend, end: float | None) -> bool:
    """Tell whether the program is feasible; `end` is when the time is over, in seconds of `perf_counter`."""
    left = None if end is None else max(end - time.perf_counter(), 0.0)
    found = find_feasible(program, backend=backend, time_limit=left)
    if found.values is None and found.outcome is Outcome.NO_ANSWER:
        raise TimeoutError("the time limit was reached before it was known whether the program is feasible")
    if found.outcome is Outcome.ERROR:
        raise RuntimeError(f"{found.outcome.sentence} {found.detail}")
    return found.values is not None
