"""Small random networks that know how the neurons of their vertices correspond.

Nothing here looks at how the library relates axes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["Net", "Node", "Structure", "random_nodes"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Node:
    """One vertex of a network.

    Attributes:
        kind: "input", "linear", "depthwise", "norm", "relu", "cat", "add", "swap" (of its halves), "flatten".
        sources: The nodes whose outputs it takes.
        size: Its number of neurons.
        maps: Whether its output is `[batch, size, 2]` and not `[batch, size]`.
    """

    kind: str
    sources: tuple[int, ...]
    size: int
    maps: bool = False


class _Function(nn.Module):
    """A function as a module of its own, so that its vertex can be found by name."""

    def __init__(self, function: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, given: list[Tensor]) -> Tensor:
        return self.function(given)


_FUNCTIONS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "cat": lambda given: torch.cat(given, 1),
    "add": lambda given: given[0] + given[1],
    "swap": lambda given: torch.cat(given[0].chunk(2, 1)[::-1], 1),
    "flatten": lambda given: given[0].flatten(1),
}


class Net(nn.Module):
    """The network of some nodes; its output is that of the last one."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.layers = nn.ModuleList([_layer(self.nodes, node) for node in self.nodes])
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for node, layer in zip(self.nodes, self.layers, strict=True):
            given = [found[source] for source in node.sources] or [x]
            found.append(layer(given) if node.kind in _FUNCTIONS else layer(given[0]))
        return found[-1]

    def example(self) -> Tensor:
        """An input."""
        first = self.nodes[0]
        return torch.randn(2, first.size, *([2] if first.maps else []))

    def vertex_name(self, index: int) -> str:
        """The name of the vertex that a node becomes."""
        kind = self.nodes[index].kind
        return f"layers.{index}" + (f".{'cat' if kind == 'swap' else kind}" if kind in _FUNCTIONS else "")


def _layer(nodes: Sequence[Node], node: Node) -> nn.Module:
    if node.kind in _FUNCTIONS:
        return _Function(_FUNCTIONS[node.kind])
    if node.kind in ("input", "relu"):
        return nn.Identity() if node.kind == "input" else nn.ReLU()
    if node.kind == "norm":
        return nn.BatchNorm1d(node.size)
    if node.kind == "depthwise":
        return nn.Conv1d(node.size, node.size, 1, groups=node.size)
    inputs = nodes[node.sources[0]].size
    return nn.Conv1d(inputs, node.size, 1) if node.maps else nn.Linear(inputs, node.size)


# -- which neurons are the same --

Run = tuple[int, int, int, int]  # first and last + 1 among the entries, bundle (-1: fixed), indices per entry


class Structure:
    """How the neurons of a network's vertices correspond.

    An entry of a vertex is one channel; where maps were flattened it stands for two indices.

    Attributes:
        labels: Per node, the neuron of every entry.
        counts: Per node, how many indices every entry stands for.
        pairs: (node, source, entries of the node, entries of the source) that are the same neurons.
        equal: (node, entries, entries) which must be equally many.
        bundles: Neurons that always occur together, in order.
        axes: The distinct axes of parameters, as runs, with a node whose entries they are.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self.labels: list[Integers] = []
        self.counts: list[Integers] = []
        self.pairs: list[tuple[int, int, Integers, Integers]] = []
        self.equal: list[tuple[int, Integers, Integers]] = []
        self._parent = np.zeros(0, np.int64)
        for node in self.nodes:
            self._add(node)
        self._parent = self._roots(np.arange(len(self._parent)))
        self.labels = [self._parent[labels] for labels in self.labels]
        self.fixed = np.zeros(len(self._parent), bool)
        self.fixed[self.labels[0]] = True
        self.bundle_of, self.bundles = self._bundle()
        self.runs = [self._runs(index) for index in range(len(self.nodes))]
        self.axes = self._axes()

    def _add(self, node: Node) -> None:
        index, sources = len(self.labels), node.sources
        if node.kind in ("input", "linear"):
            fresh = np.arange(len(self._parent), len(self._parent) + node.size)
            self._parent = np.concatenate([self._parent, fresh])
            self.labels.append(fresh)
            self.counts.append(np.ones(node.size, np.int64))
            return
        whole = [np.arange(len(self.labels[source])) for source in sources]
        parts = list(zip(sources, whole, strict=True))
        if node.kind == "swap":
            first, second = np.split(whole[0], 2)
            self.equal.append((sources[0], first, second))
            parts = [(sources[0], second), (sources[0], first)]
        offset = 0
        for source, entries in parts:
            self.pairs.append((index, source, offset + np.arange(len(entries)), entries))
            offset += 0 if node.kind == "add" else len(entries)
        used = parts[:1] if node.kind == "add" else parts
        times = 2 if node.kind == "flatten" else 1
        self.labels.append(np.concatenate([self.labels[source][entries] for source, entries in used]))
        self.counts.append(times * np.concatenate([self.counts[source][entries] for source, entries in used]))
        if node.kind == "add":
            for one, two in zip(*(self.labels[source] for source in sources), strict=True):
                low, high = sorted(int(root) for root in self._roots(np.array([one, two])))
                self._parent[high] = low

    def _roots(self, labels: Integers) -> Integers:
        while (self._parent[labels] != labels).any():
            labels = self._parent[labels]
        return labels

    def _bundle(self) -> tuple[Integers, list[Integers]]:
        """Cut every sequence of neurons wherever, anywhere, something else comes before or after."""
        total = len(self._parent)
        after, before = np.full(total, -2), np.full(total, -2)
        sequences = [*self.labels, *(self.labels[n][half] for n, *halves in self.equal for half in halves)]
        for labels in sequences:
            follows = np.append(labels[1:], -1)
            precedes = np.append(-1, labels[:-1])
            for table, others in ((after, follows), (before, precedes)):
                mixed = np.zeros(total, bool)
                np.logical_or.at(mixed, labels, (table[labels] != -2) & (table[labels] != others))
                table[labels] = others
                # A neuron that occurs more than once here must meet the same one each time.
                np.logical_or.at(mixed, labels, table[labels] != others)
                table[mixed] = -1
        real = np.unique(np.concatenate(self.labels))
        bundle_of, bundles = np.full(total, -1), list[Integers]()
        follow = {int(x): int(after[x]) for x in real if after[x] >= 0 and before[after[x]] == x}
        starts = [int(x) for x in real if x not in set(follow.values()) and not self.fixed[x]]
        for start in starts:
            chain = [start]
            while chain[-1] in follow and follow[chain[-1]] != start:
                chain.append(follow[chain[-1]])
            bundle_of[chain] = len(bundles)
            bundles.append(np.array(chain))
        return bundle_of, bundles

    def _runs(self, index: int) -> tuple[Run, ...]:
        labels, counts = self.labels[index], self.counts[index]
        bundle = self.bundle_of[labels]
        first = np.array([b >= 0 and self.bundles[b][0] == x for b, x in zip(bundle, labels, strict=True)])
        new = first | np.append(True, (np.diff(bundle) != 0) | (np.diff(counts) != 0))
        cuts = [*np.flatnonzero(new), len(labels)]
        return tuple((int(a), int(b), int(bundle[a]), int(counts[a])) for a, b in itertools.pairwise(cuts))

    def key(self, index: int) -> tuple[tuple[int, int], ...]:
        """What an axis is made of: (bundle, indices per entry) of every run; of fixed ones the number."""
        out: list[tuple[int, int]] = []
        for first, last, bundle, count in self.runs[index]:
            if bundle >= 0:
                out.append((bundle, count))
            elif out and out[-1][0] == -1:
                out[-1] = (-1, out[-1][1] + (last - first) * count)
            else:
                out.append((-1, (last - first) * count))
        return tuple(out)

    def _axes(self) -> dict[tuple[tuple[int, int], ...], int]:
        axes: dict[tuple[tuple[int, int], ...], int] = {}
        for index, node in enumerate(self.nodes):
            if node.kind in ("linear", "norm", "depthwise"):
                axes.setdefault(self.key(index), index)
            if node.kind == "linear":
                axes.setdefault(self.key(node.sources[0]), node.sources[0])
        return {key: index for key, index in axes.items() if any(bundle >= 0 for bundle, _ in key)}

    def free(self) -> list[int]:
        """The nodes some neurons of which are not fixed."""
        return [i for i in range(len(self.nodes)) if any(bundle >= 0 for bundle, _ in self.key(i))]

    @property
    def ambiguous(self) -> bool:
        """Whether a depthwise convolution goes over copies of one neuron: it may as well be a grouped one."""
        depthwise = [self.key(i) for i, node in enumerate(self.nodes) if node.kind == "depthwise"]
        return any(
            key.count(part) > 1 and part[0] >= 0 and len(self.bundles[part[0]]) == 1
            for key in depthwise
            for part in key
        )

    def utilities(self, told: Mapping[int, Floats]) -> list[Floats]:
        """Per bundle what its neurons are worth: the sum of what is told, one number per index of a node."""
        sums = np.zeros(len(self._parent))
        for index, values in told.items():
            ends = np.cumsum(self.counts[index])
            parts = np.split(values, ends[:-1])
            np.add.at(sums, self.labels[index], [part.sum() for part in parts])
        return [sums[bundle] for bundle in self.bundles]

    def in_scope(self, asked: Iterable[int]) -> set[int]:
        """The bundles that may change if these nodes are asked for: all, if none is."""
        wanted = {bundle for index in asked for bundle, _ in self.key(index) if bundle >= 0}
        if not wanted:
            return set(range(len(self.bundles)))
        groups = [{bundle for bundle, _ in self.key(i) if bundle >= 0} for i in range(len(self.nodes))]
        while True:
            more = wanted.union(*(group for group in groups if group & wanted))
            if more == wanted:
                return wanted
            wanted = more


# -- random ones --


class _Growing:
    """A network that is being made up."""

    def __init__(self, seed: int, most: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.most = most
        self.nodes = [Node("input", (), 3, bool(self.rng.integers(2)))]
        self.simple = [True]  # whether an entry is one index

    def append(self, kind: str, sources: tuple[int, ...], size: int, maps: bool) -> int:
        self.nodes.append(Node(kind, sources, size, maps))
        inherit = all(self.simple[source] for source in sources) and kind != "flatten"
        self.simple.append(kind == "linear" or inherit)
        return len(self.nodes) - 1

    def pick(self, allowed: Callable[[int], bool]) -> int | None:
        found = [index for index in range(len(self.nodes)) if allowed(index)]
        # Later ones more often, so that networks become deep.
        return None if not found else found[-1 - int(len(found) * self.rng.random() ** 2)]

    def linear(self, size: int | None = None) -> int:
        source = self.pick(lambda index: True) or 0
        width = int(self.rng.integers(1, self.most + 1)) if size is None else size
        return self.append("linear", (source,), width, self.nodes[source].maps)

    def step(self) -> None:
        kind = self.rng.choice(
            ["linear"] * 4 + ["depthwise", "norm", "relu", "cat", "cat", "add", "add", "swap"]
        )
        if kind == "linear":
            self.linear()
        elif kind == "cat":
            self.cat()
        elif kind == "add":
            self.add()
        else:
            source = self.pick(lambda index: self._takes(str(kind), index))
            if source is not None:
                self.append(str(kind), (source,), self.nodes[source].size, self.nodes[source].maps)

    def _takes(self, kind: str, index: int) -> bool:
        node = self.nodes[index]
        if kind == "swap":
            return node.size % 2 == 0 and self.simple[index]
        # With one neuron, a depthwise convolution is an ordinary one.
        return index > 0 and (kind != "depthwise" or (node.maps and node.size > 1))

    def cat(self) -> None:
        first = self.pick(lambda index: True) or 0
        maps = self.nodes[first].maps
        others = [self.pick(lambda index: self.nodes[index].maps == maps) or first for _ in range(2)]
        chosen = [first, *(o for o in others if self.nodes[o].maps == maps)][: int(self.rng.integers(2, 4))]
        if sum(self.nodes[index].size for index in chosen) <= 4 * self.most:
            self.append("cat", tuple(chosen), sum(self.nodes[index].size for index in chosen), maps)

    def add(self) -> None:
        one = self.pick(lambda index: index > 0 and self.simple[index])
        if one is None:
            return
        node = self.nodes[one]

        def fits(index: int) -> bool:
            other = self.nodes[index]
            return index != one and self.simple[index] and (other.size, other.maps) == (node.size, node.maps)

        two = self.pick(fits)
        if two is None or self.rng.random() < 0.5:
            source = self.pick(lambda index: self.nodes[index].maps == node.maps) or 0
            if self.nodes[source].maps != node.maps:
                return
            two = self.append("linear", (source,), node.size, node.maps)
        self.append("add", (one, two), node.size, node.maps)

    def finish(self) -> list[Node]:
        """Join all loose ends and put a head on them."""
        used = {source for node in self.nodes for source in node.sources}
        loose = [index for index in range(1, len(self.nodes)) if index not in used] or [len(self.nodes) - 1]
        flat = [
            self.append("flatten", (i,), 2 * self.nodes[i].size, False) if self.nodes[i].maps else i
            for i in loose
        ]
        if len(flat) > 1:
            flat = [self.append("cat", tuple(flat), sum(self.nodes[i].size for i in flat), False)]
        head = self.append("linear", (flat[0],), 2, False)
        if self.rng.random() < 0.3:
            self.append("cat", (head, head), 4, False)
        return self.nodes


def random_nodes(seed: int, steps: int, most: int) -> list[Node]:
    """The nodes of a random network.

    Args:
        seed: Chooses it.
        steps: About how many vertices it has.
        most: The most neurons of a layer.
    """
    growing = _Growing(seed, most)
    growing.linear()
    while len(growing.nodes) < steps:
        growing.step()
    return growing.finish()
