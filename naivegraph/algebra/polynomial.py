"""Sizes and costs as polynomials in the numbers of neurons."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator

from naivegraph.algebra.axis import Atom, Axis

__all__ = ["Monomial", "Polynomial"]

Monomial = tuple[Atom, ...]


def _ordered(atoms: Monomial) -> Monomial:
    return atoms if len(atoms) < 2 else tuple(sorted(atoms, key=lambda atom: atom.serial))


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A polynomial with integer coefficients in the sizes of atoms; the empty monomial is the constant.

    Attributes:
        terms: The coefficients, none 0, by monomial: atoms in order of their serial numbers.

    Example:
        >>> h, d = Atom(12), Atom(64)
        >>> both = Polynomial.of_atom(h) * Polynomial.of_atom(d) * Polynomial.constant(3)
        >>> both.value(lambda atom: atom.length)
        2304
        >>> (both - both).terms
        {}
    """

    terms: dict[Monomial, int]

    @staticmethod
    def constant(value: int) -> Polynomial:
        """The polynomial that is this number."""
        return Polynomial({(): int(value)} if value else {})

    @staticmethod
    def of_atom(atom: Atom) -> Polynomial:
        """The polynomial that is the size of this atom."""
        return Polynomial({(atom,): 1})

    @staticmethod
    def of_axis(axis: Axis) -> Polynomial:
        """The size of a resolved axis."""
        out: dict[Monomial, int] = {}
        for term in axis.terms:
            number, atoms = 1, list[Atom]()
            inside: dict[Monomial, int] = {(): 1}
            for factor in term:
                if isinstance(factor, Atom):
                    atoms.append(factor)
                elif isinstance(factor, Axis):
                    inside = (Polynomial(inside) * Polynomial.of_axis(factor)).terms
                else:
                    number *= factor
            for monomial, coefficient in inside.items():
                key = _ordered((*atoms, *monomial))
                out[key] = out.get(key, 0) + number * coefficient
        return Polynomial({m: c for m, c in out.items() if c})

    def __add__(self, other: Polynomial) -> Polynomial:
        return self._combine(other, 1)

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self._combine(other, -1)

    def _combine(self, other: Polynomial, sign: int) -> Polynomial:
        out = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            out[monomial] = out.get(monomial, 0) + sign * coefficient
            if not out[monomial]:
                del out[monomial]
        return Polynomial(out)

    def __mul__(self, other: Polynomial) -> Polynomial:
        out: dict[Monomial, int] = {}
        for m, a in self.terms.items():
            for n, b in other.terms.items():
                key = _ordered((*m, *n))
                out[key] = out.get(key, 0) + a * b
        return Polynomial({m: c for m, c in out.items() if c})

    def divided(self, other: Polynomial) -> Polynomial | None:
        """The exact quotient by a single term, or None where it does not divide."""
        if len(other.terms) != 1:
            return None
        (divisor, by), out = next(iter(other.terms.items())), {}
        for monomial, coefficient in self.terms.items():
            left = Counter(monomial)
            left.subtract(divisor)
            if coefficient % by or min(left.values(), default=0) < 0:
                return None
            out[_ordered(tuple(left.elements()))] = coefficient // by
        return Polynomial(out)

    def reduced(self) -> Polynomial:
        """The polynomial without the atoms and the number that all its terms share.

        It is 0 for the same positive sizes.
        """
        if not self.terms:
            return self
        shared = Counter(next(iter(self.terms)))
        for monomial in self.terms:
            shared &= Counter(monomial)
        common = Polynomial({tuple(shared.elements()): math.gcd(*self.terms.values())})
        return self.divided(common) or self

    def with_constants(self, fixed: Callable[[Atom], bool]) -> Polynomial:
        """The polynomial with those atoms that are fixed replaced by their lengths."""
        out: dict[Monomial, int] = {}
        for monomial, number in self.terms.items():
            rest = []
            for atom in monomial:
                if fixed(atom):
                    number *= atom.length
                else:
                    rest.append(atom)
            out[tuple(rest)] = out.get(tuple(rest), 0) + number
        return Polynomial({m: c for m, c in out.items() if c})

    @property
    def degree(self) -> int:
        """The largest number of atoms in a monomial."""
        return max(map(len, self.terms), default=0)

    def atoms(self) -> Iterator[Atom]:
        """Every atom in it, once."""
        yield from dict.fromkeys(atom for monomial in self.terms for atom in monomial)

    def value(self, count: Callable[[Atom], int]) -> int:
        """The value when each atom has `count(atom)` neurons."""
        total = 0
        for monomial, product in self.terms.items():
            for atom in monomial:
                product *= count(atom)
            total += product
        return total
