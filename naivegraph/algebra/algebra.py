"""Making axes equal, cutting them and splitting them: the operations every operator's rule is made of.

As in the unification of types, an atom that must equal something is bound to it, a sum against a sum cuts
atoms at the common boundaries, and a product against a product factors them (a 32 against `8*4` becomes
`8*4`). What cannot be expressed is fixed, and the reason is kept. The cost is per operator, never per neuron.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from naivegraph.algebra.axis import (
    Atom,
    Axis,
    Factor,
    FixedLength,
    Term,
    join,
    length_of,
    product,
    single,
    stripped,
    term_length,
    total,
)

__all__ = ["Algebra"]


class Algebra:
    """The bindings of the atoms of one network.

    Attributes:
        binds: How many atoms were bound or fixed.
        where: The vertex whose operators are being related.
        pinned: The vertex at which neurons were first fixed for each reason.

    Example:
        >>> algebra = Algebra()
        >>> a, b, c = algebra.new(6), algebra.new(2), algebra.new(4)
        >>> algebra.unify(a, algebra.concatenate([b, c]))
        >>> print(algebra.resolve(a))
        <2> + <4>
    """

    def __init__(self) -> None:
        self.binds = 0
        self.where = ""
        self.pinned: dict[str, str] = {}

    def new(self, length: int) -> Axis:
        """A fresh axis of `length` neurons."""
        return single(Atom(length, self.where)) if length else total([])

    # Resolving

    def resolve(self, axis: Axis) -> Axis:
        """The axis with every bound atom replaced by what it is bound to."""
        found = axis.resolved or axis
        for atom in found.atoms():
            if atom.bound is not None:
                return self._settled(axis)
        return found

    def _settled(self, axis: Axis) -> Axis:
        # What it is made of comes first: a run cut a thousand times is a chain too long for recursion.
        pending = [axis]
        while pending:
            last = pending[-1].resolved or pending[-1]
            bound = [atom.bound for atom in last.atoms() if atom.bound is not None]
            stale = [each for each in bound if _stale(each)]
            if stale:
                pending += stale
                continue
            if bound:
                pending[-1].resolved = self._replaced(last)
            pending.pop()
        return axis.resolved or axis

    def _replaced(self, axis: Axis) -> Axis:
        if len(axis.terms) == 1 == len(axis.terms[0]):
            only = self._factor(axis.terms[0][0])
            if isinstance(only, Axis):
                return only
        terms: list[Term] = []
        for term in axis.terms:
            terms.extend(product([self._factor(f) for f in term]))
        return total(terms)

    def _factor(self, factor: Factor) -> Factor:
        if isinstance(factor, Axis):
            return self.resolve(factor)
        if isinstance(factor, Atom) and factor.bound is not None:
            return factor.bound.resolved or factor.bound
        return factor

    def bind(self, atom: Atom, axis: Axis) -> None:
        """Say that `atom` is `axis` (resolved); fixes both if the atom would contain itself."""
        if axis.terms == ((atom,),):
            return
        if atom in axis.atoms():
            self.pin(axis, f"would have to equal itself and something more, at {self.where}")
            return
        if atom.alone:
            for inner in axis.atoms():
                inner.alone = True
        atom.bound, atom.where = axis, self.where
        self.binds += 1

    def pin(self, axis: Axis, reason: str) -> None:
        """Fix every neuron of an axis at its present place, for `reason`."""
        free = self.resolve(axis).atoms()
        if free:
            self.pinned.setdefault(reason, self.where)
        for atom in free:
            if atom.bound is None:
                atom.bound, atom.where = single(FixedLength(atom.length, reason)), self.where
                self.binds += 1

    # Equality

    def unify(self, a: Axis, b: Axis) -> None:
        """Make two axes equal, neuron by neuron.

        Raises:
            ValueError: if their lengths differ.
        """
        if a.length != b.length:
            raise ValueError(f"axes of {a.length} and {b.length} neurons cannot be equal (at {self.where})")
        a, b = self.resolve(a), self.resolve(b)
        if a is b or a.terms == b.terms:
            return
        for one, other in ((a, b), (b, a)):
            whole = one.atoms()
            if len(whole) == 1 and one.terms == (whole,) and whole[0] not in other.atoms():
                self.bind(whole[0], other)
                return
        left, right = list(reversed(a.terms)), list(reversed(b.terms))
        while left and right:
            p, q = self._pop(left), self._pop(right)
            if p == q:
                continue
            n, m = term_length(p), term_length(q)
            if n == m:
                self._unify_terms(p, q)
            elif n > m:
                self._unify_longer(p, n, q, m, left, right)
            else:
                self._unify_longer(q, m, p, n, right, left)

    def _pop(self, stack: list[Term]) -> Term:
        """The next term of a stack, resolved; what it resolves to beyond its first term goes back."""
        term = stack.pop()
        if all(isinstance(f, int) or (isinstance(f, Atom) and f.bound is None) for f in term):
            return term
        terms = self.resolve(Axis((term,), -1)).terms
        stack.extend(reversed(terms[1:]))
        return terms[0]

    def _unify_longer(
        self, longer: Term, n: int, shorter: Term, m: int, mine: list[Term], other: list[Term]
    ) -> None:
        """One step of `unify` for terms of unequal lengths; puts what is left back on the stacks."""
        if len(longer) == 1 and isinstance(longer[0], Atom):
            parts, count = [shorter], m
            while count < n:
                parts.append(self._pop(other))
                count += term_length(parts[-1])
            if count == n:
                self.bind(longer[0], total(parts))
                return
            other.extend(reversed(parts[1:]))
        head, tail = self._cut_term(longer, m)
        mine.extend(reversed(tail.terms))
        mine.extend(reversed(head.terms))
        other.append(shorter)

    def _unify_terms(self, p: Term, q: Term) -> None:
        """Make two terms of equal length equal."""
        p, q = stripped(p, q)
        if len(p) <= 1 or len(q) <= 1:
            self._unify_single(p, q)
            return
        a, b = p[0], q[0]
        n, m = length_of(a), length_of(b)
        if min(n, m) == 1 and set(total([p]).atoms()) & set(total([q]).atoms()):
            # `a*1` against `1*a`: halving `a` to match the single index would leave the same question again.
            self.pin(total([p, q]), f"its neurons are grouped in another order, at {self.where}")
        elif math.gcd(n, m) > 1 or min(n, m) == 1:
            g = math.gcd(n, m)
            p_out = (a,) if n == g else self._halve(a, g)
            q_out = (b,) if m == g else self._halve(b, g)
            self._unify_terms(p_out[:1], q_out[:1])
            self._again((*p_out[1:], *p[1:]), (*q_out[1:], *q[1:]))
        else:
            self._unify_inside(p, q)

    def _unify_inside(self, p: Term, q: Term) -> None:
        """Match two products from the inside, where the outermost factors are coprime."""
        a, b = p[-1], q[-1]
        g = math.gcd(length_of(a), length_of(b))
        if g == 1 or isinstance(a, Axis) or isinstance(b, Axis):
            reason = f"its neurons are grouped in another order, at {self.where}"
            self.pin(total([p]), reason)
            self.pin(total([q]), reason)
            return
        p_in = (a,) if length_of(a) == g else self._halve(a, length_of(a) // g)
        q_in = (b,) if length_of(b) == g else self._halve(b, length_of(b) // g)
        self._unify_terms(p_in[-1:], q_in[-1:])
        self._again((*p[:-1], *p_in[:-1]), (*q[:-1], *q_in[:-1]))

    def _again(self, p: Term, q: Term) -> None:
        self.unify(total(product(p)), total(product(q)))

    def _unify_single(self, p: Term, q: Term) -> None:
        """Make two terms equal of which one has at most one factor."""
        for one, other in ((p, q), (q, p)):
            if not one:
                self.pin(total([other]), f"a single index, at {self.where}")
                return
            if len(one) == 1 and isinstance(one[0], Atom):
                self.bind(one[0], total(product(other)))
                return
        for one, other in ((p, q), (q, p)):
            if len(one) == 1 and isinstance(one[0], int):
                fixed = one[0]
                reason = getattr(fixed, "reason", f"equals a fixed number of neurons at {self.where}")
                self.pin(total([other]), reason)
                return
        for one, other in ((p, q), (q, p)):
            if len(one) == 1 and isinstance(one[0], Axis):
                self.unify(one[0], total(product(other)))
                return

    def _halve(self, factor: Factor, outer: int) -> tuple[Factor, Factor]:
        """Write a factor as a product of `outer` and the rest."""
        inner = length_of(factor) // outer
        if isinstance(factor, int):
            reason = factor.reason if isinstance(factor, FixedLength) else None
            return (
                (outer, inner) if reason is None else (FixedLength(outer, reason), FixedLength(inner, reason))
            )
        if isinstance(factor, Axis):
            raise TypeError("a nested sum cannot be halved")
        first, second = Atom(outer, self.where), Atom(inner, self.where)
        self.bind(factor, Axis(((first, second),), factor.length))
        return first, second

    # Cutting

    def cut(self, axis: Axis, at: int) -> tuple[Axis, Axis]:
        """The first `at` neurons of an axis, and the rest."""
        axis = self.resolve(axis)
        if not 0 <= at <= axis.length:
            raise ValueError(f"cannot cut an axis of {axis.length} neurons at {at}")
        before: list[Term] = []
        position = 0
        for index, term in enumerate(axis.terms):
            if position == at:
                return total(before), self.resolve(total(axis.terms[index:]))
            n = term_length(term)
            if position + n > at:
                head, tail = self._cut_term(term, at - position)
                rest = [*tail.terms, *axis.terms[index + 1 :]]
                return self.resolve(total([*before, *head.terms])), self.resolve(total(rest))
            before.append(term)
            position += n
        return axis, total([])

    def _cut_term(self, term: Term, at: int) -> tuple[Axis, Axis]:
        head, tail = term[0], term[1:]
        if isinstance(head, Axis):
            return self.cut(head, at)
        rows, rest = divmod(at, term_length(tail))
        after = length_of(head) - rows - (rest > 0)
        parts: list[Factor] = self._pieces(head, [rows, int(rest > 0), after])
        left, right = product([parts[0], *tail]), product([parts[2], *tail])
        if not rest:
            return self.resolve(total(left)), self.resolve(total(right))
        # The cut crosses a row: that row is set apart, and every row's inside is cut at the same place.
        first, second = self.cut(total(product(tail)), rest)
        row = single(parts[1])
        if isinstance(parts[1], Atom):
            parts[1].alone = True
        return (
            self.resolve(total([*left, *join([row, first]).terms])),
            self.resolve(total([*join([row, second]).terms, *right])),
        )

    def _pieces(self, factor: Factor, lengths: Sequence[int]) -> list[Factor]:
        """Write a factor as a sum of runs; a run of length 0 is the int 0."""
        if isinstance(factor, int):
            reason = factor.reason if isinstance(factor, FixedLength) else None
            return [n if reason is None else FixedLength(n, reason) for n in lengths]
        if not isinstance(factor, Atom):
            raise TypeError("a nested sum is cut as an axis")
        if sum(n > 0 for n in lengths) == 1:
            return [factor if n else 0 for n in lengths]
        pieces: list[Factor] = [Atom(n, self.where) if n else 0 for n in lengths]
        self.bind(factor, total([(piece,) for piece in pieces]))
        return pieces

    # Splitting

    def split(self, axis: Axis, inner: int) -> tuple[Axis, Axis]:
        """Write an axis as rows of `inner` neurons: the outer axis and the inner one, shared by all rows."""
        axis = self.resolve(axis)
        if inner <= 0 or axis.length % inner:
            raise ValueError(f"cannot split an axis of {axis.length} neurons into rows of {inner}")
        if inner == axis.length:
            return single(1), axis
        if inner == 1:
            return axis, single(1)
        outers: list[Term] = []
        rows: Axis | None = None
        stack = list(reversed(axis.terms))
        while stack:
            outer, row = self._next_rows(stack, inner)
            outers.extend(outer.terms)
            if rows is None:
                rows = row
            else:
                self.unify(rows, row)
        if rows is None:
            raise ValueError("cannot split an empty axis")
        return self.resolve(total(outers)), self.resolve(rows)

    def _next_rows(self, stack: list[Term], inner: int) -> tuple[Axis, Axis]:
        """Take whole rows off a stack of terms: how many (as an axis), and what a row is made of."""
        term = self._pop(stack)
        n = term_length(term)
        if n % inner == 0:
            return self._split_term(term, inner)
        if n > inner:
            head, tail = self._cut_term(term, n // inner * inner)
            stack.extend(reversed(tail.terms))
            stack.extend(reversed(head.terms))
            return self._next_rows(stack, inner)
        stack.append(term)
        return self._one_row(stack, inner)

    def _one_row(self, stack: list[Term], inner: int) -> tuple[Axis, Axis]:
        """Take exactly one row off a stack of terms."""
        row: list[Term] = []
        count = 0
        while count < inner:
            term = self._pop(stack)
            n = term_length(term)
            if count + n > inner:
                head, tail = self._cut_term(term, inner - count)
                stack.extend(reversed(tail.terms))
                stack.extend(reversed(head.terms))
                continue
            row.append(term)
            count += n
        return single(1), self.resolve(total(row))

    def _split_term(self, term: Term, inner: int) -> tuple[Axis, Axis]:
        """Split one term, whose length is a multiple of `inner`, into rows."""
        outer, inside, want = list(term), list[Factor](), inner
        while want > 1:
            factor = outer.pop()
            n = length_of(factor)
            if want % n == 0:
                inside.insert(0, factor)
                want //= n
            elif n % want == 0:
                if isinstance(factor, Axis):
                    rest, row = self.split(factor, want)
                    return self._product(outer, rest), self._product([row], *map(single, inside))
                first, second = self._halve(factor, n // want)
                outer.append(first)
                inside.insert(0, second)
                want = 1
            else:
                # Rows which are no whole multiples of this factor: such a regrouping keeps nothing apart.
                reason = f"its neurons are regrouped in rows of {inner}, at {self.where}"
                self.pin(total([(*outer, factor)]), reason)
                self.pinned.setdefault(reason, self.where)
                outer = [FixedLength(term_length((*outer, factor)) // want, reason)]
                inside.insert(0, FixedLength(want, reason))
                want = 1
        return self._product(outer), self._product(inside)

    def _product(self, factors: Sequence[Factor], *axes: Axis) -> Axis:
        return self.resolve(total(product([*factors, *axes])))

    # What operators do

    def concatenate(self, axes: Sequence[Axis]) -> Axis:
        """One axis after the other."""
        return total([term for axis in axes for term in self.resolve(axis).terms])

    def join(self, axes: Sequence[Axis]) -> Axis:
        """Several dimensions flattened into one, outermost first."""
        return join([self.resolve(axis) for axis in axes])


def _stale(axis: Axis) -> bool:
    """Whether an atom was bound since the axis was resolved."""
    return any(atom.bound is not None for atom in (axis.resolved or axis).atoms())
