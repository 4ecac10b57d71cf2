"""Results of a study as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from naivegraph.search.study.candidate import Lineage
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking
from naivegraph.tables import Column, TextTable, as_html, as_text

__all__ = ["ResultTable"]

_LONGEST = 60  # rows that are printed; to_csv writes all


class ResultTable(Sequence[Mapping[str, Any]]):
    """Rows by column, in the order of the proposals; `pandas.DataFrame(table)` takes it.

    Columns: `number`, `network`, `rung`, `status`, all that was measured, `seconds`, `mutation`, `parents`,
        `error`.
    """

    def __init__(self, ranking: Ranking, lineages: Mapping[str, Lineage], results: Iterable[Result]) -> None:
        found = [result for result in results if result.name in lineages]
        found.sort(key=lambda result: (lineages[result.name].number, result.rung))
        first = [*ranking.objectives, *ranking.limits]
        others = sorted({name for result in found for name in result.values} - {*first})
        self.measured = tuple(dict.fromkeys([*first, *others]))
        self._rows = [self._row(lineages[result.name], result) for result in found]

    def _row(self, lineage: Lineage, result: Result) -> dict[str, Any]:
        return {
            "number": lineage.number,
            "network": result.name,
            "rung": result.rung,
            "status": result.status,
            **{name: result.values.get(name) for name in self.measured},
            "seconds": result.seconds,
            "mutation": lineage.mutation,
            "parents": " ".join(lineage.parents),
            "error": result.reason,
        }

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        """Give a row, or several."""
        return self._rows[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Go through the rows."""
        return iter(self._rows)

    def to_csv(self) -> str:
        """Return all rows as comma-separated values, with a line of headings."""
        stream = io.StringIO()
        if self._rows:
            writer = csv.DictWriter(stream, self._rows[0])
            writer.writeheader()
            writer.writerows(self._rows)
        return stream.getvalue()

    def table(self, limit: int = _LONGEST) -> TextTable:
        """Lay it out, with so many rows at most."""
        shown = [name for name in ("parents",) if any(row[name] for row in self._rows)]
        names = [
            "number",
            "network",
            "rung",
            "status",
            *self.measured,
            "seconds",
            "mutation",
            *shown,
            "error",
        ]
        left = {"network", "status", "mutation", "parents", "error"}
        columns = [Column(name, right=name not in left) for name in names]
        rows = [[cell(row[name]) for name in names] for row in self._rows[:limit]]
        more = len(self._rows) - limit
        return TextTable(columns, rows, caption=f"and {more} more; to_csv() has all" if more > 0 else None)

    def __str__(self) -> str:
        """Lay it out as text."""
        return as_text([self.table()], width=140) if self._rows else "no results yet"

    def _repr_html_(self) -> str:
        return as_html([self.table() if self._rows else "no results yet"])


def cell(value: object) -> str:
    """Write a value as people read it.

    Example:
        >>> cell(0.91234567), cell(1234567.0), cell(None)
        ('0.91235', '1,234,567', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() or abs(value) >= 10_000 else f"{value:.5g}"
    return str(value)
