"""A budget of latency that branches may go for, too, on a device whose time is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.latency.simulated import linear_macs, simulated
from tests.prune.test_depth_program import Blocks


def by_calls(model: nn.Module) -> float:
    """A tenth of a millisecond for each linear layer, and a microsecond for each multiply-accumulate."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return 1e-4 * len(layers) + 1e-6 * linear_macs(model)


@pytest.mark.parametrize("share", [0.7, 0.5])
def test_branches_go_for_latency(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    device = simulated(monkeypatch, by_calls)
    net = Blocks(16, [24, 16, 32])
    before = by_calls(net)
    edit = ng.prune(net, torch.randn(1, 3), latency=share, runtime=device, round_to=1, depth=True)
    assert edit.dropped
    assert edit.latency is not None
    assert by_calls(net) == pytest.approx(edit.latency.measured)
    assert by_calls(net) <= share * before * 1.005
