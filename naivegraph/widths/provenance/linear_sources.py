"""In which of its operands each operator is linear (homogeneous of degree one), and in which elements."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import operators
from naivegraph.operators.relation import arguments, tensors_in
from naivegraph.widths.provenance.move_masks import Mask

__all__ = ["Choice", "LinearPart", "ways"]

Dims = frozenset[int]


@dataclasses.dataclass(frozen=True)
class LinearPart:
    """Elements of an operand: which dimensions carry those followed, and which elements (None for all)."""

    stub: Stub
    dims: Dims
    mask: Mask | None


# An operator's result is linear in the parts of one choice taken together.
Choice = list[LinearPart]


def ways(operation: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """The choices of operands in which a result of an operator is linear; empty where it is in none."""
    way = _WAYS.get(operation.func.overloadpacket)
    return way(arguments(operation), operation, out, dims, mask) if way else []


def _aligned(operand: Stub, out: Stub, dims: Dims, mask: Mask | None) -> LinearPart:
    """An operand of an element-wise operator: dimensions aligned from the right."""
    missing = len(out.shape) - len(operand.shape)
    carried = frozenset(
        d - missing for d in dims if d >= missing and operand.shape[d - missing] == out.shape[d]
    )
    return LinearPart(operand, carried, _reduced(mask, operand.shape))


def _reduced(mask: Mask | None, shape: tuple[int, ...]) -> Mask | None:
    """A mask of a result as one of an operand which is broadcast to it."""
    if mask is None:
        return None
    missing = mask.ndim - len(shape)
    found = _over(mask, *(d for d in range(mask.ndim) if d < missing or shape[d - missing] == 1))
    return found.reshape(found.shape[missing:])


def _over(mask: Mask, *dims: int) -> Mask:
    """At which indices along the other dimensions there is any element; of length 1 along these."""
    return np.asarray(mask.any(dims, keepdims=True))


def _one(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Operators which are linear in their first operand, element by element."""
    if op.func.overloadpacket in _MASKED and a.get("value") != 0:
        return []
    if a.get("rounding_mode") is not None:
        return []
    return [[_aligned(tensors_in(list(op.args))[0], out, dims, mask)]]


def _product(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    return [[_aligned(stub, out, dims, mask)] for stub in tensors_in(list(op.args))]


def _sum(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    if any(isinstance(value, (int, float)) and value != 0 for value in op.args[:2]):
        return []
    return [[_aligned(stub, out, dims, mask) for stub in tensors_in(list(op.args))]]


def _matrix(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """[*, m, k] times [*, k, n], and what is added to it."""
    first, second = next(
        names for names in (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2")) if names[0] in a
    )
    x, y = a[first], a[second]
    rank = len(out.shape)
    m, n = rank - 2, rank - 1
    rows = None if mask is None else _over(mask, n)
    columns = None if mask is None else _over(mask, m)
    choices = [[LinearPart(y, dims - {m}, columns)], [LinearPart(x, dims - {n}, rows)]]
    if a["self"] is not x and a.get("beta", 1) != 0:
        added = _aligned(a["self"], out, dims, mask)
        choices = [[*choice, added] for choice in choices]
    return choices


def _convolution(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
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


def _embedding(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    weight, last = a["weight"], len(out.shape) - 1
    columns = None if mask is None else _over(mask, *range(last)).reshape(1, -1)
    return [[LinearPart(weight, frozenset({1}) if last in dims else frozenset(), columns)]]


def _norm(a: dict[str, Any], op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """A norm's result is linear in its scale and shift together."""
    weight, bias = a.get("weight"), a.get("bias")
    if out is not op.outputs[0] and (op.outputs[0] is None or out.id != op.outputs[0].id):
        return []
    if not isinstance(weight, Stub):
        return []
    parts = [stub for stub in (weight, bias) if isinstance(stub, Stub)]
    if "normalized_shape" in a:
        return [[_aligned(stub, out, dims, mask) for stub in parts]]
    along = None if mask is None else _over(mask, *(d for d in range(mask.ndim) if d != 1)).reshape(-1)
    return [[LinearPart(stub, frozenset({0}) if 1 in dims else frozenset(), along) for stub in parts]]


_MASKED = operators("masked_fill")
_Way = Callable[[dict[str, Any], Operation, Stub, Dims, Mask | None], list[Choice]]
_GROUPS: list[tuple[frozenset[torch._ops.OpOverloadPacket], _Way]] = [
    (
        operators(
            "neg clone alias contiguous _to_copy to detach lift_fresh relu leaky_relu div masked_fill "
            "positive"
        ),
        _one,
    ),
    (operators("mul"), _product),
    (operators("add sub"), _sum),
    (operators("mm bmm addmm baddbmm"), _matrix),
    (operators("convolution mkldnn_convolution _convolution"), _convolution),
    (operators("embedding"), _embedding),
    (operators("native_layer_norm layer_norm _fused_rms_norm rms_norm"), _norm),
    (
        operators(
            "native_batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit "
            "cudnn_batch_norm _batch_norm_with_update _batch_norm_no_update miopen_batch_norm batch_norm"
        ),
        _norm,
    ),
]
_WAYS = {packet: way for packets, way in _GROUPS for packet in packets}
