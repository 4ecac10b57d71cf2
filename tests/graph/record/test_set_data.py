"""Forwards that give tensors memory by `tensor.data = values` are followed like those that copy."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Binary(nn.Module):
    """A layer whose weight is made of another parameter in each forward, as in binarised networks."""

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.layer, self.head = nn.Parameter(torch.randn(8, 4)), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.layer.weight.data = self.raw.sign() * self.raw.abs().mean(1, keepdim=True)
        found: Tensor = self.head(self.layer(x).relu())
        return found


@pytest.mark.parametrize("resize", [False, True])
def test_raw_weights_lose_neurons_with_the_layer_they_are_assigned_to(resize: bool) -> None:
    net, x = Binary(), torch.randn(3, 4)
    before = copy.deepcopy(net.state_dict())
    graph = ng.capture(net, x)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    kept = torch.tensor([0, 2, 3, 5, 6])
    removed = torch.tensor([1, 4, 7])
    worth = torch.ones(8).index_fill(0, removed, -1.0)
    edit = ng.resize(graph, {"layer": -3}, utility={"layer": worth}) if resize else ng.prune(graph, ratio=0.5)
    assert net.raw.shape[0] == net.layer.weight.shape[0] == (5 if resize else 4)
    if resize:
        zeroed = Binary()
        zeroed.load_state_dict(before)
        with torch.no_grad():
            zeroed.head.weight[:, removed] = 0
        torch.testing.assert_close(net(x), zeroed(x))
        assert torch.equal(net.raw, before["raw"][kept])
    edit.undo()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_module_of_its_calls_follows_the_raw_weights() -> None:
    net, x = Binary(), torch.randn(3, 4)
    module = ng.capture(net, x).to_module()
    with torch.no_grad():
        net.raw.mul_(-2)
        dict(module.named_parameters())["raw"].copy_(net.raw)
    torch.testing.assert_close(module(x), net(x))


class Moving(nn.Module):
    """A forward that moves its layer to where the input is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.layer.to(x.device)
        found: Tensor = self.head(self.layer(x).relu())
        return found


def test_layers_that_are_moved_to_where_they_are_keep_their_memory() -> None:
    net, x = Moving(), torch.randn(3, 4)
    weight = net.layer.weight
    graph = ng.capture(net, x)
    torch.testing.assert_close(graph(x), net(x))
    ng.prune(graph, ratio=0.5)
    assert net.layer.weight.shape == (4, 4)
    assert net.layer.weight is weight
