"""Predicted bytes that autograd saves against what torch's allocator has not taken back after a forward."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import naivegraph as ng
from naivegraph.costs import cost_named
from naivegraph.widths import relate
from tests.memory.counting import left_bytes
from tests.memory.networks import NETWORKS

SAVED = cost_named("training_memory")


class Trained(nn.Module):
    """Blocks with norms and dropout, and one that is computed anew for the backward pass."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(12, 33), nn.BatchNorm1d(33), nn.Linear(33, 33)
        self.drop, self.three, self.head = nn.Dropout(0.3), nn.Linear(33, 21), nn.Linear(21, 5)
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 12) in, (batch, 5) out."""
        x = self.drop(self.norm(self.one(x)).relu())
        if self.again:
            inside: Tensor = checkpoint(self._inside, x, use_reentrant=False, preserve_rng_state=False)
        else:
            inside = self._inside(x)
        x = x + inside
        out: Tensor = self.head(self.three(x).tanh())
        return out

    def _inside(self, x: Tensor) -> Tensor:
        out: Tensor = (self.two(x).sigmoid() * x.exp()).relu()
        return out


CASES: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    **NETWORKS,
    "trained": lambda: (Trained().eval(), (torch.randn(6, 12),)),
    "checkpointed": lambda: (Trained(again=True).eval(), (torch.randn(6, 12),)),
}


@pytest.mark.parametrize("name", CASES)
def test_saved_bytes_are_those_left_of_a_forward(name: str) -> None:
    net, args = CASES[name]()
    graph = ng.capture(net, args, verify=False, fake=True)
    told = SAVED.value(relate(graph))
    assert told == pytest.approx(left_bytes(net, args), abs=64)  # numbers in the code are saved as tensors


@pytest.mark.parametrize("name", CASES)
def test_saved_bytes_of_other_sizes(name: str) -> None:
    rng = random.Random(name)
    for seed in range(2):
        net, args = CASES[name]()
        torch.manual_seed(seed)
        share = rng.uniform(0.4, 0.9)
        edit = ng.prune(net, args, training_memory=share, macs=0.9, utility="random", at_least=1)
        assert edit.after["training_memory"] <= share * edit.before["training_memory"]
        assert edit.after["training_memory"] == pytest.approx(left_bytes(net, args), abs=64)


def test_frozen_parameters_save_less() -> None:
    net, args = CASES["trained"]()
    all_of_it = SAVED.value(relate(ng.capture(net, args)))
    net.one.requires_grad_(False)
    net.norm.requires_grad_(False)
    told = SAVED.value(relate(ng.capture(net, args)))
    assert told == pytest.approx(left_bytes(net, args), abs=64)
    assert told < all_of_it


def test_one_sample_is_too_few_for_a_batch_norm() -> None:
    net, _ = CASES["trained"]()
    graph = ng.capture(net, torch.randn(1, 12))
    with pytest.raises(ng.EditError, match=r"train mode, which fails on the example: give one of several"):
        SAVED.value(relate(graph))


def test_an_edited_structure_is_refused() -> None:
    graph = ng.capture(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(2, 6))
    ng.insert(graph, nn.Sigmoid(), after="1")
    with pytest.raises(ng.EditError, match=r"capture graph.to_module\(\)"):
        SAVED.value(relate(graph))


class Shuffled(nn.Module):
    """A view takes two channels apart as a number of the code and one neuron, which a later call splits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1, groups=2)
        self.wide, self.head = nn.Conv2d(2, 12, 1), nn.Conv2d(14, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, size, size) in, (batch, 4, size, size) out."""
        first = self.first(x)
        mixed = first.view(x.shape[0], 2, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        wide = self.wide(self.grouped(first).relu()).sigmoid()
        out: Tensor = self.head(torch.cat([mixed.exp(), wide], 1))
        return out


def test_one_neuron_that_is_a_width_in_eval_mode_alone_counts_as_one() -> None:
    torch.manual_seed(0)
    net, x = Shuffled().eval(), torch.randn(2, 3, 6, 6)
    assert any(width.size == 1 for width in ng.capture(net, x).widths)
    edit = ng.prune(net, x, training_memory=0.6)
    saved = edit.after["training_memory"]
    assert saved <= 0.6 * edit.before["training_memory"]
    assert saved == pytest.approx(left_bytes(net, (x,)), abs=64)
