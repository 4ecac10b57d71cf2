"""Neurons are valued by the weights that layers compute with, not by the parameters these are made of.

The oracle is a network of plain layers with the same weights: it computes the same, so it is pruned alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as untyped

import naivegraph as ng
from naivegraph.network import capture
from naivegraph.utility.effective_weights import effective_weights
from naivegraph.utility.utility import utilities

prune: Any = untyped
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")


class Masked(nn.Linear):
    """With a mask made by hand."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", (torch.rand(outputs, 1) > 0.5).float())

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * self.mask, self.bias)

    @property
    def whole(self) -> Tensor:
        return self.weight * self.mask


class LowRank(nn.Module):
    """A weight that is a frozen one and a product."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base, self.bias = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        self.up, self.down = nn.Parameter(torch.randn(outputs, 2)), nn.Parameter(torch.randn(2, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.whole, self.bias)

    @property
    def whole(self) -> Tensor:
        return self.base + self.up @ self.down


class Scaled(nn.Module):
    """A parametrization by a factor for each row."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(rows, 1) * 9)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


def scaled(inputs: int, outputs: int) -> nn.Module:
    return parametrize.register_parametrization(nn.Linear(inputs, outputs), "weight", Scaled(outputs))


def rescaled(layer: Any, name: str) -> nn.Module:
    """The same function, by a `v` of other lengths."""
    owner, _, own = name.rpartition(".")
    with torch.no_grad():
        getattr(layer.get_submodule(owner), own).mul_(
            torch.rand(16, *[1] * (layer.weight.dim() - 1)) * 9 + 0.1
        )
    return layer  # type: ignore[no-any-return]


MAKE: dict[str, Callable[[int, int], nn.Module]] = {
    "pruned": lambda i, o: prune.ln_structured(nn.Linear(i, o), "weight", 0.5, 2, 0),
    "pruned twice": lambda i, o: prune.random_unstructured(
        prune.ln_structured(nn.Linear(i, o), "weight", 0.3, 2, 0), "weight", 0.3
    ),
    "masked": Masked,
    "low rank": LowRank,
    "scaled": scaled,
    "old weight norm": lambda i, o: rescaled(nn.utils.weight_norm(nn.Linear(i, o)), "weight_v"),
    "weight norm": lambda i, o: rescaled(
        parametrizations.weight_norm(nn.Linear(i, o)), "parametrizations.weight.original1"
    ),
    "old spectral norm": lambda i, o: nn.utils.spectral_norm(nn.Linear(i, o)),
    "spectral norm": lambda i, o: parametrizations.spectral_norm(nn.Linear(i, o)),
}


def plain(layer: Any, example: Tensor) -> nn.Linear:
    layer(example)  # a hook works the weight out when it is called
    weight = (layer.whole if hasattr(layer, "whole") else layer.weight).detach()
    out = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        out.weight.copy_(weight)
        out.bias.copy_(layer.bias)
    return out


@pytest.mark.parametrize("criterion", ["l1", "l2", "magnitude"])
@pytest.mark.parametrize("name", MAKE)
def test_a_network_is_pruned_as_one_of_plain_layers_with_the_same_weights(name: str, criterion: str) -> None:
    torch.manual_seed(1)
    one, two = MAKE[name](8, 16).eval(), MAKE[name](16, 16).eval()
    inputs, hidden = torch.randn(5, 8), torch.randn(5, 16)
    model = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), nn.Linear(16, 4)).eval()
    other = nn.Sequential(
        plain(one, inputs), nn.ReLU(), plain(two, hidden), nn.ReLU(), copy.deepcopy(model[4])
    ).eval()
    torch.testing.assert_close(model(inputs), other(inputs))
    found, wanted = (ng.prune(each, inputs, ratio=0.5, utility=criterion) for each in (model, other))
    assert found.sizes["1"].kept == wanted.sizes["1"].kept
    assert found.sizes["3"].kept == wanted.sizes["3"].kept
    if "norm" not in name and name != "low rank":  # where removal changes the neurons that stay, or the rank
        torch.testing.assert_close(model(inputs), other(inputs))


def test_dead_channels_of_a_convolution_go_first() -> None:
    torch.manual_seed(0)
    first = prune.ln_structured(nn.Conv2d(3, 16, 3), "weight", 0.5, 2, 0)
    with torch.no_grad():
        first.bias.zero_()
        first.weight_orig[first.weight_mask == 0] *= 100
    model = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
    image = torch.randn(2, 3, 8, 8)
    before = model(image)
    ng.prune(model, image, ratio=0.5)
    assert first.weight_orig.shape[0] == 8
    torch.testing.assert_close(model(image), before)


def test_plain_layers_and_learnt_queries_have_no_other_weights() -> None:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.mix = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 8)
            self.key = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(self.queries) @ self.key(x).transpose(-1, -2)  # type: ignore[no-any-return]

    assert (
        effective_weights(capture(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.ones(1, 4)).widths)
        == []
    )
    assert effective_weights(capture(Queries(), torch.ones(5, 4)).widths) == []


def test_a_rank_is_valued_by_its_factors() -> None:
    """The inner size of a product is no size of the weight that comes of it."""
    torch.manual_seed(0)
    model = nn.Sequential(LowRank(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    widths = capture(model, torch.ones(1, 8)).widths
    (weight,) = effective_weights(widths)
    rank = next(width for width in widths if width.size == 2)
    assert rank.atom not in weight.atoms()
    values = utilities(widths, "l1")[rank]
    layer: Any = model[0]
    sums = [factor.detach().abs() / factor.detach().abs().sum() for factor in (layer.up, layer.down)]
    assert values == pytest.approx((sums[0].sum(0) + sums[1].sum(1)).numpy(), rel=1e-5)


@pytest.mark.parametrize("inplace", [True, False])
def test_what_parameters_make_may_be_changed_in_place_afterwards(inplace: bool) -> None:
    """A learnt first state, on which the steps of a loop are written."""

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.step = nn.Parameter(torch.ones(16)), nn.Parameter(torch.randn(16, 16))
            self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = self.start.square().repeat(len(x), 1)
            kept = self.first(x)
            for _ in range(2):
                new = F.linear(state, self.step).tanh() + kept
                state = state.copy_(new) if inplace else new
            out: Tensor = self.last(state)
            return out

    torch.manual_seed(0)
    net, x = Loop().eval(), torch.randn(5, 4)
    before = copy.deepcopy(net)
    ng.prune(net, x, ratio=0.5)
    gone = ~torch.isin(before.first.bias, net.first.bias)
    with torch.no_grad():
        for parameter in (before.start, before.step, before.first.weight, before.first.bias):
            parameter[gone] = 0
    assert net.first.out_features == 8
    torch.testing.assert_close(net(x), before(x))
