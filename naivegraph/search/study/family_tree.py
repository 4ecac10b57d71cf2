"""The genealogy of a study: whose child each network is, and by which mutation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from naivegraph.errors import StudyError
from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.result_order import Ranking
from naivegraph.search.study.result_table import cell
from naivegraph.svg import BLUE, GREY, LIGHT, RED, Drawing

__all__ = ["family_tree", "generations"]

_ROW, _STEP = 90.0, 26.0  # pixels between generations, and between networks


def generations(candidates: Sequence[Candidate]) -> dict[str, int]:
    """The generation of each network: 0 without parents, else one more than the latest of its parents.

    A network is proposed after its parents, so one look in that order is enough.
    """
    found: dict[str, int] = {}
    for candidate in candidates:
        known = [found[name] for name in candidate.lineage.parents if name in found]
        found[candidate.name] = 1 + max(known) if known else 0
    return found


def family_tree(ranking: Ranking, candidates: Sequence[Candidate], front: Sequence[Candidate]) -> str:
    """Draw networks in rows by generation, with a line from each parent, as SVG.

    The ancestors of the best network are in red, the front in blue.

    Raises:
        StudyError: There are no networks yet.
    """
    if not candidates:
        raise StudyError("there is nothing to draw yet: no network has been evaluated")
    rows: dict[int, list[Candidate]] = defaultdict(list)
    found = {candidate.name: candidate for candidate in candidates}
    order = generations(candidates)
    for candidate in candidates:
        rows[order[candidate.name]].append(candidate)
    places = _places(rows, order)
    width = max(560.0, 60 + _STEP * max(map(len, rows.values())))
    drawing = Drawing(width, 70 + _ROW * len(rows))
    best = ranking.best(candidate.result for candidate in candidates)
    line = _ancestors(found, best.name) if best is not None else set()
    drawing.text(20, 24, f"{len(candidates)} networks in {len(rows)} generations", size=14)
    drawing.text(20, 42, "red: the best and its ancestors; blue: the front", size=11, colour=GREY)
    scale = width / (max(map(len, rows.values())) + 1)
    spots = {name: ((x + 1) * scale * 0.96, 75 + _ROW * y) for name, (x, y) in places.items()}
    _draw_lines(drawing, candidates, spots, line)
    _draw_networks(drawing, ranking, candidates, spots, (line, {candidate.name for candidate in front}))
    return str(drawing)


def _places(rows: Mapping[int, list[Candidate]], order: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    """Column and row of each network; children are ordered as their parents are, so that few lines cross."""
    places: dict[str, tuple[float, int]] = {}
    widest = max(map(len, rows.values()))
    for number in sorted(rows):

        def wanted(candidate: Candidate) -> tuple[float, int]:
            """The mean place of the parents."""
            above = [places[name][0] for name in candidate.lineage.parents if name in places]
            return (sum(above) / len(above) if above else 0.0, candidate.lineage.number)

        row = sorted(rows[number], key=wanted)
        for index, candidate in enumerate(row):
            places[candidate.name] = ((index + 0.5) * widest / len(row) - 0.5, order[candidate.name])
    return places


def _ancestors(found: Mapping[str, Candidate], name: str) -> set[str]:
    """A network and all that it comes from."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found and name not in seen:
            seen.add(name)
            waiting.extend(found[name].lineage.parents)
    return seen


def _draw_lines(
    drawing: Drawing,
    candidates: Sequence[Candidate],
    spots: Mapping[str, tuple[float, float]],
    line: set[str],
) -> None:
    """Draw a line from each parent, those to the best last."""
    for candidate in sorted(candidates, key=lambda candidate: candidate.name in line):
        for parent in candidate.lineage.parents:
            if parent in spots and parent != candidate.name:
                red = candidate.name in line and parent in line
                ends = [spots[parent], spots[candidate.name]]
                drawing.line(ends, RED if red else LIGHT, 1.8 if red else 0.8)


def _draw_networks(
    drawing: Drawing,
    ranking: Ranking,
    candidates: Sequence[Candidate],
    spots: Mapping[str, tuple[float, float]],
    special: tuple[set[str], set[str]],
) -> None:
    """Draw networks, with the mutation beside those of the best one's line."""
    line, front = special
    first = next(iter(ranking.objectives))
    for candidate in candidates:
        x, y = spots[candidate.name]
        colour = RED if candidate.name in line else BLUE if candidate.name in front else GREY
        mutation = candidate.lineage.mutation or "start"
        value = cell(candidate.values[first]) if first in candidate.values else candidate.result.status
        tip = f"{candidate.name}: {mutation}; {first} {value}"
        drawing.dot(x, y, colour, 4 if colour == GREY else 5.5, tip)
        if candidate.name in line:
            drawing.text(x, y - 10, f"{mutation}, {value}", "middle", 11)
