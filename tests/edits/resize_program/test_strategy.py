"""What each strategy does when sizes cannot be had, and on the way."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.requests import Delta, Request, Size
from naivegraph.edits.resize_program.strategy import (
    After,
    Attempt,
    Decision,
    Log,
    MostNew,
    Nothing,
    Raise,
    Relax,
    Solve,
    Strategy,
    TimeLimit,
    Validate,
    Warn,
    WithUtility,
    default_strategy,
)
from naivegraph.errors import InfeasibleError
from naivegraph.solvers import Answer, Backend, Limits, Outcome
from naivegraph.solvers.arrays import Arrays, FloatArray
from naivegraph.utility import utilities
from tests.edits.resize_program.test_resize_program import Attempts, Halves


@dataclasses.dataclass(frozen=True)
class Seen(Strategy):
    """Keeps the attempts it is given."""

    attempts: list[Attempt] = dataclasses.field(default_factory=list)

    def __call__(self, attempt: Attempt) -> Decision | None:
        self.attempts.append(attempt)
        return None


def _attempt(**asked: Request) -> Attempt:
    """A resize of `Halves`, in which only even changes of `both` can be had."""
    torch.manual_seed(0)
    return Attempts(Halves(), torch.randn(2, 3)).attempt(asked)


def _plain(asked: Request, values: list[float] | None = None) -> Attempt:
    """A resize of a layer of six neurons."""
    attempts = Attempts(nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), torch.randn(2, 3))
    given = None if values is None else utilities(attempts.widths, {"0": values})
    return dataclasses.replace(
        attempts.attempt({"0": asked}, given),
        utilities=lambda utility: utilities(attempts.widths, utility),
    )


def _size(attempt: Attempt, answer: Decision | None) -> int:
    """The size of what was asked for."""
    assert answer is not None
    sizes = {w.atom: len(kept) + answer.new[w] for w, kept in answer.kept.items()}
    return attempt.axis_requests[0].axis.size(lambda atom: sizes.get(atom, atom.length))


IMPOSSIBLE = {"both": Delta(1)}
POSSIBLE = {"both": Delta(2)}


def test_raise_names_what_was_asked() -> None:
    with pytest.raises(InfeasibleError, match=r"both: exactly \+1"):
        Solve(Raise())(_attempt(**IMPOSSIBLE))
    with pytest.raises(InfeasibleError, match=r"both: exactly \+1"):
        Solve()(_attempt(**IMPOSSIBLE))


def test_nothing_gives_no_answer_and_says_nothing() -> None:
    assert Solve(Nothing())(_attempt(**IMPOSSIBLE)) is None
    assert Nothing()(_attempt(**POSSIBLE)) is None


def test_what_can_be_had_never_comes_to_the_otherwise() -> None:
    seen = Seen()
    attempt = _attempt(**POSSIBLE)
    assert _size(attempt, Solve(seen)(attempt)) == 8
    assert not seen.attempts


def test_the_default_warns_and_comes_as_near_as_can_be() -> None:
    attempt = _attempt(**IMPOSSIBLE)
    with pytest.warns(UserWarning, match=r"both: exactly \+1; trying the nearest") as warned:
        answer = default_strategy()(attempt)
    assert _size(attempt, answer) == 8
    assert len(warned) == 1


def test_the_default_warns_twice_and_changes_nothing_if_nothing_is_near() -> None:
    attempt = dataclasses.replace(_plain(Delta(1)), new=0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert default_strategy()(attempt) is None
    first, second = [str(w.message) for w in warned]
    assert first.startswith("these sizes cannot be had: 0: exactly +1; trying the nearest that can be done. ")
    assert second.startswith("these sizes cannot be had: 0: about +1; nothing is changed. ")
    for why in (first, second):
        assert "  at most 0 new neurons in all" in why
    assert "nearest that can be done: without" not in first
    assert "without '0: about +1', 0 keeps its size of 6" in second


def test_a_warning_tells_why_by_way_of_the_vertices_that_tie() -> None:
    attempt = _attempt(both=Size(8), other=Size(5))
    with pytest.warns(UserWarning, match="these sizes cannot be had: both") as warned:
        Solve(Warn(Nothing()))(attempt)
    (why,) = [str(w.message) for w in warned]
    assert "  both: exactly 8 wide (its size is 6)" in why
    assert "  other: exactly 5 wide (its size is 3)" in why
    assert "both -> " in why
    assert "other can be 4 instead of 5" in why
    assert "both can be 10 instead of 8" in why


def test_time_that_is_up_is_no_conflict() -> None:
    with pytest.warns(UserWarning, match="no answer was found in the time given|too short to say why"):
        TimeLimit(0.0, otherwise=Warn(Nothing()))(_attempt(**POSSIBLE))


def test_warn_says_nothing_of_what_it_does_not_know() -> None:
    with (
        pytest.warns(UserWarning, match=r"exactly \+1\. This cannot be done"),
        pytest.raises(InfeasibleError),
    ):
        Warn(Raise())(_attempt(**IMPOSSIBLE))


def test_relax_lets_sizes_give_way_and_nothing_else() -> None:
    seen = Seen()
    Relax(seen)(_attempt(both=Size(7), other=Delta(0)))
    assert [a.request for a in seen.attempts[0].axis_requests] == [
        Size(7, relaxed=True),
        Delta(0, relaxed=True),
    ]
    attempt = _attempt(both=Size(7))
    assert _size(attempt, Relax()(attempt)) == 8


def test_a_relaxed_request_moves_by_one_at_least() -> None:
    attempt = _attempt(other=Delta(1, relaxed=True), both=Delta(0, relaxed=True))
    answer, _ = attempt.solve()
    assert _size(attempt, answer) == 4


def test_log_writes_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "naivegraph"):
        Log(Nothing(), "trying", logging.WARNING)(_attempt(**POSSIBLE))
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "trying: both: exactly +2")
    ]


def test_a_time_limit_does_otherwise_when_time_is_up() -> None:
    attempt = _attempt(**POSSIBLE)
    assert attempt.solve()[1] is Outcome.OPTIMAL
    late, seen = Seen(), Seen()
    assert TimeLimit(0.0, Solve(seen), otherwise=late)(attempt) is None
    assert not seen.attempts
    assert late.attempts[0].time_limit is None
    assert _size(attempt, TimeLimit(0.0, otherwise=Solve())(attempt)) == 8
    assert TimeLimit(0.0)(attempt) is None


def test_a_time_limit_with_time_enough_goes_on_as_it_is_told() -> None:
    late = Seen()
    attempt = _attempt(**POSSIBLE)
    assert _size(attempt, TimeLimit(60.0, otherwise=late)(attempt)) == 8
    assert TimeLimit(60.0, MostNew(0, Solve(Nothing())), late)(attempt) is None
    with pytest.raises(InfeasibleError, match="both"):
        TimeLimit(60.0, otherwise=late)(_attempt(**IMPOSSIBLE))
    assert not late.attempts


def test_time_that_is_up_in_the_middle_of_a_chain_is_told_from_what_cannot_be() -> None:
    late, seen = Seen(), Seen()
    Relax(TimeLimit(0.0, Solve(seen), late))(_attempt(**IMPOSSIBLE))
    assert len(late.attempts) == 1
    assert not seen.attempts


@pytest.mark.parametrize(("most", "size"), [(0, None), (1, None), (2, None), (3, 9), (4, 9)])
def test_most_new_bounds_all_new_neurons(most: int, size: int | None) -> None:
    attempt = _plain(Delta(3))
    answer = MostNew(most, Solve(Nothing()))(attempt)
    assert (answer is None) == (size is None)
    if answer is not None:
        assert _size(attempt, answer) == size


@pytest.mark.parametrize(("most", "found"), [(3, False), (4, True)])
def test_most_new_counts_the_new_neurons_of_all_layers(most: int, found: bool) -> None:
    net = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    attempt = Attempts(net, torch.randn(2, 3)).attempt({"0": Delta(2), "1": Delta(2)})
    assert (MostNew(most, Solve(Nothing()))(attempt) is not None) == found


def test_forbidden_insertion_still_lets_neurons_go() -> None:
    attempt = _plain(Delta(-2), [1, 5, 2, 4, 3, 6])
    answer = MostNew(0)(attempt)
    assert answer is not None
    assert [kept.tolist() for kept in answer.kept.values()] == [[1, 3, 4, 5]]
    assert set(answer.new.values()) == {0}


def test_with_utility_judges_by_other_values() -> None:
    attempt = _plain(Size(2), [1, 5, 2, 4, 3, 6])
    first, other = Solve()(attempt), WithUtility({"0": [6, 5, 4, 3, 2, 1]})(attempt)
    sizes_only = WithUtility(0)(attempt)
    assert first is not None
    assert other is not None
    assert sizes_only is not None
    assert [answer.kept.popitem()[1].tolist() for answer in (first, other, sizes_only)] == [
        [1, 5],
        [0, 1],
        [0, 1],
    ]


def test_a_new_neuron_never_takes_the_place_of_an_old_one() -> None:
    attempt = _plain(Delta(1), [0.0, 5, 2, 4, 3, 6])
    answer = Solve()(attempt)
    assert answer is not None
    assert [len(kept) for kept in answer.kept.values()] == [6]


def test_callbacks_come_in_the_order_they_are_written() -> None:
    calls: list[str] = []
    strategy = After(lambda edit: calls.append("first"), After(lambda edit: calls.append("second")))
    answer = strategy(_attempt(**POSSIBLE))
    assert answer is not None
    assert not calls
    for callback in answer.callbacks:
        callback(cast(Edit, None))
    assert calls == ["first", "second"]


def test_there_are_no_callbacks_without_an_answer() -> None:
    def never(edit: Any) -> bool:
        raise AssertionError("called without an edit")

    assert After(never, Solve(Nothing()))(_attempt(**IMPOSSIBLE)) is None
    assert Validate(never, Solve(Nothing()))(_attempt(**IMPOSSIBLE)) is None


def test_validate_raises_unless_its_check_is_true() -> None:
    edit = cast(Edit, object())
    good = Validate(lambda e: e is edit)(_attempt(**POSSIBLE))
    bad = Validate(lambda e: False)(_attempt(**POSSIBLE))
    assert good is not None
    assert bad is not None
    good.callbacks[0](edit)
    with pytest.raises(InfeasibleError, match=r"did not pass validation \(both: exactly \+2\)"):
        bad.callbacks[0](edit)


def test_strategies_compose() -> None:
    calls: list[Any] = []
    strategy = Log(
        After(calls.append, MostNew(1, WithUtility({"0": np.arange(6.0)}, Solve(Warn(Relax(Solve())))))),
    )
    attempt = _plain(Delta(3))
    with pytest.warns(UserWarning, match=r"exactly \+3; trying the nearest"):
        answer = strategy(attempt)
    assert answer is not None
    assert _size(attempt, answer) == 7
    assert answer.callbacks == (calls.append,)


def test_a_strategy_must_say_what_it_does() -> None:
    with pytest.raises(TypeError, match="Strategy does not say what to do"):
        Strategy()(_attempt(**POSSIBLE))


def test_a_strategy_that_does_not_solve_is_told_so() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with pytest.raises(InfeasibleError, match=r"the strategy looked for none: Solve\(Raise\(\)\) does"):
        ng.resize(net, torch.ones(1, 4), {"0": -1}, strategy=Raise())
    assert net[0].out_features == 8


class _OutOfOrder(Backend):
    name = "out-of-order"

    @classmethod
    def available(cls) -> bool:
        return False

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        return Answer(Outcome.ERROR, None, np.inf, "no licence")


def test_a_solver_that_fails_is_told_as_such_and_not_as_a_conflict() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    for request in ({"0": -1}, {"0": ng.relaxed(-1)}):
        with pytest.raises(ng.EditError, match=r"the solver _OutOfOrder failed \(no licence\), and nothing"):
            ng.resize(net, torch.ones(1, 4), request, backend=_OutOfOrder())
    assert cast(nn.Linear, net[0]).out_features == 8
