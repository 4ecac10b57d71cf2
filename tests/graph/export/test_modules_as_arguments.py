"""Calls that are given parts of the network, or functions that use them, as autograd functions often are."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Detached(torch.autograd.Function):
    """The result of a function of a tensor, with the identity as derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


class Inner(nn.Module):
    """A block that hands its branch to an autograd function, in one of several ways."""

    def __init__(self, given: Callable[[Any], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6))
        self.given = [given]

    def helper(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        run: Any = Detached.apply
        out: Tensor = x + run(x, self.given[0](self))
        return out


GIVEN: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "a module": lambda block: block.branch,
    "a method of a module": lambda block: block.branch.forward,
    "a method of its own": lambda block: block.helper,
    "a function": lambda block: lambda x: block.branch(x),
    "a partial function": lambda block: functools.partial(block.helper),
}


def network(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), Inner(GIVEN[name]), nn.Linear(6, 2))


X = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def spoil(module: Any) -> None:
    for parameter in module.parameters():
        parameter.add_(1)


@pytest.mark.parametrize("name", GIVEN)
def test_copies_of_the_graph_have_modules_of_their_own(name: str) -> None:
    net = network(name)
    expected = net(X)
    copied = copy.deepcopy(ng.capture(net, X))
    spoil(net)
    torch.testing.assert_close(copied(X), expected)
    spoil(copied.module)
    torch.testing.assert_close(copied(X), net(X))


@pytest.mark.parametrize("name", GIVEN)
def test_modules_made_of_the_graph_have_them_too(name: str) -> None:
    net = network(name)
    expected, names = net(X), list(net.state_dict())
    made = ng.capture(net, X).to_module()
    again = copy.deepcopy(made)
    assert list(made.state_dict()) == names
    for own in (net, made):
        spoil(own)
    torch.testing.assert_close(made(X), net(X))
    torch.testing.assert_close(again(X), expected)
    edit = ng.prune(made, X, ratio=0.5)
    assert edit.after.params < edit.before.params
    assert made(X).shape == expected.shape


@pytest.mark.parametrize("name", GIVEN)
def test_a_doubled_block_has_weights_of_its_own(name: str) -> None:
    net = network(name)
    graph = ng.capture(net, X)
    ng.duplicate(graph, "1")
    with torch.no_grad():
        expected = net[2](net[1].forward(net[1].forward(net[0].forward(X))))
        torch.testing.assert_close(graph(X), expected)
        for parameter in graph.module.get_submodule("1_2.branch.2").parameters():
            parameter.zero_()
        torch.testing.assert_close(graph(X), net[2](net[1].forward(net[0].forward(X))))


def test_the_refit_has_what_the_network_gave_before() -> None:
    net, data = network("a module"), torch.randn(64, 3)
    expected = net(data)
    edit = ng.prune(net, X, ratio={"1.branch.0": 0.5}, calibration=data)
    assert edit.refit is not None
    edit.undo()
    torch.testing.assert_close(net(data), expected, rtol=0, atol=0)
