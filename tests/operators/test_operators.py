"""What pruning makes of every layer and function of the tables: exact, held with a reason, never wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import SizeConstraints, Widths, constraints_of, relate
from tests.networks.plain import randomised
from tests.operators import images, tokens, vectors
from tests.operators.table import Entry, between
from tests.oracle import choose, snapshot, unchanged, zeroed

ROWS = [*images.ROWS, *vectors.ROWS, *tokens.ROWS]
# A norm of a weight that is zero altogether cannot be divided by; a tiny one can.
TINY = 1e-120

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:LSTM with proj")


def reasons(widths: Widths, constraints: SizeConstraints) -> list[str]:
    """Why neurons of the first layer stay."""
    axis = widths.axes["0.weight"][0]
    held = [constraints.fixed[atom] for atom in axis.atoms() if atom in constraints.fixed]
    return held + [fixed.reason for fixed in widths.fixed() if (fixed.name, fixed.dim) == ("0.weight", 0)]


def sizes_agree(net: nn.Module) -> bool:
    """Whether the sizes kept as attributes are those of the weights."""
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor):
            for name, size in (("out_features", weight.shape[0]), ("in_features", weight.shape[-1])):
                if type(getattr(module, name, None)) is int and getattr(module, name) != size:
                    return False
            first, second = ("in_channels", "out_channels")
            if isinstance(module, nn.modules.conv._ConvNd):
                first, second = (first, second) if module.transposed else (second, first)
                if getattr(module, first) != weight.shape[0]:
                    return False
                if getattr(module, second) != weight.shape[1] * module.groups:
                    return False
    return True


def check_expected(entry: Entry, widths: Widths, constraints: SizeConstraints) -> None:
    """The neurons of the first layer may go, or stay for the reason in the table."""
    found = reasons(widths, constraints)
    if entry.expected not in ("free", "norm"):
        assert any(entry.expected in reason for reason in found), found
        return
    assert found == []
    atoms = widths.axes["0.weight"][0].atoms()
    assert any(widths.by_atom[atom].coupled for atom in atoms) == (entry.expected == "norm")


@pytest.mark.parametrize("entry", ROWS, ids=str)
def test_what_goes_is_what_was_zero(entry: Entry) -> None:
    net, x = between(entry, torch.float64)
    randomised(net)
    graph = capture(net, x, verify="recorded")
    widths = relate(graph)
    constraints = constraints_of(widths)
    check_expected(entry, widths, constraints)
    kept = choose(widths, constraints, seed=1)
    expected = zeroed(net, widths, kept, TINY if "weight_norm" in entry.name else 0.0)
    apply(plan(widths, constraints, kept), net)
    with torch.no_grad():
        torch.manual_seed(1)
        wanted = expected(x)
        for run in (net, graph):
            torch.manual_seed(1)
            torch.testing.assert_close(run(x), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("entry", ROWS, ids=str)
def test_halved_it_runs_in_both_modes_and_comes_back(entry: Entry) -> None:
    net, x = between(entry, torch.float32)
    before = snapshot(net)
    original = copy.deepcopy(net)
    edit = ng.prune(net, x, ratio=0.5)
    with torch.no_grad():
        assert net(x).shape == original(x).shape
        assert sizes_agree(net)
        edit.undo()
        assert unchanged(net, before)
        ng.prune(net, x, ratio=0.5)
        assert net.train()(x).shape == original(x).shape
