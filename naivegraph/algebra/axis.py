"""Axes as sums of products of widths, in normal form.

An axis describes one dimension of a tensor as a sum of terms; a term is a product of factors, outermost
first. A factor is an `Atom` (a run of neurons that may change), an int (a fixed number of indices) or, only
as the last factor, a nested axis. `3*h*d` is a fused query, key and value of `h` heads of size `d`; `a + b` a
concatenation; `c*49` a flattened 7x7 map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = [
    "Atom",
    "Axis",
    "Factor",
    "FixedLength",
    "Term",
    "join",
    "length_of",
    "matching",
    "product",
    "reasons",
    "single",
    "stripped",
    "term_length",
    "total",
]


class FixedLength(int):
    """A fixed number of indices, and the reason why it is fixed."""

    reason: str

    def __new__(cls, value: int, reason: str) -> FixedLength:
        """Make the number `value`, fixed for `reason`."""
        self = super().__new__(cls, value)
        self.reason = reason
        return self

    def __reduce__(self) -> tuple[type[FixedLength], tuple[int, str]]:
        return FixedLength, (int(self), self.reason)


_serials = itertools.count()


class Atom:
    """A run of neurons, the variable of the algebra.

    Attributes:
        length: Its number of neurons.
        bound: The axis it turned out to be; None while it is free.
        alone: Whether it is a row of a product whose inside was cut in two: it may go, but never become
            several rows, for `2*(a + b)` is not `2*a + 2*b`.
        where: The vertex at which it was made or bound.
        serial: Its number among all atoms made, for an order that does not depend on memory addresses.
    """

    __slots__ = ("alone", "bound", "length", "serial", "where")

    def __init__(self, length: int, where: str = "") -> None:
        self.length = length
        self.alone = False
        self.bound: Axis | None = None
        self.where = where
        self.serial = next(_serials)

    def __repr__(self) -> str:
        return f"<{self.length}>" if self.bound is None else f"<{self.length}={self.bound}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Atom:
        """An atom is an identity: copies of a graph's axes are made by relating the copy."""
        return self


class Axis:
    """A sum of terms that never changes, in normal form when made by `resolve`, `total` or `join`.

    In normal form a term has no factor 1 but for a single 1, no neighbouring ints and no axis but as its last
    factor, and neighbouring terms differ in more than a leading int.

    Attributes:
        terms: The terms.
        length: Their number of indices.
        resolved: The last result of `Bindings.resolve`; None if it is the axis itself.

    Example:
        >>> h, d = Atom(12), Atom(64)
        >>> axis = join([single(3), single(h), single(d)])
        >>> axis.length
        2304
        >>> print(axis)
        3*<12>*<64>
    """

    __slots__ = ("_atoms", "length", "resolved", "terms")

    def __init__(self, terms: tuple[Term, ...], length: int) -> None:
        self.terms: Final = terms
        self.length: Final = length
        self.resolved: Axis | None = None
        atoms: list[Atom] = []
        for term in terms:
            for factor in term:
                if isinstance(factor, Atom):
                    atoms.append(factor)
                elif isinstance(factor, Axis):
                    atoms += factor._atoms
        self._atoms: Final[tuple[Atom, ...]] = tuple(atoms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axis) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        return " + ".join("*".join(_text(f) for f in term) or "1" for term in self.terms) or "0"

    __repr__ = __str__

    @property
    def fixed(self) -> bool:
        """True if no atom is in it (of a resolved axis: if it cannot change)."""
        return not self._atoms

    def atoms(self) -> tuple[Atom, ...]:
        """All atoms written in it, bound ones too, as often as they are written."""
        return self._atoms

    def size(self, count: Callable[[Atom], int]) -> int:
        """Its length when each atom has `count(atom)` neurons."""
        return sum(
            math.prod(
                count(f) if isinstance(f, Atom) else f.size(count) if isinstance(f, Axis) else int(f)
                for f in term
            )
            for term in self.terms
        )


Factor = Atom | int | Axis
Term = tuple[Factor, ...]


def _text(factor: Factor) -> str:
    if isinstance(factor, Axis):
        return f"({factor})"
    return repr(factor) if isinstance(factor, Atom) else str(int(factor))


def length_of(factor: Factor) -> int:
    """The number of indices of one factor."""
    return int(factor) if isinstance(factor, int) else factor.length


def term_length(term: Term) -> int:
    """The number of indices of one term."""
    out = 1
    for factor in term:
        out *= factor if isinstance(factor, int) else factor.length
    return out


def single(factor: Factor) -> Axis:
    """The axis made of one factor."""
    if isinstance(factor, Axis):
        return factor
    length = length_of(factor)
    return Axis(((factor,),), length) if length or isinstance(factor, Atom) else Axis((), 0)


def total(terms: Iterable[Term]) -> Axis:
    """The sum of terms, in normal form if each term is: neighbours that differ in a leading int are merged.

    Terms of no index are left out, but for atoms of none: neurons are about to come there.

    Example:
        >>> d = Atom(4)
        >>> print(total([(2, d), (d,), (3, d)]))
        6*<4>
    """
    out: list[Term] = []
    length = 0
    for term in terms:
        size = term_length(term)
        if size == 0 and not any(isinstance(factor, Atom) and factor.length == 0 for factor in term):
            continue
        length += size
        if out:
            head, tail = _leading(out[-1])
            head2, tail2 = _leading(term)
            if tail == tail2:
                out[-1] = (_add(head, head2), *tail)
                continue
        out.append(term if term else (1,))
    return Axis(tuple(out), length)


def _add(a: int, b: int) -> int:
    """The sum of two numbers of indices, with the reason of the first that has one."""
    for side in (a, b):
        if isinstance(side, FixedLength):
            return FixedLength(int(a) + int(b), side.reason)
    return a + b


def _multiply(a: int, b: int) -> int:
    """The product of two numbers of indices, with the reason of the first that has one."""
    for side in (a, b):
        if isinstance(side, FixedLength):
            return FixedLength(int(a) * int(b), side.reason)
    return a * b


def _leading(term: Term) -> tuple[int, Term]:
    """A term as its leading int, or 1, and the rest."""
    if term and isinstance(term[0], int):
        return term[0], term[1:]
    return 1, term


def product(factors: Iterable[Factor]) -> list[Term]:
    """The product of factors, outermost first, as normal terms.

    A fixed 1 is dropped, neighbouring ints are multiplied, and a sum with factors inside it is distributed:
    `(a + b)*c` is `a*c + b*c`, while `c*(a + b)` keeps the sum as its last factor.
    """
    flat: list[Factor] = []
    pending = list(factors)
    for position, factor in enumerate(pending):
        if isinstance(factor, Axis):
            if not factor.terms:
                return []
            if len(factor.terms) == 1:
                rest = [*factor.terms[0], *pending[position + 1 :]]
                return _with_prefix(flat, product(rest))
            inside = pending[position + 1 :]
            if not inside:
                return _with_prefix(flat, list(factor.terms))
            spread: list[Term] = []
            for term in factor.terms:
                spread.extend(product([*term, *inside]))
            return _with_prefix(flat, list(total(spread).terms))
        if isinstance(factor, int):
            if factor == 1:
                continue
            if factor == 0:
                return []
            if flat and isinstance(flat[-1], int):
                flat[-1] = _multiply(flat[-1], factor)
                continue
        flat.append(factor)
    return [tuple(flat) if flat else (1,)]


def _with_prefix(prefix: list[Factor], terms: list[Term]) -> list[Term]:
    """`prefix * (terms)`, where prefix holds atoms and ints only and the terms are normal."""
    if not prefix:
        return terms
    if not terms:
        return []
    if len(terms) > 1:
        nested = total(terms)
        if len(nested.terms) > 1:
            return [(*prefix, nested)]
        terms = list(nested.terms)
    inner = list(terms[0])
    out = list(prefix)
    for position, factor in enumerate(inner):
        if isinstance(factor, int) and factor == 1:
            continue
        if isinstance(factor, int) and out and isinstance(out[-1], int):
            out[-1] = _multiply(out[-1], factor)
            continue
        out.extend(inner[position:])
        break
    return [tuple(out) if out else (1,)]


def join(axes: Iterable[Axis]) -> Axis:
    """The product of axes, outermost first: the axis of these dimensions flattened into one."""
    return total(product(list(axes)))


def reasons(axis: Axis) -> dict[str, None]:
    """The reasons for which parts of a resolved axis are fixed, in order."""
    return dict.fromkeys(_reasons(axis))


def _reasons(axis: Axis) -> Iterator[str]:
    for term in axis.terms:
        for factor in term:
            if isinstance(factor, FixedLength):
                yield factor.reason
            elif isinstance(factor, Axis):
                yield from _reasons(factor)


def stripped(p: Term, q: Term) -> tuple[Term, Term]:
    """Both terms without the factors they share at the head and at the tail."""
    start = 0
    while start < min(len(p), len(q)) and p[start] == q[start]:
        start += 1
    p, q = p[start:], q[start:]
    end = 0
    while end < min(len(p), len(q)) and p[-1 - end] == q[-1 - end]:
        end += 1
    return p[: len(p) - end], q[: len(q) - end]


def matching(sources: list[Axis], targets: list[int]) -> tuple[list[Axis], list[int]]:
    """Take the shortest leading groups of dimensions with equally many elements off both lists.

    Args:
        sources: The axes of a tensor.
        targets: The sizes of its new shape.

    Example:
        >>> from naivegraph.algebra.axis import Atom, matching, single
        >>> axes, sizes = matching([single(Atom(6)), single(Atom(4)), single(Atom(5))], [2, 12, 5])
        >>> [axis.length for axis in axes], sizes
        ([6, 4], [2, 12])
    """
    group: list[Axis] = []
    sizes: list[int] = []
    have = want = 1
    while sources or targets:
        if group and sizes and have == want:
            break
        if (have <= want and sources) or not targets:
            group.append(sources.pop(0))
            have *= group[-1].length
        else:
            sizes.append(targets.pop(0))
            want *= sizes[-1]
    # Dimensions of one index at the end belong to the last group.
    while sources and not targets:
        group.append(sources.pop(0))
    while targets and not sources:
        sizes.append(targets.pop(0))
    return group, sizes


def made_of(axis: Axis) -> str:
    """The size of an axis as a sum of products of numbers.

    Example:
        >>> from naivegraph.algebra.axis import Atom, join, single
        >>> made_of(join([single(3), single(Atom(12)), single(Atom(64))]))
        '3 x 12 x 64'
    """
    terms = []
    for term in axis.terms:
        factors = [f"({made_of(f)})" if isinstance(f, Axis) else str(_number(f)) for f in term]
        terms.append(" x ".join(factors) or "1")
    return " + ".join(terms) or "0"


def _number(factor: Atom | int) -> int:
    """The number of indices of an atom or int, without its reason."""
    return factor.length if isinstance(factor, Atom) else int(factor)
