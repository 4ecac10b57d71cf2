"""The scope of a resize: the widths that may change, and the axes they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence

from naivegraph.algebra.axis import Atom, Axis, Factor, length_of, product, total
from naivegraph.edits.request.requests import Delta, Request, Size
from naivegraph.graph import Vertex
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["AxisRequest", "Scope"]


@dataclasses.dataclass(frozen=True)
class AxisRequest:
    """A request on one axis.

    Attributes:
        vertex: The vertex it is about.
        axis: The axis.
        request: The request on its size.
        where: The place of the axis, for messages: "output", "input 1"...
        gave_way: True if it was exact and is tried as a relaxed one, which then moves in its own direction.
    """

    vertex: Vertex
    axis: Axis
    request: Request
    where: str = "output"
    gave_way: bool = False

    @property
    def name(self) -> str:
        """Its name in messages, and of its rows in a program."""
        place = self.vertex.name if self.where == "output" else f"{self.vertex.name}, {self.where}"
        return f"{place}: {self.request}"

    @property
    def target(self) -> int | None:
        """The size it asks for, if it does."""
        if isinstance(self.request, Delta):
            return self.axis.length + self.request.delta
        return self.request.size if isinstance(self.request, Size) else None

    @property
    def is_relaxed(self) -> bool:
        """True if its size is to be reached only as nearly as possible."""
        return isinstance(self.request, (Delta, Size)) and self.request.relaxed


class Scope:
    """The widths and axes that may change with these requests.

    Attributes:
        widths: The widths with requests and all that share an axis or a constraint with them; all widths if
            there are no requests.
        axes: The distinct axes of all tensors with some of these widths; all else in them is a number.
        parameters: Those of them that are axes of parameters or buffers.
        fixed: Widths that keep all their neurons, with the reason.
    """

    def __init__(
        self, widths: Widths, constraints: SizeConstraints, axis_requests: Sequence[AxisRequest]
    ) -> None:
        every = widths.all_axes
        self.widths = _linked(widths, constraints, axis_requests, every)
        self._moving = {width.atom for width in self.widths} - _units(every, axis_requests)
        self.widths = [width for width in self.widths if width.atom in self._moving]
        self.axes = self._having(every)
        self.parameters = self._having(axis for axes in widths.axes.values() for axis in axes)
        self.fixed = constraints.fixed

    def settled(self, axis: Axis) -> Axis:
        """An axis with all widths out of scope as numbers, in normal form."""
        atoms = list(axis.atoms())
        if all(atom in self._moving for atom in atoms):
            return axis
        return total(term for factors in axis.terms for term in product(self._numbers(factors)))

    def _numbers(self, factors: Iterable[Factor]) -> Iterator[Factor]:
        for factor in factors:
            if isinstance(factor, Axis):
                yield self.settled(factor)
            elif isinstance(factor, Atom) and factor not in self._moving:
                yield factor.length
            else:
                yield factor

    def _having(self, axes: Iterable[Axis]) -> list[Axis]:
        some = (axis for axis in axes if any(atom in self._moving for atom in axis.atoms()))
        return list(dict.fromkeys(self.settled(axis) for axis in some))


def _units(axes: Iterable[Axis], axis_requests: Sequence[AxisRequest]) -> set[Atom]:
    """Widths of one neuron that only ever multiply others, as the inputs of a depthwise convolution's groups.

    There is nothing to choose in them, and more of them would multiply all the others: they keep their size,
    unless there is a request on them.
    """
    asked = {
        axis_request.axis.terms[0][0]
        for axis_request in axis_requests
        if [len(term) for term in axis_request.axis.terms] == [1]
    }
    found: set[Atom] = set()
    pending = list(axes)
    while pending:
        for term in pending.pop().terms:
            pending += [factor for factor in term if isinstance(factor, Axis)]
            moving = [factor for factor in term if isinstance(factor, (Atom, Axis))]
            longest = max(moving, key=length_of, default=None)
            units = (f for f in moving if isinstance(f, Atom) and f.length == 1)
            found.update(unit for unit in units if unit is not longest)
    return found - asked


def _linked(
    widths: Widths, constraints: SizeConstraints, axis_requests: Sequence[AxisRequest], axes: Collection[Axis]
) -> list[Width]:
    """The widths with requests and all that share an axis or a constraint with them; all without requests."""
    if not axis_requests:
        return list(widths.widths)
    parent: dict[Atom, Atom] = {}

    def root(atom: Atom) -> Atom:
        """Return the representative of an atom's group (union-find)."""
        while parent.setdefault(atom, atom) is not atom:
            parent[atom] = atom = parent[parent[atom]]
        return atom

    groups = [list(axis.atoms()) for axis in axes]
    groups += [list(row.polynomial.atoms()) for row in constraints.width_constraints]
    groups += [list(axis_request.axis.atoms()) for axis_request in axis_requests]
    for group in groups:
        for atom in group[1:]:
            parent[root(atom)] = root(group[0])
    wanted = {root(atom) for axis_request in axis_requests for atom in axis_request.axis.atoms()}
    return [width for width in widths.widths if root(width.atom) in wanted]
