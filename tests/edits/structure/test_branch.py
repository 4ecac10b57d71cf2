"""Branches: added with zeros they keep the function bit for bit; they train, are undone and replayed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.c(self.b(self.a(x).relu()).relu())
        return out.mean((2, 3))


def made() -> tuple[ng.Graph, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    return ng.capture(Image().eval(), x), x


def test_it_keeps_the_function_and_learns() -> None:
    graph, x = made()
    before = graph(x)
    ng.branch(graph, "a", "b", name="side")
    assert torch.equal(graph(x), before)
    assert [v.name for v in graph] == ["x", "a", "relu", "b", "side", "add", "relu_1", "c", "mean"]
    assert [v.name for v in graph.inputs_of("add")] == ["b", "side"]
    graph(x).square().sum().backward()
    assert bool(graph.module.get_parameter("side.weight").grad.any())  # type: ignore[union-attr]


def test_it_computes_what_the_layers_say() -> None:
    graph, x = made()
    layer = nn.Conv2d(6, 4, 1, stride=2)
    a, b, c = (copy.deepcopy(graph.module.get_submodule(name)) for name in "abc")
    ng.branch(graph, "a", "c", layer, zero=False)
    inner = a(x)
    expected = (c(b(inner.relu()).relu()) + layer(inner)).mean((2, 3))
    assert torch.allclose(graph(x), expected, atol=1e-6)


def test_the_sizes_of_its_ends_stay_tied_afterwards() -> None:
    graph, x = made()
    ng.branch(graph, "a", "b")
    ng.resize(graph, {"b": -3})
    assert graph.sizes["branch"] == graph.sizes["b"] == 5
    assert graph(x).shape == (2, 4)


def test_the_networks_output_and_vectors_can_be_its_end() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    graph = ng.capture(net, x)
    expected = graph(x)
    edit = ng.branch(graph, "0", "2", lambda a, b: nn.Sequential(nn.Linear(a, 5), nn.ReLU(), nn.Linear(5, b)))
    assert torch.equal(graph(x), expected)
    assert graph.vertices[-1].name == "add"
    edit.undo()
    assert torch.equal(net(x), expected)


def test_from_a_vertex_to_itself() -> None:
    graph, x = made()
    before = graph(x)
    ng.branch(graph, "relu", "relu")
    assert torch.equal(graph(x), before)


def test_it_can_be_replayed_and_saved(tmp_path: object) -> None:
    graph, x = made()
    other, _ = made()
    edit = ng.branch(graph, "a", "b", lambda a, b: nn.Conv2d(a, b, 3, padding=1), name="side")
    ng.replay(other, edit.to_json())
    assert torch.equal(other(x), graph(x))
    with torch.no_grad():
        graph.module.get_parameter("side.weight").normal_()
    ng.save(graph, f"{tmp_path}/net.safetensors")
    loaded = ng.load(Image(), f"{tmp_path}/net.safetensors")
    assert torch.equal(loaded(x), graph(x))


def test_optimizers_get_its_parameters() -> None:
    graph, x = made()
    optimizer = torch.optim.Adam(graph.parameters())
    graph(x).sum().backward()
    optimizer.step()
    edit = ng.branch(graph, "a", "b", name="side", optimizer=optimizer)
    weight = graph.module.get_parameter("side.weight")
    assert any(p is weight for p in optimizer.param_groups[0]["params"])
    edit.undo()
    assert not any(p is weight for p in optimizer.param_groups[0]["params"])


@pytest.mark.parametrize(
    ("source", "target", "layer", "message"),
    [
        ("b", "a", None, r"from 'b' to 'a' would be a cycle: a -> relu -> b -> a"),
        ("a", "c", None, r"shape \(2, 4, 8, 8\), and 'c' one of \(2, 4, 4, 4\): give layer="),
        ("a", "b", nn.Conv2d(5, 8, 1), r"\(Conv2d\) does not take what 'a' gives"),
        ("a", "b", nn.Sequential(nn.Conv2d(6, 8, 1), nn.ReLU()), "nothing says how a ReLU gives zero"),
        ("a", "b", lambda a, b: 3, "layer= gave 3: give a torch.nn.Module"),
        ("a", "nowhere", None, "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    source: str, target: str, layer: Any, message: str
) -> None:
    graph, x = made()
    before, names = graph(x), [vertex.name for vertex in graph]
    with pytest.raises(ng.EditError, match=message):
        ng.branch(graph, source, target, layer)
    assert [vertex.name for vertex in graph] == names
    assert torch.equal(graph(x), before)
    assert torch.equal(graph.module(x), before)
