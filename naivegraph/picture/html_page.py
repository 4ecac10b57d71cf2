"""A picture as one file of HTML: the data as JSON, and the scripts that lay it out, draw it and search it."""

from __future__ import annotations

import functools
import html
import json
import os
import re
from importlib import resources
from typing import Any

from naivegraph.picture.levels import levels_of, opened
from naivegraph.picture.picture_data import PictureData, PictureGroup, PictureVertex, VertexSizes

__all__ = ["html_page"]

_SCRIPTS = ("layout.js", "drawing.js", "panel.js")


def html_page(picture: PictureData, boxes: int) -> str:
    """Write a picture as HTML.

    Args:
        picture: The picture; its texts may hold anything.
        boxes: The number of boxes up to which modules are open at first.
    """
    data = json.dumps(_data(picture, boxes), ensure_ascii=True, separators=(",", ":"), default=_plain)
    # Nothing in a text can end the element that the data stand in.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    parts = {
        "TITLE": html.escape(picture.title),
        "STYLE": _file("page.css"),
        "SCRIPT": "\n".join(_file(name) for name in _SCRIPTS),
        "DATA": data,
    }
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], _file("page.html"))


@functools.cache
def _file(name: str) -> str:
    return (resources.files("naivegraph.picture") / name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as JSON says them; anything else as words."""
    return value.item() if hasattr(value, "item") else str(value)


def _data(picture: PictureData, boxes: int) -> dict[str, Any]:
    """Everything in the picture, as the scripts take it."""
    levels = levels_of(picture)
    place = {vertex.name: number for number, vertex in enumerate(picture.vertices)}
    return {
        "title": picture.title,
        "about": picture.about,
        "compared": picture.compared,
        "costs": picture.costs,
        "totals": [[total.title, total.before, total.value, total.left] for total in picture.totals],
        "groups": {group.name: _group(group) for group in picture.groups},
        "vertices": [_vertex(vertex) for vertex in picture.vertices],
        "edges": [
            [place[edge.source], place[edge.target], edge.shape, edge.before, edge.group]
            for edge in picture.edges
        ],
        "boxes": [
            {"path": box.path, "label": box.label, "what": box.what, "parent": box.parent,
             "children": box.children, "vertices": box.vertices}
            for box in levels
        ],
        "open": sorted(opened(picture, levels, boxes)),
    }  # fmt: skip


def _group(group: PictureGroup) -> dict[str, Any]:
    ink = group.ink
    return {
        "fill": ink.fill,
        "line": ink.line,
        "dashed": ink.dashed,
        "mark": group.mark,
        "told": group.told,
        "listed": group.told and group.listed,
    }


def _vertex(vertex: PictureVertex) -> dict[str, Any]:
    return {
        "name": vertex.name,
        "what": vertex.what,
        "kind": vertex.kind,
        "group": vertex.group,
        "notes": vertex.notes,
        "source": os.path.join(*vertex.source.split(os.sep)[-3:]) if vertex.source else "",
        "now": _sizes(vertex.sizes),
        "before": _sizes(vertex.before),
    }


def _sizes(sizes: VertexSizes | None) -> dict[str, Any] | None:
    if sizes is None:
        return None
    return {"shapes": sizes.shapes, "parameters": dict(sizes.parameters), "costs": dict(sizes.costs)}
