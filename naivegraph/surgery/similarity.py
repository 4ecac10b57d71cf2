"""Similarity of the layers of two networks, as a matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from naivegraph.errors import EditError, nearest
from naivegraph.graph.run.blocks import has_parameters
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.surgery.kernel_alignment import ESTIMATORS, EstimatorName, KernelAlignment
from naivegraph.surgery.paired_values import paired_values
from naivegraph.svg import Drawing
from naivegraph.tables import Column, TextTable, as_html, as_text

__all__ = ["Similarity", "similarity"]

Names = str | Iterable[str] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity:
    """Similarity of layers, as `similarity` works it out.

    Attributes:
        values: `[first, second]`, at most about 1.
        first: The names of the vertices of the first network.
        second: Those of the second.
        measure: The measure, in words.
        samples: The number of samples it was estimated from.
    """

    values: torch.Tensor
    first: tuple[str, ...]
    second: tuple[str, ...]
    measure: str
    samples: int

    def __getitem__(self, pair: tuple[str, str]) -> float:
        """The similarity of a vertex of the first network and one of the second.

        Raises:
            EditError: One of them was not compared.
        """
        one, other = (
            _place(name, names) for name, names in zip(pair, (self.first, self.second), strict=True)
        )
        return float(self.values[one, other])

    def matches(self) -> dict[str, str]:
        """The vertex of the second network that is most similar, for each of the first."""
        return {
            name: self.second[int(row.argmax())] for name, row in zip(self.first, self.values, strict=True)
        }

    def table(self) -> str:
        """The matrix as plain text, with numbers for the second network's vertices and a key to them."""
        return as_text(self._blocks(), width=max(80, 24 + 6 * len(self.second)))

    def _blocks(self) -> list[str | TextTable]:
        numbers = range(1, len(self.second) + 1)
        columns = [Column(""), *(Column(str(number), right=True, no_wrap=True) for number in numbers)]
        rows = [
            [name, *(f"{value:.2f}" for value in row.tolist())]
            for name, row in zip(self.first, self.values, strict=True)
        ]
        told = ", ".join(f"{number} {name}" for number, name in enumerate(self.second, 1))
        return [f"{self.measure}, {self.samples} samples", TextTable(columns, rows), told]

    def plot(self, size: float = 14) -> Drawing:
        """The matrix as a picture: rows are the first network's vertices, the darker the more similar.

        Args:
            size: Of a field, in pixels.
        """
        left = 12 + 6.2 * max(map(len, self.first))
        below = 20 + 6.2 * max(map(len, self.second))
        top, wide, high = 34.0, size * len(self.second), size * len(self.first)
        drawing = Drawing(max(left + wide + 20, 320), top + high + below)
        drawing.text(8, 20, f"{self.measure}, {self.samples} samples", size=13)
        for row, (name, values) in enumerate(zip(self.first, self.values.tolist(), strict=True)):
            y = top + row * size
            drawing.text(left - 6, y + size * 0.75, name, "end", 10)
            for column, (other, value) in enumerate(zip(self.second, values, strict=True)):
                drawing.bar(
                    left + column * size, y, size, size, _shade(value), f"{name}, {other}: {value:.3f}"
                )
        for column, name in enumerate(self.second):
            x = left + (column + 0.75) * size
            drawing.text(x, top + high + 6, name, "end", 10, turned=True)
        return drawing

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return as_html(self._blocks())


def _place(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise EditError(f"{name!r} was not compared{nearest(name, names)}")
    return names.index(name)


def _shade(value: float) -> str:
    """White for 0 and below, dark blue for 1."""
    share = min(max(value, 0.0), 1.0)
    parts = (round(255 + (dark - 255) * share) for dark in (0x0B, 0x3C, 0x78))
    return "#" + "".join(f"{part:02x}" for part in parts)


def similarity(
    a: Graph,
    b: Graph,
    data: Any,
    measure: Literal["cka"] = "cka",
    *,
    first: Names = None,
    second: Names = None,
    estimator: EstimatorName = "song",
) -> Similarity:
    """Compare the layers of two networks by what they give on the same data.

    Centred kernel alignment (Kornblith, Norouzi, Lee and Hinton, "Similarity of neural network
    representations revisited", ICML 2019) tells how alike two layers place samples to each other, whatever
    their sizes and whichever way they are rotated. It is estimated batch by batch, so that data of any size
    does. How well two layers can be stitched it does not tell: see `tutorials/surgery.py`.

    Args:
        a: The graph of the first network.
        b: The graph of the second one, which may be the same.
        data: Inputs, of which both networks take the same: a tensor, a dict, or batches such as a
            DataLoader's, of at least 4 samples each. Labels are left aside.
        measure: "cka".
        first: The vertices of the first network: names or patterns. By default those with parameters that
            give a row for each sample.
        second: Those of the second network.
        estimator: "song": without bias, for batches of any size. "gretton": the usual one for all the data in
            one batch. "lange": without the diagonal of the centred matrices.

    Raises:
        EditError: There is no such measure, estimator or vertex, no data, or a vertex that was named does not
            give a row for each sample.

    Example:
        >>> import naivegraph as ng
        >>> layers = torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
        >>> graph = ng.capture(torch.nn.Sequential(*layers), torch.ones(1, 4))
        >>> found = ng.surgery.similarity(graph, graph, torch.randn(256, 4), first="?", second=["1", "2"])
        >>> found.values.shape, round(found["1", "1"], 6), found.matches()["2"]
        (torch.Size([3, 2]), 1.0, '2')
    """
    for given in (a, b):
        if not isinstance(given, Graph):
            raise EditError(f"similarity takes graphs, ng.capture(model, x), not a {type(given).__name__}")
    if measure != "cka":
        raise EditError(f"measure={measure!r}: give 'cka'")
    if estimator not in ESTIMATORS:
        known = ", ".join(map(repr, ESTIMATORS))
        raise EditError(f"estimator={estimator!r}: give one of {known}{nearest(str(estimator), ESTIMATORS)}")
    one, other = _names(a, first, "first"), _names(b, second, "second")
    found = KernelAlignment(estimator)
    for mine, theirs in paired_values(a, one, b, other, data):
        found.add([mine[name] for name in one], [theirs[name] for name in other])
    title = f"CKA ({estimator.capitalize()})"
    return Similarity(found.values(), tuple(one), tuple(other), title, found.samples)


def _names(graph: Graph, wanted: Names, what: str) -> list[str]:
    """The vertices to compare, in order."""
    if wanted is None:
        suited = [vertex.name for vertex in graph if has_parameters(vertex) and _comparable(vertex)]
        return [name for name in suited if not _why_not(graph, name)]
    patterns = [wanted] if isinstance(wanted, str) else list(wanted)
    found: dict[str, None] = {}
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise EditError(f"{what}= takes names or patterns, not {pattern!r}")
        matching = graph.find(pattern)
        if not matching:
            names = [vertex.name for vertex in graph]
            raise EditError(
                f"{what}= names {pattern!r}, and the graph has no such vertex{nearest(pattern, names)}"
            )
        suited = [vertex.name for vertex in matching if _comparable(vertex)]
        if not suited:
            raise EditError(f"{what}= names {pattern!r}, which gives no tensor of real numbers")
        found.update(dict.fromkeys(suited))
    if not found:
        raise EditError(f"{what}= names no vertex")
    for name in found:
        reason = _why_not(graph, name)
        if reason:
            raise EditError(
                f"{what}= names {name!r}, which {reason}: layers are compared by what they give for each "
                "sample"
            )
    return [*found]


def _why_not(graph: Graph, name: str) -> str:
    """The reason for which rows of a vertex are not the samples, as of weights and of windows of images."""
    if graph[name].kind != "input" and all(vertex.kind != "input" for vertex in graph.ancestors(name)):
        return "gives the same whatever the inputs are"
    samples = {stub.shape[0] for vertex in graph.inputs for stub in stubs_in(vertex.output) if stub.shape}
    rows = graph[name].output.shape[0]
    if rows in samples:
        return ""
    return f"gives {rows} rows on the example of {', '.join(map(str, sorted(samples)))} samples"


def _comparable(vertex: Vertex) -> bool:
    """Tell whether a vertex gives one tensor of real numbers, of several samples."""
    stub = vertex.output
    return isinstance(stub, Stub) and stub.dtype.is_floating_point and len(stub.shape) > 1
