"""Tables and sentences for people: as plain text, and as HTML for notebooks."""

from __future__ import annotations

import dataclasses
import html
import io
from collections.abc import Iterable, Sequence
from typing import Literal

__all__ = ["Block", "Column", "TextTable", "as_html", "as_text", "time_text"]


@dataclasses.dataclass(frozen=True)
class Column:
    """The heading of a column, and the layout of its cells in plain text."""

    heading: str
    right: bool = False
    fold: bool = False
    no_wrap: bool = False


@dataclasses.dataclass(frozen=True)
class TextTable:
    """A table of texts; rows may have fewer cells than there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str | None = None
    caption: str | None = None
    title_left: bool = False


# A sentence, or several lines of them, or a table.
Block = str | TextTable


def as_text(blocks: Iterable[Block], width: int = 100) -> str:
    """Lay blocks out as plain text of a width in characters, one below the other.

    Example:
        >>> table = TextTable([Column("width"), Column("before", right=True)], [["conv1", "64"]])
        >>> print(as_text(["One width changed.", table], width=40))
        One width changed.
        ┏━━━━━━━┳━━━━━━━━┓
        ┃ width ┃ before ┃
        ┡━━━━━━━╇━━━━━━━━┩
        │ conv1 │     64 │
        └───────┴────────┘
    """
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False)
    for block in blocks:
        console.print(Text(block) if isinstance(block, str) else _rich(block))
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n"))


def _rich(block: TextTable) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if block.title is None else Text(block.title, style="table.title"),
        caption=None if block.caption is None else Text(block.caption, style="table.caption"),
        title_justify="left" if block.title_left else "center",
        caption_justify="left",
    )
    for column in block.columns:
        table.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            overflow="fold" if column.fold else "ellipsis",
            no_wrap=column.no_wrap,
        )
    for row in block.rows:
        table.add_row(*map(Text, row))
    return table


def as_html(blocks: Iterable[Block]) -> str:
    """Lay blocks out as HTML that needs no style sheet; all words are escaped.

    Example:
        >>> as_html(["64 < 128"])
        '<div style="white-space:pre-wrap"><p>64 &lt; 128</p></div>'
    """
    parts = [_table(block) if isinstance(block, TextTable) else _paragraph(block) for block in blocks]
    return f'<div style="white-space:pre-wrap">{"".join(parts)}</div>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _table(block: TextTable) -> str:
    sides: list[Literal["left", "right"]] = ["right" if column.right else "left" for column in block.columns]

    def row(cells: Sequence[str], tag: str) -> str:
        """Return a row as HTML."""
        filled = [*cells, *[""] * (len(sides) - len(cells))]
        inside = (
            f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(filled, sides, strict=True)
        )
        return f"<tr>{''.join(inside)}</tr>"

    title = "" if block.title is None else f"<caption>{html.escape(block.title)}</caption>"
    head = row([column.heading for column in block.columns], "th")
    body = "".join(row(cells, "td") for cells in block.rows)
    below = "" if block.caption is None else _paragraph(block.caption)
    return f"<table>{title}<thead>{head}</thead><tbody>{body}</tbody></table>{below}"


def time_text(seconds: float) -> str:
    """A time as tables and sentences show it.

    Example:
        >>> time_text(0.0012), time_text(0.0345)
        ('1,200 us', '34.5 ms')
    """
    micro = seconds * 1e6
    return f"{micro:,.0f} us" if abs(micro) < 1e4 else f"{micro / 1000:,.1f} ms"
