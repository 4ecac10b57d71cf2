"""Predicted peaks of memory against torch's allocator."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.costs import cost_named
from naivegraph.widths import relate
from tests.memory.counting import left_bytes, peak_bytes
from tests.memory.networks import NETWORKS, Forward, kept_in_a_local

MEMORY = cost_named("memory")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fake", [True, False])
def test_peaks_are_those_of_the_allocator(name: str, fake: bool) -> None:
    net, args = NETWORKS[name]()
    graph = ng.capture(net, args, verify=False, fake=fake)
    assert MEMORY.value(relate(graph)) == peak_bytes(net, *args)


@pytest.mark.parametrize("name", NETWORKS)
def test_peaks_of_other_sizes_are_those_of_the_allocator(name: str) -> None:
    rng = random.Random(name)
    for seed in range(3):
        net, args = NETWORKS[name]()
        torch.manual_seed(seed)
        edit = ng.prune(net, args, macs=rng.uniform(0.3, 0.9), memory=1.0, utility="random", at_least=1)
        assert edit, "nothing was pruned"
        assert edit.after["memory"] == peak_bytes(net, *args)


@pytest.mark.parametrize("name", NETWORKS)
def test_budgets_hold(name: str) -> None:
    net, args = NETWORKS[name]()
    before = peak_bytes(net, *args)
    edit = ng.prune(net, args, memory=0.8, at_least=1)
    assert edit.before["memory"] == before
    assert edit.after["memory"] == peak_bytes(net, *args) <= 0.8 * before
    edit.undo()
    assert peak_bytes(net, *args) == before


def test_several_budgets_hold_at_once() -> None:
    net, args = NETWORKS["residual"]()
    before = peak_bytes(net, *args)
    edit = ng.prune(net, args, memory=before - 5000, weight_bytes=0.7, macs=0.6)
    assert peak_bytes(net, *args) <= before - 5000
    assert edit.after["weight_bytes"] <= 0.7 * edit.before["weight_bytes"]
    assert edit.after.macs <= 0.6 * edit.before.macs
    with pytest.raises(ng.InfeasibleError, match="memory remain"):
        ng.prune(net, args, memory=100)


def test_the_run_leaves_no_trace() -> None:
    class Stateful(Forward):
        """A network that counts its runs and draws random numbers."""

        seen: Tensor

        def __init__(self) -> None:
            super().__init__(kept_in_a_local)
            self.register_buffer("seen", torch.zeros(()))
            self.runs: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            """(batch, 3, size, size) in, (batch, 4) out."""
            self.seen += 1
            self.runs.append(self.seen)
            out: Tensor = super().forward(x) + torch.rand(4)
            return out

    net = Stateful().train()
    graph = ng.capture(net, torch.randn(2, 3, 12, 12), verify=False)
    before, state, runs = copy.deepcopy(net.state_dict()), torch.get_rng_state(), list(net.runs)
    MEMORY.value(relate(graph))
    assert net.training
    assert [*map(id, net.runs)] == [*map(id, runs)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_edited_graphs_are_measured_anew() -> None:
    net, args = NETWORKS["residual"]()
    graph = ng.capture(net, args)
    other = copy.deepcopy(graph)
    first = MEMORY.value(relate(graph))
    edit = ng.resize(graph, {"two": -7})
    assert MEMORY.value(relate(graph)) == peak_bytes(net, *args) < first
    assert MEMORY.value(relate(other)) == peak_bytes(other.module, *args) == first
    edit.undo()
    assert MEMORY.value(relate(graph)) == first


def test_graphs_with_another_structure_run_by_themselves() -> None:
    net = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 3)).eval()
    x = torch.randn(8, 6)
    graph = ng.capture(net, x)
    ng.remove(graph, "3")
    ng.insert(graph, nn.Sigmoid(), after="1")
    small = graph.to_module().eval()
    assert MEMORY.value(relate(graph)) == peak_bytes(small, x)
    edit = ng.prune(graph, memory=0.6)
    assert edit.after["memory"] == peak_bytes(graph.to_module().eval(), x) <= 0.6 * peak_bytes(small, x)


def test_half_precision_counts_as_half() -> None:
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    x = torch.randn(4, 6)
    graph = ng.capture(net, x)
    single = MEMORY.value(relate(graph))
    net.bfloat16()
    assert MEMORY.value(relate(graph)) == peak_bytes(net, x.bfloat16()) < single


def test_what_was_not_recorded_is_told() -> None:
    def body(net: Forward, x: Tensor) -> Tensor:
        """A comparison that gives no tensor, and makes some."""
        first = net.one(x)
        assert torch.allclose(first, first)
        out: Tensor = net.head(net.four(torch.cat([first, net.three(first)], 1)).mean((2, 3)))
        return out

    net = Forward(body).eval()
    graph = ng.capture(net, torch.randn(1, 3, 8, 8))
    with pytest.raises(ng.EditError, match=r"calls aten\.allclose.* after 'one' .*to_module"):
        MEMORY.value(relate(graph))
    assert MEMORY.value(relate(ng.capture(graph.to_module(), torch.randn(1, 3, 8, 8)))) > 0


def test_the_meta_device_has_no_memory() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    graph = ng.capture(net, torch.empty(2, 6, device="meta"))
    with pytest.raises(ng.EditError, match=r"meta device.*to_empty"):
        MEMORY.value(relate(graph))


class Recurrent(nn.Module):
    """Recurrent layers, which take their hidden sizes as numbers beside their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(30, 24), nn.Linear(20, 4)
        self.one = nn.LSTM(24, 32, 2, batch_first=True)
        self.two = nn.GRU(32, 20, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) in, (batch, 4) out."""
        out: Tensor = self.head(self.two(self.one(self.words(tokens))[0])[0][:, -1])
        return out


@pytest.mark.parametrize("share", [0.8, 0.4])
def test_recurrent_layers_of_other_sizes_are_called_with_them(share: float) -> None:
    net, tokens = Recurrent().eval(), torch.randint(0, 30, (3, 9))
    edit = ng.prune(net, tokens, macs=share, memory=1.0, training_memory=1.0, at_least=1)
    assert edit.after["memory"] == peak_bytes(net, tokens)
    saved = left_bytes(net, (tokens,))  # with work space that is scaled as the results
    assert saved <= edit.after["training_memory"] <= 1.25 * saved
