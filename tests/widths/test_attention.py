"""Attention: what may change of it in place, and the traps that heads and their sizes set."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import SizeConstraints, Widths, constraints_of, relate
from tests.networks.attention import HeadsOfWidth, Multihead
from tests.networks.plain import Network, by_name
from tests.oracle import zeroed


def related(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Widths, SizeConstraints]:
    widths = relate(capture(model, inputs))
    return widths, constraints_of(widths)


def sizes(constraints: SizeConstraints) -> dict[str, int]:
    """The free widths: name and size."""
    return {w.name: w.size for w in constraints.widths if w.atom not in constraints.fixed}


def pruned_by_half(network: Network) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...], SizeConstraints]:
    """The network with half of every free width gone, and with the same neurons zeroed."""
    model, inputs = network.make(torch.float64)
    widths, constraints = related(model, inputs)
    kept = {w: torch.arange(w.size)[w.size // 2 :].numpy() for w in widths if w.atom not in constraints.fixed}
    zero = zeroed(model, widths, kept)
    apply(plan(widths, constraints, kept), model)
    return model, zero, inputs, constraints


# Trap 1: the scale


def test_the_scale_of_heads_stays_when_their_size_changes() -> None:
    model, zero, inputs, constraints = pruned_by_half(by_name("Multihead"))
    assert len(constraints.rescales) == 1
    torch.testing.assert_close(model(*inputs), zero(*inputs), rtol=1e-10, atol=1e-10)


class LearnedQuery(nn.Module):
    """Attention whose query is a parameter, which no operator of the network computes."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, 3, 5, 4))
        self.k, self.v, self.out = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        k, v = (y.reshape(*x.shape[:2], 3, -1).transpose(1, 2) for y in (self.k(x), self.v(x)))
        y = F.scaled_dot_product_attention(self.query, k, v)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def test_the_scale_stays_where_the_query_is_a_parameter() -> None:
    network = Network("learned query", LearnedQuery, lambda: (torch.randn(2, 7, 6),))
    model, zero, inputs, constraints = pruned_by_half(network)
    (rescaled,) = constraints.rescales
    assert [entry.name for entry in rescaled.entries] == ["query"]
    torch.testing.assert_close(model(*inputs), zero(*inputs), rtol=1e-10, atol=1e-10)


def test_without_its_cure_the_scale_of_heads_would_change() -> None:
    model, inputs = by_name("Multihead").make(torch.float64)
    widths, constraints = related(model, inputs)
    constraints = dataclasses.replace(constraints, rescales=[])
    kept = {w: torch.arange(w.size)[w.size // 2 :].numpy() for w in widths if w.atom not in constraints.fixed}
    zero = zeroed(model, widths, kept)
    apply(plan(widths, constraints, kept), model)
    assert not torch.allclose(model(*inputs), zero(*inputs), rtol=1e-3)


def test_a_scale_that_left_the_integers_holds_the_size_of_heads() -> None:
    """With weights asked for, torch works out `math.sqrt(1 / head_dim)`: heads may go, their insides not."""
    model, zero, inputs, constraints = pruned_by_half(by_name("Multihead with weights"))
    assert sizes(constraints) == {"embed": 16, "attention.in_proj_weight": 4, "up": 20}
    assert any("its size is used in float at" in reason for reason in constraints.fixed.values())
    attention = model.get_submodule("attention")
    assert isinstance(attention, nn.MultiheadAttention)
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (8, 2, 4)
    torch.testing.assert_close(model(*inputs), zero(*inputs), rtol=1e-10, atol=1e-10)


# Trap 5: one opaque operator


@pytest.mark.parametrize("name", ["Multihead", "Multihead with weights", "Crossing"])
def test_attention_is_captured_without_its_fast_path(name: str) -> None:
    model, inputs = by_name(name).make()
    graph = capture(model, inputs)
    operators = {str(op.func.overloadpacket) for vertex in graph.vertices for op in vertex.operations}
    assert not any("native_multi_head" in operator for operator in operators)
    inside = [vertex.target for vertex in graph.vertices if vertex.path == "attention"]
    assert inside.count(F.linear) == (2 if name.startswith("Multihead") else 4)
    assert graph.checks == {"recorded batch": "equal", "another batch": "equal", "train mode": "equal"}


@pytest.mark.parametrize("weights", [False, True])
def test_dropout_inside_attention_follows_train_mode(weights: bool) -> None:
    torch.manual_seed(0)
    model = Multihead({"need_weights": weights}, batch_first=True, dropout=0.5)
    x = torch.randn(2, 5, 6)
    graph = capture(model, x)
    module = graph.to_module()
    assert graph.checks["train mode"] == "equal"
    for train in (True, False):
        model.train(train), module.train(train)
        torch.manual_seed(1)
        expected = model(x)
        torch.manual_seed(1)
        torch.testing.assert_close(module(x), expected)
    model.train()
    assert not torch.equal(model(x), model(x))


def test_key_heads_repeated_inside_the_operator_are_seen() -> None:
    """`enable_gqa` does not show in the operators: six query heads on two key heads are 2 * 3."""
    model, inputs = by_name("GroupedQuery").make(torch.float64)
    widths, _ = related(model, inputs)
    shown = {w.atom: w.name for w in widths.widths}
    queries = [shown[atom] for atom in widths.axes["q.weight"][0].atoms()]
    keys = [shown[atom] for atom in widths.axes["k.weight"][0].atoms()]
    assert len(queries) == 3
    assert [queries[0], queries[2]] == keys


# Trap 7: sizes tied by the way a projection is taken apart


def test_a_fused_projection_ties_queries_keys_and_values() -> None:
    model, inputs = by_name("HeadsOfWidth").make()
    widths, _ = related(model, inputs)
    (term,) = widths.axes["qkv.weight"][0].terms
    assert [getattr(factor, "length", factor) for factor in term] == [3, 4, 4]
    assert widths.axes["proj.weight"][1].terms == (term[1:],)


def test_halves_of_a_chunk_keep_equal_sizes() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.a, self.b = nn.Linear(4, 20), nn.Linear(10, 3), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.up(x).chunk(2, -1)
            return self.a(first) + self.b(second)  # type: ignore[no-any-return]

    model, x = Halves(), torch.randn(2, 4)
    _, constraints = related(model, (x,))
    (row,) = constraints.width_constraints
    assert sorted(row.polynomial.terms.values()) == [-1, 1]
    ng.prune(model, x, params=0.6)
    assert model.a.in_features == model.b.in_features == model.up.out_features // 2 < 10


# What the code of attention demands


@pytest.mark.parametrize("name", ["HeadsOfWidth", "ClassToken", "Multihead", "Multihead masked"])
def test_width_and_size_of_heads_change_together(name: str) -> None:
    model, inputs = by_name(name).make()
    original = copy.deepcopy(model)
    edit = ng.prune(model, inputs, ratio=0.5)
    assert edit.after.params < 0.45 * edit.before.params
    assert model.get_parameter("embed.weight").shape == (8, 6)
    edit.undo()
    torch.testing.assert_close(model(*inputs), original(*inputs))


def test_a_quotient_of_sizes_stays_one() -> None:
    model, inputs = by_name("HeadsOfWidth").make()
    _, constraints = related(model, inputs)
    (row,) = constraints.width_constraints
    assert {len(monomial) for monomial in row.polynomial.terms} == {1}
    assert sorted(row.polynomial.terms.values()) == [-4, 1]
    (reason,) = constraints.fixed.values()
    assert "networks/attention.py" in reason
    assert reason.endswith("of the sizes multiplied there, the smallest stays")


def test_a_literal_that_a_size_was_compared_with_holds_it() -> None:
    class Checked(HeadsOfWidth):
        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            if x.shape[-1] != 16:
                raise ValueError("sixteen or nothing")
            return self.head(x)  # type: ignore[no-any-return]

    _, constraints = related(Checked(), (torch.randn(2, 5, 6),))
    (reason,) = constraints.fixed.values()
    assert reason.startswith("its size is used in a comparison at")
    assert "test_attention.py:" in reason


def test_an_attribute_known_by_its_quotient_alone_follows() -> None:
    class Bands(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.size, self.bands = 16, nn.Parameter(torch.randn(8))
            self.up, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            if self.bands.shape[0] != self.size // 2:
                raise ValueError("made for another size")
            return self.head(self.up(x) * self.bands)  # type: ignore[no-any-return]

    model = Bands()
    _, constraints = related(model, (torch.randn(2, 6),))
    assert [*sizes(constraints).values()] == [8]
    ng.prune(model, torch.randn(2, 6), ratio=0.5)
    assert (model.size, len(model.bands)) == (8, 4)


@pytest.mark.parametrize("fast", [False, True])
def test_layers_of_transformers_change_with_their_attention(fast: bool) -> None:
    """The attributes that the fast path of torch's encoder reads follow, too."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)
    ).eval()
    x = torch.randn(2, 5, 6)
    edit = ng.prune(model, x, ratio=0.5)
    assert edit.after.params < 0.35 * edit.before.params
    expected = ng.capture(model, x)(x)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        with torch.no_grad():
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    attention = model.get_submodule("1.layers.0.self_attn")
    assert isinstance(attention, nn.MultiheadAttention)
    assert attention.embed_dim == attention.out_proj.in_features == attention.out_proj.out_features == 8
    assert attention.kdim == attention.vdim == 8
    assert attention.head_dim * attention.num_heads == 8
    model.train()
    model(x).sum().backward()


def test_encoder_and_decoder_change_together() -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Linear(6, 16), nn.Linear(5, 16)
            self.body = nn.Transformer(16, 4, 1, 1, 24, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.head(self.body(self.source(x), self.target(y)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Translator()
    inputs = torch.randn(2, 7, 6), torch.randn(2, 5, 5)
    edit = ng.prune(model, inputs, ratio=0.5)
    assert edit.after.params < 0.35 * edit.before.params
    assert model.head.in_features == 8
