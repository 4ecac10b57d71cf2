"""Hidden values in and out, against hooks on the network's own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import NaivegraphError


class InPlace(nn.Module):
    """Activations in place, a view taken before one, and a skip from before another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 4) to (batch, 3)."""
        y = torch.tanh(self.a(x))
        rows = y[:, :3]
        y = self.relu(y)
        z = self.b(y)
        z += y
        out: Tensor = self.c(nn.functional.hardtanh_(z)) + rows
        return out


def expected(net: InPlace, x: Tensor) -> dict[str, Tensor]:
    """Values worked out without changing anything in place."""
    tanh = torch.tanh(net.a(x))
    relu = tanh.relu()
    total = net.b(relu) + relu
    clipped = nn.functional.hardtanh(total)
    return {
        "a": net.a(x), "tanh": tanh, "relu": relu, "b": net.b(relu), "hardtanh": clipped,
        "c": net.c(clipped), "add": net.c(clipped) + relu[:, :3],
    }  # fmt: skip


def network() -> tuple[InPlace, Tensor, ng.Graph]:
    torch.manual_seed(0)
    net, x = InPlace().eval(), torch.randn(5, 4)
    return net, x, ng.capture(net, x)


def test_every_value_is_what_its_vertex_gave_before_others_changed_it() -> None:
    net, x, graph = network()
    wanted = expected(net, x)
    names = {name: next(v.name for v in graph if v.name.startswith(name)) for name in wanted if name != "add"}
    found = graph.run(x, list(names.values()))
    for name, own in names.items():
        assert torch.equal(found[own], wanted[name]), name


def test_given_at_any_vertex_the_output_is_bit_equal_and_nothing_given_changes() -> None:
    net, x, graph = network()
    output = net(x)
    last = graph.vertices[-1].name
    every = [v.name for v in graph if v.name in graph.sizes]
    values = graph.run(x, every)
    for name in every[1:]:
        given = {every[0]: x, name: values[name].clone()}
        assert torch.equal(graph.run(given, [last])[last], output), name
        assert torch.equal(given[name], values[name]), name


def test_only_what_is_needed_runs() -> None:
    net, x, graph = network()
    calls: list[str] = []
    for name in ("a", "b", "c"):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    hidden = graph.run(x, ["relu"])["relu"]
    assert calls == ["a"]
    calls.clear()
    graph.run({"relu": hidden}, ["b"])
    assert calls == ["b"]
    changed = graph.run({"relu": hidden * 0}, ["b"])["b"]
    torch.testing.assert_close(changed, net.b.bias.expand(5, 6))


def test_an_input_that_is_missing_is_named() -> None:
    _, x, graph = network()
    value = graph.run(x, ["c"])["c"]
    with pytest.raises(NaivegraphError, match="'b' cannot be worked out from 'c' alone: give 'x'"):
        graph.run({"c": value}, ["b"])


def test_gradients_reach_what_is_given() -> None:
    _, x, graph = network()
    hidden: Any = graph.run(x, ["relu"])["relu"].detach().requires_grad_()
    torch.autograd.backward(graph.run({"relu": hidden}, ["b"])["b"].sum())
    assert bool(hidden.grad.abs().sum() > 0)
