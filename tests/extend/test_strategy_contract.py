"""Strategies that hold pass their contract, and every test of it catches one that is wrong in its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.resize_program.strategy import default_strategy
from naivegraph.extend import Attempt, Decision, Strategy, StrategyContract, run_contract

Make = Callable[[Strategy], Any]
now = ng.strategy

HOLDING: dict[str, Make] = {
    "Nothing": lambda then: now.Nothing(),
    "Raise": lambda then: now.Raise(),
    "Solve": now.Solve,
    "Relax": now.Relax,
    "Warn": now.Warn,
    "Log": now.Log,
    "TimeLimit": lambda then: now.TimeLimit(20.0, then),
    "MostNew": lambda then: now.MostNew(1, then),
    "WithUtility": lambda then: now.WithUtility("l1", then),
    "After": lambda then: now.After(lambda edit: None, then),
    "Validate": lambda then: now.Validate(lambda edit: edit.after.params % 2 == 0, then),
    "default": lambda then: default_strategy(),
    "a function": lambda then: lambda attempt: attempt.solve()[0],
}


@pytest.mark.parametrize("name", HOLDING)
def test_strategies_that_come_along_hold(name: str) -> None:
    class Made(StrategyContract):
        def strategy(self, then: Strategy) -> Strategy:
            made: Strategy = HOLDING[name](then)
            return made

    assert set(run_contract(Made)) == set(CAUGHT)


@dataclasses.dataclass(frozen=True)
class Steps(Strategy):
    """Comes as near as can be where the whole cannot be had, without a word."""

    then: Strategy

    def __call__(self, attempt: Attempt) -> Decision | None:
        answer, _ = attempt.solve()
        return answer or now.Relax(self.then)(attempt)


class TestSteps(StrategyContract):
    def strategy(self, then: Strategy) -> Strategy:
        return Steps(then)


# -- and strategies that do not --


def _true(then: Strategy) -> Any:
    return lambda attempt: attempt.solve()[0] is not None


def _key_error(then: Strategy) -> Any:
    values: dict[str, int] = {}
    return lambda attempt: values["nothing"]


def _silent(then: Strategy) -> Any:
    def give_up(attempt: Attempt) -> Decision | None:
        raise ng.InfeasibleError

    return give_up


def _lawless(then: Strategy) -> Any:
    """Thinks nothing of what rules demand."""

    def decide(attempt: Attempt) -> Decision | None:
        free = dataclasses.replace(attempt.constraints, width_constraints=[], must_stay={}, must_go={})
        return dataclasses.replace(attempt, constraints=free).solve()[0]

    return decide


def _greedy(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        answer = attempt.solve()[0]
        if answer is None:
            return None
        kept = {width: np.arange(len(indices)) + 1 for width, indices in answer.kept.items()}
        return dataclasses.replace(answer, kept=kept)

    return decide


def _overrated(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        answer = attempt.solve()[0]
        if answer is None:
            return None
        better = dataclasses.replace(answer.certificate, bound=answer.certificate.value - 1)
        return dataclasses.replace(answer, certificate=better)

    return decide


def _meddling(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        with torch.no_grad():
            next(attempt.widths.graph.module.parameters()).mul_(2)
        return attempt.solve()[0]

    return decide


def _eager(then: Strategy) -> Any:
    """Applies what it decides by itself."""

    def decide(attempt: Attempt) -> Decision | None:
        graph: Any = attempt.widths.graph
        ng.resize(graph, {"free": ng.relaxed(-1)})
        return None

    return decide


def _scaling(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        for values in (attempt.values or {}).values():
            values *= -1
        return attempt.solve()[0]

    return decide


class _Moody(Strategy):
    moods = 0

    def __call__(self, attempt: Attempt) -> Decision | None:
        _Moody.moods += 1
        return attempt.solve()[0] if _Moody.moods % 2 else None


def _hasty(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        answer = then(attempt)
        for callback in answer.callbacks if answer is not None else ():
            callback(None)  # type: ignore[arg-type]
        return answer

    return decide


def _twice(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        answer = then(attempt)
        return answer and dataclasses.replace(answer, callbacks=answer.callbacks * 2)

    return decide


def _losing(then: Strategy) -> Any:
    def decide(attempt: Attempt) -> Decision | None:
        answer = then(attempt)
        return answer and Decision(answer.kept, answer.new, answer.certificate)

    return decide


CAUGHT: dict[str, list[tuple[Make, str]]] = {
    "test_decides": [
        (_true, "fewer .*: it gave True, which is neither a Decision nor None"),
        (_key_error, r"it raised KeyError\('nothing'\), which is no InfeasibleError"),
        (_silent, "the InfeasibleError does not say why"),
    ],
    "test_decisions_can_be_carried_out": [
        (_lawless, "not in fours .*: the rule declared for in_fours says fours is a multiple of 4"),
        (_greedy, "the neurons of .* that stay are .*, not in order, each once, from 0 to"),
        (_overrated, "is below its value"),
    ],
    "test_leaves_everything_alone": [
        (_meddling, "fewer .*: the values of free.weight is not as before"),
        (_eager, "fewer .*: the values of free.weight is not as before"),
        (_scaling, "fewer .*: values of the attempt is not as before"),
    ],
    "test_same_decision_twice": [(lambda then: _Moody(), "it decided .*, and then ")],
    "test_callbacks_wait_for_the_edit": [
        (_hasty, "fewer .*: a callback was called before there was an edit")
    ],
    "test_callbacks_run_once": [
        (_twice, "fewer: a callback was called 2 times"),
        (_losing, "fewer: a callback of what it goes on with was lost"),
    ],
}


def test_there_is_a_wrong_strategy_for_every_test() -> None:
    assert set(CAUGHT) == {name for name in vars(StrategyContract) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [(name, make, says) for name, wrong in CAUGHT.items() for make, says in wrong],
)
def test_a_wrong_strategy_is_caught(name: str, make: Make, says: str) -> None:
    class Wrong(StrategyContract):
        def strategy(self, then: Strategy) -> Strategy:
            made: Strategy = make(then)
            return made

    with pytest.raises(AssertionError, match=says):
        getattr(Wrong(), name)()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match=r"StrategyContract needs a method strategy\(self, then\)"):
        StrategyContract().test_decides()


# -- decisions of a user's strategy, as a resize takes them --


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"kept": lambda kept, w: {**kept, w: np.array([0, 9])}},
            r"0 that stay are \[0 9\], not in order, .* to 5",
        ),
        ({"kept": lambda kept, w: {**kept, w: np.array([1, 0])}}, r"0 that stay are \[1 0\], not in order"),
        ({"kept": lambda kept, w: {**kept, w: np.array([0.0])}}, "not an array of whole numbers"),
        (
            {"kept": lambda kept, w: {**kept, w: np.array([], int)}},
            "nothing is left of dimension 0 of 0.weight",
        ),
        ({"kept": lambda kept, w: {}}, "it says how many neurons of 0 come, but not which stay"),
        ({"new": lambda new, w: {**new, w: -1}}, "-1 neurons cannot come to 0"),
        ({"new": lambda new, w: {**new, dataclasses.replace(w): 1}}, "0 is no width of this network"),
    ],
)
def test_a_decision_that_cannot_be_carried_out_is_refused(change: dict[str, Any], says: str) -> None:
    network = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2))
    graph = ng.capture(network, torch.ones(1, 3))
    before = graph.module.state_dict()["0.weight"].clone()

    def decide(attempt: Attempt) -> Any:
        answer = attempt.solve()[0]
        assert answer is not None
        (width, *_) = answer.kept
        return dataclasses.replace(
            answer, **{name: make(getattr(answer, name), width) for name, make in change.items()}
        )

    strategy: Any = decide
    with pytest.raises(ng.EditError, match=f"what the strategy decided cannot be carried out: .*{says}"):
        ng.resize(graph, {"0": -1}, strategy=strategy)
    assert torch.equal(graph.module.state_dict()["0.weight"], before)
