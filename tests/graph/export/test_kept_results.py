"""Networks that hold results of an earlier run, with gradients behind them, are edited as others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm, weight_norm

import naivegraph as ng


class Features(nn.Module):
    """Keeps hidden values for a distillation loss, alone and in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.features: dict[str, Any] = {"lists": []}

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.one(x))
        self.features["lists"] = [h]
        self.last = self.two(h)
        return self.head(F.relu(self.last))  # type: ignore[no-any-return]


def _layers(change: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
        change(net[2])
        return net

    return make


NETWORKS = {
    "features": Features,
    "weight norm": _layers(lambda layer: weight_norm(layer)),
    "spectral norm": _layers(lambda layer: spectral_norm(layer)),
    "pruned": _layers(lambda layer: prune.l1_unstructured(layer, "weight", 0.3)),  # type: ignore[no-untyped-call]
}


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_run_left_in_a_network_hinders_no_copy(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = NETWORKS[name]().eval(), torch.randn(3, 4)
    fresh = NETWORKS[name]().eval()
    graph = ng.capture(net, x)
    before = net(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    assert torch.equal(graph.to_module()(x), before)
    assert torch.equal(copy.deepcopy(graph)(x), before)
    ng.insert(graph, nn.Linear(6, 6), after="two" if name == "features" else "2", identity=True)
    assert torch.allclose(graph(x), before, atol=1e-6)
    ng.save(graph, tmp_path / "net.safetensors")
    fresh(x)
    assert torch.equal(ng.load(fresh, tmp_path / "net.safetensors")(x), graph(x))


def test_a_copy_shares_no_result_twice() -> None:
    net, x = Features(), torch.ones(1, 4)
    graph = ng.capture(net, x)
    net(x)
    net.again = net.last
    other = copy.deepcopy(graph).module
    assert other.again is other.last
    assert other.last is not net.last
