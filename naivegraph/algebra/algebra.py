"""The unification of axes: making them equal, cutting and splitting them, as the rules of operators do.

Two axes become equal by unification (Robinson, "A machine-oriented logic based on the resolution principle",
Journal of the ACM 12, 1965; Martelli and Montanari, "An efficient unification algorithm", ACM Transactions on
Programming Languages and Systems 4, 1982), as a compiler infers types: a free atom that has to equal an axis
is bound to it, and two composed axes are decomposed until atoms are left. Composed axes have two operations
in place of a constructor:

* *A sum is a concatenation.* Lengths are known, so the boundaries of both sums are, and terms are cut at all
  of them: with lengths 2 and 4 against 3 and 3, `a + b = c + d` has boundaries at 2 and 3, so that c is cut
  into x and y, of 2 and 1 neurons, and a becomes x, b becomes `y + d`.
* *A product is a numbering in mixed radix.* Index `i*n + j` of `a*b` is index j of row i, n being the length
  of b. Two products of equal length are equal where their factors can be refined into a common sequence: the
  greatest common divisor of the two outermost lengths (or of the innermost, where these are coprime) is split
  off both, as 32 against `8*4` becomes `8*4`.

Where terms fail to unify, with different constants, unification of types fails. Here neurons can always be
equal by not changing at all: what cannot be expressed is fixed, and the reason is kept. Hence there always is
a solution, though not always the most general one: products are fixed where neither outermost nor innermost
lengths have a common divisor, for one. The work depends on the number of terms, never on the number of
neurons.
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
from naivegraph.algebra.bindings import Bindings

__all__ = ["Algebra"]


class Algebra(Bindings):
    """Equality, cuts and splits of the axes of one network; its attributes are those of `Bindings`.

    Example:
        >>> algebra = Algebra()
        >>> a, b, c = algebra.new(6), algebra.new(2), algebra.new(4)
        >>> algebra.unify(a, algebra.concatenate([b, c]))
        >>> print(algebra.resolve(a))
        <2> + <4>
    """

    # Equality

    def unify(self, a: Axis, b: Axis) -> None:
        """Make two axes equal, neuron by neuron.

        Both sums are walked through from the left. Terms of equal length are made equal; of unequal ones the
        longer is bound to as many terms of the other sum as it covers, or cut.

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
        """Take the next term off a stack, resolved; of several that it resolves to, all but one go back."""
        term = stack.pop()
        if all(isinstance(f, int) or (isinstance(f, Atom) and f.bound is None) for f in term):
            return term
        terms = self.resolve(Axis((term,), -1)).terms
        stack.extend(reversed(terms[1:]))
        return terms[0]

    def _unify_longer(
        self, longer: Term, n: int, shorter: Term, m: int, mine: list[Term], other: list[Term]
    ) -> None:
        """Do one step of `unify` for terms of unequal lengths, and put what is left of them back.

        Args:
            longer: The longer term, of n indices.
            n: Its length.
            shorter: The shorter term, of m indices.
            m: Its length.
            mine: The stack the longer term came from.
            other: The stack the shorter term came from.
        """
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
        """Make two terms of equal length equal, from their outermost factors."""
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
            # Both a and b are g times something: the factors of length g are equal, and so are the rests.
            g = math.gcd(n, m)
            p_out = (a,) if n == g else self._halve(a, g)
            q_out = (b,) if m == g else self._halve(b, g)
            self._unify_terms(p_out[:1], q_out[:1])
            self._again((*p_out[1:], *p[1:]), (*q_out[1:], *q[1:]))
        else:
            self._unify_inside(p, q)

    def _unify_inside(self, p: Term, q: Term) -> None:
        """Make two products equal from their innermost factors, where the outermost are coprime."""
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
        """Make two products equal whose factors may be bound by now."""
        self.unify(total(product(p)), total(product(q)))

    def _unify_single(self, p: Term, q: Term) -> None:
        """Make two terms equal of which one has at most one factor: nothing, an atom, a number or a sum."""
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
        """Write a factor as a product of two, the first of length `outer`; an atom is bound to new ones."""
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
        """The first `at` indices of a term, and the rest.

        The term is a number of rows, its first factor, of what its other factors are. A cut between two rows
        cuts the first factor alone.
        """
        head, tail = term[0], term[1:]
        if isinstance(head, Axis):
            return self.cut(head, at)
        rows, rest = divmod(at, term_length(tail))
        after = length_of(head) - rows - (rest > 0)
        parts: list[Factor] = self._pieces(head, [rows, int(rest > 0), after])
        left, right = product([parts[0], *tail]), product([parts[2], *tail])
        if not rest:
            return self.resolve(total(left)), self.resolve(total(right))
        # A cut across a row sets that row apart. Rows share their inside, so it is cut in all of them.
        first, second = self.cut(total(product(tail)), rest)
        row = single(parts[1])
        if isinstance(parts[1], Atom):
            parts[1].alone = True
        return (
            self.resolve(total([*left, *join([row, first]).terms])),
            self.resolve(total([*join([row, second]).terms, *right])),
        )

    def _pieces(self, factor: Factor, lengths: Sequence[int]) -> list[Factor]:
        """Write a factor as a sum of runs of these lengths; a run of length 0 is the int 0."""
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
        """Write an axis as rows of `inner` neurons: the outer axis and the inner one, shared by all rows.

        The axis of a reshaped tensor: a sum is cut into whole rows, and the rows of all pieces are made
        equal.

        Raises:
            ValueError: if the length is no multiple of `inner`.

        Example:
            >>> algebra = Algebra()
            >>> heads, size = algebra.split(algebra.new(12), 4)
            >>> heads.length, size.length
            (3, 4)
        """
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
        """Take whole rows off a stack of terms: their number as an axis, and the axis of one row."""
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
        """Split one term, whose length is a multiple of `inner`, into rows.

        Factors go to the row from the innermost on, while the length that is missing is a multiple of theirs;
        the last one may be written as a product, of which the row gets the second factor.
        """
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
                # Rows that are no whole multiples of this factor mix the neurons of different rows.
                reason = f"its neurons are regrouped in rows of {inner}, at {self.where}"
                self.pin(total([(*outer, factor)]), reason)
                self.pinned.setdefault(reason, self.where)
                outer = [FixedLength(term_length((*outer, factor)) // want, reason)]
                inside.insert(0, FixedLength(want, reason))
                want = 1
        return self._product(outer), self._product(inside)

    def _product(self, factors: Sequence[Factor], *axes: Axis) -> Axis:
        """The product of factors and axes, outermost first, resolved."""
        return self.resolve(total(product([*factors, *axes])))

    # What operators do

    def concatenate(self, axes: Sequence[Axis]) -> Axis:
        """One axis after the other."""
        return total([term for axis in axes for term in self.resolve(axis).terms])

    def join(self, axes: Sequence[Axis]) -> Axis:
        """Several dimensions flattened into one, outermost first."""
        return join([self.resolve(axis) for axis in axes])
