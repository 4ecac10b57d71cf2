"""Edits inside the caller's own torch modes are those made outside of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng

Mode = Callable[[], Any]
MODES: dict[str, Mode] = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def _trainable(*networks: nn.Module) -> bool:
    tensors = [t for net in networks for t in (*net.parameters(), *net.buffers())]
    return not any(t.is_inference() or t.dtype is torch.bfloat16 for t in tensors)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize(
    "options",
    [{}, {"calibration": True}, {"utility": "taylor", "loss": lambda net: net(torch.ones(1, 6)).sum()}],
    ids=["l2", "fisher", "taylor"],
)
def test_a_pruned_network_is_the_one_pruned_outside(
    mode: Mode, options: dict[str, Any], x: torch.Tensor
) -> None:
    options = {**options, "calibration": [x]} if options.get("calibration") else options
    inside, outside = network(), network()
    before = inside(x)
    if mode is MODES["autocast"] and options:
        pytest.skip("values by data are those of the precision that the network runs in")
    ng.prune(outside, x, params=0.6, **options)
    with mode():
        inside(x)
        edit = ng.prune(inside, x, params=0.6, **options)
        inside(x)
    assert torch.equal(inside(x), outside(x))
    assert _trainable(inside)
    inside.train()(x).sum().backward()
    inside.eval()
    with mode():
        inside(x)
        edit.undo()
        inside(x)
    assert torch.equal(inside(x), before)
    assert _trainable(inside)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_growth_structure_and_files(mode: Mode, x: torch.Tensor, tmp_path: Path) -> None:
    net, fresh = network(), network()
    before = net(x)
    with mode():
        graph = ng.capture(net, x)
        edits = [ng.resize(graph, {"0": +3}), ng.insert(graph, nn.ReLU(), after="2")]
        edits.append(ng.duplicate(graph, "relu"))
        ng.save(graph, tmp_path / "net.safetensors")
        loaded, made = ng.load(fresh, tmp_path / "net.safetensors"), graph.to_module()
    assert torch.allclose(graph(x), before, atol=1e-6)
    assert torch.equal(loaded(x), graph(x))
    assert _trainable(net, loaded, made)
    with mode():
        for edit in reversed(edits):
            edit.undo()
    assert torch.equal(net(x), before)


def test_batches_made_in_inference_mode_have_gradients_behind_them() -> None:
    net = network()
    with torch.inference_mode():
        x = torch.randn(4, 6)
    assert ng.prune(net, x, params=0.6, calibration=[x])
