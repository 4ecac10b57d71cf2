"""A graph seen again after its network changed."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.graph import Stub
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph, capture
from naivegraph.widths import relate
from tests.networks.capture import NETWORKS


def described(graph: Graph) -> list[Any]:
    """Everything about a graph which `refresh` writes, with tensors numbered in order of appearance."""
    numbers: dict[int, int] = {}

    def plain(value: Any) -> Any:
        return [
            (numbers.setdefault(leaf.id, len(numbers)), leaf.shape, leaf.dtype)
            if isinstance(leaf, Stub)
            else repr(leaf)
            for leaf in leaves(value)
        ]

    out: list[Any] = [plain(list(graph.state.values())), list(graph.state)]
    for v in graph.vertices:
        out.append((v.name, plain(v.args), plain(v.kwargs), plain(v.output)))
        out.extend((o.func, plain(o.args), plain(o.kwargs), plain(list(o.outputs))) for o in v.operations)
    return [*out, plain(graph.output)]


@pytest.mark.parametrize("name", NETWORKS)
def test_refresh_of_an_unchanged_network_changes_nothing(name: str) -> None:
    build, shape = NETWORKS[name]
    graph = capture(build(), torch.randn(shape))
    before = described(graph)
    numbers = [leaf.id for v in graph for leaf in leaves(v.output) if isinstance(leaf, Stub)]
    graph.refresh()
    graph.refresh()
    graph.lint()
    assert described(graph) == before
    assert [leaf.id for v in graph for leaf in leaves(v.output) if isinstance(leaf, Stub)] == numbers
    widths = relate(graph).widths
    assert [(w.name, w.size) for w in widths] == [
        (w.name, w.size) for w in relate(capture(build(), torch.randn(shape))).widths
    ]


def test_refresh_sees_new_sizes() -> None:
    one, two = nn.Linear(4, 8), nn.Linear(8, 2)
    net = nn.Sequential(one, nn.ReLU(), two)
    graph = capture(net, torch.ones(2, 4))
    one.weight.data, one.bias.data = torch.ones(5, 4), torch.ones(5)
    two.weight.data = torch.ones(2, 5)
    one.out_features = two.in_features = 5
    graph.refresh()
    assert graph.sizes == {"input": 4, "0": 5, "1": 5, "2": 2}
    assert graph.state["0.weight"].shape == (5, 4)
    assert [stub.shape for stub in leaves(graph["2"].args) if isinstance(stub, Stub)] == [(2, 5)]
    assert described(graph) == described(capture(net, torch.ones(2, 4)))
    assert [(w.name, w.size) for w in relate(graph)] == [("0", 5)]


def test_refresh_leaves_network_and_random_numbers() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    graph = capture(net, torch.ones(2, 4))
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(2), random.random()
    torch.manual_seed(3)
    random.seed(3)
    graph.refresh()
    assert torch.equal(torch.rand(2), expected[0])
    assert random.random() == expected[1]
    assert all(module.training for module in net.modules())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_refresh_that_fails_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    graph = capture(net, torch.ones(2, 4))
    before = described(graph)
    net[0].weight.data, net[0].bias.data = torch.ones(5, 4), torch.ones(5)
    with pytest.raises(RuntimeError) as error:
        graph.refresh()
    assert "while the graph ran '2'" in error.value.__notes__[0]
    assert described(graph) == before


def test_examples_are_copies() -> None:
    x = torch.ones(2, 4, requires_grad=True)
    graph = capture(nn.Sequential(nn.ReLU(inplace=False), nn.Linear(4, 2)), x)
    with torch.no_grad():
        x.zero_()
    assert torch.equal(graph.example["input"], torch.ones(2, 4))
    assert not graph.example["input"].requires_grad
    twin = copy.deepcopy(graph)
    twin.example["input"].zero_()
    assert torch.equal(graph.example["input"], torch.ones(2, 4))
    twin.refresh()


def test_refresh_follows_precision() -> None:
    graph = capture(nn.Linear(4, 2), torch.ones(2, 4))
    graph.module.double()
    graph.refresh()
    assert graph.output.dtype == torch.float64
