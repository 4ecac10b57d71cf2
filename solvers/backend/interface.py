"""The interface of a solver, and the registry of the solvers that implement it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from naivegraph.solvers.arrays import Arrays, FloatArray, Rows
from naivegraph.solvers.solution import Outcome


@dataclass(frozen=True)
class Limits:
    """Limits of a solve.

    Attributes:
        time: seconds left; None for no limit.
        gap: stop when `|bound - objective| / |objective|` is at most this.
        threads: the number of threads to use.
    """

    time: float | None = None
    gap: float = 0.0
    threads: int = 1


@dataclass(frozen=True)
class Answer:
    """The result of a backend, in the units of the arrays.

    Attributes:
        outcome: how it ended. UNBOUNDED may also mean "infeasible or unbounded": `solve` finds out which.
        values: one per column, within the solver's tolerances; None without an answer.
        bound: an upper bound on the objective of every answer; inf when nothing is known.
        detail: the solver's own message.
    """

    outcome: Outcome
    values: FloatArray | None
    bound: float
    detail: str = ""


class Backend(abc.ABC):
    """A solver of mixed-integer programs given as arrays.

    Subclass it, decorate the class with `register_backend`, and run
    `naivegraph.solvers.backend_contract.BackendContract` on it. Only `available` and `solve_arrays` are
    needed; override `open` to keep a model alive between rounds of tangents. What it raises is told to the
    user as an outcome, `Outcome.ERROR`.

    Attributes:
        name: the name users pass as `backend=`.
        warm_start: whether the solver makes use of `start`.
        reports_bound: whether `Answer.bound` says something when a limit stops the solver.
    """

    name: ClassVar[str]
    warm_start: ClassVar[bool] = False
    reports_bound: ClassVar[bool] = False

    @classmethod
    @abc.abstractmethod
    def available(cls) -> bool:
        """Tell whether the solver can be used here."""

    @classmethod
    def variants(cls) -> Mapping[str, Backend]:
        """The usable solvers of this class by the names users pass, each `name` or `name:something`."""
        return {cls.name: cls()} if cls.available() else {}

    @abc.abstractmethod
    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise once.

        Args:
            arrays: the program; numbers are near 1.
            limits: time, gap and threads.
            start: one value per column to begin from, nan where unknown; a hint, which may be infeasible.
        """

    def open(self, arrays: Arrays) -> Session:
        """Open a session: the program is solved several times, with ever more rows."""
        return Session(self, arrays)


class Session:
    """A program that gains rows between solves; this class starts afresh each time."""

    def __init__(self, backend: Backend, arrays: Arrays) -> None:
        self._backend = backend
        self._arrays = arrays

    def add(self, rows: Rows) -> None:
        """Add rows."""
        self._arrays = self._arrays.with_rows(rows)

    def run(self, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise with the rows so far; arguments as in `Backend.solve_arrays`."""
        return self._backend.solve_arrays(self._arrays, limits, start)


BackendClass = TypeVar("BackendClass", bound=type[Backend])

BACKENDS: dict[str, type[Backend]] = {}


def register_backend(backend: BackendClass, *, replace: bool = False) -> BackendClass:
    """Register a backend class under its name; a decorator.

    The class may be anywhere: once registered, its name can be passed wherever there is a `backend=`.

    Args:
        backend: the class.
        replace: take it in place of another of that name.

    Raises:
        TypeError: it is no subclass of `Backend`, or does not say its name.
        ValueError: another class has that name, or the name has a colon, which parts it from a variant's.

    Example:
        >>> from naivegraph.solvers import Backend, register_backend
        >>> register_backend(Backend)
        Traceback (most recent call last):
            ...
        TypeError: Backend does not say its name: give the class an attribute name = "..."
    """
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise TypeError(
            f"register_backend takes a subclass of naivegraph.solvers.Backend (the class, not an instance of "
            f"it), not {backend!r}"
        )
    name = getattr(backend, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f'{backend.__name__} does not say its name: give the class an attribute name = "..."')
    if ":" in name:
        raise ValueError(
            f"{name!r} cannot be the name of a backend: what follows the colon names one of its variants"
        )
    if BACKENDS.get(name, backend) is not backend and not replace:
        raise ValueError(f"there is a backend {name!r} already; replace=True takes this one instead")
    BACKENDS[name] = backend
    return backend


def backends() -> dict[str, Backend]:
    """The solvers that can be used here, by the names to pass as `backend=`.

    >>> "highs" in backends()
    True
    """
    return {name: found for known in BACKENDS.values() for name, found in known.variants().items()}


def find_backend(backend: str | Backend) -> Backend:
    """The backend of that name, or the backend itself.

    Raises:
        ValueError: none that can be used here has that name; the message lists those that can.
    """
    if isinstance(backend, Backend):
        return backend
    known = BACKENDS.get(backend.partition(":")[0])
    found = known.variants().get(backend) if known is not None else None
    if found is None:
        raise ValueError(f"no solver {backend!r} can be used here; there are: {', '.join(backends())}")
    return found
