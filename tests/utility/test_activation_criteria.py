"""Statistics of what readers take, against numpy on activations caught by hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.utility import utilities
from naivegraph.utility.activation_criteria import ReaderMoments
from naivegraph.utility.collect import Floats
from naivegraph.widths import relate
from tests.utility.data_networks import residual

IMAGES = torch.randn(9, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def taken(net: nn.Module, layer: str, dim: int) -> Floats:
    """What a layer takes, [rows, neurons]."""
    seen: list[Tensor] = []
    module = net.get_submodule(layer)
    hook = module.register_forward_pre_hook(lambda layer, args: seen.append(args[0].detach().clone()))
    with torch.no_grad():
        net(IMAGES)
    hook.remove()
    rows: Floats = seen[0].movedim(dim, -1).flatten(0, -2).double().numpy()
    return rows


def absolute(rows: Floats, weight: Floats) -> Any:
    return np.abs(rows).mean(0)


def variance(rows: Floats, weight: Floats) -> Any:
    return rows.var(0, ddof=1)


def fluctuation(rows: Floats, weight: Floats) -> Any:
    return rows.var(0, ddof=1) * np.square(weight).sum(1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("name", "statistic"),
    [("activation", absolute), ("variance", variance), ("fluctuation", fluctuation)],
)
def test_shares_of_what_each_reader_takes_are_added_up(
    name: str, statistic: Callable[[Floats, Floats], Any], seed: int
) -> None:
    net = residual(seed)
    # Where the neurons are in what a layer takes, and in its weight.
    places = {"one": (1, 1), "back": (1, 1), "two": (1, 1), "again": (1, 0), "head": (-1, 1)}

    def share(layer: str) -> Any:
        dim, of_weight = places[layer]
        weight = net.get_parameter(f"{layer}.weight").detach().double().movedim(of_weight, 0)
        values = statistic(taken(net, layer, dim), weight.flatten(1).numpy())
        return values / values.sum()

    expected = {
        "stem": share("one") + share("two") + share("head"),
        "one": share("back"),
        "two": share("again"),
    }
    widths = relate(ng.capture(net, IMAGES[:2]))
    found = {w.name: v for w, v in utilities(widths, name, calibration=list(torch.split(IMAGES, 4))).items()}
    assert found.keys() == expected.keys()
    for width, values in expected.items():
        np.testing.assert_allclose(found[width], values, rtol=1e-4, err_msg=width)


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_grouped_convolutions_are_their_own(groups: int) -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1, groups=groups))
    read = net[:2](IMAGES).detach().movedim(1, -1).flatten(0, -2).double()
    weight = net[2].weight.detach().double()  # [outputs, inputs per group, 1, 1]
    each = 8 // groups
    squares = [weight.chunk(groups)[i // each][:, i % each].square().sum() for i in range(8)]
    along = read.var(0) * torch.stack(squares)
    along = (along / along.sum()).reshape(groups, each)
    widths = relate(ng.capture(net, IMAGES[:2]))
    found = utilities(widths, "fluctuation", calibration=IMAGES)
    for width, values in found.items():
        if width.size == each:
            expected = along if values.ndim == 2 else along.sum(0)
            np.testing.assert_allclose(values, expected, rtol=1e-4)
            return
    raise AssertionError("no width of the channels of a group")


def test_moments_do_not_depend_on_the_blocks_nor_cancel() -> None:
    rows = torch.randn(1000, 3, dtype=torch.float64) + torch.tensor([0.0, 1e6, -1e8])
    moments = ReaderMoments(3)
    for block in torch.split(rows, [1, 499, 500]):
        moments.add(block)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, rows.numpy().var(0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(moments.size, rows.abs().mean(0), rtol=1e-12)


def test_a_constant_neuron_has_no_variance_and_goes_first() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        net[0].weight[2] = 0.0
        net[0].bias[2] = 7.0
    for name in ("variance", "fluctuation", "reconstruction"):
        graph = ng.capture(net, torch.ones(1, 4))
        edit = ng.resize(graph, {"0": -1}, utility=name, calibration=torch.randn(50, 4))
        assert edit.sizes["0"].kept == (range(2), range(3, 6)), name
        edit.undo()
