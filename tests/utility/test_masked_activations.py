"""Masks and gains multiplied onto activations: what they leave without effect goes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import naivegraph as ng
from naivegraph.utility import utilities
from naivegraph.utility.effective_weights import Constants
from naivegraph.utility.masked_activations import MaskedActivations

DEAD = [1, 3, 6]
ALIVE = [0, 2, 4, 5, 7]


class Parts(nn.Module):
    """Layers, and a function that makes a network of them."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.made = forward
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.own, self.mix = nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 6, 1)
        self.flat, self.out = nn.Linear(8 * 36, 6), nn.Linear(6, 2)
        self.relu = nn.ReLU(inplace=True)
        self.features: Tensor | None = None
        mask = torch.ones(8)
        mask[DEAD] = 0
        self.register_buffer("mask", mask)
        self.gain = nn.Parameter(torch.tensor([1, 0.01, -2, 0.02, 1, 0.5, -0.03, 1]))
        self.gate = nn.Parameter(20 * (2 * mask - 1))
        with torch.no_grad():
            self.conv.weight[DEAD] *= 10

    @property
    def m(self) -> Tensor:
        """The mask, for images."""
        return self.get_buffer("mask").view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Any:
        return self.made(self, x)

    def head(self, x: Tensor) -> Tensor:
        """The layers behind."""
        return self.out(functional.relu(self.mix(x)).mean((2, 3)))  # type: ignore[no-any-return]


def in_place(p: Any, x: Tensor) -> Any:
    x = p.conv(x)
    x *= p.m
    return p.head(x)


def residual(p: Any, x: Tensor) -> Any:
    h = p.conv(x) * p.m
    return p.head(h + p.own(h) * p.m)


MASKED: dict[str, Callable[[Any, Tensor], Any]] = {
    "after a convolution": lambda p, x: p.head(p.conv(x) * p.m),
    "from the left": lambda p, x: p.head(p.m * p.conv(x)),
    "after a batch norm": lambda p, x: p.head((p.norm(p.conv(x)) * p.m).relu()),
    "after a ReLU": lambda p, x: p.head(p.conv(x).relu() * p.m),
    "after a ReLU in place": lambda p, x: p.head(p.relu(p.conv(x)) * p.m),
    "before a ReLU in place": lambda p, x: p.head(p.relu(p.conv(x) * p.m)),
    "after a GELU": lambda p, x: p.head(functional.gelu(p.conv(x)) * p.m),
    "in place": in_place,
    "before a depthwise one": lambda p, x: p.head(p.own(p.conv(x) * p.m)),
    "after a depthwise one": lambda p, x: p.head(p.own(p.conv(x)) * p.m),
    "before a pool": lambda p, x: p.head(functional.max_pool2d(p.conv(x) * p.m, 2)),
    "after a pool": lambda p, x: p.head(functional.avg_pool2d(p.conv(x), 2) * p.m),
    "before flattening": lambda p, x: p.out(p.flat((p.conv(x) * p.m).flatten(1))),
    "with channels last": lambda p, x: p.head((p.conv(x).permute(0, 2, 3, 1) * p.mask).permute(0, 3, 1, 2)),
    "of truth values": lambda p, x: p.head(p.conv(x) * (p.m > 0)),
    "expanded": lambda p, x: p.head(p.conv(x) * p.m.expand(-1, -1, 6, 6)),
    "by masked_fill": lambda p, x: p.head(p.conv(x).masked_fill(p.m == 0, 0.0)),
    "by where": lambda p, x: p.head(torch.where(p.m > 0, p.conv(x), 0.0)),
    "by einsum": lambda p, x: p.head(torch.einsum("bchw,c->bchw", p.conv(x), p.mask)),
    "of gates": lambda p, x: p.head(p.conv(x) * (p.gate.sigmoid() > 0.5).float()[:, None, None]),
    "in a residual sum": residual,
}


def captured(forward: Callable[[Any, Tensor], Any]) -> tuple[Parts, Tensor, Any]:
    torch.manual_seed(0)
    net, x = Parts(forward).eval(), torch.randn(2, 3, 6, 6)
    return net, x, ng.capture(net, x)


def factors(graph: Any) -> dict[str, Tensor]:
    masked = MaskedActivations(graph.widths, Constants(graph))
    found = {name: masked.factor(stub) for name, stub in graph.state.items()}
    return {name: factor for name, factor in found.items() if factor is not None}


@pytest.mark.parametrize("utility", ["l2", "l1"])
@pytest.mark.parametrize("name", MASKED)
def test_what_a_mask_kills_goes_first(name: str, utility: str) -> None:
    net, x, graph = captured(MASKED[name])
    before = net(x)
    edit = ng.resize(graph, {"conv": -3}, utility=utility)
    assert [i for run in edit.sizes["conv"].kept for i in run] == ALIVE
    if name != "before a depthwise one":  # whose bias is still added to what is zero
        torch.testing.assert_close(net(x), before)


def left_behind(p: Any, x: Tensor) -> Any:
    p.features = p.conv(x)
    return p.head(p.features * p.m)


def read_before(p: Any, x: Tensor) -> Any:
    h = p.conv(x)
    seen = p.mix(h).mean()
    h.mul_(p.m)
    return p.head(h) + seen


def written_by_a_view(p: Any, x: Tensor) -> Any:
    h = p.conv(x) * p.m
    h[:, :4].add_(1)
    return p.head(h)


def written_from(p: Any, x: Tensor) -> Any:
    space = torch.zeros_like(x[:, :1].expand(2, 8, 6, 6).contiguous())
    space[:, 2:].copy_(p.conv(x)[:, 2:])
    return p.head(space * p.m) + space.mean()


SEEN: dict[str, Callable[[Any, Tensor], Any]] = {
    **MASKED,
    "used beside": lambda p, x: p.head(p.conv(x) * p.m) + p.conv(x)[:, :4].mean(),
    "half of them": lambda p, x: p.head(torch.cat([p.conv(x)[:, :4] * p.m[:, :4], p.conv(x)[:, 4:]], 1)),
    "a chunk": lambda p, x: p.head(torch.cat([c * p.m[:, :4] for c in p.conv(x).chunk(2, 1)], 1)),
    "twice the same layer": lambda p, x: p.head(p.own(p.own(p.conv(x)) * p.m)),
    "then a shift": lambda p, x: p.head((p.conv(x) * p.m + 1) * 2),
    "before a sigmoid": lambda p, x: p.head((p.conv(x) * p.m).sigmoid()),
    "before a norm": lambda p, x: p.head(p.norm(p.conv(x) * p.m)),
    "before a softmax": lambda p, x: p.head((p.conv(x) * p.m).softmax(1)),
    "a dict as the output": lambda p, x: {"a": p.head(p.conv(x) * p.m), "b": [p.conv(x)]},
    "left on the module": left_behind,
    "read before it is written": read_before,
    "written by a view": written_by_a_view,
    "written from": written_from,
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_what_counts_as_nothing_has_no_effect(name: str) -> None:
    net, x, graph = captured(SEEN[name])
    found = factors(graph)
    before = leaves(net, x)
    with torch.no_grad():
        for parameter, factor in found.items():
            if parameter not in ("gain", "gate", "mask"):
                values = graph.tensor(parameter)
                values.copy_(torch.where(factor.expand_as(values) == 0, torch.randn_like(values), values))
    for one, two in zip(before, leaves(net, x), strict=True):
        torch.testing.assert_close(two, one)


def leaves(net: Parts, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = net(x)
    found = [out] if isinstance(out, Tensor) else [out["a"], *out["b"]]
    return found + ([] if net.features is None else [net.features.clone()])


@pytest.mark.parametrize(
    "forward",
    [
        lambda p, x: p.head(p.conv(x) * p.gain.view(1, -1, 1, 1)),
        lambda p, x: p.head(p.conv(x).relu() * p.gain[:, None, None].abs()),
        lambda p, x: p.head(p.conv(x) / p.gain.reciprocal()[:, None, None]),
        lambda p, x: p.head((p.conv(x).permute(0, 2, 3, 1) * p.gain).permute(0, 3, 1, 2)),
    ],
    ids=["plain", "behind a ReLU", "by division", "with channels last"],
)
def test_a_gain_counts_as_if_multiplied_into_the_weight(forward: Callable[[Any, Tensor], Any]) -> None:
    net, x, graph = captured(forward)
    values = of_the_convolution(graph)
    with torch.no_grad():
        net.conv.weight *= net.gain.abs()[:, None, None, None]
        net.gain.fill_(1.0)
    torch.testing.assert_close(values, of_the_convolution(ng.capture(net, x)))


def of_the_convolution(graph: Any) -> Tensor:
    widths = graph.widths
    (atom,) = widths.relation.algebra.resolve(widths.output_axis(graph["conv"])).atoms()
    return torch.from_numpy(utilities(widths, "l2")[widths.by_atom[atom]])


def test_a_layer_used_twice_takes_no_gain() -> None:
    _, _, graph = captured(lambda p, x: p.head(p.own(p.own(p.conv(x)) * p.gain[:, None, None])))
    assert "own.weight" not in factors(graph)


class Biased(nn.Module):
    """Attention whose scores lose more the further away a token is, by another factor in each head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.qkv, self.out = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, 2)
        self.slopes = nn.Buffer(torch.tensor([-0.5, -0.25])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.embed(x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        place = torch.arange(x.shape[1])
        bias = (place[None, :] - place[:, None]).abs() * self.slopes
        out: Tensor = self.out(((q @ k.mT + bias).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return out


def test_constants_with_a_dimension_that_what_they_multiply_lacks_are_no_gains() -> None:
    net, x = Biased(), torch.randn(2, 5, 3)
    graph = ng.capture(net, x)
    edit = ng.resize(graph, {"embed": -3}, utility="l2")
    worth = torch.cat([net.embed.weight, net.embed.bias[:, None]], 1)  # as they are now, kept ones in order
    edit.undo()
    kept = [i for run in edit.sizes["embed"].kept for i in run]
    assert len(kept) == 5
    assert torch.equal(torch.cat([net.embed.weight, net.embed.bias[:, None]], 1)[kept], worth)
