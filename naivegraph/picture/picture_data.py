"""The vertices, edges, colours and costs of a picture, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = [
    "COLOURS", "Ink", "PictureData", "PictureEdge", "PictureGroup", "PictureVertex", "Shape", "Total",
    "VertexSizes",
]  # fmt: skip

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Ink:
    """The colours of a box: its inside and its line; the line may be dashed."""

    fill: str
    line: str
    dashed: bool = False


# For groups without colours of their own, in this order.
COLOURS = (
    Ink("#dbeafe", "#2563a8"), Ink("#ffedd5", "#c2410c"), Ink("#dcfce7", "#15803d"),
    Ink("#f3e8ff", "#7e22ce"), Ink("#fef9c3", "#a16207"), Ink("#cffafe", "#0e7490"),
    Ink("#fce7f3", "#be185d"), Ink("#e7e5e4", "#57534e"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PictureGroup:
    """Vertices that have one colour.

    Attributes:
        name: Their name in the legend.
        ink: The colour.
        mark: A sign beside their names, for who sees no colours.
        told: Whether they stand out: modules with such are opened first, and coloured.
        listed: Whether the page lists them with their notes.
    """

    name: str
    ink: Ink
    mark: str = ""
    told: bool = True
    listed: bool = True


@dataclasses.dataclass(frozen=True)
class VertexSizes:
    """The sizes of a vertex.

    Attributes:
        shapes: Those of its outputs.
        parameters: The shape of each parameter that it computes with, by the parameter's name.
        costs: What it costs, by the names of costs; a tied parameter counts where it is used first.
    """

    shapes: tuple[Shape, ...] = ()
    parameters: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    costs: Mapping[str, int | float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PictureVertex:
    """A vertex of a picture.

    Attributes:
        name: Unique in the picture.
        what: The class of its layer, or its function.
        kind: "input", "layer", "function" or "output".
        path: The path of the module in which it is shown.
        sizes: Its sizes; None if it went.
        before: Those before the edit; None if it came, and where nothing is compared.
        group: The name of its group.
        notes: Sentences on it.
        source: File and line of the code that calls it.
    """

    name: str
    what: str
    kind: str
    path: str
    sizes: VertexSizes | None
    before: VertexSizes | None = None
    group: str = ""
    notes: tuple[str, ...] = ()
    source: str = ""


@dataclasses.dataclass(frozen=True)
class PictureEdge:
    """A tensor from one vertex to another, its shape now and before, and the group that gives its colour."""

    source: str
    target: str
    shape: Shape | None
    before: Shape | None = None
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Total:
    """A cost of the whole network: its title, and its value as text; `before` where edits are shown."""

    title: str
    value: str
    before: str = ""
    left: str = ""


@dataclasses.dataclass(frozen=True)
class PictureData:
    """All that a picture shows.

    Attributes:
        title: The heading.
        about: Sentences below it.
        vertices: The vertices, in the order in which they run.
        edges: The edges.
        groups: The groups of vertices, each of one colour, in the order of the legend.
        costs: The titles of the costs of vertices, by the names of costs.
        totals: The costs of the whole network.
        classes: The class of each module, by its path.
        compared: Whether sizes before and after are shown.
    """

    title: str
    about: tuple[str, ...]
    vertices: tuple[PictureVertex, ...]
    edges: tuple[PictureEdge, ...]
    groups: tuple[PictureGroup, ...]
    costs: Mapping[str, str]
    totals: tuple[Total, ...]
    classes: Mapping[str, str]
    compared: bool = False
