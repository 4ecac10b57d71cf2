"""Modules that the example does not reach: they stay fit for what reaches them later."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Expert(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(torch.relu(self.up(x)))
        return out


class Mixture(nn.Module):
    """Experts of which the ones given by `chosen` are called."""

    def __init__(self, *, keyed: bool = False) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        experts = [Expert(8, 6) for _ in range(4)]
        self.experts = (
            nn.ModuleDict({f"e{i}": e for i, e in enumerate(experts)}) if keyed else nn.ModuleList(experts)
        )
        self.chosen = [0, 1]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        experts = (
            list(self.experts.values()) if isinstance(self.experts, nn.ModuleDict) else list(self.experts)
        )
        for i in self.chosen:
            hidden = hidden + experts[i](hidden)
        out: Tensor = self.head(hidden)
        return out


@pytest.mark.parametrize("keyed", [False, True])
def test_an_expert_that_the_example_does_not_reach_follows_its_siblings(keyed: bool) -> None:
    torch.manual_seed(0)
    net = Mixture(keyed=keyed)
    with torch.no_grad():  # the last three neurons of the stem do nothing, so that the network is as it was
        for name, parameter in net.named_parameters():
            if name.endswith("up.weight") or name == "head.weight":
                parameter[:, 5:] = 0
            elif name.startswith("stem") or name.endswith(("down.weight", "down.bias")):
                parameter[5:] = 0
    before, x = copy.deepcopy(net), torch.randn(3, 4)
    ng.resize(ng.capture(net, x), {"stem": -3})
    assert net.stem.out_features == 5
    for chosen in ([0, 1], [2], [3, 2, 0]):
        net.chosen = before.chosen = chosen
        torch.testing.assert_close(net(x), before(x))


def test_the_hidden_size_of_an_expert_is_its_own() -> None:
    net: Any = Mixture()
    edit = ng.resize(ng.capture(net, torch.randn(3, 4)), {"experts.0.up": -2})
    sizes = [expert.up.out_features for expert in net.experts]
    assert sizes == [4, 6, 6, 6]
    edit.undo()
    net.chosen = [3]
    assert net(torch.randn(3, 4)).shape == (3, 3)
