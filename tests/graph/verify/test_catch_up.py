"""Several graphs of one network, and of its parts, each edited in turn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import naivegraph as ng


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 6)


def test_a_graph_follows_edits_of_its_network_and_of_other_graphs(x: torch.Tensor) -> None:
    net = network()
    graph, other = ng.capture(net, x), ng.capture(net, x)
    before = net(x)
    cut = ng.prune(net, x, params=0.6)
    assert graph.sizes["0"] == len(net.get_parameter("0.bias")) < 10
    assert graph.params == sum(p.numel() for p in net.parameters())
    grown = ng.resize(other, {"2": +2})
    assert graph.sizes["2"] == 10
    shrunk = ng.resize(graph, {"2": -1})
    assert torch.equal(graph(x), net(x))
    assert {width.name: width.size for width in graph.widths.widths}["2"] == len(net.get_parameter("2.bias"))
    for edit in (shrunk, grown, cut):
        edit.undo()
    assert graph.sizes == other.sizes == ng.capture(net, x).sizes
    assert torch.equal(graph(x), before)


def test_graphs_of_a_part_and_of_the_whole_follow_each_other(x: torch.Tensor) -> None:
    part = network()
    whole = nn.Sequential(part, nn.ReLU(), nn.Linear(3, 2)).eval()
    of_part, of_whole = ng.capture(part, x), ng.capture(whole, x)
    first = ng.resize(of_part, {"0": +4})
    assert of_whole.sizes["0.0"] == 14
    ng.resize(of_whole, {"0.4": +2})
    assert of_part.sizes["4"] == 5
    with pytest.raises(ng.EditError, match=r"undo the later edits first, the last one first: .*0\.4 3 -> 5"):
        first.undo()


def test_a_graph_that_does_not_run_any_more_says_so_until_that_is_undone(x: torch.Tensor) -> None:
    net = network()
    graph, other, third = (ng.capture(net, x) for _ in range(3))
    edit = ng.resize(graph, {"input": +2})
    with pytest.raises(ng.EditError, match=r"changed otherwise .* cannot be multiplied .*capture it again"):
        ng.resize(other, {"0": -1})
    edit.undo()
    assert ng.resize(other, {"0": -1})
    ng.remove(graph, "2")
    with pytest.raises(ng.EditError, match=r"it has no '2\.weight' any more"):
        print(third.sizes)
