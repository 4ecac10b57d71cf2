"""What a resize does when a request cannot be met, and on the way: small objects that compose.

A strategy is called with an attempt and gives an answer, or None for "change nothing". Most hold another
strategy to go on with. The default chain is `Solve(Warn(Relax(Solve(Warn(Nothing())))))`: meet the requests
exactly; if that cannot be, warn and come as near as can be; if that fails too, warn and change nothing.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.explain.conflicts import Wanted, conflict_text
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.request import validate
from naivegraph.edits.request.requests import Delta, Size, relaxed
from naivegraph.edits.resize_program.decision_check import objection
from naivegraph.edits.resize_program.resize_program import AxisRequest, Floats, ResizeProgram
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.solvers import Backend, Outcome, Solution, solve
from naivegraph.solvers.budget import Certificate
from naivegraph.utility import Utility, check_utility
from naivegraph.widths import SizeConstraints, Width, Widths

if TYPE_CHECKING:
    from naivegraph.edits.apply.edit import Edit

__all__ = [
    "After",
    "Attempt",
    "Decision",
    "Log",
    "MostNew",
    "Nothing",
    "Raise",
    "Relax",
    "Solve",
    "Strategy",
    "TimeLimit",
    "Validate",
    "Warn",
    "WithUtility",
    "decide",
    "default_strategy",
]

# Seconds within which a conflict is to be explained where nobody set a time limit.
_PATIENCE = 30.0

_PACKAGE = __name__.partition(".")[0]
_log = logging.getLogger("naivegraph")


@dataclasses.dataclass(frozen=True)
class Decision:
    """Which neurons stay and come, how good that is, and what is to be called once it is applied.

    Those that stay are an array [rows, k] where each row of a product keeps its own.
    """

    kept: dict[Width, Indices]
    new: dict[Width, int]
    certificate: Certificate
    callbacks: tuple[Callable[[Edit], Any], ...] = ()
    weighed: bool = True

    @property
    def certified(self) -> Certificate | None:
        """The certificate; None if nothing was worth anything, so that there is nothing to certify."""
        return self.certificate if self.weighed else None

    def sizes(self) -> dict[Atom, int]:
        """The sizes of the widths afterwards."""
        return {w.atom: int(kept.shape[-1]) + self.new.get(w, 0) for w, kept in self.kept.items()}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A resize that is being tried.

    Attributes:
        widths: The widths of the graph.
        constraints: What the network's own code and declared rules demand.
        askings: The requests.
        values: One number per neuron of every width; None where only sizes count.
        new: The most neurons that may come; None for no bound.
        time_limit: Seconds for one solve; None for no limit.
        late: What to do if a solve finds no answer in that time; None for what is done without an answer.
        utilities: Works out values from what `WithUtility` is given.
        backend: The solver.
    """

    widths: Widths
    constraints: SizeConstraints
    axis_requests: tuple[AxisRequest, ...]
    values: Mapping[Width, Floats] | None
    utilities: Callable[[Utility], Mapping[Width, Floats] | None]
    new: int | None = None
    time_limit: float | None = None
    late: Strategy | None = None
    backend: str | Backend = "highs"

    def posed(self) -> ResizeProgram:
        """The program of this attempt."""
        return ResizeProgram(self.widths, self.constraints, list(self.axis_requests), self.values, self.new)

    def solve(self) -> tuple[Decision | None, Outcome]:
        """Solve it: first the requests that may give way as near as can be, then the rest."""
        posed = self.posed()
        if posed.nearness is not None and posed.first is not None:
            first, goal = posed.first, posed.nearness
            first.set_objective(goal.indices, goal.coefficients)
            nearest = solve(first, backend=self.backend, time_limit=self.time_limit)
            if nearest.values is None:
                return None, nearest.outcome
            slack = 1e-6 * (1 + abs(nearest.objective))
            posed.program.row(
                "as near as can be", goal.indices, goal.coefficients, lower=nearest.objective - slack
            )
        found = solve(posed.program, backend=self.backend, time_limit=self.time_limit)
        return self._answer(posed, found), found.outcome

    def conflict(self, *, offers: bool = True) -> str:
        """Why it cannot be done, in sentences; with `offers` also the nearest that can be."""
        posed = dataclasses.replace(self, values=None).posed()
        wanted = [
            Wanted(axis_request.name, axis_request.vertex, axis_request.axis, *form, axis_request.target)
            for axis_request, form in zip(self.axis_requests, posed.forms, strict=True)
        ]
        limit = _PATIENCE if self.time_limit is None else self.time_limit
        try:
            return conflict_text(
                self.widths, self.constraints, posed.program, wanted,
                offers=offers, time_limit=limit, backend=self.backend,
            )  # fmt: skip
        except TimeoutError:
            return f"No sizes that meet all of it ({self}) were found, and the time was too short to say why."

    def _answer(self, posed: ResizeProgram, found: Solution) -> Decision | None:
        if found.values is None:
            return None
        kept, new = posed.decided(np.asarray(found.values))
        certificate = Certificate(found.objective, max(found.bound, found.objective))
        weighed = any(values.any() for values in (self.values or {}).values())
        return Decision(kept, new, certificate, weighed=weighed)

    def __str__(self) -> str:
        return "; ".join(axis_request.name for axis_request in self.axis_requests) or "the utilities alone"


class Strategy:
    """Base of the strategies.

    Attributes:
        says: What it does, for the messages of those that go on with it.
    """

    says: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check the strategies to go on with, where this is a dataclass of some.

        Raises:
            EditError: One is none.
        """
        for name in ("then", "otherwise"):
            other = getattr(self, name, None)
            if other is not None and (isinstance(other, type) or not callable(other)):
                shown = other.__name__ if isinstance(other, type) else repr(other)
                raise EditError(f"{type(self).__name__}({name}={shown}): give a strategy, such as Raise()")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Try; None changes nothing."""
        raise TypeError(f"{type(self).__name__} does not say what to do")


@dataclasses.dataclass(frozen=True)
class Nothing(Strategy):
    """Change nothing."""

    says: ClassVar[str] = "nothing is changed"

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Give no answer."""
        return None


@dataclasses.dataclass(frozen=True)
class Raise(Strategy):
    """Raise an InfeasibleError which names the requests in conflict."""

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Raise."""
        raise InfeasibleError(attempt.conflict())


@dataclasses.dataclass(frozen=True)
class Solve(Strategy):
    """Meet the requests; if that cannot be, do otherwise."""

    otherwise: Strategy = Raise()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Solve, or go on."""
        answer, outcome = attempt.solve()
        if answer is not None:
            return answer
        if outcome is Outcome.NO_ANSWER and attempt.late is not None:
            return attempt.late(dataclasses.replace(attempt, time_limit=None, late=None))
        return self.otherwise(attempt)


@dataclasses.dataclass(frozen=True)
class Relax(Strategy):
    """Let every exact request give way, then go on."""

    says: ClassVar[str] = "trying the nearest that can be done"

    then: Strategy = Solve()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on with relaxed requests."""
        axis_requests = tuple(
            dataclasses.replace(axis_request, request=relaxed(axis_request.request))
            if isinstance(axis_request.request, (Delta, Size))
            else axis_request
            for axis_request in attempt.axis_requests
        )
        return self.then(dataclasses.replace(attempt, axis_requests=axis_requests))


@dataclasses.dataclass(frozen=True)
class Warn(Strategy):
    """Warn that the requests cannot be met, and why, then go on."""

    then: Strategy = Nothing()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Warn, then go on."""
        then = f"; {self.then.says}" if self.then.says else ""
        # Where something else is tried next, that will show what can be done.
        why = attempt.conflict(offers=isinstance(self.then, Nothing))
        warnings.warn(f"these sizes cannot be had: {attempt}{then}. {why}", stacklevel=_levels())
        return self.then(attempt)


@dataclasses.dataclass(frozen=True)
class Log(Strategy):
    """Write a line to the `naivegraph` logger, then go on."""

    then: Strategy
    message: str = "resizing"
    level: int = logging.INFO

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Log, then go on."""
        _log.log(self.level, "%s: %s", self.message, attempt)
        return self.then(attempt)


@dataclasses.dataclass(frozen=True)
class TimeLimit(Strategy):
    """Give every solve so many seconds; if the time is up without an answer, do otherwise."""

    seconds: float
    then: Strategy = Solve()
    otherwise: Strategy = Nothing()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.at_least_zero(self.seconds, "TimeLimit's seconds")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on with a time limit."""
        return self.then(dataclasses.replace(attempt, time_limit=self.seconds, late=self.otherwise))


@dataclasses.dataclass(frozen=True)
class MostNew(Strategy):
    """Let at most so many neurons come in all (0 forbids any), then go on."""

    most: int
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.whole(self.most, "the most new neurons", 0)

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on with a bound on new neurons."""
        return self.then(dataclasses.replace(attempt, new=self.most))


@dataclasses.dataclass(frozen=True)
class WithUtility(Strategy):
    """Judge neurons by another utility, then go on."""

    utility: Utility
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        check_utility(self.utility)

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on with other values."""
        return self.then(dataclasses.replace(attempt, values=attempt.utilities(self.utility)))


@dataclasses.dataclass(frozen=True)
class After(Strategy):
    """Call a function with the edit once it is applied; if it raises, the edit is taken back."""

    callback: Callable[[Edit], Any]
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.function(self.callback, "callback", "a function of the edit")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on, and remember the callback."""
        answer = self.then(attempt)
        if answer is None:
            return None
        return dataclasses.replace(answer, callbacks=(self.callback, *answer.callbacks))


@dataclasses.dataclass(frozen=True)
class Validate(Strategy):
    """Take the edit back unless `check`, called with it once it is applied, is true."""

    check: Callable[[Edit], bool]
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.function(self.check, "check", "a function of the edit which returns whether it may stay")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on, and remember the check."""

        def validated(edit: Edit) -> None:
            if not self.check(edit):
                raise InfeasibleError(f"the network after the edit did not pass validation ({attempt})")

        return After(validated, self.then)(attempt)


def decide(strategy: Callable[[Attempt], Any], attempt: Attempt) -> Decision | None:
    """What a strategy, which may be the user's own, decides.

    Raises:
        EditError: That is no decision, or one that cannot be carried out.
    """
    answer = strategy(attempt)
    if answer is None:
        return None
    if not isinstance(answer, Decision):
        raise EditError(
            f"the strategy gave {answer!r}: it must give a Decision, as attempt.solve()[0], or None"
        )
    wrong = objection(attempt.widths, attempt.constraints, answer.kept, answer.new)
    if wrong:
        raise EditError(f"what the strategy decided cannot be carried out: {wrong}")
    return answer


def _levels() -> int:
    """How many calls lie between `Warn` and the first line that is not this package's: what to warn about."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(f"{_PACKAGE}."):
        frame, levels = frame.f_back, levels + 1
    return levels


def default_strategy() -> Strategy:
    """Exactly; else warn and as near as can be; else warn and nothing."""
    return Solve(Warn(Relax(Solve(Warn(Nothing())))))
