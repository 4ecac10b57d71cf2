"""Objects that a forward returns: tensors in them are outputs, with sizes that stay."""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng

EXAMPLE = torch.linspace(-1, 1, 32).reshape(4, 8)
OTHER = EXAMPLE.flip(0) * 2 + 1


class Net(nn.Module):
    """Returns three numbers and sixteen features, packed in whatever way; between are sixteen more."""

    def __init__(self, pack: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.pack = pack

    def forward(self, x: Tensor) -> Any:
        features = self.a(x).tanh()
        return self.pack(self.c(self.b(features).relu()), features)


class Plain:
    def __init__(self, numbers: Tensor, features: Tensor) -> None:
        self.numbers, self.features = numbers, features


class Nested:
    def __init__(self, numbers: Tensor, features: Tensor) -> None:
        self._inside = {"numbers": [numbers], "more": Plain(numbers, features)}


class InSlots:
    __slots__ = ("features", "numbers")

    def __init__(self, numbers: Tensor, features: Tensor) -> None:
        self.numbers, self.features = numbers, features


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenInSlots:
    numbers: Tensor
    features: Tensor


class WithAttributes(collections.OrderedDict[str, Tensor]):
    features: Tensor


def with_attributes(numbers: Tensor, features: Tensor) -> WithAttributes:
    out = WithAttributes(numbers=numbers)
    out.features = features
    return out


class Callback:
    def __init__(self, numbers: Tensor, features: Tensor) -> None:
        self.numbers, self.features = numbers, features

    def __call__(self) -> Tensor:
        return self.numbers


OBJECTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "object": Plain,
    "object in a list": lambda numbers, features: [Plain(numbers, features)],
    "objects and dicts in an object": Nested,
    "slots": InSlots,
    "dataclass with slots": FrozenInSlots,
    "namespace": lambda numbers, features: types.SimpleNamespace(numbers=numbers, features=features),
    "deque": lambda numbers, features: collections.deque([numbers, features], maxlen=2),
    "dict of the user's": lambda numbers, features: collections.UserDict(numbers=numbers, features=features),
    "chained dicts": lambda numbers, features: collections.ChainMap({"a": numbers}, {"b": features}),
    "attributes beside a dict's entries": with_attributes,
    "distribution": lambda numbers, features: (torch.distributions.Normal(features, 1.0), numbers),
}


def tensors(value: Any) -> list[Tensor]:
    """The tensors in a value, found by its attributes and items alone."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple, collections.deque)):
        return [found for item in value for found in tensors(item)]
    names = [slot for kind in type(value).__mro__ for slot in getattr(kind, "__slots__", ())]
    held = [*getattr(value, "__dict__", {}).values(), *(getattr(value, n) for n in names if n[:2] != "__")]
    if isinstance(value, dict):
        held = [*value.values(), *(item for item in held if item is not value)]
    return [found for item in held for found in tensors(item)]


def network(pack: Callable[[Tensor, Tensor], Any]) -> Net:
    torch.manual_seed(0)
    return Net(pack).eval()


@pytest.mark.parametrize("pack", OBJECTS.values(), ids=OBJECTS.keys())
def test_what_is_in_returned_objects_keeps_its_size(pack: Callable[[Tensor, Tensor], Any]) -> None:
    net = network(pack)
    shapes = [t.shape for t in tensors(net(EXAMPLE))]
    ng.prune(net, EXAMPLE, ratio=0.5)
    assert (net.a.out_features, net.b.out_features, net.c.out_features) == (16, 8, 3)
    assert [t.shape for t in tensors(net(EXAMPLE))] == shapes


@pytest.mark.parametrize("pack", OBJECTS.values(), ids=OBJECTS.keys())
def test_graphs_and_their_modules_make_returned_objects_anew(pack: Callable[[Tensor, Tensor], Any]) -> None:
    net = network(pack)
    graph = ng.capture(net, EXAMPLE)
    expected = tensors(net(OTHER))
    for run in (graph, graph.to_module()):
        given = run(OTHER)
        assert type(given) is type(net(OTHER))
        assert len(tensors(given)) == len(expected) >= 2
        assert all(torch.equal(one, two) for one, two in zip(tensors(given), expected, strict=True))


def yielded(*values: Tensor) -> Iterator[Tensor]:
    yield from values


SEALED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "generator": lambda numbers, features: yielded(numbers, features),
    "function": lambda numbers, features: lambda: (numbers, features),
    "set": lambda numbers, features: {numbers, features},
    "mappingproxy": lambda numbers, features: types.MappingProxyType({"a": numbers, "b": features}),
    "Callback": Callback,
    "zip": zip,
}


@pytest.mark.parametrize("kind", SEALED)
def test_what_cannot_be_made_anew_is_refused(kind: str) -> None:
    message = f"Net returns a {kind} with tensors in it, .* return them in"
    with pytest.raises(ng.CaptureError, match=message):
        ng.capture(network(SEALED[kind]), EXAMPLE)
    with pytest.raises(ng.CaptureError, match=message):
        ng.prune(network(SEALED[kind]), EXAMPLE, ratio=0.5)
    with pytest.raises(ng.CaptureError, match="a dict with a tensor as a key"):
        ng.capture(network(lambda numbers, features: {numbers: features}), EXAMPLE)


def test_arrays_that_share_memory_keep_their_size_and_a_graph_says_that_it_cannot_make_them() -> None:
    net = network(lambda numbers, features: (numbers, features.detach().numpy()))
    ng.prune(net, EXAMPLE, ratio=0.5)
    assert (net.a.out_features, net.b.out_features) == (16, 8)
    assert "an array of the run that was recorded" in ng.capture(net, EXAMPLE).checks["another batch"]
    scaled = network(lambda numbers, features: (numbers, np.exp(features.detach().numpy())))
    with pytest.raises(ng.EditError, match=r"output\[1\] has shape \(4, 8\), not \(4, 16\)"):
        ng.prune(scaled, EXAMPLE, ratio=0.5)
    assert scaled.a.out_features == 16


def test_attributes_of_returned_tensors_keep_their_size() -> None:
    def pack(numbers: Tensor, features: Tensor) -> Tensor:
        numbers.features = features  # type: ignore[attr-defined]
        return numbers

    net = network(pack)
    ng.prune(net, EXAMPLE, ratio=0.5)
    assert net(EXAMPLE).features.shape == (4, 16)
    assert net.b.out_features == 8


class Cache:
    """What a next call may be given: so it is as wide as the network is."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []


class Entries(collections.OrderedDict[str, Any]):
    """Has its entries as attributes, too, as outputs of transformers do."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(entries)
        self.__dict__.update(entries)


class Step(nn.Module):
    """Takes a cache, or none, and gives it back."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.c, self.how = nn.Linear(8, 16), nn.Linear(16, 3), how

    def forward(self, x: Tensor, past: Cache | None = None) -> Any:
        cache = past or Cache()
        cache.keys.append(self.a(x))
        numbers = self.c(torch.stack(cache.keys).sum(0))
        if self.how == "tuple":
            return numbers, cache
        return (Entries if self.how == "entries" else dict)(numbers=numbers, past=cache)


@pytest.mark.parametrize("how", ["tuple", "dict", "entries"])
def test_a_cache_that_goes_back_into_the_network_follows_its_sizes(how: str) -> None:
    net = Step(how).eval()
    ng.prune(net, EXAMPLE, ratio=0.5)
    assert net.a.out_features == 8
    _, cache = net(EXAMPLE) if how == "tuple" else net(EXAMPLE).values()
    assert cache.keys[0].shape == (4, 8)
    assert net.c.out_features == 3
    net(EXAMPLE, cache)
