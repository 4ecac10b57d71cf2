"""The picture of an edit: sizes before and after, and errors of layers before and after a refit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from naivegraph.edits.apply.refit_report import RefitReport
from naivegraph.edits.plan.change import Change
from naivegraph.svg import BLUE, GREY, INK, LIGHT, Drawing

__all__ = ["edit_picture"]

_ROW, _LEFT, _WIDE, _ROOM = 18.0, 210.0, 300.0, 70.0
_MANY = 80  # rows; of more the ones that change most are shown


@dataclass(frozen=True)
class _Bars:
    """A chart of pairs of bars.

    Attributes:
        title: What it shows.
        rows: The name of each pair, the value before and the one after.
        told: A value in words.
    """

    title: str
    rows: Sequence[tuple[str, float, float]]
    told: Callable[[float], str]


def edit_picture(change: Change, refit: RefitReport | None) -> Drawing:
    """Draw an edit: a chart of its sizes and, where there was a refit, one of errors beside it."""
    sizes = [(width.name, float(width.before), float(width.after)) for width in change.widths.values()]
    charts = [_Bars("neurons before (grey) and after", sizes, lambda value: f"{value:.0f}")] if sizes else []
    errors = [(layer.name, layer.before, layer.after) for layer in refit.layers] if refit is not None else []
    if errors:
        charts.append(_Bars("error before the refit (grey) and after", errors, lambda value: f"{value:.1%}"))
    shown = [(chart, _chosen(chart.rows)) for chart in charts]
    height = 60 + _ROW * max((len(rows) for _, rows in shown), default=1)
    out = Drawing(max(len(charts), 1) * (_LEFT + _WIDE + _ROOM), height)
    if not charts:
        out.text(20, 34, "Nothing changed in size.")
    for place, (chart, rows) in enumerate(shown):
        _draw(out, chart, rows, place * (_LEFT + _WIDE + _ROOM))
    return out


def _chosen(rows: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """The rows to show, in order: all, or of many those whose values differ most."""
    if len(rows) <= _MANY:
        return list(rows)
    by_change = sorted(range(len(rows)), key=lambda index: -abs(rows[index][1] - rows[index][2]))
    return [rows[index] for index in sorted(by_change[:_MANY])]


def _draw(out: Drawing, chart: _Bars, rows: Sequence[tuple[str, float, float]], left: float) -> None:
    """Draw one chart: the bar before in grey, the one after over it."""
    more = len(chart.rows) - len(rows)
    out.text(left + 12, 26, chart.title + (f" (and {more} more)" if more else ""), size=14)
    most = max([max(before, after) for _, before, after in rows], default=0.0) or 1.0
    start = left + _LEFT
    for number, (name, before, after) in enumerate(rows):
        top = 44 + number * _ROW
        tip = f"{name}: {chart.told(before)} before, {chart.told(after)} after"
        out.text(start - 8, top + 11, name if len(name) < 32 else f"...{name[-29:]}", "end", 11, INK)
        out.bar(start, top, _WIDE * before / most, _ROW - 6, LIGHT, tip)
        out.bar(start, top + 3, _WIDE * after / most, _ROW - 12, BLUE, tip)
        out.text(
            start + _WIDE * max(before, after) / most + 6, top + 11, chart.told(after), "start", 10, GREY
        )
