"""Which widths keep other neurons in every row of a product, and that nothing computes otherwise for it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.graph import call, input_node
from naivegraph.network import Graph, capture
from naivegraph.widths import Width, Widths, constraints_of, relate
from tests.machine.random_graphs import Attention, random_case
from tests.networks.attention import Multihead
from tests.oracle import Indices, choose, zeroed

HEADS, SIZE = 3, 4


class Heads(nn.Module):
    """Something done with `HEADS` heads of `SIZE`, between two linear layers."""

    def __init__(self, between: Callable[[Heads, Tensor], Tensor]) -> None:
        super().__init__()
        self.between = between
        self.first, self.last = nn.Linear(5, HEADS * SIZE), nn.Linear(HEADS * SIZE, 3)
        self.scale, self.mix = nn.Parameter(torch.rand(SIZE)), nn.Parameter(torch.rand(HEADS, HEADS))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.between(self, self.first(x).unflatten(-1, (HEADS, -1))))
        return out


def _words(net: Heads, x: Tensor) -> Tensor:
    """Words times words in each head."""
    x = x.movedim(-2, 1)
    return (x @ x.transpose(-1, -2) @ x).movedim(1, -2).flatten(-2)


def _indices(net: Heads, x: Tensor) -> Tensor:
    """Indices times indices in each head."""
    x = x.movedim(-2, 1)
    return (x @ (x.transpose(-1, -2) @ x)).movedim(1, -2).flatten(-2)


def _joined(net: Heads, x: Tensor) -> Tensor:
    """Heads joined and taken apart once more."""
    x = torch.tanh(x.flatten(-2))
    return x.reshape(*x.shape[:-1], HEADS, -1).flatten(-2)


# What is done with [batch, words, heads, size], and whether every head may keep its own indices.
BETWEEN: dict[str, tuple[Callable[[Heads, Tensor], Tensor], bool]] = {
    "nothing": (lambda net, x: x.flatten(-2), True),
    "a softmax in each head": (lambda net, x: x.softmax(-1).flatten(-2), True),
    "words look at words": (_words, True),
    "indices look at indices": (_indices, True),
    "a number for every head": (lambda net, x: (x * net.mix[0][:, None]).flatten(-2), True),
    "joined and taken apart": (_joined, True),
    "a scale for every index": (lambda net, x: (x * net.scale).flatten(-2), False),
    "a softmax over heads": (lambda net, x: x.softmax(-2).flatten(-2), False),
    "heads look at heads": (lambda net, x: (x @ x.transpose(-1, -2) @ x).flatten(-2), False),
    "heads mixed by a matrix": (lambda net, x: (x + net.mix @ x).flatten(-2), False),
    "heads mixed in train mode": (
        lambda net, x: (x + net.mix @ x if net.training else x).flatten(-2),
        False,
    ),
    "the mean of heads": (lambda net, x: (x + x.mean(-2, keepdim=True)).flatten(-2), False),
    "the sum of heads": (lambda net, x: (x * x.sum(-2, keepdim=True)).flatten(-2), False),
    "distances of heads": (lambda net, x: (torch.cdist(x, x) @ x).flatten(-2), False),
    "all pairs of heads": (
        lambda net, x: (x[..., None, :] * x[..., None, :, :]).sum(-1).matmul(x).flatten(-2),
        False,
    ),
    "heads one after the other": (lambda net, x: x.cumsum(-2).flatten(-2), False),
    "heads turned round": (lambda net, x: (x + x.flip(-2)).flatten(-2), False),
    "a shared product": (lambda net, x: (x @ torch.outer(net.scale, net.scale)).flatten(-2), False),
    "indices before heads": (lambda net, x: x.transpose(-1, -2).flatten(-2), False),
}


def _make(name: str) -> tuple[Heads, Tensor]:
    torch.manual_seed(0)
    return Heads(BETWEEN[name][0]).double(), torch.randn(2, 6, 5, dtype=torch.float64)


@pytest.mark.parametrize("name", BETWEEN)
def test_rows_choose_for_themselves_just_where_one_row_may_be_shuffled(name: str) -> None:
    """Shuffling what is inside one head, of what makes it and of what takes it, shows whether heads meet."""
    net, x = _make(name)
    shuffled = copy.deepcopy(net)
    order = torch.arange(HEADS * SIZE)
    order[:SIZE] = torch.tensor([2, 0, 3, 1])
    inside = order
    if name == "indices before heads":
        inside = (order % SIZE * HEADS + order // SIZE).reshape(HEADS, SIZE).T.flatten()
    with torch.no_grad():
        for parameter in (shuffled.first.weight, shuffled.first.bias):
            parameter.copy_(parameter[order])
        shuffled.last.weight.copy_(shuffled.last.weight[:, inside])
        apart = torch.allclose(net(x), shuffled(x), rtol=1e-9, atol=1e-12)
    widths = relate(capture(net, x))
    expected = BETWEEN[name][1]
    assert apart == (expected or name == "indices before heads")
    assert [(atom.length, outer.length) for atom, outer in widths.outer.items()] == [(SIZE, HEADS)] * expected


_EXACT = [name for name, (_, own) in BETWEEN.items() if own and "softmax" not in name]


@pytest.mark.parametrize("name", _EXACT)
def test_function_is_kept_when_every_head_keeps_its_own(name: str) -> None:
    net, x = _make(name)
    widths = relate(capture(net, x, verify="recorded"))
    inner = _own(widths)
    kept = np.array([[0, 2], [1, 3], [0, 1]])
    zero = copy.deepcopy(net)
    with torch.no_grad():
        for head, stay in enumerate(kept):
            for index in set(range(SIZE)) - set(stay.tolist()):
                zero.first.weight[head * SIZE + index] = 0
                zero.first.bias[head * SIZE + index] = 0
                zero.last.weight[:, head * SIZE + index] = 0
    before = net.first.weight.detach().clone()
    apply(plan(widths, constraints_of(widths), {inner: kept}), net)
    assert torch.equal(net.first.weight, before[[0, 2, 5, 7, 8, 9]])
    torch.testing.assert_close(net(x), zero(x), rtol=1e-9, atol=1e-9)


def _own(widths: Widths) -> Width:
    (atom,) = widths.outer
    return widths.by_atom[atom]


class Grouped(nn.Module):
    """A grouped convolution and what takes its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.conv, self.norm = nn.Conv2d(6, 12, 3, groups=3), nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.relu(self.norm(self.conv(self.first(x)))))
        return out


def _separate() -> nn.Module:
    return Attention(8, 3, 4, fused=False)


def _fused() -> nn.Module:
    return Attention(8, 3, 4, fused=True)


_WORDS = (2, 5, 8)
# The network, the shape of its input, and by parameter how often heads are in it, in which dimension.
FORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, tuple[int, int]]]] = {
    "separate": (
        _separate,
        _WORDS,
        {**{f"{n}.{p}": (1, 0) for n in "qkv" for p in ("weight", "bias")}, "out.weight": (1, 1)},
    ),
    "fused": (_fused, _WORDS, {"qkv.weight": (3, 0), "qkv.bias": (3, 0), "out.weight": (1, 1)}),
    "grouped": (
        Grouped,
        (2, 3, 8, 8),
        {"conv.weight": (1, 0), "conv.bias": (1, 0), "norm.weight": (1, 0), "norm.bias": (1, 0),
         "last.weight": (1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_removing_pairs_is_zeroing_pairs(form: str) -> None:
    """Neurons named by head and index, in parameters looked at by hand."""
    build, shape, parameters = FORMS[form]
    torch.manual_seed(0)
    net, x = build().double().eval(), torch.randn(shape, dtype=torch.float64)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    zero, full, widths = copy.deepcopy(net), net(x), relate(capture(net, x))
    rng = np.random.default_rng(1)
    kept = {
        widths.by_atom[atom]: np.stack([np.sort(rng.choice(4, 2, replace=False)) for _ in range(3)])
        for atom in widths.outer
    }
    assert len(kept) == (2 if form == "separate" else 1)
    for name, (times, dim) in parameters.items():
        found = next(choice for width, choice in kept.items() if (name, dim) in width.lives)
        values = zero.get_parameter(name).data.movedim(dim, 0)
        heads = values.view(times, 3, 4, *values.shape[1:])
        for head in range(3):
            gone = sorted(set(range(4)) - set(found[head].tolist()))
            heads[:, head, gone] = 0
    apply(plan(widths, constraints_of(widths), kept), net)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in zero.parameters())
    torch.testing.assert_close(net(x), zero(x), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(zero(x), full)


def test_heads_of_torchs_attention_keep_their_own() -> None:
    torch.manual_seed(0)
    net, x = Multihead({"need_weights": False}, batch_first=True).double(), torch.randn(2, 5, 6).double()
    widths = relate(capture(net, x))
    inner = _own(widths)
    (embed,) = (width for width in widths if width.name == "embed")
    kept = {inner: np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), embed: np.arange(0, 16, 2)}
    zero, rows = copy.deepcopy(net), [4 * head + i for head, some in enumerate(kept[inner]) for i in some]
    gone, odd = sorted(set(range(16)) - set(rows)), list(range(1, 16, 2))
    attention = zero.attention
    with torch.no_grad():
        attention.in_proj_weight.view(3, 16, -1)[:, gone] = 0
        attention.in_proj_bias.view(3, 16)[:, gone] = 0
        attention.out_proj.weight[:, gone] = 0
        for layer in (zero.embed, attention.out_proj):
            layer.weight[odd], layer.bias[odd] = 0, 0
    apply(plan(widths, constraints_of(widths), kept), net)
    assert (net.attention.head_dim, net.attention.embed_dim) == (2, 8)
    torch.testing.assert_close(net(x), zero(x), rtol=1e-9, atol=1e-9)


def test_a_function_with_a_rule_of_its_own_keeps_the_rows_alike() -> None:
    """Nothing says that it does not mix heads."""
    x = torch.randn(2, 5)
    widths = []
    for function in (torch.tanh, lambda y: y.reshape(-1, 3, 4).softmax(1).flatten(1)):
        start = input_node("x", example=x)
        y = start.then(nn.Linear(5, 12)).then(nn.Unflatten(1, (3, 4))).then(nn.Flatten())
        y = call(function, y, rule="same", name="own") if function is not torch.tanh else call(torch.tanh, y)
        widths.append(relate(Graph([start], [y.then(nn.Linear(12, 2))])))
    assert [len(found.outer) for found in widths] == [1, 0]


@pytest.mark.parametrize("seed", range(60))
def test_function_is_kept_in_random_graphs(seed: int) -> None:
    case, other = random_case(random.Random(seed)), random_case(random.Random(seed))
    widths = relate(case.graph)
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed)
    zero = zeroed(case.graph.module, widths, kept)
    other.graph.module.load_state_dict(zero.state_dict())
    expected: Tensor = other.graph(case.x)
    apply(plan(widths, constraints, kept), case.graph.module)
    torch.testing.assert_close(case.graph(case.x), expected, rtol=1e-9, atol=1e-9)


def test_choices_that_make_no_sense_are_refused() -> None:
    widths = relate(capture(_fused(), torch.randn(_WORDS)))
    inner, constraints = _own(widths), constraints_of(widths)
    heads = widths.by_atom[widths.outer[inner.atom]]
    bad: list[tuple[Width, Indices]] = [
        (inner, np.zeros((2, 1), np.int64)),
        (inner, np.array([[0, 1], [1, 1], [0, 2]])),
    ]
    for width, choice in bad:
        with pytest.raises(EditError, match="give one list, or 3 as long as each other"):
            plan(widths, constraints, {width: choice})
    with pytest.raises(EditError, match=r"give one list$"):
        plan(widths, constraints, {heads: np.zeros((4, 1), np.int64)})
