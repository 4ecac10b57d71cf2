"""Strategies of a resize, also for requests that cannot be satisfied: small objects that compose.

A strategy is called with an attempt and returns a decision, or None for "change nothing". Most have another
strategy to go on with. The default chain is `Solve(Warn(Relax(Solve(Warn(Nothing())))))`: satisfy the
requests exactly; if that is impossible, warn and come as near as possible; if that fails too, warn and change
nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.explain.conflicts import ProgramRequest, conflict_text
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.request import validate
from naivegraph.edits.request.requests import Delta, Size, relaxed
from naivegraph.edits.resize_program.decision_check import objection
from naivegraph.edits.resize_program.resize_program import AxisRequest, Floats, ResizeProgram
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.solvers import Backend, Outcome, Program, Solution, backends, solve
from naivegraph.solvers.budget import Certificate
from naivegraph.user_warnings import warn_user
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

# Seconds for the explanation of infeasible requests without a time limit of the user's.
_PATIENCE = 30.0

_log = logging.getLogger("naivegraph")


@dataclasses.dataclass(frozen=True)
class Decision:
    """A choice of neurons.

    Attributes:
        kept: The neurons that stay, by width; an array [rows, k] where each row of a product keeps its own.
        new: The number of new neurons, by width.
        certificate: The utility kept, and its bound.
        callbacks: Functions to call with the edit once it is applied.
        weighed: Whether any neuron had a value, so that there is something to certify.
    """

    kept: dict[Width, Indices]
    new: dict[Width, int]
    certificate: Certificate
    callbacks: tuple[Callable[[Edit], Any], ...] = ()
    weighed: bool = True

    @property
    def certified(self) -> Certificate | None:
        """The certificate; None if no neuron had a value, so that there is nothing to certify."""
        return self.certificate if self.weighed else None

    def sizes(self) -> dict[Atom, int]:
        """The sizes of the widths afterwards."""
        return {w.atom: int(kept.shape[-1]) + self.new.get(w, 0) for w, kept in self.kept.items()}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A resize that is being tried.

    Attributes:
        widths: The widths of the graph.
        constraints: The constraints of the network's own code and of custom rules.
        axis_requests: The requests.
        values: One number per neuron of every width; None where only sizes count.
        utilities: The function from a utility, as in `WithUtility`, to values.
        new: The most new neurons; None for no bound.
        time_limit: Seconds for one solve; None for no limit.
        late: The strategy if a solve finds no answer in that time; None for the one without an answer.
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

    def program(self) -> ResizeProgram:
        """The program of this attempt."""
        return ResizeProgram(self.widths, self.constraints, list(self.axis_requests), self.values, self.new)

    def solve(self) -> tuple[Decision | None, Outcome]:
        """Solve it: relaxed requests first, as nearly as possible, then utility.

        Raises:
            EditError: The solver failed.
        """
        program = self.program()
        if program.nearness is not None and program.first is not None:
            first, goal = program.first, program.nearness
            first.set_objective(goal.indices, goal.coefficients)
            nearest = self._solved(first)
            if nearest.values is None:
                return None, nearest.outcome
            slack = 1e-6 * (1 + abs(nearest.objective))
            program.program.row(
                "as near as can be", goal.indices, goal.coefficients, lower=nearest.objective - slack
            )
        found = self._solved(program.program)
        return self._answer(program, found), found.outcome

    def _solved(self, program: Program) -> Solution:
        """The solution; a solver that failed says nothing about the requests."""
        found = solve(program, backend=self.backend, time_limit=self.time_limit)
        if found.outcome is Outcome.ERROR:
            named = repr(self.backend) if isinstance(self.backend, str) else type(self.backend).__name__
            raise EditError(
                f"the solver {named} failed ({found.detail}), and nothing was changed; backend= chooses "
                f"another out of {', '.join(backends())}"
            )
        return found

    def conflict(self, *, offers: bool = True) -> str:
        """The reason why it cannot be done, in sentences; with `offers` also the nearest that can be."""
        program = dataclasses.replace(self, values=None).program()
        requests = [
            ProgramRequest(
                axis_request.name, axis_request.vertex, axis_request.axis, *form, axis_request.target
            )
            for axis_request, form in zip(self.axis_requests, program.forms, strict=True)
        ]
        limit = _PATIENCE if self.time_limit is None else self.time_limit
        try:
            return conflict_text(
                self.widths, self.constraints, program.program, requests,
                offers=offers, time_limit=limit, backend=self.backend,
            )  # fmt: skip
        except TimeoutError:
            return f"No sizes that meet all of it ({self}) were found, and the time was too short to say why."

    def _answer(self, program: ResizeProgram, found: Solution) -> Decision | None:
        if found.values is None:
            return None
        kept, new = program.decided(np.asarray(found.values))
        certificate = Certificate(found.objective, max(found.bound, found.objective))
        values = self.values or {}  # worked out as they are looked at: first those the program has seen
        weighed = any(values[width].any() for width in (*program.in_scope, *values) if width in values)
        return Decision(kept, new, certificate, weighed=weighed)

    def __str__(self) -> str:
        return "; ".join(axis_request.name for axis_request in self.axis_requests) or "the utilities alone"


class Strategy:
    """Base class of strategies.

    Attributes:
        action: Its action in words, for the messages of strategies that go on with it.
    """

    action: ClassVar[str] = ""

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

    action: ClassVar[str] = "nothing is changed"

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Return no decision."""
        return None


@dataclasses.dataclass(frozen=True)
class Raise(Strategy):
    """Raise an InfeasibleError that names the requests in conflict."""

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Raise."""
        raise InfeasibleError(attempt.conflict())


@dataclasses.dataclass(frozen=True)
class Solve(Strategy):
    """Satisfy the requests; if that is impossible, go on with `otherwise`."""

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
    """Relax every exact request, then go on."""

    action: ClassVar[str] = "trying the nearest that can be done"

    then: Strategy = Solve()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on with relaxed requests."""
        axis_requests = tuple(
            dataclasses.replace(axis_request, request=relaxed(axis_request.request), gave_way=True)
            if isinstance(axis_request.request, (Delta, Size)) and not axis_request.is_relaxed
            else axis_request
            for axis_request in attempt.axis_requests
        )
        return self.then(dataclasses.replace(attempt, axis_requests=axis_requests))


@dataclasses.dataclass(frozen=True)
class Warn(Strategy):
    """Warn that the requests cannot be satisfied, and why, then go on."""

    then: Strategy = Nothing()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Warn, then go on."""
        then = f"; {self.then.action}" if self.then.action else ""
        # Where another strategy comes next, that one will show what can be done.
        why = attempt.conflict(offers=isinstance(self.then, Nothing))
        warn_user(f"these sizes cannot be had: {attempt}{then}. {why}")
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
    """Bound the number of new neurons in all (0 forbids any), then go on."""

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
    """Value neurons by another utility, then go on."""

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
    """Call a function with the edit once it is applied; if it raises, the edit is undone."""

    callback: Callable[[Edit], Any]
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.function(self.callback, "callback", "a function of the edit")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on, and add the callback."""
        answer = self.then(attempt)
        if answer is None:
            return None
        return dataclasses.replace(answer, callbacks=(self.callback, *answer.callbacks))


@dataclasses.dataclass(frozen=True)
class Validate(Strategy):
    """Undo the edit unless `check`, called with it once it is applied, returns true."""

    check: Callable[[Edit], bool]
    then: Strategy = Solve()

    def __post_init__(self) -> None:
        """See the base."""
        super().__post_init__()
        validate.function(self.check, "check", "a function of the edit which returns whether it may stay")

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Go on, and add the check."""

        def validated(edit: Edit) -> None:
            """Raise if the check fails."""
            if not self.check(edit):
                raise InfeasibleError(f"the network after the edit did not pass validation ({attempt})")

        return After(validated, self.then)(attempt)


def decide(strategy: Callable[[Attempt], Any], attempt: Attempt) -> Decision | None:
    """Call a strategy, which may be the user's own, and check its decision.

    Raises:
        EditError: It is no decision, or one that cannot be carried out.
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


def default_strategy() -> Strategy:
    """The default strategy: exactly; else warn and as near as possible; else warn and change nothing."""
    return Solve(Warn(Relax(Solve(Warn(Nothing())))))
