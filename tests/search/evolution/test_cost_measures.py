"""Measures of cost: numbers against counting by hand, times against a network that sleeps."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph import search


def test_costs_by_name() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(10, 4)
    assert search.cost("macs", x)(net) == 10 * (4 * 8 + 8 * 2)
    assert search.cost("params", x)(net) == 4 * 8 + 8 + 8 * 2 + 2
    assert pickle.loads(pickle.dumps(search.cost("macs", x)))(net) == 10 * (4 * 8 + 8 * 2)
    assert search.cost("macs", x)(ng.capture(net, x)) == 10 * (4 * 8 + 8 * 2)
    with pytest.raises(ng.EditError, match="no cost 'mac'"):
        search.cost("mac", x)


class Sleeper(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.layer = seconds, nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        out: torch.Tensor = self.layer(x)
        return out


def run_and_wait(model: nn.Module, example: torch.Tensor) -> Callable[[], object]:
    return lambda: model(example)


def test_latency() -> None:
    measure = search.latency(torch.zeros(1, 4), runtime=run_and_wait, turns=3)
    net = Sleeper(0.02).train()
    assert 0.02 <= measure(net) < 0.2
    assert net.training
    assert pickle.loads(pickle.dumps(measure))(Sleeper(0.0)) < 0.02
    with pytest.raises(ng.EditError, match="no runtime 'fast'"):
        search.latency(torch.zeros(1, 4), runtime="fast")
