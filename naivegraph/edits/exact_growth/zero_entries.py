"""Zero entries passed on by operators, by the rules that tell where results vanish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.relation import Relation

__all__ = ["stays_zero"]


class _AlongOneWidth:
    """A relation as the rules see it if nothing but one width can change.

    Args:
        relation: The relation of the network.
        atom: The width.
        zero: Tells whether a tensor is zero at all new entries along the width.
    """

    def __init__(self, relation: Relation, atom: Atom, zero: Callable[[Stub], bool]) -> None:
        self._relation, self._atom, self._zero = relation, atom, zero
        self.algebra, self.where = relation.algebra, relation.where

    def of(self, stub: Stub) -> list[Axis]:
        """The axes of a tensor."""
        return self._relation.of(stub)

    def vanishes(self, stub: Stub) -> bool:
        """Tell whether a tensor is zero at all new entries."""
        return self._zero(stub)

    def settled(self, axis: Axis) -> bool:
        """Tell whether an axis keeps its length."""
        return all(atom is not self._atom for atom in self.algebra.resolve(axis).atoms())


def stays_zero(
    relation: Relation,
    atom: Atom,
    zero: Callable[[Stub], bool],
    record: Operator,
    operation: Operation,
    named: dict[str, Any],
    place: int,
) -> bool:
    """Tell whether a result is zero at the new entries of a width.

    Args:
        relation: The relation of the network.
        atom: The width.
        zero: Tells whether an operand is.
        record: The operator's record.
        operation: The call.
        named: Its arguments by name.
        place: The number of the result.
    """
    rule = record.zeros
    if rule is None or (rule.results is not None and place >= rule.results):
        return False
    view = _AlongOneWidth(relation, atom, zero)
    return bool(rule.holds(cast("Relation", view), operation, named))
