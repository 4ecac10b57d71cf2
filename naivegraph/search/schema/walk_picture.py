"""A picture of a walk as SVG: a box per node, layer by layer, those in conflict marked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from naivegraph.search.schema.explain_schema import SchemaExplanation

__all__ = ["walk_picture"]

_WIDTH, _HEIGHT, _ACROSS, _DOWN = 190, 38, 210, 66
_LETTERS = 30
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.s{font-size:10px;fill:#666}rect{fill:#f4f6f8;stroke:#8a97a6}"
    ".bad{fill:#fde8e6;stroke:#c0392b;stroke-width:2}path{fill:none;stroke:#8a97a6}.t{fill:#c0392b}"
)

Step = tuple[str, str, tuple[int, ...]]


def walk_picture(explanation: SchemaExplanation) -> str:
    """The picture of the walk that was found, or of the furthest one with the conflict below it."""
    steps = _steps(explanation)
    marked = {rule.node for rule in explanation.rules}
    notes = [] if explanation.walk else _notes(explanation)
    places = _places(steps)
    right = max((x for x, _ in places.values()), default=0) + _WIDTH + 10
    bottom = max((y for _, y in places.values()), default=0) + _HEIGHT + 20
    right = max(right, 40 + 7 * max(map(len, notes), default=0))
    parts = [_edges(steps, places), *(_box(n, step, places, marked) for n, step in enumerate(steps))]
    for number, note in enumerate(notes):
        parts.append(f'<text class="t" x="10" y="{bottom + 16 * number}">{escape(note)}</text>')
    height = bottom + 16 * len(notes) + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {height}" width="{right}" '
        f'height="{height}"><style>{_STYLE}</style>{"".join(parts)}</svg>'
    )


def _steps(explanation: SchemaExplanation) -> list[Step]:
    """Name, shape and sources of each node."""
    if explanation.walk is not None:
        return [
            (step.name, str(step.made), tuple(s for each in step.sources.values() for s in each))
            for step in explanation.walk.steps
        ]
    return list(explanation.deepest.steps) if explanation.deepest is not None else []


def _notes(explanation: SchemaExplanation) -> list[str]:
    """The conflict and the change, a line each."""
    lines = [explanation.message] if explanation.message else []
    lines += [f"conflict: {rule}" for rule in explanation.rules]
    lines += [f"nearest change: {change}" for change in explanation.changes]
    if explanation.deepest is not None:
        lines += [f"tried {what}: {reason}" for what, reason in explanation.deepest.tried]
    return lines


def _places(steps: list[Step]) -> dict[int, tuple[int, int]]:
    """The corner of each box: rows by the longest way from an input, side by side within a row."""
    rows: dict[int, int] = {}
    taken: dict[int, int] = {}
    places = {}
    for number, (_, _, sources) in enumerate(steps):
        row = 1 + max((rows[source] for source in sources if source >= 0), default=-1)
        rows[number] = row
        places[number] = (10 + _ACROSS * taken.get(row, 0), 10 + _DOWN * row)
        taken[row] = taken.get(row, 0) + 1
    return places


def _edges(steps: list[Step], places: dict[int, tuple[int, int]]) -> str:
    """A curve from each source to each node."""
    parts = []
    for number, (_, _, sources) in enumerate(steps):
        for source in sources:
            if source >= 0:
                x1, y1 = places[source][0] + _WIDTH // 2, places[source][1] + _HEIGHT
                x2, y2 = places[number][0] + _WIDTH // 2, places[number][1]
                bend = (y2 - y1) // 2
                parts.append(f'<path d="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"/>')
    return "".join(parts)


def _box(number: int, step: Step, places: dict[int, tuple[int, int]], marked: set[str]) -> str:
    """The box of a node with its name and shape."""
    x, y = places[number]
    name, shape, _ = step
    words = name.rpartition(".")[2].rpartition("_")
    kinds = {name.rpartition(".")[2], words[0] if words[2].isdigit() else ""}
    bad = ' class="bad"' if kinds & marked else ""
    return (
        f'<rect{bad} x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{x + 8}" y="{y + 16}">{escape(name[:_LETTERS])}</text>'
        f'<text class="s" x="{x + 8}" y="{y + 30}">{escape(shape[: _LETTERS + 4])}</text>'
    )
