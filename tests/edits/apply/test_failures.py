"""Whatever fails in the middle of an edit: network, graph and optimizers are bit for bit as before.

Each thing that an edit does is preceded by a push to its undo log, so failing before and after every push is
failing before and after every thing it does.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng
from naivegraph.undo import UndoLog
from tests.machine.structures import batch, branches, chain, everything, residual
from tests.oracle import snapshot, unchanged

Verb = Callable[[ng.Graph, Any], object]


@functools.cache
def two() -> list[str]:
    graph = residual()
    return [ng.resize(graph, {"one": +3}).to_json(), ng.remove(graph, "norm").to_json()]


VERBS: dict[str, tuple[Callable[[], ng.Graph], Verb]] = {
    "prune": (chain, lambda g, o: ng.prune(g.module, (batch(g),), ratio=0.5, optimizer=o)),
    "resize": (residual, lambda g, o: ng.resize(g, {"stem": -1, "one": +2}, optimizer=o)),
    "resize a kernel": (residual, lambda g, o: ng.resize_kernel(g, {"one": 5}, optimizer=o)),
    "insert": (residual, lambda g, o: ng.insert(g, nn.BatchNorm2d, after="stem", optimizer=o)),
    "insert an identity": (
        chain,
        lambda g, o: ng.insert(g, nn.Linear(6, 6), after="second", identity=True, optimizer=o),
    ),
    "remove": (residual, lambda g, o: ng.remove(g, "one", optimizer=o)),
    "connect to a sum": (branches, lambda g, o: ng.connect(g, "a", "add", optimizer=o)),
    "connect to a concatenation": (branches, lambda g, o: ng.connect(g, "stem", "cat", optimizer=o)),
    "disconnect": (branches, lambda g, o: ng.disconnect(g, "add", "cat", optimizer=o)),
    "replay two": (residual, lambda g, o: ng.replay(g, two(), optimizer=o)),
}


class Case:
    """A network with gradients, an optimizer that has taken a step, an average, and how all of that was."""

    def __init__(self, name: str) -> None:
        two()  # whose own pushes are not to be counted
        torch.manual_seed(0)
        build, self._verb = VERBS[name]
        self.graph = build()
        module, x = self.graph.module, batch(self.graph)
        self.average = AveragedModel(module)
        self.optimizer = optim.Adam(module.parameters(), 1e-3)
        module(x).square().sum().backward()
        self.optimizer.step()
        self._before = everything(self.graph), snapshot(module), snapshot(self.average), self._optimizer()

    def _optimizer(self) -> list[Any]:
        groups = [[id(p) for p in group["params"]] for group in self.optimizer.param_groups]
        state = {
            id(p): {name: value.clone() for name, value in state.items()}
            for p, state in self.optimizer.state.items()
        }
        return [groups, list(state), state]

    def run(self) -> object:
        return self._verb(self.graph, [self.optimizer, self.average])

    def check(self) -> None:
        graph, network, average, (groups, order, state) = self._before
        assert everything(self.graph) == graph
        assert unchanged(self.graph.module, network)
        assert unchanged(self.average, average)
        now = self._optimizer()
        assert now[:2] == [groups, order]
        for key, values in state.items():
            assert values.keys() == now[2][key].keys()
            assert all(torch.equal(value, now[2][key][name]) for name, value in values.items())


@contextmanager
def watched(push: Callable[[UndoLog, Any], None]) -> Iterator[None]:
    original = UndoLog.push
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UndoLog, "push", lambda self, step: push(self, functools.partial(original, self, step)))
        yield


@functools.cache
def pushes(name: str) -> int:
    """How many things an edit does."""
    count = 0

    def counting(_: UndoLog, push: Callable[[], None]) -> None:
        nonlocal count
        count += 1
        push()

    case = Case(name)
    with watched(counting):
        assert case.run()
    return count


@pytest.mark.parametrize("after", [False, True], ids=["before the push", "after it"])
@pytest.mark.parametrize("name", VERBS)
def test_a_failure_at_any_step_leaves_everything_as_it_was(name: str, after: bool) -> None:
    case, total = Case(name), pushes(name)
    assert total > 5
    for number in range(total):
        count = 0

        def failing(_: UndoLog, push: Callable[[], None], number: int = number) -> None:
            nonlocal count
            count += 1
            if after or count != number + 1:
                push()
            if count == number + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), watched(failing):
            case.run()
        case.check()
    assert case.run()


@pytest.mark.parametrize("name", VERBS)
def test_interrupts_while_a_failed_edit_is_undone_change_nothing(name: str) -> None:
    """Every step back is interrupted the first time, half of them before they did anything."""
    case, total = Case(name), pushes(name)
    original = UndoLog.push
    count = 0

    def push(self: UndoLog, step: Callable[[], object]) -> None:
        nonlocal count
        count += 1
        tries, early = 0, count % 2

        def interrupted() -> None:
            nonlocal tries
            tries += 1
            if tries > 1 or not early:
                step()
            if tries == 1:
                raise KeyboardInterrupt

        original(self, interrupted)
        if count == total:
            raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UndoLog, "push", push)
        with pytest.raises(KeyboardInterrupt):
            case.run()
    case.check()
    assert case.run()


def test_a_check_that_fails_after_everything_was_done() -> None:
    from naivegraph.edits.apply.apply import apply

    case = Case("resize")
    change = ng.resize(copy.deepcopy(case.graph), {"stem": -1}).change

    def check() -> None:
        assert case.graph.sizes["stem"] == 3
        raise ArithmeticError("not this")

    with pytest.raises(ArithmeticError, match="not this"):
        apply(change, case.graph, optimizer=[case.optimizer, case.average], check=check)
    case.check()
    with pytest.raises(ng.EditError, match="of no use: not this"):
        apply(change, case.graph, optimizer=case.optimizer, check=check, failed="of no use")
    case.check()


def test_a_network_that_does_not_run_at_the_new_sizes_is_named_and_left_alone() -> None:
    # A view of a tensor of ones does not show which dimension the channels go to.
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(1, 1), nn.Flatten(), nn.Linear(1, 7))
    graph = ng.capture(net, torch.randn(2, 1, 4, 4))
    before = everything(graph)
    with pytest.raises(ng.EditError, match=r"does not run at the new sizes.*\(while the graph ran '1'\)"):
        ng.resize(graph, {"input": 2})
    assert everything(graph) == before
