"""Following a tensor back to the weights it is linear in, checked by scaling them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.resize_tensors import find_tensor
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.ir.values import Stub
from naivegraph.network import Graph, capture
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from naivegraph.widths.provenance.provenance import ParameterEntries, Provenance, Untraceable
from tests.networks.plain import randomised

HEADS, SIZE = 3, 4


class Attention(nn.Module):
    """Attention without a scale of its own; `scale` is given to the operator where the tests compare."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale: float | None = None
        self.fused = nn.Linear(5, 3 * HEADS * SIZE)
        self.q, self.k, self.v = (nn.Linear(5, HEADS * SIZE, bias=kind != "plain") for _ in range(3))
        self.out = nn.Linear(HEADS * SIZE, 5)
        norm = nn.RMSNorm if kind == "rms" else nn.LayerNorm
        self.q_norm, self.k_norm = norm(SIZE), norm(SIZE)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.kind in ("fused", "chunked"):
            if self.kind == "fused":
                q, k, v = self.fused(x).reshape(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
                return q, k, v
            parts = self.fused(x).chunk(3, -1)
        else:
            parts = (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.view(*x.shape[:2], HEADS, -1).transpose(1, 2) for part in parts)
        return q, k, v

    def rotate(self, x: Tensor) -> Tensor:
        cos, sin = torch.tensor(0.8, dtype=x.dtype), torch.tensor(0.6, dtype=x.dtype)
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        if self.kind in ("norm", "rms"):
            q, k = self.q_norm(q), self.k_norm(k)
        if self.kind == "rotary":
            q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


KINDS = ["plain", "separate", "fused", "chunked", "norm", "rms", "rotary"]


def attention(kind: str) -> tuple[Attention, Tensor]:
    torch.manual_seed(0)
    return randomised(Attention(kind)).double(), torch.randn(2, 6, 5).double()  # type: ignore[return-value]


def head_sizes(widths: Widths, constraints: SizeConstraints) -> list[Width]:
    """The widths that the scale of the attention depends on, and those which must be of equal size."""
    atoms = {atom for rescaled in constraints.rescales for atom in rescaled.axis.atoms()}
    for row in constraints.width_constraints:
        atoms |= set(row.polynomial.atoms())
    return [width for width in widths if width.atom in atoms]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grow", [False, True])
@torch.no_grad()
def test_scale_of_attention_is_kept(kind: str, grow: bool) -> None:
    model, x = attention(kind)
    scaled = copy.deepcopy(model)
    scaled.scale = SIZE**-0.5
    names: set[str] = set()
    outputs = []
    for network in (model, scaled):
        widths = relate(capture(network, x))
        constraints = constraints_of(widths)
        names |= {width.name for width in head_sizes(widths, constraints)}
        chosen = [width for width in widths if width.name in names]
        assert chosen
        assert not any(width.atom in constraints.fixed for width in chosen)
        kept = {} if grow else {width: np.arange(width.size // 2) for width in chosen}
        new = {width: width.size for width in chosen} if grow else {}
        change = plan(widths, constraints, kept, new)
        assert bool(change.scalings) == (network is model)
        apply(change, network)
        outputs.append(network(x))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)
    (rescaled,) = constraints_of(relate(capture(model, x))).rescales
    assert rescaled.axis.length == SIZE * (2 if grow else 1) // (1 if grow else 2)
    expected = "q_norm." if kind in ("norm", "rms") else "fused." if kind in ("fused", "chunked") else "q."
    assert all(feed.name.startswith(expected) for feed in rescaled.entries)


def traced(model: nn.Module, x: Tensor) -> tuple[Graph, Provenance]:
    graph = capture(model, x)
    return graph, Provenance(graph)


def query(graph: Graph) -> Stub:
    found = graph["scaled_dot_product_attention"].args[0]
    assert isinstance(found, Stub)
    return found


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_scaling_what_is_found_scales_the_tensor_and_nothing_else(kind: str) -> None:
    model, x = attention(kind)
    graph, provenance = traced(model, x)
    trace = provenance.trace(query(graph))
    provenance.check_exclusive(trace)

    def operands() -> list[Tensor]:
        seen: list[Tensor] = []
        original = F.scaled_dot_product_attention

        def spy(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
            seen.extend([q.clone(), k.clone(), v.clone()])
            return original(q, k, v, scale=scale)

        F.scaled_dot_product_attention = spy  # type: ignore[assignment]
        try:
            model(x)
        finally:
            F.scaled_dot_product_attention = original
        return seen

    q, k, v = operands()
    for feed in trace.entries():
        tensor = find_tensor(Modules(model), feed.name)
        assert tensor is not None
        dim, rows = feed.rows or (0, tuple(range(tensor.shape[0])))
        tensor.index_copy_(dim, torch.tensor(rows), tensor.index_select(dim, torch.tensor(rows)) * 3)
    for got, expected in zip(operands(), (3 * q, k, v), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_rows_of_a_fused_projection() -> None:
    graph, provenance = traced(*attention("fused"))
    rows = tuple(range(HEADS * SIZE))
    assert list(provenance.trace(query(graph), -1).entries()) == [
        ParameterEntries("fused.weight", (0,), (0, rows)),
        ParameterEntries("fused.bias", (0,), (0, rows)),
    ]


class Used(nn.Module):
    """A query which is not linear in weights of its own, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.q, self.k, self.norm = how, nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.norm_only = nn.LayerNorm(4, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x), self.k(x)
        if self.how == "twice":
            k = k + q
        elif self.how == "same":
            k = q
        elif self.how == "squared":
            q, k = q * q, k * k
        elif self.how == "shifted":
            q, k = q + 1, k + 1
        elif self.how == "curved":
            q, k = F.elu(q), F.elu(k)
        elif self.how == "in place":
            q.mul_(2)
            k.mul_(2)
        elif self.how == "input":
            q, k = x, x
        elif self.how == "normed":
            q, k = self.norm_only(q), self.norm_only(k)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], x[:, None])[:, 0]
        return y + q if self.how == "output" else y


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("twice", "used at add too"),
        ("same", "used at scaled_dot_product_attention too"),
        ("squared", "used at mul too"),
        ("shifted", "add at add is not linear"),
        ("curved", "elu at elu is not linear"),
        ("in place", "changed in place"),
        ("input", "an input or a constant"),
        ("normed", "at norm_only is not linear"),
        ("output", "used at add too"),
    ],
)
def test_what_cannot_be_followed_says_why(how: str, message: str) -> None:
    graph, provenance = traced(Used(how).eval(), torch.randn(2, 3, 4))
    with pytest.raises(Untraceable, match=message):
        provenance.check_exclusive(provenance.trace(query(graph)))


class Shared(nn.Module):
    """Query and key from one projection: neither can be scaled alone, so the size of the heads stays."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.out = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.both(x)[:, None]
        return self.out(F.scaled_dot_product_attention(y, y, y)[:, 0])  # type: ignore[no-any-return]


def test_head_size_is_held_where_the_query_cannot_be_scaled() -> None:
    constraints = constraints_of(relate(capture(Shared().eval(), torch.randn(2, 3, 4))))
    assert not constraints.rescales
    (reason,) = constraints.fixed.values()
    assert "works out its scale from the head size" in reason
    assert "used at scaled_dot_product_attention too" in reason


class Stacked(nn.Module):
    """Query, key and value side by side through one layer: its weights make the others, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.each, self.out = nn.Linear(4, 9), nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.each(self.first(x).reshape(*x.shape[:2], 3, 3).permute(2, 0, 1, 3)[:, :, None])
        return self.out(F.scaled_dot_product_attention(y[0], y[1], y[2])[:, 0])  # type: ignore[no-any-return]


def test_head_size_is_held_where_the_querys_weights_make_key_and_value_too() -> None:
    widths = relate(capture(Stacked().eval(), torch.randn(2, 3, 4)))
    constraints = constraints_of(widths)
    assert not constraints.rescales
    (size,) = widths.axes["each.weight"][0].atoms()
    assert "make other tensors at each too" in constraints.fixed[size]


@torch.no_grad()
def test_scaling_is_undone_and_replayed() -> None:
    model, x = attention("fused")
    fresh = copy.deepcopy(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    widths = relate(capture(model, x))
    constraints = constraints_of(widths)
    (width,) = head_sizes(widths, constraints)
    change = plan(widths, constraints, {width: np.array([0, 3])})
    assert {s.factor for s in change.scalings} == {math.sqrt(0.5)}
    edit = apply(change, model)
    edited = model(x)
    apply(Change.from_json(change.to_json()), fresh)
    assert torch.equal(fresh(x), edited)
    edit.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
