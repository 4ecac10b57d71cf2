"""Widths whose rows may keep different neurons, such as the size of heads: each head may keep its own.

In a product `g*c` every index of g is a row of c's neurons. The rows may keep different neurons, as many in
each, if no operator ever combines the neurons of one place in two rows. That is so if

- in every parameter and buffer c stands directly inside g, so that one list of indices can say which stay;
- in every tensor each entry that lies on c tells its row;
- no operator mixes the rows of such a tensor: none sums over g, none has g in a statistic, and none pairs
  rows with rows.

An operator that does none of these treats every row by itself, or else its rule would not have left g free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from naivegraph.algebra.axis import Atom, Axis, Factor
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.operators.relation import Relation, tensors_in

__all__ = ["bare", "outer_widths"]

# The atoms written in an axis, each with the factor directly outside it.
_Places = list[tuple[Atom, Factor | None]]


def outer_widths(
    graph: Recording, relation: Relation, state: Mapping[str, Sequence[Axis]]
) -> dict[Atom, Atom]:
    """Find the widths whose rows may keep different neurons.

    Args:
        graph: A graph.
        relation: The result of relating its operators.
        state: The resolved axes of its parameters and buffers.

    Returns:
        By atom of such a width the atom of the width whose neurons are its rows.
    """
    found = _directly_inside(axis for axes in state.values() for axis in axes)
    if found:
        _Rows(relation, found).check(graph)
    return found


def bare(axis: Axis, inner: Atom, outer: Atom) -> bool:
    """Tell whether a width stands somewhere in a resolved axis without `outer` directly outside it."""
    return any(atom is inner and outside is not outer for atom, outside in _places(axis))


def _places(axis: Axis) -> Iterator[tuple[Atom, Factor | None]]:
    """Every atom written in a resolved axis, with the factor directly outside it."""
    for term in axis.terms:
        outside: Factor | None = None
        for factor in term:
            if isinstance(factor, Atom):
                yield factor, outside
            elif isinstance(factor, Axis):
                yield from _places(factor)
            outside = factor


def _directly_inside(axes: Iterator[Axis]) -> dict[Atom, Atom]:
    """The atoms that stand directly inside one and the same atom in all of these axes, with that atom."""
    outside: dict[Atom, set[Factor | None]] = {}
    for axis in axes:
        for atom, factor in _places(axis):
            outside.setdefault(atom, set()).add(factor if isinstance(factor, Atom) else None)
    return {
        atom: factor
        for atom, (factor, *more) in outside.items()
        if isinstance(factor, Atom) and not more and factor.length > 1 < atom.length
    }


class _Rows:
    """Search through the operators of a network for those that mix rows, whose widths are dropped."""

    def __init__(self, relation: Relation, found: dict[Atom, Atom]) -> None:
        self._relation, self._found = relation, found
        self._known: dict[Axis, _Places] = {}
        self._carried: dict[int, list[Atom]] = {}

    def check(self, graph: Recording) -> None:
        """Drop the widths that violate a condition."""
        for number in self._relation.axes:
            for atom in self._on(number):
                if not self._told(number, atom):
                    self._found.pop(atom)
        for vertex in (vertex for run in graph.runs for vertex in run.vertices):
            if isinstance(vertex.target, CustomFunction):
                self._drop([vertex.args, vertex.kwargs, vertex.output])
            for operation in vertex.operations:
                for atom in self._among([operation.args, operation.kwargs]):
                    if any(self._apart(stub.id, atom) > 1 for stub in tensors_in(operation.outputs)):
                        self._found.pop(atom)
        for summed in self._relation.summed:
            self._mixed(summed.axis, [stub for stub, _ in summed.factors])
        for axis, operation in self._relation.mixed:
            self._mixed(axis, [operation.args, operation.kwargs])

    def _at(self, axis: Axis) -> _Places:
        axis = self._relation.algebra.resolve(axis)
        if axis not in self._known:
            self._known[axis] = list(_places(axis))
        return self._known[axis]

    def _of(self, number: int) -> list[_Places]:
        return [self._at(axis) for axis in self._relation.axes.get(number, ())]

    def _on(self, number: int) -> list[Atom]:
        """The widths still in question that a tensor carries."""
        if number not in self._carried:
            atoms = dict.fromkeys(atom for places in self._of(number) for atom, _ in places)
            self._carried[number] = [atom for atom in atoms if atom in self._found]
        return [atom for atom in self._carried[number] if atom in self._found]

    def _among(self, value: object) -> list[Atom]:
        return list(dict.fromkeys(atom for stub in tensors_in(value) for atom in self._on(stub.id)))

    def _drop(self, value: object) -> None:
        for atom in self._among(value):
            self._found.pop(atom)

    def _told(self, number: int, inner: Atom) -> bool:
        """Tell whether each entry of a tensor tells its row.

        Either the width stands directly inside the outer one wherever it stands, or it never does and the
        outer one is in one other dimension, once, and in all entries of it.
        """
        outer, dims = self._found[inner], self._of(number)
        inside = [places for places in dims if any(atom is inner for atom, _ in places)]
        loose = [outside is not outer for places in inside for atom, outside in places if atom is inner]
        if not any(loose):
            return self._apart(number, inner) == 0
        if not all(loose) or self._apart(number, inner) != 1:
            return False
        dim = next(d for d, places in enumerate(dims) if any(atom is outer for atom, _ in places))
        axis = self._relation.algebra.resolve(self._relation.axes[number][dim])
        return len(axis.terms) == 1 and outer in axis.terms[0] and dims[dim] not in inside

    def _apart(self, number: int, inner: Atom) -> int:
        """The number of times the outer width stands in a tensor without the inner one directly inside it."""
        return self._count(self._of(number), inner)

    def _count(self, dims: list[_Places], inner: Atom) -> int:
        outer = self._found[inner]
        places = [place for dim in dims for place in dim]
        together = sum(atom is inner and outside is outer for atom, outside in places)
        return sum(atom is outer for atom, _ in places) - together

    def _mixed(self, axis: Axis, value: object) -> None:
        """Drop the widths of tensors whose rows lie along an axis that an operator works over as a whole."""
        for inner in self._among(value):
            if self._count([self._at(axis)], inner):
                self._found.pop(inner)
