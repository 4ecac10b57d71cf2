"""Tensors that share memory without being one keep their sizes, so that no edit parts them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import naivegraph as ng


class Halves(nn.Module):
    """Two layers whose weights are one memory, and one with its own."""

    def __init__(self, *, view: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        shared = self.first.weight.data
        self.second.weight = nn.Parameter(shared.T if view else shared)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.third(self.second(self.first(x).relu()).relu()).relu())
        return out


@pytest.mark.parametrize("view", [False, True])
def test_they_stay_together(view: bool) -> None:
    net, x = Halves(view=view), torch.ones(2, 6)
    # Weights that are the same memory from end to end are one for the recorder, too.
    assert ("first.weight shares its memory with" in str(ng.inspect(net, x))) == view
    ng.prune(net, x, ratio=0.5)
    assert net.third.out_features == 3
    assert net.first.out_features == net.second.out_features == 6
    with torch.no_grad():
        net.first.weight[0, 1] = 7
    seen = (net.second.weight.T if view else net.second.weight).detach()
    assert float(seen[0, 1]) == 7
    with pytest.warns(UserWarning, match=r"Fixed \((first.weight shares its memory|an input of the network)"):
        ng.resize(net, x, {"first": +1})
    assert net.first.out_features == 6


def test_a_buffer_that_is_a_view_of_a_parameter() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    net.get_submodule("0").register_buffer("tap", net.get_parameter("0.weight").data[:2])
    ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert net.get_parameter("0.weight").shape == (8, 4)


def test_parts_of_one_memory_that_do_not_overlap_are_free() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    flat = torch.randn(sum(p.numel() for p in net.parameters()))
    at = 0
    for parameter in net.parameters():
        parameter.data = flat[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
    ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert net.get_parameter("0.weight").shape == (4, 4)
