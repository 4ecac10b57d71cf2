"""The solver of equations between the code's expressions and sizes of axes, as polynomials in widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph.run.interpreter import COMPUTE
from naivegraph.ir.values import Attribute, Compound, DimSize, Expression
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.widths.code.function_sizes import value_of
from naivegraph.widths.widths import Widths

__all__ = ["Equation", "SizeSolver", "len_of"]

# An expression, the size it equals, and a function that tells the place in the code.
Equation = tuple[Expression, Polynomial, Callable[[], str]]


class SizeSolver:
    """Solver that turns expressions into polynomials; an attribute is the size of the axis it is used for.

    Attributes:
        widths: The widths.
        fixed: The atoms that keep their size, by which quotients may become polynomials.
        known: The polynomials of attributes, and of quotients that are none by themselves (`channels //
            heads` where nothing tells that the channels are heads times something).
        symbols: An atom for each unknown while it is solved for.
    """

    def __init__(self, widths: Widths, fixed: Mapping[Atom, str]) -> None:
        self.widths = widths
        self.fixed = fixed
        self.known: dict[Expression, Polynomial] = {}
        self.symbols: dict[Expression, Atom] = {}
        self._places: dict[Expression, Callable[[], str]] = {}

    def learn(self, equations: list[Equation]) -> None:
        """Solve for the sizes of all attributes and quotients, by substitution until nothing more follows."""
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
        """Note the size of an attribute or quotient, and that of the attribute that was divided."""
        self.known[part], self._places[part] = size, place
        if isinstance(part, Compound) and isinstance(part.left, Attribute):
            by = self.read(part.right)
            if by is not None:
                self.known.setdefault(part.left, size * by)

    def _solve(self, value: Expression, size: Polynomial) -> tuple[Expression, Polynomial] | None:
        """The one unknown attribute or quotient of an expression, with its size, if `value = size` has it."""
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
        """The unknown attributes and quotients in an expression."""
        if value in self.known or isinstance(value, (int, DimSize)):
            return
        if isinstance(value, Attribute):
            yield value
            return
        inside = [*self._unknown(value.left), *self._unknown(value.right)]
        quotient = value.operator == "//" and self._exact(value)
        # An attribute that occurs in a quotient alone follows from the quotient.
        alone = inside == [value.left] or (not inside and self.read(value) is None)
        yield from [value] if quotient and alone else inside

    def _exact(self, value: Compound) -> bool:
        """Tell whether a quotient has no remainder."""
        return value_of(self.widths, value.left) % value_of(self.widths, value.right) == 0

    def quotients(self) -> Iterator[WidthConstraint]:
        """The constraints under which the quotients are what was solved for."""
        for value, size in self.known.items():
            if isinstance(value, Compound):
                left, right = self.read(value.left), self.read(value.right)
                if left is not None and right is not None:
                    yield WidthConstraint(left - size * right, f"{self._places[value]()} divides its size")

    def read(self, value: Expression) -> Polynomial | None:
        """An expression as a polynomial; None where it is none (a quotient with a remainder)."""
        known = None if isinstance(value, int) else self.known.get(value)
        if known is not None:
            return known.with_constants(self.fixed.__contains__)
        if isinstance(value, (int, Attribute)):
            return Polynomial.constant(value_of(self.widths, value))
        if isinstance(value, DimSize):
            return Polynomial.of_axis(self._axis(value)).with_constants(self.fixed.__contains__)
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

    def _axis(self, size: DimSize) -> Axis:
        """The axis of the dimension whose size is meant."""
        if isinstance(size.tensor, str):
            return self.widths.axes[size.tensor][size.dim]
        return self.widths.relation.algebra.resolve(self.widths.relation.axes[size.tensor][size.dim])

    def leaves(self, value: Expression) -> list[Polynomial]:
        """The polynomials of all attributes and sizes in an expression."""
        if isinstance(value, int):
            return []
        if isinstance(value, (Attribute, DimSize)):
            found = self.read(value)
            return [] if found is None else [found]
        return self.leaves(value.left) + self.leaves(value.right)


def len_of(atom: Atom) -> int:
    """The present number of neurons of an atom."""
    return atom.length
