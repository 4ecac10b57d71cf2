"""Graphs and modules of networks whose forward sets torch modes: the same outputs, and the same gradients."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import naivegraph as ng


class Frozen(nn.Module):
    """A body whose gradients are turned off in some way, and a head."""

    def __init__(self, mode: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.mode = mode
        self.average: Tensor
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        with self.mode(self):
            h = self.body(x)
            h = h.relu().float()
        return self.head(h.clone())  # type: ignore[no-any-return]


class Decorated(Frozen):
    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return self.body(x).relu()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Forces(Frozen):
    """Minus the gradient of an energy, as networks of molecules give it."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            energy = self.head(self.body(x)).pow(2).sum()
            return -torch.autograd.grad(energy, x, create_graph=True)[0]


class Average(Frozen):
    """A running average that the forward updates in place."""

    def __init__(self, mode: Callable[[nn.Module], Any]) -> None:
        super().__init__(mode)
        self.register_buffer("average", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        with torch.no_grad():
            self.average.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return self.head(h - self.average)  # type: ignore[no-any-return]


class Checkpointed(Frozen):
    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.body[0], x, use_reentrant=False)
        return self.head(checkpoint(self.body[1:], h, use_reentrant=True))  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "no_grad": lambda: Frozen(lambda net: torch.no_grad()),
    "inference": lambda: Frozen(lambda net: torch.inference_mode()),
    "eval alone": lambda: Frozen(lambda net: contextlib.nullcontext() if net.training else torch.no_grad()),
    "set": lambda: Frozen(lambda net: torch.set_grad_enabled(net.training)),
    "autocast": lambda: Frozen(lambda net: torch.autocast("cpu", torch.bfloat16)),
    "no autocast": lambda: Frozen(lambda net: torch.autocast("cpu", enabled=False)),
    "decorated": lambda: Decorated(lambda net: None),
    "forces": lambda: Forces(lambda net: None),
    "average": lambda: Average(lambda net: None),
    "checkpointed": lambda: Checkpointed(lambda net: None),
}


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().train()


def _run(run: Callable[[Tensor], Tensor], parameters: nn.Module) -> tuple[Tensor, dict[str, Tensor | None]]:
    """The output of a run in train mode, and all gradients."""
    parameters.zero_grad(set_to_none=True)
    out = run(torch.linspace(-1, 1, 12).reshape(3, 4))
    out.square().sum().backward()  # type: ignore[no-untyped-call]
    return out.detach(), {name: p.grad for name, p in parameters.named_parameters()}


def _same(one: tuple[Tensor, dict[str, Any]], two: tuple[Tensor, dict[str, Any]]) -> bool:
    names = one[1].keys() == two[1].keys()
    pairs = [(one[0], two[0]), *((one[1][name], two[1][name]) for name in one[1] if names)]
    return names and all(
        a is b if a is None or b is None else torch.allclose(a, b, atol=1e-6) for a, b in pairs
    )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_the_network(name: str) -> None:
    expected = _run(net := _network(name), net)
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    graph = ng.capture(net := _network(name), x)
    made = graph.to_module()
    assert _same(_run(made, made), expected)
    assert _same(_run(graph, graph.module), expected)
    other = copy.deepcopy(ng.capture(_network(name), x))
    assert _same(_run(other, other.module), expected)
    if name not in ("checkpointed", "forces"):  # pickle knows neither lambdas nor torch's own functions
        again = pickle.loads(pickle.dumps(ng.capture(_network(name), x).to_module()))
        assert _same(_run(again, again), expected)


@pytest.mark.parametrize("name", ["no_grad", "autocast", "forces"])
def test_edits_go_through_such_networks(name: str) -> None:
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    net = _network(name).eval()
    before = net(x)
    graph = ng.capture(net, x)
    grown = ng.resize(graph, {"body.0": +3})
    assert grown.function_kept
    assert torch.allclose(net(x), before, atol=1e-2 if name == "autocast" else 1e-5)
    cut = ng.prune(graph, params=0.7)
    assert torch.allclose(graph(x), net(x))
    cut.undo()
    grown.undo()
    assert net.body[0].out_features == 8  # type: ignore[union-attr, index]


@pytest.mark.parametrize("mode", [torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_modes_are_as_before_once_a_network_was_recorded(mode: Callable[[], Any]) -> None:
    kinds: list[Any] = [torch.no_grad, torch.inference_mode, torch.autocast]
    enter = [kind.__enter__ for kind in kinds]

    class Failing(Frozen):
        def forward(self, x: Tensor) -> Tensor:
            with mode():
                raise ValueError("of the forward")

    with pytest.raises(ng.CaptureError, match="of the forward"):
        ng.capture(Failing(lambda net: None), torch.ones(1, 4))
    assert enter == [
        vars(kind)["__enter__"] for kind in (torch.no_grad, torch.inference_mode, torch.autocast)
    ]
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_the_module_can_be_exported() -> None:
    x = torch.ones(3, 4)
    made = ng.capture(_network("no_grad").eval(), x).to_module()
    assert torch.allclose(torch.export.export(made, (x,)).module()(x), made(x))
    assert torch.allclose(torch.compile(made, backend="eager")(x), made(x))
