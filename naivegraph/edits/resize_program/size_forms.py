"""Sizes as linear functions of a program's columns, and the rows that are written with them.

A product of widths is linearised exactly: one of its factors is written in binary, and each binary digit
times the other factor gets a column of its own (McCormick's inequalities, which are exact for a binary
factor; "Computability of global solutions to factorable nonconvex programs: part I", Mathematical Programming
10, 1976).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.algebra.polynomial import Monomial, Polynomial
from naivegraph.solvers import Program

__all__ = ["LinearForm", "RowBlock", "SizeForms"]

# A constant, and the coefficient of each column.
LinearForm = tuple[float, dict[int, float]]


class RowBlock:
    """Rows that are added to a program all at once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.starts, self.indices = [0], list[int]()
        self.values, self.lower, self.upper = list[float](), list[float](), list[float]()
        self.requests: list[str | None] = []

    def row(
        self,
        name: str,
        parts: Mapping[int, float],
        *,
        lower: float = -np.inf,
        upper: float = np.inf,
        request: str | None = None,
    ) -> None:
        """Add `lower <= sum of parts <= upper`."""
        self.names.append(name)
        self.indices += parts.keys()
        self.values += parts.values()
        self.starts.append(len(self.indices))
        self.lower.append(lower)
        self.upper.append(upper)
        self.requests.append(request)

    def add_to(self, program: Program) -> None:
        """Add all rows to the program."""
        program.rows(
            self.starts,
            np.array(self.indices, np.int64),
            self.values,
            self.lower,
            self.upper,
            self.names,
            requests=self.requests,
        )


class SizeForms:
    """Sizes of axes over the columns of neurons kept and new.

    Args:
        program: The program; products of widths get columns in it.
        block: The rows that define these columns.
        kept: The column of neurons kept, by width.
        come: The column of new neurons, by width.
        room: The most new neurons of a width.
        still: Tells whether a width keeps its size.
    """

    def __init__(
        self,
        program: Program,
        block: RowBlock,
        kept: Mapping[Atom, int],
        come: Mapping[Atom, int],
        room: int,
        still: Callable[[Atom], bool],
    ) -> None:
        self.block, self.still = block, still
        self._program, self._kept, self._come, self._room = program, kept, come, room
        self._products: dict[Monomial, dict[int, float]] = {}
        self._numbers = itertools.count()

    def of(self, polynomial: Polynomial) -> LinearForm:
        """The value of a polynomial in sizes."""
        constant, parts = 0.0, dict[int, float]()
        if any(self.still(atom) for atom in polynomial.atoms()):
            polynomial = polynomial.with_constants(self.still)
        for monomial, factor in polynomial.terms.items():
            if not monomial:
                constant += factor
                continue
            for column, coefficient in self._product(monomial).items():
                parts[column] = parts.get(column, 0.0) + factor * coefficient
        return constant, {column: c for column, c in parts.items() if c}

    def kept(self, one: Atom, other: Atom) -> dict[int, float]:
        """The number of neurons kept of a product of two widths: that of one times that of the other."""
        for atom, times in ((one, other), (other, one)):
            if self.still(atom):
                return {self._kept[times]: float(atom.length)} if times in self._kept else {}
        short, long = sorted((one, other), key=lambda atom: atom.length)
        return self._multiplied({self._kept[short]: 1.0}, short.length, {self._kept[long]: 1.0}, long.length)

    def largest(self, form: LinearForm) -> float:
        """A number that the absolute value of a linear function never exceeds."""
        upper = self._program.arrays().upper
        return abs(form[0]) + sum(abs(c) * float(upper[column]) for column, c in form[1].items())

    def _product(self, monomial: Monomial) -> dict[int, float]:
        """The size of a product of widths: that of the longest, times the others' sizes written in binary."""
        last, *others = sorted(monomial, key=lambda atom: (-atom.length, self._kept[atom]))
        size: dict[int, float] = {self._kept[last]: 1.0, self._come[last]: 1.0}
        top = float(last.length + self._room)
        key: Monomial = (last,)
        for atom in others:
            key = (*key, atom)
            if key not in self._products:
                both = {self._kept[atom]: 1.0, self._come[atom]: 1.0}
                self._products[key] = self._multiplied(both, atom.length + self._room, size, top)
            size, top = self._products[key], top * (atom.length + self._room)
        return size

    def _multiplied(
        self, count: Mapping[int, float], most: int, size: Mapping[int, float], top: float
    ) -> dict[int, float]:
        """`size`, at most `top`, times `count`, at most `most`, which is written in binary."""
        bits = range(most.bit_length())
        name = f"product {next(self._numbers)}"
        digits = self._program.columns([f"{name} digit {bit}" for bit in bits], 0, 1)
        parts = self._program.columns([f"{name} part {bit}" for bit in bits], 0, top, integer=False)
        binary = {digit: float(2**bit) for bit, digit in enumerate(digits)}
        minus = {column: -factor for column, factor in count.items()}
        self.block.row(f"{name} its count", {**binary, **minus}, lower=0, upper=0)
        less = {column: -factor for column, factor in size.items()}
        for digit, part in zip(digits, parts, strict=True):
            # A part is the size where its digit is 1, and else 0 (McCormick's inequalities).
            self.block.row(f"{name} none {digit}", {part: 1.0, digit: -top}, upper=0)
            self.block.row(f"{name} most {digit}", {part: 1.0, **less}, upper=0)
            self.block.row(f"{name} least {digit}", {part: 1.0, **less, digit: -top}, lower=-top)
        return {part: float(2**bit) for bit, part in enumerate(parts)}
