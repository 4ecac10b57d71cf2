"""Removing neurons that are zero changes nothing: the proof that every axis is where the widths say it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from naivegraph.edits import plan
from naivegraph.edits.change import apply
from naivegraph.graph import capture
from naivegraph.widths import demands_of, relate
from tests.networks import ALL, Network
from tests.oracle import choose, counted_macs, counted_params, zeroed

NOTHING_FREE = {"FusedAttention"}


def removed_and_zeroed(
    network: Network, seed: int
) -> tuple[nn.Module, nn.Module, nn.Module, tuple[torch.Tensor, ...]]:
    """The original, a copy with random neurons zeroed, and one with the same neurons removed."""
    original, inputs = network.make(torch.float64)
    model = copy.deepcopy(original)
    graph = capture(model, inputs)
    widths = relate(graph)
    demands = demands_of(widths)
    kept = choose(widths, demands, seed)
    assert bool(kept) != (network.name in NOTHING_FREE)
    zero = zeroed(model, widths, kept)
    apply(plan(widths, demands, kept), model)
    with torch.no_grad():
        torch.testing.assert_close(graph(*inputs), zero(*inputs), rtol=1e-9, atol=1e-9)
    return original, zero, model, inputs


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("network", ALL, ids=str)
@torch.no_grad()
def test_function_is_kept(network: Network, seed: int) -> None:
    original, zero, removed, inputs = removed_and_zeroed(network, seed)
    expected = zero(*inputs)
    torch.testing.assert_close(removed(*inputs), expected, rtol=1e-9, atol=1e-9)
    if network.name not in NOTHING_FREE:
        assert counted_params(removed) < counted_params(original)
        assert not torch.allclose(original(*inputs), expected, rtol=1e-6)


@pytest.mark.parametrize("network", ALL, ids=str)
@torch.no_grad()
def test_costs_are_those_that_torch_counts(network: Network) -> None:
    model, inputs = network.make()
    widths = relate(capture(model, inputs))
    assert widths.params() == counted_params(model)
    assert widths.macs() == counted_macs(model, inputs)
    demands = demands_of(widths)
    kept = choose(widths, demands, 3)
    sizes = {width.atom: len(indices) for width, indices in kept.items()}
    apply(plan(widths, demands, kept), model)
    assert widths.params(lambda atom: sizes.get(atom, atom.length)) == counted_params(model)
    assert widths.macs(lambda atom: sizes.get(atom, atom.length)) == counted_macs(model, inputs)
