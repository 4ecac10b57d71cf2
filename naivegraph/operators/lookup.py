"""Lookup of the record of any operator, and the relation of one call by it."""

from __future__ import annotations

import torch

from naivegraph.ir.values import Operation
from naivegraph.operators import (
    fourier,
    index,
    linear,
    losses,
    normalise,
    order,
    parts,
    pointwise,
    quantise,
    recurrent,
    reduce,
    sample,
    scatter,
    views,
)
from naivegraph.operators.movement import Movement
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import FOUND, RECORDS
from naivegraph.operators.relation import Relation, arguments
from naivegraph.operators.unknown import unknown

__all__ = ["movement_of", "record_of", "relate_operation"]

# Imported for the records they register.
_ = (
    fourier, index, linear, losses, normalise, order, parts, quantise, recurrent, reduce, sample, scatter,
    views,
)  # fmt: skip

_POINTWISE = Operator(pointwise.pointwise)
_UNKNOWN = Operator(unknown)


def record_of(func: torch._ops.OpOverload) -> Operator:
    """The record of an operator.

    One without a record of its own is element-wise, if torch tags it so, or else fixes all axes it touches.
    """
    found = FOUND.get(func)
    if found is None:
        found = RECORDS.get(func.overloadpacket)
        if found is None:
            found = _POINTWISE if torch.Tag.pointwise in func.tags else _UNKNOWN
        FOUND[func] = found
    return found


def movement_of(operation: Operation) -> Movement | None:
    """The way a call moves elements; None if it does anything else."""
    movement = record_of(operation.func).movement
    if movement is None or movement.when is None or movement.when(arguments(operation)):
        return movement
    return None


def relate_operation(relation: Relation, operation: Operation) -> None:
    """Relate the axes of one call's operands and results, and note the results that vanish."""
    record, named = record_of(operation.func), arguments(operation)
    record.axes(relation, operation, named)
    zeros = record.zeros
    vanishing = zeros is not None and zeros.holds(relation, operation, named)
    some = zeros.results if zeros is not None else None
    for place, out in enumerate(operation.outputs):
        if out is None:
            continue
        if vanishing and (some is None or place < some):
            relation.vanishing.add(out.id)
        else:
            relation.vanishing.discard(out.id)
