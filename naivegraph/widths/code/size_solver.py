"""Expressions of a network's code as polynomials in its widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph.run.interpreter import COMPUTE
from naivegraph.ir.values import Attribute, Compound, DimSize, Expression
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.widths.code.function_sizes import value_of
from naivegraph.widths.widths import Widths

__all__ = ["Equation", "Reader", "len_of"]

# An expression, what it equals, and what says where.
Equation = tuple[Expression, Polynomial, Callable[[], str]]


class Reader:
    """Turns expressions into polynomials; an attribute is the size of the axis it is used for.

    Attributes:
        known: What attributes are, and quotients which no polynomial is (`channels // heads` where nothing
            says that the channels are heads times something).
    """

    def __init__(self, widths: Widths, held: Mapping[Atom, str]) -> None:
        self.widths = widths
        self.held = held
        self.known: dict[Expression, Polynomial] = {}
        self.symbols: dict[Expression, Atom] = {}
        self._places: dict[Expression, Callable[[], str]] = {}

    def learn(self, equations: list[Equation]) -> None:
        """Find out which size each attribute (and quotient) stands for."""
        for value, size, _ in equations:
            if isinstance(value, Attribute):
                self.known.setdefault(value, size)
        waiting = [each for each in equations if isinstance(each[0], Compound)]
        progress = True
        while progress:
            progress = False
            for value, size, place in waiting:
                found = self._solve(value, size)
                if found is not None:
                    self._note(*found, place)
                    progress = True

    def _note(self, part: Expression, size: Polynomial, place: Callable[[], str]) -> None:
        """Note what an attribute or quotient is; and what the attribute is that was divided."""
        self.known[part], self._places[part] = size, place
        if isinstance(part, Compound) and isinstance(part.left, Attribute):
            by = self.read(part.right)
            if by is not None:
                self.known.setdefault(part.left, size * by)

    def _solve(self, value: Expression, size: Polynomial) -> tuple[Expression, Polynomial] | None:
        """The one unknown attribute or quotient of an expression, if its value gives it."""
        unknown = set(self._unknown(value))
        if len(unknown) != 1:
            return None
        part = unknown.pop()
        symbol = self.symbols.setdefault(part, Atom(value_of(self.widths, part)))
        self.known[part] = Polynomial.of_atom(symbol)
        polynomial = self.read(value)
        del self.known[part]
        if polynomial is None or any(m.count(symbol) > 1 for m in polynomial.terms):
            return None
        factor = Polynomial(
            {tuple(a for a in m if a is not symbol): c for m, c in polynomial.terms.items() if symbol in m}
        )
        rest = Polynomial({m: c for m, c in polynomial.terms.items() if symbol not in m})
        solved = (size - rest).divided(factor)
        return None if solved is None else (part, solved)

    def _unknown(self, value: Expression) -> Iterator[Expression]:
        """The attributes in an expression of which nothing is known, and the quotients."""
        if value in self.known or isinstance(value, (int, DimSize)):
            return
        if isinstance(value, Attribute):
            yield value
            return
        inside = [*self._unknown(value.left), *self._unknown(value.right)]
        quotient = value.operator == "//" and self._exact(value)
        # Of an attribute that is known by its quotient alone, this tells what it is.
        alone = inside == [value.left] or (not inside and self.read(value) is None)
        yield from [value] if quotient and alone else inside

    def _exact(self, value: Compound) -> bool:
        """Whether a quotient has no rest."""
        return value_of(self.widths, value.left) % value_of(self.widths, value.right) == 0

    def quotients(self) -> Iterator[WidthConstraint]:
        """What must stay zero for the quotients to be what they were learned to be."""
        for value, size in self.known.items():
            if isinstance(value, Compound):
                left, right = self.read(value.left), self.read(value.right)
                if left is not None and right is not None:
                    yield WidthConstraint(left - size * right, f"{self._places[value]()} divides its size")

    def read(self, value: Expression) -> Polynomial | None:
        """An expression as a polynomial; None where it is none (a quotient with a rest)."""
        known = None if isinstance(value, int) else self.known.get(value)
        if known is not None:
            return known.with_constants(self.held.__contains__)
        if isinstance(value, (int, Attribute)):
            return Polynomial.constant(value_of(self.widths, value))
        if isinstance(value, DimSize):
            return Polynomial.of_axis(self._axis(value)).with_constants(self.held.__contains__)
        left, right = self.read(value.left), self.read(value.right)
        if left is None or right is None:
            return None
        if left.degree == right.degree == 0:
            number = COMPUTE[value.operator](left.value(len_of), right.value(len_of))
            return Polynomial.constant(number)
        if value.operator == "//":
            return left.divided(right)
        if value.operator == "%":
            whole = left.divided(right) or self.known.get(Compound("//", value.left, value.right))
            return None if whole is None else Polynomial({})
        return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__}[value.operator](right)

    def _axis(self, shape: DimSize) -> Axis:
        if isinstance(shape.tensor, str):
            return self.widths.axes[shape.tensor][shape.dim]
        return self.widths.relation.algebra.resolve(self.widths.relation.axes[shape.tensor][shape.dim])

    def leaves(self, value: Expression) -> list[Polynomial]:
        """The polynomials of all attributes and shapes in an expression."""
        if isinstance(value, int):
            return []
        if isinstance(value, (Attribute, DimSize)):
            found = self.read(value)
            return [] if found is None else [found]
        return self.leaves(value.left) + self.leaves(value.right)


def len_of(atom: Atom) -> int:
    """The present size of an atom."""
    return atom.length
