"""A picture as SVG, drawn by the program `dot` of graphviz."""

from __future__ import annotations

import html
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from naivegraph.errors import NaivegraphError
from naivegraph.picture.levels import ModuleBox, levels_of, opened
from naivegraph.picture.picture_data import Ink, PictureData, PictureVertex, Shape

__all__ = ["dot_source", "dot_svg"]

_SECONDS = 120
_CLOSED = Ink("#f4f6f8", "#8a97a6")


def dot_svg(picture: PictureData, boxes: int) -> str:
    """Draw a picture as SVG.

    Args:
        picture: The picture; its texts may hold anything.
        boxes: The number of boxes up to which modules are drawn with what is in them.

    Raises:
        NaivegraphError: The program `dot` of graphviz is not installed, or failed.
    """
    program = shutil.which("dot")
    if program is None:
        raise NaivegraphError(
            "SVG is drawn by `dot` of graphviz, which is not installed here (apt install graphviz, brew "
            "install graphviz); a page needs nothing: .page('net.html'), and it has a button that saves SVG"
        )
    try:
        done = subprocess.run(
            [program, "-Tsvg"],
            input=dot_source(picture, boxes),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NaivegraphError(
            f"dot took more than {_SECONDS} s for {len(picture.vertices)} vertices: ask for fewer (boxes=40)"
        ) from error
    if done.returncode != 0:
        raise NaivegraphError(f"dot failed: {done.stderr.strip()[:500]}")
    return done.stdout


def dot_source(picture: PictureData, boxes: int) -> str:
    """Write a picture in graphviz's language: open modules as clusters, vertices and closed ones as nodes."""
    levels = levels_of(picture)
    seen = opened(picture, levels, boxes)
    return "\n".join(
        [
            "digraph network {",
            'graph [fontname="Helvetica", fontsize=14, labelloc=t, ranksep=0.35, nodesep=0.25, tooltip=" "];',
            'node [shape=box, fontname="Helvetica", fontsize=10, margin="0.2,0.08"];',
            'edge [color="#8a97a6", arrowsize=0.6];',
            f"label={_label([picture.title, *_totals(picture), *_legend(picture)])};",
            *_box(picture, levels, seen, 0),
            *_edges(picture, levels, seen),
            "}",
        ]
    )


def _box(picture: PictureData, levels: Sequence[ModuleBox], seen: set[int], number: int) -> Iterator[str]:
    """Write all that is in an open box."""
    for place in levels[number].vertices:
        yield _node(picture, levels[number], place)
    for child in levels[number].children:
        box = levels[child]
        if child not in seen:
            told = [f"{box.label}  {box.what}", f"{len(_inside(levels, child))} vertices"]
            told += _costs(picture, [picture.vertices[place] for place in _inside(levels, child)])
            yield f"b{child} [label={_label(told)}, {_ink(_of_box(picture, levels, child))}];"
            continue
        yield f"subgraph cluster_{child} {{"
        yield f'label={_label([f"{box.label}  {box.what}"])}; style=rounded; color="#b6c0cb"; fontsize=11;'
        yield from _box(picture, levels, seen, child)
        yield "}"


def _node(picture: PictureData, box: ModuleBox, place: int) -> str:
    vertex = picture.vertices[place]
    group = next(each for each in picture.groups if each.name == vertex.group)
    own = vertex.name.removeprefix(f"{box.path}.") if box.path else vertex.name
    told = [f"{group.mark} {own}  {vertex.what}".strip(), *_shapes(vertex), *_costs(picture, [vertex])]
    return f"v{place} [label={_label(told)}, {_ink(group.ink)}, tooltip={_quoted(vertex.name)}];"


def _edges(picture: PictureData, levels: Sequence[ModuleBox], seen: set[int]) -> Iterator[str]:
    shown: dict[int, str] = {}

    def walk(number: int, closed: str | None) -> None:
        """Find the node that stands for each vertex of a box."""
        for place in levels[number].vertices:
            shown[place] = closed or f"v{place}"
        for child in levels[number].children:
            walk(child, closed or (None if child in seen else f"b{child}"))

    walk(0, None)
    place = {vertex.name: number for number, vertex in enumerate(picture.vertices)}
    inks = {group.name: group.ink for group in picture.groups if group.told}
    drawn: dict[tuple[str, str], Ink | None] = {}
    for edge in picture.edges:
        ends = shown[place[edge.source]], shown[place[edge.target]]
        if ends[0] != ends[1]:
            drawn[ends] = drawn.get(ends) or inks.get(edge.group)
    for (one, two), ink in drawn.items():
        yield f"{one} -> {two}" + (f' [color="{ink.line}"]' if ink else "") + ";"


def _inside(levels: Sequence[ModuleBox], number: int) -> list[int]:
    box = levels[number]
    return [*box.vertices, *(place for child in box.children for place in _inside(levels, child))]


def _of_box(picture: PictureData, levels: Sequence[ModuleBox], number: int) -> Ink:
    """The colour of a closed module: that of most vertices in it that are marked."""
    if not picture.compared and all(group.told for group in picture.groups):
        return _CLOSED
    names = [picture.vertices[place].group for place in _inside(levels, number)]
    told = [group for group in picture.groups if group.told and group.name in names]
    return max(told, key=lambda group: names.count(group.name)).ink if told else _CLOSED


def _shapes(vertex: PictureVertex) -> list[str]:
    now = vertex.sizes.shapes if vertex.sizes is not None else None
    before = vertex.before.shapes if vertex.before is not None else None
    shapes = now if now is not None else before or ()
    old = before if now is not None and before is not None and len(before) == len(now) else shapes
    return [", ".join(_shape(*both) for both in zip(old, shapes, strict=True))] if shapes else []


def _shape(before: Shape, after: Shape) -> str:
    """A shape, with the sizes that changed as `[64→38]`."""
    if len(before) != len(after):
        return f"{'×'.join(map(str, before))} → {'×'.join(map(str, after))}"
    sizes = [str(b) if a == b else f"[{b}→{a}]" for b, a in zip(before, after, strict=True)]
    return "×".join(sizes) or "number"


def _costs(picture: PictureData, vertices: Sequence[PictureVertex]) -> list[str]:
    """The costs of some vertices as a line, if they have any."""
    told = []
    for name in ("macs", "params"):
        now, before = (
            sum(
                sizes.costs.get(name, 0)
                for vertex in vertices
                if (sizes := getattr(vertex, when)) is not None
            )
            for when in ("sizes", "before")
        )
        if now or before:
            old = f"{before:,} → " if picture.compared and before != now else ""
            told.append(f"{picture.costs[name]} {old}{now:,}")
    return [" · ".join(told)] if told else []


def _totals(picture: PictureData) -> Iterator[str]:
    for total in picture.totals:
        yield f"{total.title} " + (
            f"{total.before} → {total.value} ({total.left})" if total.before else total.value
        )


def _legend(picture: PictureData) -> Iterator[str]:
    if picture.compared:
        yield "   ".join(f"{group.mark} {group.name}" for group in picture.groups if group.mark)


def _label(lines: Sequence[str]) -> str:
    """Lines as a label in graphviz's own HTML, the first in bold."""
    first, *rest = [html.escape(line, quote=False).replace("\n", " ") or " " for line in lines]
    return f"<<B>{first}</B>{''.join(f'<BR/>{line}' for line in rest)}>"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _ink(ink: Ink) -> str:
    style = "rounded,filled,dashed" if ink.dashed else "rounded,filled"
    return f'fillcolor="{ink.fill}", color="{ink.line}", style="{style}"'
