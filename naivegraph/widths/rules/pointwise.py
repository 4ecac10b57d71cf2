"""Element-wise operators: every dimension of the result equals that of each operand, up to broadcasting."""

from __future__ import annotations

from typing import Any

import torch

from naivegraph.graph.values import Operation, Stub
from naivegraph.widths.axis import Axis
from naivegraph.widths.relation import Relation, tensors_in
from naivegraph.widths.rules.registry import operators, rule

__all__ = ["pointwise"]

# Functions of one value with f(0) = 0 whatever the other arguments.
_KEEPS_ZERO = operators(
    "abs alias asinh atan clone detach dropout elu erf expm1 floor gelu hardshrink hardswish "
    "leaky_relu lift_fresh log1p mish native_dropout neg nan_to_num prelu relu relu6 round selu sgn "
    "sign silu sin sinh softshrink sqrt square tan tanh trunc _to_copy to contiguous positive celu "
    "div fmod complex polar fake_quantize_per_tensor_affine_cachemask "
    "fake_quantize_per_channel_affine_cachemask"
)
# Functions that are zero where every operand is zero.
_JOINTLY = operators("add sub rsub maximum minimum addcmul hypot copy lerp where")
_PRODUCTS = operators("mul")
_MASKED = operators("masked_fill")
_ZEROS = operators("zeros_like zero")
_HARDTANH = operators("hardtanh clamp")
_POWERS = operators("pow")


@rule(
    "alias clone _to_copy to contiguous lift_fresh lift detach detach_ dropout dropout_ "
    "native_dropout hardswish hardswish_ hardsigmoid_ copy copy_ masked_fill masked_fill_ type_as "
    "__and__ __or__ __xor__ bitwise_not bernoulli bernoulli_ celu_ prelu _prelu_kernel "
    "rrelu_with_noise nan_to_num feature_dropout alpha_dropout resolve_conj resolve_neg positive "
    "_conj fill_ zero_ fill uniform_ normal_ exponential_ full_like zeros_like ones_like empty_like "
    "rand_like randn_like log_sigmoid_forward floor_divide floor_divide_ complex polar "
    "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_tensor_affine_cachemask_tensor_qparams"
)
def pointwise(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Element-wise operators, in place or not, and those that make a tensor of the same shape."""
    operands = tensors_in(list(op.args)) + tensors_in(op.kwargs)
    axes = r.broadcast([r.of(stub) for stub in operands])
    vanishing = _vanishing(r, op, a, operands, axes)
    for out in op.outputs:
        if out is not None:
            wanted = axes[len(axes) - len(out.shape) :]
            if tuple(axis.length for axis in wanted) == out.shape:
                r.set(out, wanted, vanishing=vanishing)
            else:
                r.set(out, r.fixed(out.shape, "a by-product"))


def _vanishing(r: Relation, op: Operation, a: dict[str, Any], operands: list[Stub], axes: list[Axis]) -> bool:
    """Whether the result is zero on neurons whose parameters are zero."""
    packet = op.func.overloadpacket
    if packet in _ZEROS:
        return True
    if not operands:
        return False
    zero = [r.vanishes(stub) and _covers(r, stub, axes) for stub in operands]
    if packet in _KEEPS_ZERO:
        return zero[0]
    if packet in _MASKED:
        return zero[0] and a.get("value") == 0
    if packet in _PRODUCTS:
        return any(zero)
    if packet in _JOINTLY:
        return not _number(op.args) and all(
            z for z, s in zip(zero, operands, strict=True) if s.dtype != torch.bool
        )
    if packet in _HARDTANH:
        low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
        return zero[0] and len(operands) == 1 and (low is None or low <= 0) and (high is None or high >= 0)
    if packet in _POWERS:
        exponent = a.get("exponent")
        return zero[0] and isinstance(exponent, (int, float)) and exponent > 0
    return False


def _number(args: tuple[Any, ...]) -> bool:
    """Whether one of the first two arguments is a number other than zero."""
    return any(isinstance(v, (int, float)) and v != 0 for v in args[:2])


def _covers(r: Relation, operand: Stub, axes: list[Axis]) -> bool:
    """Whether every free dimension of the result is a dimension of this operand too (not broadcast)."""
    missing = len(axes) - len(operand.shape)
    return all(
        (position >= missing and operand.shape[position - missing] == axis.length) or r.settled(axis)
        for position, axis in enumerate(axes)
    )
