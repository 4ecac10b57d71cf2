"""What a network's own code holds and a module made of its graph does not: sizes written as numbers."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.networks.plain import randomised
from tests.operators import tokens
from tests.operators.table import Entry, between
from tests.operators.test_operators import ROWS, TINY
from tests.oracle import choose, counted_macs, snapshot, unchanged, zeroed

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:LSTM with proj")


class Literal(nn.Module):
    """Attention with all of its sizes written out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(6, 32), nn.Linear(32, 96)
        self.proj, self.head = nn.Linear(32, 32), nn.Linear(32, 3)
        self.pool = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = self.embed(x)
        q, k, v = self.qkv(x).view(b, n, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, scale=0.3)
        x = x + self.proj(y.transpose(1, 2).reshape(b * n, 4 * 8)).view(b, n, 32) + torch.zeros(b, n, 32)
        gates, rest = self.pool(x)[..., :12], self.pool(x)[..., -20:]
        return self.head(torch.cat([gates.relu(), rest], -1))  # type: ignore[no-any-return]


LITERALS = r"its size is written as {} at \S+ \(\S*test_rewritable.py:{}\); .*ng.capture\(...\).to_module\(\)"


def test_a_literal_names_its_line_and_the_way_out() -> None:
    model, x = Literal().eval(), torch.randn(2, 5, 6)
    line = Literal.forward.__code__.co_firstlineno
    first = LITERALS.format(4, line + 3)
    assert any(re.search(first, note) for note in ng.prune(model, x, ratio=0.5).notes)
    graph = capture(model, x)
    assert re.search(first, " ".join(str(ng.explain(graph, "qkv")).split()))
    reasons = [fixed.reason for fixed in ng.inspect(model, x).fixed]
    assert any(f"written as 4 at tests/widths/code/test_rewritable.py:{line + 3}; " in r for r in reasons), (
        reasons
    )
    assert all(r.endswith(".to_module()") for r in reasons if "written as" in r)
    with pytest.raises(ng.InfeasibleError, match=LITERALS.format(r"\d+", r"\d+")):
        ng.prune(model, x, params=0.01)


def test_the_way_out_leads_out() -> None:
    model, x = Literal().eval(), torch.randn(2, 5, 6)
    assert not ng.prune(model, x, ratio=0.5)
    module = capture(model, x).to_module()
    before = snapshot(module)
    edit = ng.prune(module, x, ratio=0.5)
    assert edit.notes == ()
    shapes = [tuple(module.get_parameter(f"{name}.weight").shape) for name in ("embed", "qkv", "proj")]
    assert shapes == [(16, 6), (48, 16), (16, 16)]
    assert edit.after.params == sum(p.numel() for p in module.parameters()) < 0.3 * edit.before.params
    assert edit.after.macs == counted_macs(module, (x,))
    assert module(torch.randn(3, 4, 6)).shape == (3, 4, 3)
    assert copy.deepcopy(module)(x).equal(module(x))
    again = ng.prune(module, x, ratio=0.5)
    assert module.get_parameter("embed.weight").shape == (8, 6)
    again.undo()
    edit.undo()
    assert unchanged(module, before)
    torch.testing.assert_close(module(x), model(x))


def test_an_edit_of_it_is_carried_out_once_more() -> None:
    model, x = Literal().eval(), torch.randn(2, 5, 6)
    module, other = capture(model, x).to_module(), capture(model, x).to_module()
    edit = ng.prune(module, x, macs=0.5)
    ng.replay(other, edit.to_json())
    assert torch.equal(module(x), other(x))


def test_a_network_without_sizes_in_its_code_is_written_as_ever() -> None:
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    model = nn.Sequential(*body, nn.Linear(8, 4)).eval()
    module = capture(model, torch.randn(2, 3, 8, 8)).to_module()
    assert "naivegraph" not in module.code
    assert {*dict(module.named_modules())} == {*dict(model.named_modules())}


class Sized(nn.Module):
    """Sizes of inputs and of weights in one product."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.first, self.last = 12, nn.Linear(6, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = self.first(x).view(b * 12).view(b, self.width) * 2
        x = x.view(-1, self.first.weight.shape[0]).view(b, 3, 4)
        return self.last(x.flatten(1))  # type: ignore[no-any-return]


def test_a_product_of_an_inputs_size_and_a_literal_keeps_the_input_live() -> None:
    model, x = Sized().eval(), torch.randn(2, 6)
    module = capture(model, x).to_module()
    ng.prune(module, x, ratio=0.5)
    assert module.get_parameter("first.weight").shape == (8, 6)  # two rows of four, of three
    assert module(torch.randn(5, 6)).shape == (5, 4)


WRITTEN = [row for row in ROWS if "its size is written as" in row.expected]
# torch.fx cannot call a function on a PackedSequence
TOKENS = [row for row in tokens.ROWS if row.name != "GRU packed"]


@pytest.mark.parametrize("entry", [*WRITTEN, *TOKENS], ids=str)
def test_what_goes_is_what_was_zero(entry: Entry) -> None:
    net, x = between(entry, torch.float64)
    module = capture(randomised(net), x, verify=False).to_module()
    graph = capture(module, x, verify="recorded")
    widths = relate(graph)
    constraints = constraints_of(widths)
    assert not any("written as" in reason for reason in constraints.fixed.values())
    kept = choose(widths, constraints, seed=1)
    expected = zeroed(module, widths, kept, TINY if "weight_norm" in entry.name else 0.0)
    apply(plan(widths, constraints, kept), module)
    with torch.no_grad():
        torch.manual_seed(1)
        wanted = expected(x)
        torch.manual_seed(1)
        torch.testing.assert_close(module(x), wanted, rtol=1e-8, atol=1e-8)
