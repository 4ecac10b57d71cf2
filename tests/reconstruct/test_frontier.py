"""Memory of a refit: what waits at a layer, and samples that join where there is room for them."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.reconstruct.frontier import samples_held

refit: Any = importlib.import_module("naivegraph.reconstruct.refit")


class Residual(nn.Module):
    """Large tensors first, small ones later, and one that waits for a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.pool, self.last, self.head = nn.AvgPool2d(4), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = x + self.b(self.a(x).relu())
        x = self.last(self.pool(x)).relu()
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def size_of(value: Any) -> int:
    """The bytes of tensors."""
    return sum(tensor.numel() * tensor.itemsize for tensor in value)


def waiting(graph: ng.Graph, x: torch.Tensor) -> list[int]:
    """Bytes that are there while each vertex runs, with what it gives."""
    run = Interpreter(graph)
    found = []
    for position in range(len(graph.vertices)):
        before = size_of(run._tensors.values())
        found.append(before + size_of([run.step(position, {graph.inputs[0].name: x})]))
    return found


def test_what_waits_is_what_a_run_holds() -> None:
    torch.manual_seed(0)
    graph = ng.capture(Residual(), torch.randn(2, 3, 16, 16))
    held = [2 * size // 4 for size in waiting(graph, torch.randn(4, 3, 16, 16))]  # both networks, per sample
    room = samples_held(graph, graph, [*range(1, len(graph.vertices) + 1)], 10**9)
    assert room == [10**9 // max(held[position:]) for position in range(len(held))]


def test_samples_join_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = Residual().eval(), torch.randn(40, 3, 16, 16)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:1], macs=0.5)
    again, plain = copy.deepcopy(net), copy.deepcopy(net)
    batches = list(torch.split(x, 8))
    whole = ng.reconstruct(net, teacher, batches).refit
    memory = 2 * 8 * max(waiting(ng.capture(teacher, x[:1]), x[:1]))
    monkeypatch.setattr(refit, "MEMORY", memory)
    most, step = [0], refit.Refit._step

    def watched(self: Any, number: int, which: int, position: int) -> Any:
        """Note what all runs hold."""
        out = step(self, number, which, position)
        most[0] = max(most[0], sum(size_of(run._tensors.values()) for runs in self._runs for run in runs))
        return out

    monkeypatch.setattr(refit.Refit, "_step", watched)
    part = ng.reconstruct(again, teacher, batches).refit
    assert whole is not None
    assert part is not None
    assert [layer.rows for layer in part.layers if layer.name == "head"] == [40]
    assert part.samples == whole.samples == 40
    assert most[0] <= 1.5 * memory  # the tensors of the vertex that runs are there as well

    def distance(one: nn.Module) -> float:
        with torch.no_grad():
            return float((one(x) - teacher(x)).square().mean())

    assert distance(again) < 0.6 * distance(plain)
    assert distance(net) < 0.6 * distance(plain)


def test_one_batch_goes_whatever_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = Residual().eval(), torch.randn(16, 3, 16, 16)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:1], macs=0.5)
    monkeypatch.setattr(refit, "MEMORY", 1)
    edit = ng.reconstruct(net, teacher, list(torch.split(x, 8)))
    assert edit.refit is not None
    assert edit.refit.samples == 8
