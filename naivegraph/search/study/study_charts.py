"""Charts of a study: the front, and the best that was found over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naivegraph.errors import StudyError
from naivegraph.search.study.result_table import cell
from naivegraph.svg import BLUE, GREY, LIGHT, RED, Axis2D, Drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from naivegraph.search.study.candidate import Candidate
    from naivegraph.search.study.result import Result
    from naivegraph.search.study.result_order import Ranking

__all__ = ["study_charts"]

_HEIGHT, _CHART = 420.0, 480.0


def study_charts(
    ranking: Ranking, candidates: Sequence[Candidate], front: Sequence[Candidate], results: Sequence[Result]
) -> str:
    """Draw the front of the first two objectives, and the best of the first one over time, as SVG.

    With one objective, its other axis is the number of parameters, if that was measured.

    Raises:
        StudyError: No network has succeeded yet.
    """
    good = [found for found in candidates if found.result.status == "done"]
    if not good:
        raise StudyError("there is nothing to draw yet: no network has been evaluated with success")
    other = [*ranking.objectives][1:2] or ["params" for found in good[:1] if "params" in found.values]
    drawing = Drawing(_CHART * (1 + len(other)), _HEIGHT)
    for name in other:
        _draw_front(drawing, ranking, good, front, name)
    _draw_time(
        drawing, ranking, [result for result in results if ranking.allowed(result)], _CHART * len(other)
    )
    return str(drawing)


def _frame(left: float, xs: Sequence[float], ys: Sequence[float]) -> Axis2D:
    return Axis2D(left + 75, 45, left + _CHART - 20, _HEIGHT - 60, xs, ys)


def _draw_front(
    drawing: Drawing, ranking: Ranking, good: Sequence[Candidate], front: Sequence[Candidate], other: str
) -> None:
    """Draw networks as points, and those that no other dominates in colour."""
    first = next(iter(ranking.objectives))
    shown = [found for found in good if other in found.values]
    if not shown:
        return
    axis = _frame(0, [found.values[other] for found in shown], [found.values[first] for found in shown])
    axis.draw(
        drawing,
        f"{len(shown)} networks, {len(front)} on the front",
        _named(ranking, other),
        _named(ranking, first),
    )
    best = {found.name for found in front}
    edge = sorted(
        axis.place(found.values[other], found.values[first]) for found in shown if found.name in best
    )
    drawing.line(edge, BLUE, 1)
    for found in sorted(shown, key=lambda found: found.name in best):
        colour = BLUE if found.name in best else GREY if ranking.allowed(found.result) else LIGHT
        tip = f"{found.name}: " + ", ".join(f"{key} {cell(value)}" for key, value in found.values.items())
        drawing.dot(
            *axis.place(found.values[other], found.values[first]), colour, 4.5 if colour == BLUE else 3, tip
        )


def _draw_time(drawing: Drawing, ranking: Ranking, results: Sequence[Result], left: float) -> None:
    """Draw each result as a point over the number of evaluations, and the best so far as a line."""
    first, way = next(iter(ranking.objectives.items()))
    if not results:
        drawing.text(left + 75, 45, "no network keeps all limits yet")
        return
    ordered = sorted(results, key=lambda result: (result.finished, result.name, result.rung))
    values = [result.values[first] for result in ordered]
    axis = _frame(left, [1, len(values)], values)
    axis.draw(drawing, f"best {first} so far", "evaluations", _named(ranking, first))
    best: list[tuple[float, float]] = []
    top = values[0]
    for index, value in enumerate(values, start=1):
        drawing.dot(*axis.place(index, value), GREY, 2.2)
        new = max(top, value) if way == "max" else min(top, value)
        best += [axis.place(index, top), axis.place(index, new)]
        top = new
    drawing.line(best, RED, 2)


def _named(ranking: Ranking, name: str) -> str:
    """The name of a measure, and the way that it is to go."""
    way = ranking.objectives.get(name)
    return name if way is None else f"{name} ({'more' if way == 'max' else 'less'} is better)"
