"""Constraints of custom rules beyond equality, in terms of widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from naivegraph.algebra.axis import Atom, Axis, length_of, term_length
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.operators.constraints import (
    LinearConstraint,
    MultipleConstraint,
    NeuronConstraint,
    RequiredNeurons,
    WidthConstraint,
)
from naivegraph.widths.widths import Widths

__all__ = ["CustomConstraints", "custom_constraints_of", "neurons_at"]

# Makes a polynomial linear by fixing some of its atoms, for a reason.
Linearise = Callable[[Polynomial, str], Polynomial]


@dataclasses.dataclass
class CustomConstraints:
    """The constraints of all custom rules.

    Attributes:
        width_constraints: Linear constraints on sizes, and multiples.
        must_stay: Neurons that must stay if their width changes.
        must_go: Neurons that must go if their width changes.
    """

    width_constraints: list[WidthConstraint] = dataclasses.field(default_factory=list)
    must_stay: dict[Atom, list[RequiredNeurons]] = dataclasses.field(default_factory=dict)
    must_go: dict[Atom, list[RequiredNeurons]] = dataclasses.field(default_factory=dict)


def custom_constraints_of(widths: Widths, linear: Linearise) -> CustomConstraints:
    """Translate the constraints of custom rules, on dimensions, into constraints on widths.

    Args:
        widths: The widths of a graph.
        linear: The function that makes a product of widths linear by fixing some of them.
    """
    found = CustomConstraints()
    resolve = widths.relation.algebra.resolve
    for constraint in widths.relation.constraints:
        if isinstance(constraint, NeuronConstraint):
            _require_neurons(found, widths, constraint, resolve(constraint.axis))
            continue
        size = Polynomial({})
        for factor, axis in (
            constraint.terms if isinstance(constraint, LinearConstraint) else [(1, constraint.axis)]
        ):
            size = size + Polynomial.of_axis(resolve(axis)) * Polynomial.constant(factor)
        reason = f"the rule declared for {constraint.where} says {_sentence(constraint, _text(size, widths))}"
        left = linear(size, reason)
        if not left.degree:
            continue
        if isinstance(constraint, MultipleConstraint):
            row = WidthConstraint(left, reason, None, None, constraint.multiple, constraint.where)
        else:
            row = WidthConstraint(left, reason, constraint.low, constraint.high, rule=constraint.where)
        found.width_constraints.append(row)
    return found


def _require_neurons(
    found: CustomConstraints, widths: Widths, constraint: NeuronConstraint, axis: Axis
) -> None:
    """Add the neurons of widths that the indices of a constraint are made of."""
    marked: dict[Atom, dict[int, None]] = {}
    for index in constraint.indices:
        atoms = [(atom, place) for atom, place in neurons_at(axis, index) if atom in widths.by_atom]
        if not constraint.keep and atoms:
            # An index of a product goes once any neuron that it is made of goes. Removing one of the longest
            # width removes the fewest other indices.
            atoms = [max(atoms, key=lambda pair: pair[0].length)]
        for atom, place in atoms:
            marked.setdefault(atom, {})[place] = None
    for atom, places in marked.items():
        count = len(places)
        which = (
            f"neuron{'s' * (count != 1)} {', '.join(map(str, sorted(places)))} of {widths.by_atom[atom].name}"
        )
        fate = "stay" if constraint.keep else "go"
        reason = f"the rule declared for {constraint.where} says {which} must {fate}"
        side = found.must_stay if constraint.keep else found.must_go
        side.setdefault(atom, []).append(RequiredNeurons(tuple(sorted(places)), constraint.where, reason))


def neurons_at(axis: Axis, index: int) -> Iterator[tuple[Atom, int]]:
    """The neuron of each width that one index of a resolved axis is made of.

    Example:
        >>> from naivegraph.algebra.axis import join, single
        >>> h, d = Atom(3), Atom(4)
        >>> sorted(place for _, place in neurons_at(join([single(h), single(d)]), 9))
        [1, 2]
    """
    for term in axis.terms:
        length = term_length(term)
        if index >= length:
            index -= length
            continue
        for factor in reversed(term):
            index, place = divmod(index, length_of(factor))
            if isinstance(factor, Axis):
                yield from neurons_at(factor, place)
            elif isinstance(factor, Atom):
                yield factor, place
        return


def _text(size: Polynomial, widths: Widths) -> str:
    """A size by the names of its widths: `2*a - b + 3`."""
    out = ""
    for atoms, factor in size.terms.items():
        names = [widths.by_atom[atom].name if atom in widths.by_atom else str(atom.length) for atom in atoms]
        number = [str(abs(factor))] if abs(factor) != 1 or not names else []
        sign = ("-" if factor < 0 else "") if not out else (" - " if factor < 0 else " + ")
        out += sign + "*".join([*number, *names])
    return out or "0"


def _sentence(constraint: MultipleConstraint | LinearConstraint, size: str) -> str:
    if isinstance(constraint, MultipleConstraint):
        return f"{size} is a multiple of {constraint.multiple}"
    low, high = constraint.low, constraint.high
    if low is not None and low == high:
        return f"{size} = {low}"
    return f"{'' if low is None else f'{low} <= '}{size}{'' if high is None else f' <= {high}'}"
