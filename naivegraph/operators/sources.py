"""Linear sources: the operands, and their elements, in which an operator is homogeneous of degree one.

Multiplying the elements of one choice by a positive number multiplies the result by it, on which scaling the
weights of an attention's query relies. Where masks cannot tell exactly, they have more elements than those
that the result depends on, never fewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import Arguments, Dims, Mask
from naivegraph.operators.relation import tensors_in

__all__ = [
    "Choice",
    "LinearPart",
    "Sources",
    "each_of",
    "first",
    "of_channel_norm",
    "of_convolution",
    "of_embedding",
    "of_layer_norm",
    "of_matrices",
    "of_windows",
    "summed",
    "together",
]


@dataclasses.dataclass(frozen=True)
class LinearPart:
    """Elements of an operand, and its dimensions that those followed lie along.

    Attributes:
        stub: The operand.
        dims: The dimensions.
        mask: The elements; None for all.
    """

    stub: Stub
    dims: Dims
    mask: Mask | None


# An operator's result is linear in the parts of one choice taken together.
Choice = list[LinearPart]
# From the arguments by name, the call, a result, dimensions and elements of it to the choices, if there are
# any.
Sources = Callable[[Arguments, Operation, Stub, Dims, Mask | None], list[Choice]]


def _aligned(operand: Stub, out: Stub, dims: Dims, mask: Mask | None) -> LinearPart:
    """An operand of an element-wise operator: dimensions aligned from the right."""
    missing = len(out.shape) - len(operand.shape)
    carried = frozenset(
        d - missing for d in dims if d >= missing and operand.shape[d - missing] == out.shape[d]
    )
    return LinearPart(operand, carried, _reduced(mask, operand.shape))


def _reduced(mask: Mask | None, shape: tuple[int, ...]) -> Mask | None:
    """A mask of a result as one of an operand that is broadcast to it."""
    if mask is None:
        return None
    missing = mask.ndim - len(shape)
    found = _over(mask, *(d for d in range(mask.ndim) if d < missing or shape[d - missing] == 1))
    return found.reshape(found.shape[missing:])


def _over(mask: Mask, *dims: int) -> Mask:
    """The indices along all other dimensions that have any element, of length 1 along these."""
    return np.asarray(mask.any(dims, keepdims=True))


def _is_first(op: Operation, out: Stub) -> bool:
    """Tell whether a result is the first one."""
    return op.outputs[0] is not None and op.outputs[0].id == out.id


# Element by element


def first(when: Callable[[Arguments], bool] | None = None) -> Sources:
    """Operators that are linear in their first operand, element by element.

    Args:
        when: The condition, of the arguments by name; None if they always are.
    """

    def sources(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
        """Return the first operand."""
        operands = tensors_in(list(op.args))
        if not _is_first(op, out) or not operands or (when is not None and not when(a)):
            return []
        return [[_aligned(operands[0], out, dims, mask)]]

    return sources


def each_of(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Products, element by element: linear in each of the operands alone."""
    return [[_aligned(stub, out, dims, mask)] for stub in tensors_in(list(op.args))]


def summed(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Sums, element by element: linear in all operands together, unless a number is added too."""
    if any(isinstance(value, (int, float)) and value != 0 for value in op.args[:2]):
        return []
    return together(a, op, out, dims, mask)


def together(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Linear in all operands together, element by element; truth values among them choose."""
    floats = [stub for stub in tensors_in([op.args, op.kwargs]) if stub.dtype.is_floating_point]
    return [[_aligned(stub, out, dims, mask) for stub in floats]] if floats else []


# Products of matrices, convolutions, tables


def of_matrices(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """[*, m, k] times [*, k, n], plus a tensor if there is one: linear in either factor with that."""
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"))
    one, two = next(names for names in pairs if names[0] in a)
    x, y = a[one], a[two]
    rank = len(out.shape)
    m, n = rank - 2, rank - 1
    rows = None if mask is None else _over(mask, n)
    columns = None if mask is None else _over(mask, m)
    choices = [[LinearPart(y, dims - {m}, columns)], [LinearPart(x, dims - {n}, rows)]]
    if a["self"] is not x and a.get("beta", 1) != 0:
        added = _aligned(a["self"], out, dims, mask)
        choices = [[*choice, added] for choice in choices]
    return choices


def of_convolution(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Linear in its kernel and bias together."""
    weight, bias = a["weight"], a["bias"]
    place = len(out.shape) - (len(weight.shape) - 2) - 1
    carried = dims & {place}
    along = None
    if mask is not None:
        along = _over(mask, *(d for d in range(mask.ndim) if d != place)).reshape(-1)
    if not a.get("transposed", False):
        shape = (-1, *[1] * (len(weight.shape) - 1))
        entries = None if along is None else along.reshape(shape)
        parts = [LinearPart(weight, frozenset({0}) if carried else frozenset(), entries)]
    else:
        groups = a["groups"]
        entries = None
        if along is not None:
            grouped = np.broadcast_to(along, out.shape[place]).reshape(groups, 1, -1)
            flat = grouped.repeat(weight.shape[0] // groups, axis=1).reshape(weight.shape[:2])
            entries = flat.reshape(*flat.shape, *[1] * (len(weight.shape) - 2))
        within = frozenset({1} if groups == 1 else {0, 1})
        parts = [LinearPart(weight, within if carried else frozenset(), entries)]
    if isinstance(bias, Stub):
        parts.append(LinearPart(bias, frozenset({0}) if carried else frozenset(), along))
    return [parts]


def of_embedding(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Linear in the table that is looked up."""
    weight, last = a["weight"], len(out.shape) - 1
    columns = None if mask is None else _over(mask, *range(last)).reshape(1, -1)
    return [[LinearPart(weight, frozenset({1}) if last in dims else frozenset(), columns)]]


# Norms: linear in their scale and shift together


def _scale_and_shift(a: Arguments, op: Operation, out: Stub) -> list[Stub]:
    weight, bias = a.get("weight"), a.get("bias")
    if not _is_first(op, out) or not isinstance(weight, Stub):
        return []
    return [stub for stub in (weight, bias) if isinstance(stub, Stub)]


def of_layer_norm(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """A norm over the last dimensions."""
    parts = _scale_and_shift(a, op, out)
    return [[_aligned(stub, out, dims, mask) for stub in parts]] if parts else []


def of_channel_norm(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """A norm with a scale and a shift for each index of the second dimension."""
    along = None if mask is None else _over(mask, *(d for d in range(mask.ndim) if d != 1)).reshape(-1)
    carried = frozenset({0} if 1 in dims else ())
    parts = _scale_and_shift(a, op, out)
    return [[LinearPart(stub, carried, along) for stub in parts]] if parts else []


# Windows


def of_windows(space: int) -> Sources:
    """Operators over windows of the last `space` dimensions, channel by channel."""

    def sources(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
        """Return the image, whole in these dimensions."""
        if not _is_first(op, out):
            return []
        source: Stub = a["self"] if "self" in a else a["input"]
        places = len(out.shape) - space
        through = None if mask is None else _over(mask, *range(places, len(out.shape)))
        return [[LinearPart(source, frozenset(d for d in dims if d < places), through)]]

    return sources
