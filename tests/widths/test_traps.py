"""Traps which no other test falls into: networks that a shortcut of capture or of a rule gets wrong."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.network import capture
from naivegraph.widths import relate


class Gate(nn.Module):
    """One neuron of twelve is broadcast against the others, and may neither go nor have company."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Linear(6, 12), nn.Linear(11, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.both(x)
        return self.head(y[:, :1].sigmoid() * y[:, 1:])  # type: ignore[no-any-return]


class Lone(nn.Module):
    """A layer of one neuron whose result is broadcast."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.body, self.head = nn.Linear(6, 1), nn.Linear(6, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gate(x).sigmoid() * self.body(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("kind", "size"), [(Gate, 11), (Lone, 10)])
def test_one_neuron_that_is_broadcast_is_no_width(kind: type[nn.Module], size: int) -> None:
    assert [width.size for width in relate(capture(kind(), torch.randn(3, 6)))] == [size]


def test_one_neuron_that_is_broadcast_gets_no_company() -> None:
    graph = ng.capture(Lone(), torch.randn(3, 6))
    with pytest.warns(UserWarning, match="gate"):
        assert not ng.resize(graph, {"gate": +1})
    assert graph.sizes["gate"] == 1


@dataclasses.dataclass
class Result:
    value: Tensor
    loss: Tensor | None = None


Pair = collections.namedtuple("Pair", ["value", "loss"])


class Returning(nn.Module):
    """Returns what it computes in something."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.wrap = nn.Linear(4, 8), nn.Linear(8, 6), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.b(F.relu(self.a(x))))


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (Result, lambda found: found.value),
        (lambda y: Pair(y, None), lambda found: found.value),
        (lambda y: {"deep": [y]}, lambda found: found["deep"][0]),
        (lambda y: (None, [Result(y)]), lambda found: found[1][0].value),
    ],
    ids=["dataclass", "namedtuple", "dict", "nested"],
)
def test_outputs_keep_their_size_whatever_holds_them(
    wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]
) -> None:
    net = Returning(wrap)
    ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert (net.a.out_features, net.b.out_features) == (4, 6)
    assert unwrap(net(torch.ones(1, 4))).shape == (1, 6)


@dataclasses.dataclass
class Sizes:
    heads: int


class Heads(nn.Module):
    """Reads the number of its heads from a config that others share."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.up, self.down = sizes, nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).view(len(x), self.sizes.heads, -1)
        return self.down((y * y.sigmoid()).flatten(1))  # type: ignore[no-any-return]


def test_a_shared_config_is_copied_for_the_layer_that_changes() -> None:
    sizes = Sizes(4)
    net = nn.Sequential(Heads(sizes), Heads(sizes))
    x = torch.randn(3, 6)
    expected = net(x).shape
    edit = ng.prune(net, x, ratio=0.5, keep="1")
    assert [vars(layer)["sizes"].heads for layer in net] == [2, 4]
    assert sizes.heads == 4
    assert net(x).shape == expected
    edit.undo()
    assert all(vars(layer)["sizes"] is sizes for layer in net)


class Counting(nn.Module):
    """Counts its calls and keeps the size of the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls, self.seen = nn.Linear(4, 8), 0, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(x.shape[0])
        return self.layer(x)  # type: ignore[no-any-return]


def test_comparing_the_graph_leaves_no_trace_in_the_network() -> None:
    net = Counting()
    capture(net, torch.ones(2, 4))
    assert (net.calls, net.seen) == (1, [2])


class Tagged(torch.Tensor):
    """A tensor of the user's own kind, which all that is made of it is, too."""


class OfTagged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.rand(8).as_subclass(Tagged))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x)) * self.scale
        return self.b(y.view(-1, y.shape[-1]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("tagged", [True, False], ids=["input and parameter", "parameter"])
def test_tensors_of_a_kind_of_their_own(tagged: bool) -> None:
    torch.manual_seed(0)
    net, x = OfTagged(), torch.randn(3, 4)
    x = x.as_subclass(Tagged) if tagged else x
    graph = capture(net, x)
    assert type(graph(x)) is type(net(x)) is Tagged
    assert torch.equal(graph(x), net(x))
    zero = OfTagged()
    zero.load_state_dict(net.state_dict())
    later = ng.OfWidths(lambda widths: {width: range(width.size) for width in widths})
    ng.prune(net, x, ratio=0.5, utility=later)
    with torch.no_grad():
        zero.scale[:4] = 0
    assert net.scale.shape == (4,)
    assert isinstance(net.scale, Tagged)
    torch.testing.assert_close(net(x).as_subclass(Tensor), zero(x).as_subclass(Tensor))
