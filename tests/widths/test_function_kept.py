"""Removing neurons that are zero changes nothing: the proof that every axis is where the widths say it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.networks.plain import ALL, TRAPS, Network
from tests.oracle import choose, counted_macs, counted_params, zeroed

# Held by a size that the code reads off its own input, by a statistic.
NOTHING_FREE = {"FusedAttention", "reparametrised", "Gram"}


def visible_removal(network: Network, seed: int) -> bool:
    """Remove random neurons, compare with zeroing them; whether zeroing changed the output."""
    model, inputs = network.make(torch.float64)
    original = copy.deepcopy(model)
    graph = capture(model, inputs, verify="recorded")
    widths = relate(graph)
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed)
    assert bool(kept) != (network.name in NOTHING_FREE), (
        "the expectation which networks are tied is out of date"
    )
    zero = zeroed(model, widths, kept)
    apply(plan(widths, constraints, kept), model)
    with torch.no_grad():
        expected = zero(*inputs)
        torch.testing.assert_close(model(*inputs), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(graph(*inputs), expected, rtol=1e-9, atol=1e-9)
        assert (counted_params(model) < counted_params(original)) == bool(kept)
        return not torch.allclose(original(*inputs), expected, rtol=1e-6)


@pytest.mark.parametrize("network", ALL, ids=str)
def test_function_is_kept(network: Network) -> None:
    changed = [visible_removal(network, seed) for seed in range(3)]
    assert all(changed) or network.name in NOTHING_FREE


@pytest.mark.parametrize("network", TRAPS, ids=str)
def test_function_is_kept_where_a_rule_could_be_fooled(network: Network) -> None:
    # All units of a ReLU which are removed may be dead, so one of several choices must be seen.
    changed = [visible_removal(network, seed) for seed in range(4)]
    assert any(changed) or network.name in NOTHING_FREE


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
@torch.no_grad()
def test_costs_are_those_that_torch_counts(network: Network) -> None:
    model, inputs = network.make()
    widths = relate(capture(model, inputs, verify="recorded"))
    assert Costs.of(widths).params == counted_params(model)
    assert Costs.of(widths).macs == counted_macs(model, inputs)
    constraints = constraints_of(widths)
    # Two at least: einsum multiplies element by element over an index of one, which torch does not count.
    kept = choose(widths, constraints, 3, least=2)
    sizes = {width.atom: indices.shape[-1] for width, indices in kept.items()}
    apply(plan(widths, constraints, kept), model)
    assert Costs.of(widths, lambda atom: sizes.get(atom, atom.length)).params == counted_params(model)
    assert Costs.of(widths, lambda atom: sizes.get(atom, atom.length)).macs == counted_macs(model, inputs)


class Vectors(nn.Module):
    """Products of matrices with what may be a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 5, bias=False)
        self.third, self.last = nn.Parameter(torch.randn(7, 5)), nn.Parameter(torch.randn(7))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.third @ self.second(self.first(x).relu()).mT).mT if x.dim() == 2 else self.vector(x)
        return y @ self.last

    def vector(self, x: Tensor) -> Tensor:
        """`matrix @ vector`"""
        out: Tensor = self.third @ self.second(self.first(x).relu())
        return out


@torch.no_grad()
def test_products_with_a_vector_cost_what_those_with_a_matrix_of_one_row_do() -> None:
    model, x = Vectors(), torch.randn(6)
    matrices = counted_macs(
        model, (x[None],)
    )  # all but the product with `last`: torch counts none with a vector
    assert matrices == 6 * 8 + 8 * 5 + 5 * 7
    assert counted_macs(model, (x,)) < matrices
    assert capture(model, x[None]).macs == capture(model, x).macs == matrices + 7
    edit = ng.prune(model, x, macs=0.5)
    assert edit.after.macs == counted_macs(model, (x[None],)) + len(model.last)
