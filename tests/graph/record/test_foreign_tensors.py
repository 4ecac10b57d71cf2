"""Layers that compute with weights set from outside: what makes the weight is recorded, trained and resized.

The oracle is the network's own forward, after its parameters were changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import naivegraph as ng

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")


class SetOutside(nn.Module):
    """Sets a layer's weight, from a parameter that is raw, before it calls it; or those of two layers."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(16, 4))
        self.one, self.other, self.two = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 2)
        del self.one.weight, self.other.weight
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        self.one.weight = torch.tanh(self.raw)
        hidden = torch.relu(self.one(x))
        if self.twice:
            self.other.weight = 2 * self.raw
            hidden = hidden + torch.relu(self.other(x))
        return self.two(hidden)  # type: ignore[no-any-return]


class Called(nn.Module):
    """Calls a network with other tensors than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.step = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Any:
        return functional_call(
            self.net, {k: v * (1 + self.step) for k, v in self.net.named_parameters()}, (x,)
        )


class Reads(nn.Module):
    """Reads the weight that another layer worked out inside."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.mid = nn.utils.weight_norm(nn.Linear(4, 16)), nn.Linear(16, 16)
        self.dec = nn.Linear(16, 4, bias=False)
        del self.dec.weight

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.mid(torch.relu(self.enc(x))))
        self.dec.weight = self.enc.weight.t()
        return self.dec(hidden)  # type: ignore[no-any-return]


class Generated(nn.Module):
    """Weights made of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.use, self.two = nn.Linear(4, 64), nn.Linear(4, 16), nn.Linear(16, 2)
        del self.use.weight

    def forward(self, x: Tensor) -> Tensor:
        self.use.weight = self.make(x.mean(0)).reshape(16, 4)
        return self.two(self.use(x))  # type: ignore[no-any-return]


MAKE: dict[str, Callable[[], nn.Module]] = {
    "set outside": SetOutside,
    "one raw weight for two layers": lambda: SetOutside(twice=True),
    "functional_call": Called,
    "read from another layer": Reads,
}


@pytest.mark.parametrize("name", [*MAKE, "generated"])
def test_the_graph_and_its_export_compute_with_the_present_parameters(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = (Generated if name == "generated" else MAKE[name])().eval(), torch.randn(3, 4)
    graph = ng.capture(model, inputs)
    exported: Any = graph.to_module()
    with torch.no_grad():
        for parameter in (*model.parameters(), *exported.parameters()):
            parameter.mul_(1.3)
    for found in (graph(inputs), exported(inputs)):
        torch.testing.assert_close(found, model(inputs))
    exported(inputs).square().sum().backward()
    grads = {key: p.grad for key, p in exported.named_parameters()}
    model(inputs).square().sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(grads[key], parameter.grad)


@pytest.mark.parametrize("name", MAKE)
def test_it_is_pruned_grown_and_put_back(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MAKE[name]().eval(), torch.randn(3, 4)
    before = model(inputs)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    edit = ng.prune(model, inputs, ratio=0.5)
    assert {8} <= {size for p in model.parameters() for size in p.shape}
    model(inputs)
    edit.undo()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    graph = ng.capture(model, inputs)
    edit = ng.resize(graph, {next(v.name for v in graph if v.name.endswith("linear")): +2})
    assert {18} <= {size for p in model.parameters() for size in p.shape}
    if not edit.notes:
        torch.testing.assert_close(model(inputs), before)


def test_neurons_without_effect_go_first() -> None:
    torch.manual_seed(0)
    model, inputs = SetOutside().eval(), torch.randn(3, 4)
    with torch.no_grad():
        model.raw[::2] = 0
        model.one.bias[::2] = 0
        model.two.weight[:, ::2] = 0
    before = model(inputs)
    ng.prune(model, inputs, ratio=0.5)
    assert model.raw.shape == (8, 4)
    torch.testing.assert_close(model(inputs), before)


def test_layers_under_vmap_are_looked_into() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 2)
            self.weight, self.bias = nn.Parameter(torch.randn(3, 2, 4)), nn.Parameter(torch.randn(3, 2))

        def forward(self, x: Tensor) -> Any:
            stacked = {"weight": self.weight, "bias": self.bias}
            run = torch.vmap(lambda own, x: functional_call(self.inner, own, (x,)), in_dims=(0, None))
            return run(stacked, x).sum(0)

    torch.manual_seed(0)
    model, inputs = Ensemble().eval(), torch.randn(3, 4)
    graph = ng.capture(model, inputs)
    with torch.no_grad():
        model.weight.mul_(2)
    torch.testing.assert_close(graph(inputs), model(inputs))


def test_an_ordinary_layer_stays_one_vertex() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.LSTM(4, 3))
    tied[2].weight = tied[0].weight
    assert [v.name for v in ng.capture(tied.eval(), torch.ones(2, 4))] == ["input", "0", "1", "2", "3"]
