"""Sizes of a network being drawn, as integer variables with linear rows, and the intervals they leave open.

Rows are added while a walk goes on, and taken back when it turns round. `propagate` narrows intervals until
no row narrows them further (bounds consistency); what it leaves, the mixed-integer program decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["LARGEST", "Mark", "SchemaRule", "SizeModel", "SizeRow", "SizeTerm"]

LARGEST = 1 << 16  # no channels, features or pixels beyond


@dataclasses.dataclass(frozen=True, slots=True)
class SchemaRule:
    """One rule of a schema, which owns rows of the program.

    Attributes:
        node: The schema node that states it; "input" for the shape of the input.
        kind: The part of the node: "channels", "multiple", "spatial", "padding", "operation"...
        text: The rule in the words of the schema.
    """

    node: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.node}: {self.text}"


@dataclasses.dataclass(frozen=True, slots=True)
class SizeTerm:
    """A size: `factor` times a variable, or the number `factor` where the variable's index is -1."""

    index: int
    factor: int

    def times(self, factor: int) -> SizeTerm:
        """The same size, `factor` times."""
        return SizeTerm(self.index, self.factor * factor)


@dataclasses.dataclass(frozen=True, slots=True)
class SizeRow:
    """The row `lower <= sum of factors * variables <= upper`.

    Attributes:
        rule: The rule that it belongs to.
        indices: The variables.
        factors: One per variable.
        lower: The least value of the sum; None for none.
        upper: The largest; None for none.
        part: The dimension it is about, where a rule has several; -1 for channels.
        owner: The rule in which a conflict shows it: `rule`, or that of the operation it is a setting of.
    """

    rule: SchemaRule
    indices: tuple[int, ...]
    factors: tuple[int, ...]
    lower: int | None
    upper: int | None
    part: int
    owner: SchemaRule


class Mark(NamedTuple):
    """A state of a `SizeModel` to go back to."""

    sizes: int
    rows: int
    changes: int


class SizeModel:
    """Integer variables with bounds, rows, and a log of changed bounds.

    Args:
        adjustable: Whether numbers that a schema states, such as a padding, are variables with a row each, so
            that an explanation can name and change them.
    """

    def __init__(self, adjustable: bool = False) -> None:
        self.adjustable = adjustable
        self.names: list[str] = []
        self.lower: list[int] = []
        self.upper: list[int] = []
        self.first: list[tuple[int, int]] = []  # the bounds that each size began with
        self.rows: list[SizeRow] = []
        self._rows_of: list[list[int]] = []
        self._changes: list[tuple[int, int, int]] = []
        self._waiting: list[int] = []

    def size(self, name: str, lower: int = 1, upper: int = LARGEST) -> SizeTerm:
        """A new variable."""
        self.names.append(name)
        self.lower.append(lower)
        self.upper.append(upper)
        self.first.append((lower, upper))
        self._rows_of.append([])
        return SizeTerm(len(self.names) - 1, 1)

    def stated(
        self, rule: SchemaRule, name: str, bounds: tuple[int, int], part: int, owner: SchemaRule
    ) -> SizeTerm:
        """A number from 0 up that a rule states: itself if it is exact, a variable otherwise.

        Args:
            rule: The rule that states it.
            name: The name of the variable.
            bounds: Its least and its largest value.
            part: The dimension.
            owner: The rule that it is a part of if it is exact.
        """
        low, high = bounds
        if not self.adjustable:
            return SizeTerm(-1, low) if low == high else self.size(name, low, high)
        term = self.size(name, 0)
        self.row(rule, [(1, term)], low, high, part, owner if low == high else None)
        return term

    def row(
        self,
        rule: SchemaRule,
        terms: Sequence[tuple[int, SizeTerm]],
        lower: int | None,
        upper: int | None,
        part: int = 0,
        owner: SchemaRule | None = None,
    ) -> None:
        """Add `lower <= sum of factors * terms <= upper`; numbers among the terms go to the bounds."""
        factors: dict[int, int] = {}
        constant = 0
        for factor, term in terms:
            if term.index < 0:
                constant += factor * term.factor
            else:
                factors[term.index] = factors.get(term.index, 0) + factor * term.factor
        indices = tuple(index for index, factor in factors.items() if factor)
        row = SizeRow(
            rule,
            indices,
            tuple(factors[index] for index in indices),
            None if lower is None else lower - constant,
            None if upper is None else upper - constant,
            part,
            owner or rule,
        )
        for index in indices:
            self._rows_of[index].append(len(self.rows))
        self._waiting.append(len(self.rows))
        self.rows.append(row)

    def equal(self, rule: SchemaRule, one: SizeTerm, two: SizeTerm, part: int = 0) -> None:
        """Make two sizes equal."""
        if one != two:
            self.row(rule, [(1, one), (-1, two)], 0, 0, part)

    def interval(self, term: SizeTerm) -> tuple[int, int]:
        """The least and the largest value a size can still have."""
        if term.index < 0:
            return term.factor, term.factor
        return term.factor * self.lower[term.index], term.factor * self.upper[term.index]

    def fixed(self, term: SizeTerm) -> bool:
        """Tell whether a size has one value left."""
        return term.index < 0 or self.lower[term.index] == self.upper[term.index]

    def mark(self) -> Mark:
        """The present state, to go back to."""
        return Mark(len(self.names), len(self.rows), len(self._changes))

    def undo(self, mark: Mark) -> None:
        """Go back: newer sizes and rows go, bounds are as they were."""
        while len(self._changes) > mark.changes:
            index, lower, upper = self._changes.pop()
            self.lower[index], self.upper[index] = lower, upper
        for row in reversed(self.rows[mark.rows :]):
            for index in row.indices:
                self._rows_of[index].pop()
        for series in (self.names, self.lower, self.upper, self.first, self._rows_of):
            del series[mark.sizes :]
        del self.rows[mark.rows :]
        self._waiting.clear()

    def propagate(self) -> SizeRow | None:
        """Narrow intervals by the rows added since the last time and all that these touch.

        Returns:
            A row that cannot hold any more; None where none is known not to.
        """
        waiting, queued = self._waiting, set(self._waiting)
        left = 400 + 20 * len(self.rows)  # narrowing by one at a time could go on for long
        while waiting and left:
            number = waiting.pop()
            queued.discard(number)
            left -= 1
            row = self.rows[number]
            touched = self._narrow(row)
            if touched is None:
                waiting.clear()
                return row
            for index in touched:
                for other in self._rows_of[index]:
                    if other != number and other not in queued:
                        queued.add(other)
                        waiting.append(other)
        waiting.clear()
        return None

    def _narrow(self, row: SizeRow) -> list[int] | None:
        """Narrow the variables of one row; those narrowed, or None where the row cannot hold."""
        least = most = 0
        for index, factor in zip(row.indices, row.factors, strict=True):
            low, high = self.lower[index], self.upper[index]
            least += factor * (low if factor > 0 else high)
            most += factor * (high if factor > 0 else low)
        above = row.lower is None or least >= row.lower
        below = row.upper is None or most <= row.upper
        if above and below:
            return []
        if (row.upper is not None and least > row.upper) or (row.lower is not None and most < row.lower):
            return None
        touched: list[int] = []
        for index, factor in zip(row.indices, row.factors, strict=True):
            low, high = self.lower[index], self.upper[index]
            new_low, new_high = low, high
            if not below and row.upper is not None:
                room = row.upper - (least - factor * (low if factor > 0 else high))
                if factor > 0:
                    new_high = min(new_high, room // factor)
                else:
                    new_low = max(new_low, -(room // -factor))
            if not above and row.lower is not None:
                need = row.lower - (most - factor * (high if factor > 0 else low))
                if factor > 0:
                    new_low = max(new_low, -(-need // factor))
                else:
                    new_high = min(new_high, -need // -factor)
            if new_low > new_high:
                return None
            if (new_low, new_high) != (low, high):
                self._changes.append((index, low, high))
                self.lower[index], self.upper[index] = new_low, new_high
                touched.append(index)
        return touched
