"""The old forward of a network whose graph was rewired does not run silently as if nothing had happened."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


def residual() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2))


REFUSED = r"the forward of Sequential does not know of the edit of its graph \(\w+\): run the graph"


def test_it_refuses_until_the_edit_is_undone() -> None:
    net, x = residual(), torch.randn(3, 4)
    expected = net(x)
    graph = ng.capture(net, x)
    first = ng.insert(graph, nn.BatchNorm1d, after="0", name="norm")
    second = ng.remove(graph, "2")
    for run in (
        lambda: net(x),
        lambda: graph.module(x),
        lambda: ng.capture(net, x),
        lambda: copy.deepcopy(net)(x),
    ):
        with pytest.raises((ng.EditError, ng.CaptureError), match=REFUSED):
            run()
    assert graph(x).shape == graph.to_module()(x).shape == (3, 2)
    second.undo()
    with pytest.raises(ng.EditError, match=REFUSED):
        net(x)
    first.undo()
    assert torch.equal(net(x), expected)
    assert not net._forward_pre_hooks


def test_a_whole_does_not_run_a_part_that_was_rewired() -> None:
    part = residual()
    whole = nn.Sequential(part, nn.Linear(2, 2))
    graph = ng.capture(part, torch.ones(1, 4))
    edit = ng.remove(graph, "2")
    with pytest.raises(ng.EditError, match=REFUSED):
        whole(torch.ones(1, 4))
    edit.undo()
    whole(torch.ones(1, 4))


def test_edits_of_sizes_leave_the_forward_alone() -> None:
    net = residual()
    ng.resize(ng.capture(net, torch.ones(1, 4)), {"0": -2})
    assert net(torch.ones(1, 4)).shape == (1, 2)


def test_a_network_that_is_one_layer_still_runs_as_its_graph() -> None:
    layer = nn.Linear(4, 3)
    graph = ng.capture(layer, torch.ones(1, 4))
    ng.insert(graph, nn.BatchNorm1d, after=graph.vertices[-1].name, name="norm")
    assert graph(torch.ones(2, 4)).shape == (2, 3)


def test_it_comes_along_in_pickles() -> None:
    graph = ng.capture(residual(), torch.ones(1, 4))
    ng.remove(graph, "2")
    again = pickle.loads(pickle.dumps(graph))
    with pytest.raises(ng.EditError, match=REFUSED):
        again.module(torch.ones(1, 4))
    assert torch.equal(again(torch.ones(1, 4)), graph(torch.ones(1, 4)))


class Around(nn.Module):
    """A part between two layers."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.stem, self.part, self.head = nn.Linear(4, 4), part, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.part(self.stem(x)))
        return out


class Listed(nn.Module):
    """Layers in a list, which has no forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("part", "gone"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "part.1"),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.ReLU()), "part.0.1"),
        (Listed(), "part.layers.1"),
    ],
)
def test_a_part_that_lost_a_layer_refuses_in_another_network_until_undone(part: nn.Module, gone: str) -> None:
    one, other, x = Around(part), Around(part), torch.ones(1, 4)
    before = other(x)
    graph = ng.capture(one, x)
    edit = ng.remove(graph, gone)
    for network in (other, part):
        with pytest.raises(ng.EditError, match=r"a part of Around, does not know of the edit of its graph"):
            network(x)
    assert graph(x).shape == (1, 2)
    edit.undo()
    assert torch.equal(other(x), before)


def test_a_part_that_the_edit_left_alone_runs_in_another_network() -> None:
    part, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.ones(1, 4)
    one, other = nn.Sequential(nn.Linear(4, 4), part, nn.Linear(4, 4)), Around(part)
    before = other(x)
    ng.remove(ng.capture(one, x), "2")
    assert torch.equal(other(x), before)
