"""Names of architectures."""

from __future__ import annotations

import itertools
import time

import networkx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.search import structure_name


def diamond(order: str, swapped: bool = False) -> ng.Graph:
    """Two branches of an input and what becomes of them, with layers written in one of two orders."""
    x = ng.input_node("x", example=torch.zeros(2, 3, 8, 8))
    made = {}
    for name in order:
        made[name] = ng.layer(nn.Conv2d(3, 4, {"a": 1, "b": 3}[name], padding={"a": 0, "b": 1}[name]), x)
    one, two = (made["b"], made["a"]) if swapped else (made["a"], made["b"])
    return ng.Graph([x], [one - two.then(nn.ReLU())])


def test_the_order_of_construction_does_not_matter() -> None:
    assert structure_name(diamond("ab")) == structure_name(diamond("ba"))


def test_a_difference_has_a_direction() -> None:
    assert structure_name(diamond("ab")) != structure_name(diamond("ab", swapped=True))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        out: Tensor = y + self.two(y)
        return out


class Layered(nn.Module):
    def __init__(self, kernel: int = 3, width: int = 4, twice: bool = False) -> None:
        super().__init__()
        self.b = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.a = nn.Conv2d(3, width, 3, padding=1)
        self.c = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.act, self.twice = nn.ReLU(inplace=True), twice

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.a(x))
        z: Tensor = self.b(y)
        z += self.c(y) if self.twice else y
        return z


def name(module: nn.Module) -> str:
    return structure_name(ng.capture(module, torch.zeros(2, 3, 8, 8)))


def test_layers_and_functions_in_place_or_not_have_one_name() -> None:
    assert name(Functional()) == name(Layered())


def test_kernels_sizes_and_wiring_show() -> None:
    names = [name(net) for net in (Layered(), Layered(kernel=5), Layered(width=6), Layered(twice=True))]
    assert len(set(names)) == 4


def test_dropout_shows_although_it_does_nothing_in_eval_mode() -> None:
    nets = [nn.Sequential(nn.Conv2d(3, 3, 1), *more) for more in ([], [nn.Dropout(0.1)], [nn.Dropout(0.2)])]
    assert len({name(net) for net in nets}) == 3


class Shared(nn.Module):
    """Two branches, of one layer used twice or of two alike."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = self.a if tied else nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x) - self.b(x.flip(2))
        return out


def test_tied_layers_are_not_two_layers() -> None:
    assert name(Shared(True)) != name(Shared(False))


class Random(nn.Module):
    """Sums and differences of earlier values, with layers that are all alike."""

    def __init__(self, steps: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for (kind, one, two), layer in zip(self.steps, self.layers, strict=True):
            a, b = values[one % len(values)], values[two % len(values)]
            values.append(a + b if kind == "+" else a - b if kind == "-" else layer(a))
        return values[-1]

    def oracle(self) -> networkx.MultiDiGraph[object]:
        """The network as a labelled graph, arguments of sums without an order, without what is not used."""
        graph: networkx.MultiDiGraph[object] = networkx.MultiDiGraph()
        graph.add_node(0, label="x")
        for i, (kind, one, two) in enumerate(self.steps, 1):
            graph.add_node(i, label=kind)
            graph.add_edge(one % i, i, place=0)
            if kind in "+-":
                graph.add_edge(two % i, i, place=1 if kind == "-" else 0)
        graph.nodes[len(self.steps)]["end"] = True
        used = networkx.ancestors(graph, len(self.steps)) | {len(self.steps), 0}
        return graph.subgraph(used)


def isomorphic(one: networkx.MultiDiGraph[object], two: networkx.MultiDiGraph[object]) -> bool:
    """Isomorphism by networkx, of labels and places of arguments."""

    def same_node(a: dict[str, object], b: dict[str, object]) -> bool:
        return a == b

    def same_edges(a: dict[int, dict[str, int]], b: dict[int, dict[str, int]]) -> bool:
        return sorted(e["place"] for e in a.values()) == sorted(e["place"] for e in b.values())

    return bool(networkx.is_isomorphic(one, two, node_match=same_node, edge_match=same_edges))


def test_names_are_equal_where_networkx_finds_an_isomorphism() -> None:
    generator = torch.Generator().manual_seed(0)

    def number(most: int) -> int:
        return int(torch.randint(most, (), generator=generator))

    nets = [
        Random([("+-l"[number(3)], number(4), number(4)) for _ in range(3)] + [("+", number(4), number(4))])
        for _ in range(40)
    ]
    names, oracles = [name(net) for net in nets], [net.oracle() for net in nets]
    equal = 0
    for i, j in itertools.combinations(range(len(nets)), 2):
        assert (names[i] == names[j]) == isomorphic(oracles[i], oracles[j]), (nets[i].steps, nets[j].steps)
        equal += names[i] == names[j]
    assert equal > 3


@pytest.mark.parametrize("blocks", [4, 22])
def test_it_takes_milliseconds(blocks: int) -> None:
    graph = ng.capture(nn.Sequential(*(Layered(width=3) for _ in range(blocks))), torch.zeros(2, 3, 8, 8))
    best = min(_seconds(graph) for _ in range(5))
    assert best < 0.05, f"{best:.4f} s for {len(graph.vertices)} vertices"


def _seconds(graph: ng.Graph) -> float:
    began = time.process_time()
    structure_name(graph)
    return time.process_time() - began
