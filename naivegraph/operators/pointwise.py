"""Element-wise operators: every dimension of the result equals that of each operand, up to broadcasting."""

from __future__ import annotations

from typing import Any

import torch

from naivegraph.algebra.axis import Axis
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import operators, rule
from naivegraph.operators.relation import Relation, tensors_in

__all__ = ["pointwise"]

# What is known of where results are zero, whatever the other arguments.
_ZEROS: dict[torch._ops.OpOverloadPacket, str] = {
    **dict.fromkeys(
        operators(  # functions of one value with f(0) = 0
            "abs alias asinh atan clone detach dropout elu erf expm1 floor gelu hardshrink hardswish "
            "leaky_relu lift_fresh log1p mish native_dropout neg nan_to_num prelu relu relu6 round selu sgn "
            "sign silu sin sinh softshrink sqrt square tan tanh trunc _to_copy to contiguous positive celu "
            "div fmod complex polar fake_quantize_per_tensor_affine_cachemask "
            "fake_quantize_per_channel_affine_cachemask"
        ),
        "kept",
    ),
    # functions that are zero where every operand is zero
    **dict.fromkeys(operators("add sub rsub maximum minimum addcmul hypot copy lerp where"), "jointly"),
    **dict.fromkeys(operators("mul"), "product"),
    **dict.fromkeys(operators("masked_fill"), "masked"),
    **dict.fromkeys(operators("zeros_like zero"), "always"),
    **dict.fromkeys(operators("hardtanh clamp"), "clamped"),
    **dict.fromkeys(operators("pow"), "power"),
}


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
    operands = tensors_in((op.args, op.kwargs))
    axes = r.broadcast([r.of(stub) for stub in operands])
    vanishing = _vanishing(r, op, a, operands, axes)
    for out in op.outputs:
        if out is not None:
            wanted = axes[len(axes) - len(out.shape) :]
            if tuple([axis.length for axis in wanted]) == out.shape:
                r.set(out, wanted, vanishing=vanishing)
            else:
                r.set(out, r.fixed(out.shape, "a by-product"))


def _vanishing(r: Relation, op: Operation, a: dict[str, Any], operands: list[Stub], axes: list[Axis]) -> bool:
    """Whether the result is zero on neurons whose parameters are zero."""
    kind = _ZEROS.get(op.func.overloadpacket)
    if kind == "always":
        return True
    if kind is None or not operands:
        return False
    zero = [r.vanishes(stub) and _covers(r, stub, axes) for stub in operands]
    if kind == "kept":
        return zero[0]
    if kind == "masked":
        return zero[0] and a.get("value") == 0
    if kind == "product":
        return any(zero)
    if kind == "jointly":
        return not _number(op.args) and all(
            z for z, s in zip(zero, operands, strict=True) if s.dtype != torch.bool
        )
    if kind == "clamped":
        low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
        return zero[0] and len(operands) == 1 and (low is None or low <= 0) and (high is None or high >= 0)
    exponent = a.get("exponent")  # of a power
    return zero[0] and isinstance(exponent, (int, float)) and exponent > 0


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
