"""The picture of a graph: its vertices with sizes and costs, and the edges between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.costs import Costs
from naivegraph.costs.costs import usual_costs
from naivegraph.errors import EditError, nearest
from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.picture.network_picture import NetworkPicture
from naivegraph.picture.picture_data import (
    COLOURS,
    Ink,
    PictureEdge,
    PictureGroup,
    PictureVertex,
    Shape,
    Total,
    VertexSizes,
)
from naivegraph.picture.related_graph import RelatedGraph

__all__ = ["OUTPUT_BYTES", "graph_picture", "grouped", "totals_of"]

OUTPUT_BYTES = "output bytes"
_PLAIN = Ink("#ffffff", "#8a97a6")
_KINDS = (
    PictureGroup("input or output", Ink("#eef2f6", "#475569")),
    PictureGroup("layers with weights", COLOURS[0]),
    PictureGroup("products of tensors", COLOURS[3]),
    PictureGroup("other parameters", COLOURS[2]),
    PictureGroup("no parameters", _PLAIN),
)

Count = Callable[[Atom], int]


def graph_picture(
    related: RelatedGraph, count: Count | None = None, gone: frozenset[str] = frozenset()
) -> NetworkPicture:
    """Make the picture of a graph, coloured by what its vertices compute with.

    Args:
        related: The graph.
        count: The number of neurons of each width by its atom, if not as many as then.
        gone: The names of vertices that are left out.
    """
    sizes = _Sizes(related, count)
    costs = _costs_of_vertices(related, count, gone)
    parameters = _parameters_of_vertices(related)
    vertices = []
    for vertex in related.graph.vertices:
        if vertex.name in gone:
            continue
        found = VertexSizes(
            tuple(sizes.shape(stub) for stub in stubs_in(vertex.output)),
            {name: sizes.parameter(name) for name in parameters.get(vertex.name, ())},
            {**costs.get(vertex.name, {}), OUTPUT_BYTES: sizes.bytes(stubs_in(vertex.output))},
        )
        vertices.append(_vertex(related, vertex, found))
    drawn = [
        PictureEdge(maker.name, user.name, sizes.shape(stub))
        for maker, user, stub in edges(related.graph)
        if maker.name not in gone and user.name not in gone
    ]
    _add_output(related, sizes, vertices, drawn, gone)
    values = Costs.of(related.widths, count, gone=gone)
    return NetworkPicture(
        related.classes.get("", "network"),
        _about(vertices),
        tuple(vertices),
        tuple(dict.fromkeys(drawn)),
        _KINDS,
        {**{cost.name: cost.title for cost in usual_costs()}, OUTPUT_BYTES: "bytes of outputs"},
        totals_of(values),
        related.classes,
    )


def totals_of(values: Costs, before: Costs | None = None) -> tuple[Total, ...]:
    """The costs of a network as a picture shows them; those not counted both times are left out."""
    shown = values.shown()
    if before is None:
        return tuple(Total(title, text) for title, text in shown.values())
    old = before.shown()
    return tuple(
        Total(title, text, old[name][1], f"{values[name] / before[name]:.1%}" if before[name] else "")
        for name, (title, text) in shown.items()
        if name in old
    )


def grouped(
    picture: NetworkPicture,
    groups: Mapping[str, str],
    known: Iterable[PictureGroup] = (),
    notes: Mapping[str, tuple[str, ...]] | None = None,
    rest: str = "others",
) -> NetworkPicture:
    """Colour the vertices of a picture by groups.

    Args:
        picture: The picture.
        groups: The name of a group by the name of each of its vertices.
        known: Groups with colours of their own; others get one each.
        notes: More sentences by name of the vertex.
        rest: The group of all other vertices.

    Raises:
        EditError: There is no vertex of a name.

    Example:
        >>> import torch, naivegraph as ng
        >>> graph = ng.capture(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), torch.ones(1, 4))
        >>> picture = graph.picture(groups={"0": "donor a"})
        >>> [(vertex.name, vertex.group) for vertex in picture.vertices]
        [('input', 'others'), ('0', 'donor a'), ('1', 'others'), ('output', 'others')]
    """
    names = {vertex.name for vertex in picture.vertices}
    for name in groups:
        if name not in names:
            raise EditError(f"the graph has no vertex {name!r} to colour{nearest(name, names, otherwise='')}")
    listed = {group.name: group for group in known}
    for number, name in enumerate(n for n in dict.fromkeys(groups.values()) if n not in listed):
        listed[name] = PictureGroup(name, COLOURS[number % len(COLOURS)])
    listed.setdefault(rest, PictureGroup(rest, _PLAIN, told=False))
    more = notes or {}
    vertices = tuple(
        dataclasses.replace(
            vertex, group=groups.get(vertex.name, rest), notes=(*vertex.notes, *more.get(vertex.name, ()))
        )
        for vertex in picture.vertices
    )
    used = {vertex.group for vertex in vertices}
    return dataclasses.replace(
        picture, vertices=vertices, groups=tuple(each for each in listed.values() if each.name in used)
    )


class _Sizes:
    """Shapes of tensors, with the sizes that widths are to have."""

    def __init__(self, related: RelatedGraph, count: Count | None) -> None:
        self.widths, self._count = related.widths, count
        self._state = related.graph.state
        self._known: dict[int, Shape] = {}

    def shape(self, stub: Stub) -> Shape:
        """The shape of a tensor of the run."""
        if self._count is None:
            return tuple(stub.shape)
        axes = self.widths.of(stub)
        if len(axes) != len(stub.shape):  # squeezed in place since
            return tuple(stub.shape)
        if stub.id not in self._known:
            self._known[stub.id] = tuple(axis.size(self._count) for axis in axes)
        return self._known[stub.id]

    def parameter(self, name: str) -> Shape:
        """The shape of a parameter."""
        if self._count is None:
            return tuple(self._state[name].shape)
        return tuple(axis.size(self._count) for axis in self.widths.axes[name])

    def bytes(self, stubs: Iterable[Stub]) -> int:
        """The bytes of some tensors."""
        return sum(int(np.prod(self.shape(stub), dtype=np.int64)) * stub.dtype.itemsize for stub in stubs)


def _costs_of_vertices(
    related: RelatedGraph, count: Count | None, gone: frozenset[str]
) -> dict[str, dict[str, int | float]]:
    """The costs of each vertex; what several vertices share is counted at the first of them."""
    order = {vertex.name: place for place, vertex in enumerate(related.graph.vertices)}
    found: dict[str, dict[str, int | float]] = {}
    for cost in usual_costs():
        for product in cost.products(related.widths):
            owners = [name for name in product.where if name in order and name not in gone]
            if not owners:
                continue
            value = product.coefficient
            for axis in product.axes:
                value *= axis.length if count is None else axis.size(count)
            own = found.setdefault(min(owners, key=order.__getitem__), {})
            own[cost.name] = own.get(cost.name, 0) + value
    return found


def _parameters_of_vertices(related: RelatedGraph) -> dict[str, list[str]]:
    """The names of the parameters that each vertex computes with."""
    found: dict[str, list[str]] = {}
    for name in related.widths.parameters():
        for vertex in related.widths.users[name]:
            found.setdefault(vertex, []).append(name)
    return found


def _vertex(related: RelatedGraph, vertex: Vertex, sizes: VertexSizes) -> PictureVertex:
    """A vertex, with the group that follows from what it computes with."""
    multiplies = sizes.costs.get("macs", 0) > 0
    place = 0 if vertex.kind == "input" else 1 if sizes.parameters and multiplies else 2 if multiplies else 4
    place = 3 if place == 4 and sizes.parameters else place
    return PictureVertex(
        vertex.name,
        related.called[vertex.name],
        vertex.kind,
        _module_of(vertex),
        sizes,
        group=_KINDS[place].name,
        source="" if vertex.where is None else f"{vertex.where[0]}:{vertex.where[1]}",
    )


def _module_of(vertex: Vertex) -> str:
    """The path of the module that a vertex is shown in.

    In a module made of a graph all calls are its own, but their names still tell where they were.
    """
    path = vertex.path.rpartition(".")[0] if vertex.kind == "layer" else vertex.path
    named = vertex.name.rpartition(".")[0]
    return named if not path or named.startswith(f"{path}.") else path


def _add_output(
    related: RelatedGraph,
    sizes: _Sizes,
    vertices: list[PictureVertex],
    drawn: list[PictureEdge],
    gone: frozenset[str],
) -> None:
    """Add a vertex for what the network returns."""
    maker: dict[int, str] = {}
    for vertex in related.graph.vertices:
        maker.update((stub.id, vertex.name) for stub in stubs_in(vertex.output))
    stubs = [stub for stub in stubs_in(related.graph.output) if stub.id in maker]
    if not stubs:
        return
    names = {vertex.name for vertex in vertices}
    name = "output" if "output" not in names else "the network's output"
    shapes = tuple(sizes.shape(stub) for stub in stubs)
    vertices.append(PictureVertex(name, "output", "output", "", VertexSizes(shapes), group=_KINDS[0].name))
    drawn += [PictureEdge(maker[s.id], name, sizes.shape(s)) for s in stubs if maker[s.id] not in gone]


def _about(vertices: list[PictureVertex]) -> tuple[str, ...]:
    """A sentence on the number of vertices and the example."""
    shapes = [
        "x".join(map(str, shape)) or "a number"
        for vertex in vertices
        if vertex.kind == "input" and vertex.sizes is not None
        for shape in vertex.sizes.shapes
    ]
    layers = sum(vertex.kind == "layer" for vertex in vertices)
    functions = sum(vertex.kind == "function" for vertex in vertices)
    example = f", run on an example of {' and '.join(shapes)}" if shapes else ""
    return (f"{layers} layers and {functions} functions{example}.",)
