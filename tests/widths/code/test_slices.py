"""Slices that take all indices up to some number: what grows past it would be cut off."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng

Part = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Two layers, between which some part of sixteen features is taken: all of them."""

    scale: Tensor

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)
        self.width, self.sizes = 16, {"hidden": 16}
        self.register_buffer("scale", torch.linspace(1, 2, 16))
        self.gain = nn.Parameter(torch.linspace(2, 1, 16))
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.part(self, self.a(x).relu()))
        return out


FOLLOWS: dict[str, Part] = {
    "features up to an attribute": lambda net, h: h[:, : net.width],
    "features up to an entry": lambda net, h: h[..., : net.sizes["hidden"]],
    "buffer up to an attribute": lambda net, h: h * net.scale[: net.width],
    "buffer up to an entry": lambda net, h: h * net.scale[: net.sizes["hidden"]],
    "buffer up to a size": lambda net, h: h * net.scale[: h.shape[1]],
    "parameter up to an attribute": lambda net, h: h * net.gain[: net.width],
    "viewed by an attribute": lambda net, h: h.view(-1, net.width) * net.gain[: net.width],
    "from the first": lambda net, h: h[:, 0:],
}
ENDS: dict[str, tuple[Part, int]] = {
    "features": (lambda net, h: h[:, :16], 16),
    "features, room for more": (lambda net, h: h[:, :18], 18),
    "buffer": (lambda net, h: h * net.scale[:16], 16),
    "parameter, room for more": (lambda net, h: h * net.gain[:17], 17),
    "operator": (lambda net, h: torch.ops.aten.slice(h, 1, 0, 16), 16),
    "operator, no number": (lambda net, h: torch.ops.aten.slice(h, 1), 20),
}


def network(part: Part) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net(part).eval(), torch.randn(4, 8)


@pytest.mark.parametrize("part", FOLLOWS.values(), ids=FOLLOWS.keys())
def test_slices_up_to_numbers_that_follow_grow_with_them(part: Part) -> None:
    net, x = network(part)
    before = net(x)
    assert ng.resize(net, x, {"a": +4})
    assert net.a.out_features == 20
    torch.testing.assert_close(net(x), before)
    net(x).sum().backward()
    assert net.b.weight.grad is not None
    assert net.b.weight.grad[:, 16:].any()  # the new ones reach the end


@pytest.mark.parametrize(("part", "most"), ENDS.values(), ids=ENDS.keys())
def test_nothing_grows_past_the_end_of_a_slice(part: Part, most: int) -> None:
    net, x = network(part)
    before = net(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ng.resize(net, x, {"a": +4})
    assert net.a.out_features == most
    torch.testing.assert_close(net(x), before)
    if most < 20:
        raising = ng.strategy.Solve(ng.strategy.Raise())
        with pytest.raises(ng.InfeasibleError, match=r"takes \d+ of them at most"):
            ng.resize(net, x, {"a": ng.size(most + 1)}, strategy=raising)


@pytest.mark.parametrize("part", [part for part, _ in ENDS.values()], ids=ENDS.keys())
def test_such_slices_let_neurons_go(part: Part) -> None:
    net, x = network(part)
    before = copy.deepcopy(net)
    ng.prune(net, x, ratio=0.5)
    assert net.a.out_features == 8
    gone = ~torch.isin(before.a.bias, net.a.bias)
    with torch.no_grad():
        before.a.weight[gone] = 0
        before.a.bias[gone] = 0
    torch.testing.assert_close(net(x), before(x))
