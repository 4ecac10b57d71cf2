"""The substitution of an algebra: each atom is free, or bound to the axis that it turned out to be.

Bindings may contain bound atoms in turn, as in the triangular substitutions of unification (Robinson, "A
machine-oriented logic based on the resolution principle", Journal of the ACM 12, 1965): binding is a single
assignment, and `resolve` substitutes through to free atoms. Each axis keeps its last result, which is worked
out again only once an atom in it was bound.
"""

from __future__ import annotations

from naivegraph.algebra.axis import Atom, Axis, Factor, FixedLength, Term, product, single, total

__all__ = ["Bindings"]


class Bindings:
    """The bindings of the atoms of one network.

    Attributes:
        binds: The number of atoms bound or fixed so far.
        where: The vertex whose operators are being related, for messages.
        pinned: The vertex at which neurons were first fixed, by reason.
    """

    def __init__(self) -> None:
        self.binds = 0
        self.where = ""
        self.pinned: dict[str, str] = {}

    def new(self, length: int) -> Axis:
        """A new axis of `length` neurons, made of one free atom."""
        return single(Atom(length, self.where)) if length else total([])

    def resolve(self, axis: Axis) -> Axis:
        """The axis, in normal form, with every bound atom replaced by what it is bound to."""
        found = axis.resolved or axis
        for atom in found.atoms():
            if atom.bound is not None:
                return self._settled(axis)
        return found

    def _settled(self, axis: Axis) -> Axis:
        """Resolve an axis after the axes that its atoms are bound to."""
        # With a stack of its own: a run cut a thousand times is a chain too long for recursion.
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
        """Replace each bound atom once, and multiply out."""
        if len(axis.terms) == 1 == len(axis.terms[0]):
            only = self._factor(axis.terms[0][0])
            if isinstance(only, Axis):
                return only
        terms: list[Term] = []
        for term in axis.terms:
            terms.extend(product([self._factor(f) for f in term]))
        return total(terms)

    def _factor(self, factor: Factor) -> Factor:
        """A factor resolved, provided that the axes atoms are bound to are resolved already."""
        if isinstance(factor, Axis):
            return self.resolve(factor)
        if isinstance(factor, Atom) and factor.bound is not None:
            return factor.bound.resolved or factor.bound
        return factor

    def bind(self, atom: Atom, axis: Axis) -> None:
        """Bind a free atom to a resolved axis of its length.

        An atom that the axis contains would have to equal itself and something more, which no finite axis
        does (the occurs check of unification): the neurons of both are fixed instead.
        """
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
        """Fix every neuron of an axis at its present place, for `reason`, by binding its atoms to numbers."""
        free = self.resolve(axis).atoms()
        if free:
            self.pinned.setdefault(reason, self.where)
        for atom in free:
            if atom.bound is None:
                atom.bound, atom.where = single(FixedLength(atom.length, reason)), self.where
                self.binds += 1


def _stale(axis: Axis) -> bool:
    """Tell whether an atom was bound since the axis was resolved."""
    return any(atom.bound is not None for atom in (axis.resolved or axis).atoms())
