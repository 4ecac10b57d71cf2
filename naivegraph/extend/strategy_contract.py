"""Tests every strategy must pass; subclass `StrategyContract` to run them on yours.

Example:
    >>> from naivegraph.edits.resize_program.strategy import Relax
    >>> class TestRelax(StrategyContract):
    ...     def strategy(self, then):
    ...         return Relax(then)
    >>> TestRelax().test_callbacks_run_once()
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.requests import RequestLike, relaxed
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_program.decision_check import objection
from naivegraph.edits.resize_program.strategy import After, Attempt, Decision, Nothing, Raise, Solve, Strategy
from naivegraph.errors import InfeasibleError
from naivegraph.extend.checks import NetworkState, expect
from naivegraph.graph.build.nodes import call, input_node, layer
from naivegraph.ir.custom_rule import Rule, Ties
from naivegraph.network import Graph

__all__ = ["StrategyContract"]

_CASES: dict[str, dict[str, RequestLike]] = {
    "fewer": {"free": -2},
    "more": {"free": +3},
    "several": {"free": -1, "first": relaxed(+2)},
    "not in fours": {"fours": -1},
    "a conflict": {"first": +4, "second": -1},
}


class StrategyContract:
    """Tests of one strategy, on requests that can be met and on others that cannot.

    Run them by pytest, as a subclass whose name begins with `Test`, or by calling the methods; each raises an
    AssertionError that says what is wrong. Warnings of the strategy are let pass.
    """

    def strategy(self, then: Strategy) -> Strategy:
        """Make the strategy; one that goes on with another goes on with `then`. To be overridden."""
        raise TypeError(f"{type(self).__name__} needs a method strategy(self, then) which makes the strategy")

    def test_decides(self) -> None:
        """It gives a decision or None, or raises an InfeasibleError that says why; nothing else."""
        for which, attempt, then in self._attempts():
            strategy = self.strategy(then)
            try:
                answer = _quietly(strategy, attempt)
            except InfeasibleError as error:
                expect(bool(str(error)), f"{which}: the InfeasibleError does not say why")
                continue
            except Exception as error:
                raise AssertionError(f"{which}: it raised {error!r}, which is no InfeasibleError") from error
            decided = answer is None or isinstance(answer, Decision)
            expect(decided, f"{which}: it gave {answer!r}, which is neither a Decision nor None")

    def test_decisions_can_be_carried_out(self) -> None:
        """Decisions meet the constraints of the code, of the rules and of the network's structure."""
        for which, attempt, then in self._attempts():
            answer = self._answer(then, attempt)
            if answer is not None:
                wrong = objection(attempt.widths, attempt.constraints, answer.kept, answer.new)
                expect(wrong == "", f"{which}: {wrong}")
                certificate = answer.certificate
                sound = certificate is None or certificate.bound >= certificate.value
                expect(sound, f"{which}: the bound of {certificate} is below its value")

    def test_leaves_everything_alone(self) -> None:
        """A decision changes neither the network nor the attempt."""
        for which, attempt, then in self._attempts():
            graph = attempt.widths.graph
            state, sizes, before = NetworkState(graph.module), _sizes(graph), _copied(attempt)
            self._answer(then, attempt)
            changed = state.change()
            expect(changed == "", f"{which}: {changed} is not as before")
            expect(_sizes(graph) == sizes, f"{which}: the graph is not as before")
            after = _copied(attempt)
            for name, value in before.items():
                expect(_equal(value, after[name]), f"{which}: {name} of the attempt is not as before")

    def test_same_decision_twice(self) -> None:
        """Asked again about the same, it decides the same."""
        for which, attempt, then in self._attempts():
            first, second = self._answer(then, attempt), self._answer(then, attempt)
            same = (first is None) == (second is None)
            if first is not None and second is not None:
                same = first.new == second.new and _equal(dict(first.kept), dict(second.kept))
            expect(same, f"{which}: it decided {first}, and then {second}")

    def test_callbacks_wait_for_the_edit(self) -> None:
        """While it decides, what is to be called with the edit is not called."""
        for which, attempt, then in self._attempts():
            calls: list[Any] = []
            self._answer(After(calls.append, then), attempt)
            expect(not calls, f"{which}: a callback was called before there was an edit")

    def test_callbacks_run_once(self) -> None:
        """With an edit as decided by what it goes on with, the callbacks of that are called once, with it."""
        for which, requests in _CASES.items():
            calls: list[Edit] = []
            inner = _Noting(After(calls.append, Solve(Nothing())))
            outer = _Noting(self.strategy(inner))
            try:
                edit = _quietly(_resized, requests, outer)
            except InfeasibleError:
                continue
            expect(len(calls) <= 1, f"{which}: a callback was called {len(calls)} times")
            taken = any(_as_decided(outer.answers[0], answer) for answer in inner.answers)
            if edit and taken:
                expect(calls == [edit], f"{which}: a callback of what it goes on with was lost")

    # What the tests are made of

    def _attempts(self) -> Iterator[tuple[str, Attempt, Strategy]]:
        """Every request with each of several strategies to go on with."""
        for which, requests in _CASES.items():
            noting = _Noting(Nothing())
            _resized(requests, noting)
            for then in (Solve(Nothing()), Nothing(), Raise()):
                yield f"{which} ({requests}), then {then}", noting.attempts[0], then

    def _answer(self, then: Strategy, attempt: Attempt) -> Decision | None:
        try:
            answer = _quietly(self.strategy(then), attempt)
        except InfeasibleError:
            return None
        return answer if isinstance(answer, Decision) else None


class _InFours(Rule):
    def tie(self, ties: Ties) -> None:
        """(batch, n) in, (batch, n) out, with n a multiple of 4."""
        ties.equal(ties.inputs[0][1], ties.outputs[0][1])
        ties.step(ties.inputs[0][1], 4)


def _graph() -> Graph:
    """A network with a layer by itself, two whose outputs are added, and one whose neurons come in fours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = input_node("x", 3)
        free = layer(nn.Linear(3, 6), x, name="free")
        first = layer(nn.Linear(6, 5), free, name="first")
        both = first + layer(nn.Linear(6, 5), free, name="second")
        fours = layer(nn.Linear(5, 8), both, name="fours")
        stepped = call(torch.sigmoid, fours, rule=_InFours(), name="in_fours")
        return Graph([x], [layer(nn.Linear(8, 2), stepped, name="last")])


def _resized(requests: Mapping[str, RequestLike], strategy: Strategy) -> Edit:
    return resize(_graph(), requests, strategy=strategy)


class _Noting(Strategy):
    """Strategy that passes attempts on to another, and records attempts and answers."""

    def __init__(self, then: Any) -> None:
        self.then = then
        self.attempts: list[Attempt] = []
        self.answers: list[Decision | None] = []

    def __call__(self, attempt: Attempt) -> Decision | None:
        self.attempts.append(attempt)
        answer: Decision | None = self.then(attempt)
        self.answers.append(answer)
        return answer


def _quietly(function: Any, *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def _as_decided(one: Decision | None, other: Decision | None) -> bool:
    if one is None or other is None:
        return False
    return one.new == other.new and _equal(dict(one.kept), dict(other.kept))


def _sizes(graph: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(stub.shape) for name, stub in graph.state.items()}


def _copied(attempt: Attempt) -> dict[str, Any]:
    """Copies of the fields of an attempt, by name."""
    out = {field.name: getattr(attempt, field.name) for field in dataclasses.fields(attempt)}
    values = None if attempt.values is None else {w: v.copy() for w, v in attempt.values.items()}
    constraints = {
        field.name: list(held)
        if isinstance(held := getattr(attempt.constraints, field.name), list)
        else dict(held)
        if isinstance(held, dict)
        else held
        for field in dataclasses.fields(attempt.constraints)
    }
    return {**out, "values": values, "constraints": constraints}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
