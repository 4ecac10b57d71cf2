"""Linear sources: the operands, and their elements, in which an operator is homogeneous of degree one.

Multiplying the elements of one choice by a positive number multiplies the result by it, on which scaling the
weights of an attention's query relies. Where masks cannot tell exactly, they have more elements than those
that the result depends on, never fewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import Arguments, Dims, Mask
from naivegraph.operators.relation import tensors_in

__all__ = [
    "Choice",
    "LinearPart",
    "Passing",
    "Sources",
    "aligned",
    "all_but",
    "each_of",
    "first",
    "front",
    "leading",
    "nothing",
    "of_channel_norm",
    "of_convolution",
    "of_embedding",
    "of_layer_norm",
    "of_matrices",
    "of_passing",
    "one_of",
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
        """The choice of operands for a result; none if the condition fails."""
        if not op.args or not isinstance(op.args[0], Stub):
            return []
        if not _is_first(op, out) or (when is not None and not when(a)):
            return []
        return [[_aligned(op.args[0], out, dims, mask)]]

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
    given = [stub for stub in op.operands if stub.dtype != torch.bool]
    return [[_aligned(stub, out, dims, mask) for stub in given]] if given and _is_first(op, out) else []


def aligned(*names: str, when: Callable[[Arguments], bool] | None = None) -> Sources:
    """Linear in these arguments together, element by element, if the arguments are so."""

    def sources(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
        """The choice of operands for a result; none if the condition fails."""
        given = tensors_in([a.get(name) for name in names])
        if not _is_first(op, out) or not given or (when is not None and not when(a)):
            return []
        return [[_aligned(stub, out, dims, mask) for stub in given]]

    return sources


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


# Some dimensions pass through, and along the others every element may count


# Of the arguments by name, an operand and a result: that dimension of the operand, by that of the result.
Passing = Callable[[Arguments, Stub, Stub], Mapping[int, int]]


def of_passing(
    passing: Passing, *names: str, when: Callable[[Arguments], bool] | None = None, results: int = 1
) -> Sources:
    """Operators linear in some arguments together, in which an index of some dimensions meets itself alone.

    Args:
        passing: Those dimensions.
        names: The arguments; without any it is the first operand.
        when: Whether it is linear, told from the arguments by name; None if always.
        results: How many results, from the first on, are.
    """

    def sources(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
        """The choice of operands for a result; none if the condition fails."""
        given = tensors_in([a[name] for name in names]) if names else tensors_in(list(op.args))[:1]
        first_ones = [stub.id for stub in op.outputs[:results] if stub is not None]
        if out.id not in first_ones or not given or (when is not None and not when(a)):
            return []
        return [[_passed(stub, out, dims, mask, passing(a, stub, out)) for stub in given]]

    return sources


def one_of(*each: Sources) -> Sources:
    """Operators with several choices."""
    return lambda *given: [choice for sources in each for choice in sources(*given)]


def _passed(
    operand: Stub, out: Stub, dims: Dims, mask: Mask | None, passing: Mapping[int, int]
) -> LinearPart:
    through = {d: s for d, s in passing.items() if out.shape[d] == operand.shape[s]}
    carried = frozenset(through[d] for d in dims if d in through)
    if mask is None:
        return LinearPart(operand, carried, None)
    others = [d for d in range(mask.ndim) if d not in through]
    ordered = _over(mask, *others).transpose([*others, *sorted(through, key=through.__getitem__)])
    shape = [1] * len(operand.shape)
    for d, s in through.items():
        shape[s] = mask.shape[d]
    return LinearPart(operand, carried, ordered.reshape(shape))


def nothing(a: Arguments, operand: Stub, out: Stub) -> Mapping[int, int]:
    """Any element may come from any."""
    return {}


def front(count: int) -> Passing:
    """All dimensions but the last so many."""
    return lambda a, operand, out: {d: d for d in range(len(out.shape) - count)}


def leading(count: int) -> Passing:
    """The first so many dimensions."""
    return lambda a, operand, out: {d: d for d in range(count)}


def all_but(name: str) -> Passing:
    """All dimensions but those of an argument, which may be gone in the result; none where it is missing."""

    def passing(a: Arguments, operand: Stub, out: Stub) -> Mapping[int, int]:
        """The dimension of the operand for each dimension of the result that is left."""
        rank, given = len(operand.shape), a.get(name)
        if given is None or given == []:
            return {}
        gone = {d % rank for d in ([given] if isinstance(given, int) else given)} if rank else set()
        left = [d for d in range(rank) if d not in gone]
        if len(out.shape) == rank:
            return {d: d for d in left}
        return dict(enumerate(left)) if len(out.shape) == len(left) else {}

    return passing
