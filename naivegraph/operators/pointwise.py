"""Element-wise operators: every dimension of the result equals that of each operand, up to broadcasting."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation
from naivegraph.operators.movement import CONVERTED, COPIED, SAME, Arguments
from naivegraph.operators.operator_record import Operator, Role
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.sources import each_of, first, summed
from naivegraph.operators.zeros import ALWAYS, JOINTLY, KEPT, PRODUCT, kept_if

__all__ = ["pointwise"]


def pointwise(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Element-wise operators, in place or not, and those that make a tensor of the same shape.

    Operators that torch tags as pointwise follow this without a record of their own.
    """
    axes = r.broadcast([r.of(stub) for stub in tensors_in((op.args, op.kwargs))])
    for out in op.outputs:
        if out is not None:
            wanted = axes[len(axes) - len(out.shape) :]
            if tuple([axis.length for axis in wanted]) == out.shape:
                r.set(out, wanted)
            else:
                r.set(out, r.fixed(out.shape, "a by-product"))


def _bounds_hold_zero(a: Arguments) -> bool:
    """Tell whether zero lies within the bounds of a clamp, where these are numbers."""
    low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
    return (low is None or (isinstance(low, (int, float)) and low <= 0)) and (
        high is None or (isinstance(high, (int, float)) and high >= 0)
    )


def _positive_power(a: Arguments) -> bool:
    exponent = a.get("exponent")
    return isinstance(exponent, (int, float)) and exponent > 0


def _fills_zero(a: Arguments) -> bool:
    value = a.get("value")
    return isinstance(value, (int, float)) and value == 0


def _not_rounded(a: Arguments) -> bool:
    return a.get("rounding_mode") is None


# The same numbers again, in the same memory or in new.
register("alias contiguous detach lift_fresh positive", Operator(pointwise, zeros=KEPT, movement=SAME))
register("clone", Operator(pointwise, zeros=KEPT, movement=COPIED))
register("_to_copy to", Operator(pointwise, zeros=KEPT, movement=CONVERTED))
register("lift resolve_conj resolve_neg _conj type_as", Operator(pointwise))

# Functions of one value with f(0) = 0. Those which bend at zero alone are linear on either side of it.
register("neg relu leaky_relu", Operator(pointwise, zeros=KEPT, sources=first()))
register("div", Operator(pointwise, zeros=KEPT, sources=first(_not_rounded)))
register(
    "abs asinh atan celu elu erf expm1 floor fmod gelu hardshrink hardswish log1p mish nan_to_num polar "
    "prelu relu6 round selu sgn sign silu sin sinh softshrink sqrt square tan tanh trunc complex dropout "
    "native_dropout fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask",
    Operator(pointwise, zeros=KEPT),
)
register("hardtanh clamp", Operator(pointwise, zeros=kept_if(_bounds_hold_zero)))
register("pow", Operator(pointwise, zeros=kept_if(_positive_power)))
register("masked_fill", Operator(pointwise, zeros=kept_if(_fills_zero), sources=first(_fills_zero)))

# Functions of several values.
register("add", Operator(pointwise, zeros=JOINTLY, sources=summed, role=Role.SUM))
register("sub", Operator(pointwise, zeros=JOINTLY, sources=summed))
register("mul", Operator(pointwise, zeros=PRODUCT, sources=each_of))
register("rsub maximum minimum addcmul hypot copy lerp where", Operator(pointwise, zeros=JOINTLY))

# Numbers whatever the operand holds.
register("zeros_like zero", Operator(pointwise, zeros=ALWAYS))
register("fill full_like ones_like empty_like rand_like randn_like", Operator(pointwise))
register("bernoulli uniform_ normal_ exponential_", Operator(pointwise))

# Functions of which f(0) = 0 is not known, and which torch does not tag as pointwise.
register(
    "__and__ __or__ __xor__ bitwise_not hardsigmoid _prelu_kernel rrelu_with_noise feature_dropout "
    "alpha_dropout log_sigmoid_forward floor_divide "
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    Operator(pointwise),
)
