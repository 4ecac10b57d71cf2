"""Finding vertices and their connections, and the sizes of what they give."""

from __future__ import annotations

import networkx
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.errors import NaivegraphError
from naivegraph.graph import Vertex, concat, input_node, layer
from naivegraph.network import Graph, capture
from tests.networks import capture as networks


def names(vertices: list[Vertex]) -> list[str]:
    return [vertex.name for vertex in vertices]


def branched() -> Graph:
    x = input_node("x", 3)
    conv = layer(nn.Conv2d(3, 4, 3, padding=1), x, name="stem.conv")
    norm = layer(nn.BatchNorm2d(4), conv, name="stem.norm")
    left = layer(nn.Conv2d(4, 5, 1), norm, name="left")
    both = concat(left, norm, left, name="both")
    flat = layer(nn.Flatten(), layer(nn.AdaptiveAvgPool2d(1), both, name="pool"), name="flat")
    return Graph([x], [layer(nn.Linear(14, 2), flat, name="head")])


def test_find() -> None:
    graph = branched()
    assert names(graph.find("stem.*")) == ["stem.conv", "stem.norm"]
    assert names(graph.find("l?ft")) == ["left"]
    assert names(graph.find(lambda v: isinstance(v.target, nn.Linear))) == ["head"]
    assert graph.find("Left") == []
    with pytest.raises(NaivegraphError, match=r"did you mean 'stem.conv'"):
        graph["stem.con"]


def test_connections() -> None:
    graph = branched()
    assert names(graph.inputs_of("both")) == ["left", "stem.norm"]
    assert names(graph.outputs_of(graph["stem.norm"])) == ["left", "both"]
    assert graph.inputs_of("x") == graph.outputs_of("head") == []
    assert names(graph.ancestors("left")) == ["x", "stem.conv", "stem.norm"]
    assert names(graph.descendants("both")) == ["pool", "flat", "head"]


def test_in_place_changes_are_depended_on() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    graph = capture(net, torch.ones(2, 4))
    assert names(graph.inputs_of("2")) == ["1"]


def test_to_networkx_agrees_with_the_queries() -> None:
    graph = branched()
    result = graph.to_networkx()
    assert list(result.nodes) == names(graph.vertices)
    assert result.number_of_edges("left", "both") == 2
    assert networkx.ancestors(result, "both") == set(names(graph.ancestors("both")))
    assert networkx.descendants(result, "stem.norm") == set(names(graph.descendants("stem.norm")))
    assert result.nodes["stem.conv"] == {"kind": "layer", "what": "Conv2d", "path": "stem.conv"}


def test_sizes() -> None:
    assert branched().sizes == {
        "x": 3, "stem.conv": 4, "stem.norm": 4, "left": 5, "both": 14, "pool": 14, "flat": 14, "head": 2
    }  # fmt: skip


def test_sizes_through_views_permutations_and_norms() -> None:
    net = nn.Sequential(
        nn.Conv1d(3, 5, 3),
        nn.InstanceNorm1d(5, affine=True),
        nn.GroupNorm(5, 5),
        nn.Flatten(),
        nn.Linear(70, 6),
    )
    assert list(capture(net, torch.ones(2, 3, 16)).sizes.values()) == [3, 5, 5, 5, 70, 6]
    attention = capture(networks.Attention(networks.Config(8, 2)), torch.ones(2, 5, 8))
    assert attention.sizes["qkv"] == 24
    assert attention.sizes["out"] == attention.sizes["x"] == 8
    tokens = capture(nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4)), torch.zeros(2, 7, dtype=torch.long))
    assert tokens.sizes["0"] == tokens.sizes["1"] == 4


class Squeezed(nn.Module):
    """Squeezes a tensor in place: the same tensor then has fewer dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x.unsqueeze(1)) + 1
        hidden.squeeze_(1)
        return self.last(hidden)  # type: ignore[no-any-return]


def test_sizes_before_and_after_a_dimension_goes_in_place() -> None:
    graph = capture(Squeezed(), torch.ones(3, 6))
    sizes = {"x": 6, "unsqueeze": 6, "first": 12, "add": 12, "squeeze_": 12, "last": 4}
    assert {name: graph.sizes[name] for name in sizes} == sizes
    ng.resize(graph, {"add": -2})
    assert graph.sizes["squeeze_"] == graph.sizes["first"] == 10
