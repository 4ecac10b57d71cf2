"""The picture of a network before and after an edit as one: what shrank, grew, came and went."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from naivegraph.picture.network_picture import NetworkPicture
from naivegraph.picture.picture_data import (
    Ink,
    PictureEdge,
    PictureGroup,
    PictureVertex,
    Shape,
    Total,
    VertexSizes,
)

__all__ = ["compared"]

SHRANK = PictureGroup("shrank", Ink("#dbeafe", "#2563a8"), "▼")
GREW = PictureGroup("grew", Ink("#ffedd5", "#c2410c"), "▲")
CAME = PictureGroup("came", Ink("#dcfce7", "#15803d"), "+")
WENT = PictureGroup("went", Ink("#fee2e2", "#b91c1c", dashed=True), "✕")
OTHER = PictureGroup("other sizes", Ink("#fef9c3", "#a16207"), "≠")
SAME = PictureGroup("as before", Ink("#ffffff", "#9aa5b1"), told=False)
STATES = (SHRANK, GREW, CAME, WENT, OTHER, SAME)


def compared(
    before: NetworkPicture, after: NetworkPicture, notes: Mapping[str, tuple[str, ...]] | None = None
) -> NetworkPicture:
    """Put two pictures of one network into one, vertex by vertex by their names.

    Args:
        before: The network before.
        after: The network after.
        notes: More sentences by name of the vertex.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = ng.capture(net, torch.ones(1, 4))
        >>> before = graph.picture()
        >>> edit = ng.resize(graph, {"0": -2})
        >>> edit = ng.insert(graph, torch.nn.BatchNorm1d, after="0", name="bn")
        >>> picture = compared(before, graph.picture())
        >>> [(vertex.name, vertex.group) for vertex in picture.vertices if vertex.kind == "layer"]
        [('0', 'shrank'), ('bn', 'came'), ('1', 'shrank'), ('2', 'shrank')]
    """
    old = {vertex.name: vertex for vertex in before.vertices}
    new = {vertex.name: vertex for vertex in after.vertices}
    more = notes or {}
    vertices = []
    for name in _merged(list(old), list(new)):
        found = new.get(name) or old[name]
        was = old[name].sizes if name in old else None
        now = new[name].sizes if name in new else None
        told = (*found.notes, *more.get(name, ()))
        state = _state(was, now).name
        vertices.append(dataclasses.replace(found, sizes=now, before=was, group=state, notes=told))
    edges = _edges(before, after)
    used = {vertex.group for vertex in vertices} | {edge.group for edge in edges}
    return NetworkPicture(
        after.title,
        after.about,
        tuple(_inside(vertices)),
        tuple(edges),
        tuple(state for state in STATES if state.name in used),
        after.costs,
        _totals(before.totals, after.totals),
        {**before.classes, **after.classes},
        compared=True,
    )


def _merged(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The names of both, in the new order; those that went stand behind what they followed."""
    here = set(new)
    behind: dict[str | None, list[str]] = {}
    last: str | None = None
    for name in old:
        if name in here:
            last = name
        else:
            behind.setdefault(last, []).append(name)
    out = list(behind.get(None, ()))
    for name in new:
        out += [name, *behind.get(name, ())]
    return out


def _state(before: VertexSizes | None, after: VertexSizes | None) -> PictureGroup:
    """The state of a vertex: by its number of parameters, or else by the size of its outputs."""
    if before is None or after is None:
        return CAME if before is None else WENT
    if (before.shapes, before.parameters) == (after.shapes, after.parameters):
        return SAME
    was, now = _numbers(before), _numbers(after)
    return SHRANK if now < was else GREW if now > was else OTHER


def _numbers(sizes: VertexSizes) -> tuple[int, int]:
    """The number of parameters, and of values returned."""
    return sum(map(math.prod, sizes.parameters.values())), sum(map(math.prod, sizes.shapes))


def _edges(before: NetworkPicture, after: NetworkPicture) -> list[PictureEdge]:
    """The edges of both pictures, each with what became of its tensor."""
    was = _by_ends(before.edges)
    now = _by_ends(after.edges)
    found = []
    for ends in dict.fromkeys([*now, *was]):
        old, new = was.get(ends, []), now.get(ends, [])
        for place in range(max(len(old), len(new))):
            first = old[place] if place < len(old) else None
            second = new[place] if place < len(new) else None
            found.append(PictureEdge(*ends, second, first, _edge_state(first, second).name))
    return found


def _by_ends(edges: Sequence[PictureEdge]) -> dict[tuple[str, str], list[Shape | None]]:
    found: dict[tuple[str, str], list[Shape | None]] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.target), []).append(edge.shape)
    return found


def _edge_state(before: Shape | None, after: Shape | None) -> PictureGroup:
    if before is None or after is None:
        return CAME if before is None else WENT
    if before == after:
        return SAME
    was, now = math.prod(before), math.prod(after)
    return SHRANK if now < was else GREW if now > was else OTHER


def _totals(before: Sequence[Total], after: Sequence[Total]) -> tuple[Total, ...]:
    old = {total.title: total for total in before}
    found = []
    for total in after:
        if total.title in old:
            was = old[total.title].value
            found.append(dataclasses.replace(total, before=was, left=_left(was, total.value)))
    return tuple(found)


def _left(before: str, after: str) -> str:
    """The share that is left, where both are numbers."""
    try:
        was, now = (float(text.replace(",", "")) for text in (before, after))
    except ValueError:
        return ""
    return f"{now / was:.1%}" if was else ""


def _inside(vertices: Sequence[PictureVertex]) -> list[PictureVertex]:
    """Vertices that came between two of one module are shown in that module."""
    out = list(vertices)
    for place, vertex in enumerate(out):
        if vertex.group != CAME.name or not place or place + 1 == len(out):
            continue
        behind = next((other for other in out[place + 1 :] if other.group != CAME.name), vertex)
        around = _common(out[place - 1].path, behind.path)
        if around == vertex.path or around.startswith(f"{vertex.path}." if vertex.path else ""):
            out[place] = dataclasses.replace(vertex, path=around)
    return out


def _common(one: str, two: str) -> str:
    """The path of the innermost module that two paths lie in."""
    parts = []
    for first, second in zip(one.split("."), two.split("."), strict=False):
        if first != second:
            break
        parts.append(first)
    return ".".join(parts)
