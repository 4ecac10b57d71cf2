"""Adapters that start without effect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged


def network() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1),
        nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 5),
    )  # fmt: skip
    return net.eval(), torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("kind", ["bottleneck", "lora"])
def test_they_change_nothing_at_first_and_learn(kind: str) -> None:
    net, x = network()
    before, old = net(x), snapshot(net)
    graph = ng.capture(net, x)
    edit = ng.transfer.adapters(graph, ["*"], size=2, kind=kind)
    assert torch.equal(graph(x), before)
    new = {name: p for name, p in graph.module.named_parameters() if kind in name}
    assert len({name.partition("_")[0] for name in new}) == 4
    torch.autograd.backward(graph(x).square().sum())
    last = [p for name, p in new.items() if name.split(".")[1] in ("1", "2")]
    assert last
    assert all(bool(p.grad.abs().sum() > 0) for p in last if p.grad is not None)
    groups = ng.transfer.parameter_groups(graph, edit)
    assert {id(p) for group in groups if group["name"] == "new" for p in group["params"]} == {
        id(p) for p in new.values()
    }
    for parameter in graph.module.parameters():
        parameter.grad = None
    edit.undo()
    unchanged(net, old)
    torch.testing.assert_close(graph(x), before)


def test_a_low_rank_branch_is_a_change_of_the_layers_own_weight() -> None:
    net, x = network()
    graph = ng.capture(net, x)
    ng.transfer.adapters(graph, "4", size=3, kind="lora")
    branch: Any = graph.module.get_submodule("4_lora")
    with torch.no_grad():
        branch[1].weight.normal_()
    found = graph(x)
    net2, _ = network()
    with torch.no_grad():
        net2[4].weight += branch[1].weight @ branch[0].weight
    torch.testing.assert_close(found, net2(x))


@pytest.mark.parametrize(
    ("layers", "more", "message"),
    [
        ("fc*", {}, "is no linear layer or convolution of the network"),
        ("1", {}, "'1' is no linear layer or convolution"),
        ("4", {"size": 0}, "size must be a whole number from 1"),
        ("4", {"kind": "prefix"}, "kind='prefix': give 'bottleneck' or 'lora'"),
    ],
)
def test_what_cannot_be_is_refused(layers: str, more: Any, message: str) -> None:
    net, x = network()
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.adapters(net, x, layers, **more)
    unchanged(net, old)
