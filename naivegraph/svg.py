"""Pictures as SVG: axes, points, lines and words, without a library for charts."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Axis2D", "Drawing", "ticks"]

INK, GREY, LIGHT, BLUE, RED = "#222222", "#777777", "#dddddd", "#2563a8", "#c2410c"
_FONT = "font-family='Helvetica, Arial, sans-serif'"
_LETTER = 0.55  # width of a letter, roughly, for each unit of the font's size


@dataclass
class Drawing:
    """A picture of a size in pixels, to which shapes are added."""

    width: float
    height: float
    shapes: list[str] = field(default_factory=list)

    def line(self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.5) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width}'/>"
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 3.5, tip: str = "") -> None:
        """Draw a point, with words for who points at it."""
        inside = f"<title>{html.escape(tip)}</title>" if tip else ""
        self.shapes.append(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' fill='{colour}' fill-opacity='.85'>"
            f"{inside}</circle>"
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        anchor: str = "start",
        size: float = 12,
        colour: str = INK,
        turned: bool = False,
    ) -> None:
        """Write words; `anchor` is `start`, `middle` or `end`. They stay inside the picture."""
        if not turned:
            x = self._inside(x, _LETTER * size * len(words), anchor)
        turn = f" transform='rotate(-90 {x:.1f} {y:.1f})'" if turned else ""
        self.shapes.append(
            f"<text x='{x:.1f}' y='{y:.1f}' {_FONT} font-size='{size}' text-anchor='{anchor}' "
            f"fill='{colour}' stroke='white' stroke-width='3' paint-order='stroke'{turn}>"
            f"{html.escape(words)}</text>"
        )

    def _inside(self, x: float, width: float, anchor: str) -> float:
        """The place near `x` to anchor words of a width at, so that they are seen whole."""
        before = {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        return max(min(x, self.width - (width - before)), before)

    def bar(self, left: float, top: float, width: float, height: float, colour: str, tip: str = "") -> None:
        """Draw a filled rectangle, with words for who points at it."""
        inside = f"<title>{html.escape(tip)}</title>" if tip else ""
        self.shapes.append(
            f"<rect x='{left:.1f}' y='{top:.1f}' width='{max(width, 0):.1f}' height='{height:.1f}' "
            f"fill='{colour}'>{inside}</rect>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as an SVG file."""
        Path(path).write_text(str(self), encoding="utf-8")

    def _repr_svg_(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """Return the picture as SVG."""
        body = "\n".join(self.shapes)
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width:.0f}' height='{self.height:.0f}' "
            f"viewBox='0 0 {self.width:.0f} {self.height:.0f}'>\n"
            f"<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"
        )


@dataclass(frozen=True)
class Axis2D:
    """The frame of a chart: what is where, in pixels and in numbers.

    Attributes:
        left, top, right, bottom: The frame, in pixels.
        xs, ys: The numbers that it is to show.
    """

    left: float
    top: float
    right: float
    bottom: float
    xs: Sequence[float]
    ys: Sequence[float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Find the pixels of a point."""
        (low_x, high_x), (low_y, high_y) = _ends(self.xs), _ends(self.ys)
        across = (x - low_x) / (high_x - low_x)
        up = (y - low_y) / (high_y - low_y)
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def draw(self, drawing: Drawing, title: str, x_name: str, y_name: str) -> None:
        """Draw the frame, numbers beside it, and names."""
        drawing.text(self.left, self.top - 14, title, size=14)
        drawing.text((self.left + self.right) / 2, self.bottom + 38, x_name, "middle")
        drawing.text(self.left - 52, (self.top + self.bottom) / 2, y_name, "middle", turned=True)
        for value in ticks(*_ends(self.xs)):
            x, _ = self.place(value, 0)
            drawing.line([(x, self.top), (x, self.bottom)], LIGHT, 0.6)
            drawing.text(x, self.bottom + 17, short(value), "middle", 11, GREY)
        for value in ticks(*_ends(self.ys)):
            _, y = self.place(0, value)
            drawing.line([(self.left, y), (self.right, y)], LIGHT, 0.6)
            drawing.text(self.left - 6, y + 4, short(value), "end", 11, GREY)
        corners = [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)]
        drawing.line(corners, GREY, 1)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, and some room."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two.

    Example:
        >>> ticks(0, 1)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    step = (high - low) / most
    size = 10.0 ** math.floor(math.log10(step))
    step = min((m * size for m in (1, 2, 2.5, 5, 10) if m * size >= step * 0.999), default=10 * size)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for beside an axis.

    Example:
        >>> short(0.25), short(1500000.0), short(2000)
        ('0.25', '1.5M', '2k')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"
