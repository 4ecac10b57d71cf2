"""Zero preservation: rules for results that are zero on every neuron whose parameters are all zero.

Such a tensor is said to vanish. Behind it, removing a neuron equals zeroing its parameters, for an operator
that sums over neurons, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.relation import Relation, tensors_in

__all__ = [
    "ALWAYS",
    "JOINTLY",
    "KEPT",
    "PASSED",
    "PASSED_ALL",
    "PRODUCT",
    "QUOTIENT",
    "SUM_OF_PRODUCT",
    "Zeros",
    "ZerosRule",
    "jointly_if",
    "kept_if",
    "of_all",
    "passed_if",
]

Arguments = dict[str, Any]
ZerosRule = Callable[[Relation, Operation, Arguments], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Zeros:
    """Zero preservation of an operator.

    Attributes:
        holds: The rule that tells whether results vanish, after the operator's axes were related.
        results: The number of results, from the first on, that it is about; None for all. Others never
            vanish.
        single: Of a function of single elements: the condition, of the arguments by name, on which an element
            is zero where those of the operands are. None for others.
        first_alone: Whether that depends on the first operand alone.
        silences: Of any other function: the operand whose entries, where they are zero all along some
            dimensions of the result (it is given them), make those of the result zero and leave the others as
            they are; None for none.
    """

    holds: ZerosRule
    results: int | None = 1
    single: Callable[[Arguments], bool] | None = None
    first_alone: bool = True
    silences: Callable[[Arguments, frozenset[int]], Stub | None] | None = None


def covers(r: Relation, operand: Stub, out: Stub) -> bool:
    """Tell whether every free dimension of an element-wise result is one of the operand, not broadcast."""
    if operand.shape == out.shape:
        return True
    missing = len(out.shape) - len(operand.shape)
    return all(
        (d >= missing and operand.shape[d - missing] == out.shape[d]) or r.settled(axis)
        for d, axis in enumerate(r.of(out))
    )


def _shares_free(r: Relation, operand: Stub, out: Stub) -> bool:
    """Tell whether a free dimension of an element-wise result is one of the operand too."""
    missing = len(out.shape) - len(operand.shape)
    ends = r.of(out)[missing:]
    return any(n == axis.length and not r.settled(axis) for n, axis in zip(operand.shape, ends, strict=True))


def _covering(r: Relation, op: Operation, operand: Stub) -> bool:
    """Tell whether an operand vanishes, and with it an element-wise result in every free dimension."""
    out = op.outputs[0]
    return out is not None and r.vanishes(operand) and covers(r, operand, out)


# Element by element


def kept_if(when: Callable[[Arguments], bool] | None = None) -> Zeros:
    """Functions of one value with f(0) = 0, on condition of the arguments by name; others scale or choose."""

    def holds(r: Relation, op: Operation, a: Arguments) -> bool:
        """Check the condition, and that the operand vanishes."""
        if not op.args or not isinstance(op.args[0], Stub) or (when is not None and not when(a)):
            return False
        return _covering(r, op, op.args[0])

    return Zeros(holds, single=when or (lambda a: True))


def jointly_if(when: Callable[[Arguments], bool]) -> Zeros:
    """Functions which are zero where every operand is, if the arguments (by name) are so.

    Truth values among the operands only choose.
    """

    def holds(r: Relation, op: Operation, a: Arguments) -> bool:
        """Check the condition, and that all operands vanish."""
        operands = op.operands
        given = [stub for stub in operands if stub.dtype != torch.bool]
        return bool(given) and when(a) and all(_covering(r, op, stub) for stub in given)

    return Zeros(holds, single=when, first_alone=False)


def _jointly(r: Relation, op: Operation, a: Arguments) -> bool:
    if any(isinstance(value, (int, float)) and value != 0 for value in op.args[:2]):
        return False
    operands = op.operands
    return bool(operands) and all(_covering(r, op, stub) for stub in operands if stub.dtype != torch.bool)


def _quotient(r: Relation, op: Operation, a: Arguments) -> bool:
    """A numerator over what does not vanish with it: zero by zero has no value, nor has what it tends to."""
    if not isinstance(op.args[0], Stub) or not _covering(r, op, op.args[0]):
        return False
    out = op.outputs[0]
    return out is not None and not any(
        r.vanishes(stub) and _shares_free(r, stub, out) for stub in tensors_in((op.args[1:], op.kwargs))
    )


def _product(r: Relation, op: Operation, a: Arguments) -> bool:
    return any(_covering(r, op, stub) for stub in op.operands)


def _sum_of_product(r: Relation, op: Operation, a: Arguments) -> bool:
    one, *factors = op.operands
    return _covering(r, op, one) and any(_covering(r, op, stub) for stub in factors)


KEPT = kept_if()
# Functions that are zero where every operand is, unless a number is added.
JOINTLY = Zeros(_jointly)
PRODUCT = Zeros(_product)
QUOTIENT = Zeros(_quotient)
SUM_OF_PRODUCT = Zeros(_sum_of_product)
ALWAYS = Zeros(lambda r, op, a: True)


# Whole tensors


def _first_vanishes(r: Relation, op: Operation, a: Arguments) -> bool:
    operands = op.operands
    return bool(operands) and r.vanishes(operands[0])


def passed_if(when: ZerosRule, results: int | None = 1) -> Zeros:
    """Results whose neurons are those of the first operand, zero where that is, on the condition `when`."""
    return Zeros(lambda r, op, a: _first_vanishes(r, op, a) and when(r, op, a), results)


def of_all(*names: str, results: int | None = 1) -> Zeros:
    """Results that vanish where all of these arguments do."""
    return Zeros(
        lambda r, op, a: all(r.vanishes(stub) for stub in tensors_in([a[n] for n in names])), results
    )


# Results whose neurons are those of the first operand: zero where that is.
PASSED = Zeros(_first_vanishes)
PASSED_ALL = Zeros(_first_vanishes, None)
