"""The picture of a network by the sizes that may change and those that stay."""

from __future__ import annotations

from collections.abc import Mapping

from naivegraph.algebra.axis import Axis, reasons
from naivegraph.picture import NetworkPicture
from naivegraph.picture.graph_picture import graph_picture, grouped
from naivegraph.picture.picture_data import COLOURS, Ink, PictureGroup
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.widths import Widths

__all__ = ["sizes_picture"]

_FREE = PictureGroup("may change", COLOURS[0], listed=False)
_PARTLY = PictureGroup("may change in part", COLOURS[4])
_FIXED = PictureGroup("stays", Ink("#e5e7eb", "#4b5563"))


def sizes_picture(related: RelatedGraph, fixed_by_code: Mapping[str, str]) -> NetworkPicture:
    """Colour the vertices of a graph by their neurons: those that may change, in part, and those that stay.

    Args:
        related: The graph.
        fixed_by_code: The reason why the network's own code does not let a width change, by the width's name.
    """
    groups: dict[str, str] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for vertex in related.graph.vertices:
        axis = related.widths.output_axis(vertex)
        free, held = _parts(related.widths, axis, fixed_by_code)
        group = _FIXED if not free else _PARTLY if held else _FREE
        groups[vertex.name] = group.name
        told = [f"Neurons: {axis.length}, of {', '.join(free)}."] if free else [f"Neurons: {axis.length}."]
        notes[vertex.name] = (*told, *(f"Fixed: {reason}." for reason in held))
    return grouped(graph_picture(related), groups, (_FREE, _PARTLY, _FIXED), notes)


def _parts(
    widths: Widths, axis: Axis, fixed_by_code: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the widths in an axis that may change, and the reasons why the rest may not."""
    named = [widths.by_atom[atom] for atom in axis.atoms() if atom in widths.by_atom]
    free = dict.fromkeys(width.name for width in named if width.name not in fixed_by_code)
    held = [fixed_by_code[width.name] for width in named if width.name in fixed_by_code]
    return tuple(free), tuple(dict.fromkeys([*held, *reasons(axis)]))
