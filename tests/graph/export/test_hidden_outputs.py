"""Networks that return a dict of hidden values."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from naivegraph.network import capture
from tests.networks.capture import NETWORKS
from tests.networks.plain import ALL, Network


class InPlace(nn.Module):
    """Layers and functions that overwrite what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        head = x[:, :2]
        self.act(x)
        x = self.b(x)
        x += head.sum()
        out: Tensor = x
        return out


def by_hand(net: InPlace, x: Tensor) -> dict[str, Tensor]:
    a = net.a(x)
    act = a.relu()
    b = net.b(act)
    return {"a": a, "act": act, "b": b, "add": b + act[:, :2].sum()}


@pytest.mark.parametrize("training", [False, True])
def test_values_before_and_after_layers_in_place(training: bool) -> None:
    net, x = InPlace().train(training), torch.randn(5, 4)
    graph = capture(net, x)
    last = graph.vertices[-1].name
    module = graph.to_module(outputs={"a": "a", "act": "act", "b": "b", "add": last})
    found, expected = module(x), by_hand(net, x)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)
    found["a"].sum().backward()
    assert all((p.grad is not None) == name.startswith("a.") for name, p in module.named_parameters())


@pytest.mark.parametrize("network", ALL, ids=str)
def test_every_vertex_of_a_network(network: Network) -> None:
    """Hooks on the network's own layers see what the exported network returns."""
    model, inputs = network.make()
    graph = capture(model, inputs, verify=False)
    layers = [vertex for vertex in graph if vertex.kind == "layer"]
    seen: dict[str, Any] = {}
    by_module: dict[int, list[str]] = {}
    for vertex in layers:
        by_module.setdefault(id(vertex.target), []).append(vertex.name)

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        name = by_module[id(module)].pop(0)
        seen[name] = [leaf.clone() for leaf in leaves(output) if isinstance(leaf, Tensor)]

    hooks = [module.register_forward_hook(watch) for module in model.modules() if id(module) in by_module]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    module = graph.to_module(outputs=[vertex.name for vertex in layers if vertex.name in seen])
    found = module(*inputs)
    assert found.keys() == seen.keys() != set()
    for name, value in found.items():
        own = [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
        assert all(map(torch.equal, own, seen[name])), name


@pytest.mark.parametrize("name", NETWORKS)
def test_all_vertices_at_once_as_by_run(name: str) -> None:
    build, shape = NETWORKS[name]
    model, x = build().eval(), torch.randn(shape)
    graph = capture(model, x, verify="recorded")
    names = [vertex.name for vertex in graph]
    found, expected = graph.to_module(names)(x.clone()), graph.run(x.clone(), names)
    for vertex in names:
        one, two = (
            [leaf for leaf in leaves(values[vertex]) if isinstance(leaf, Tensor)]
            for values in (found, expected)
        )
        assert len(one) == len(two)
        assert all(map(torch.equal, one, two)), vertex


def test_has_only_what_it_needs_and_stays_after_copies() -> None:
    net, x = InPlace().eval(), torch.randn(5, 4)
    module = capture(net, x).to_module(["act"])
    assert sorted(dict(module.named_parameters())) == ["a.bias", "a.weight"]
    expected = by_hand(net, x)["act"]
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    unpickled = pickle.loads(pickle.dumps(module))
    exported = torch.export.export(module, (x,)).module()
    for other in (copy.deepcopy(module), unpickled, torch.load(buffer, weights_only=False), exported):
        assert torch.equal(other(x)["act"], expected)
    again = capture(module, x)
    assert torch.equal(again(x)["act"], expected)
    ng.prune(again, ratio=0.5)
    assert again(x)["act"].shape == (5, 6)  # an output keeps its size


def test_saved_and_loaded_into_a_fresh_network() -> None:
    net, x = InPlace().eval(), torch.randn(5, 4)
    graph = capture(net, x)
    ng.resize(graph, {"act": -2})
    module = graph.to_module({"hidden": "act"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.safetensors"
        ng.save(module, path)
        loaded = ng.load(InPlace(), path)
    assert torch.equal(loaded(x)["hidden"], graph.run(x, ["act"])["act"])


def test_wrong_names() -> None:
    graph = capture(InPlace(), torch.randn(5, 4))
    with pytest.raises(ng.EditError, match=r"the graph has no vertex 'acd'.*'act'"):
        graph.to_module(outputs=["acd"])
    with pytest.raises(ng.NaivegraphError, match="outputs= takes a list of names of vertices or a dict"):
        graph.to_module(outputs="act")
    with pytest.raises(ng.NaivegraphError, match="outputs= names no vertex"):
        graph.to_module(outputs=[])
    with pytest.raises(ng.NaivegraphError, match="a key of outputs= is 1, not a string"):
        graph.to_module(outputs={1: "act"})  # type: ignore[dict-item]


class Modes(nn.Module):
    """A network that ends otherwise in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out if self.training else out.softmax(-1)


def test_vertex_of_eval_mode_alone() -> None:
    graph = capture(Modes(), torch.randn(5, 4))
    with pytest.raises(
        ng.NaivegraphError, match="'softmax' is not there in train mode, in which Modes calls"
    ):
        graph.to_module(outputs=["softmax"])
    module = graph.to_module(outputs=["fc"])
    for training in (False, True):
        assert [*module.train(training)(torch.zeros(2, 4))] == ["fc"]
