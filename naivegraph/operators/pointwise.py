"""Element-wise operators: every dimension of the result equals that of each operand, up to broadcasting."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import (
    CONVERTED,
    COPIED,
    REPEATED,
    SAME,
    Arguments,
    MoveKind,
    Movement,
    keeps_numbers,
    same_dims,
)
from naivegraph.operators.operator_record import Operator, Role
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.scaling import degree
from naivegraph.operators.sources import aligned, each_of, first, one_of, summed, together
from naivegraph.operators.zeros import (
    ALWAYS,
    JOINTLY,
    KEPT,
    PASSED,
    PRODUCT,
    QUOTIENT,
    SUM_OF_PRODUCT,
    Zeros,
    covers,
    jointly_if,
    kept_if,
)

__all__ = ["pointwise"]


def pointwise(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Element-wise operators, in place or not, and those that make a tensor of the same shape.

    Operators that torch tags as pointwise follow this without a record of their own.
    """
    axes = r.broadcast([r.of(stub) for stub in op.operands])
    for out in op.outputs:
        if out is not None:
            wanted = axes[len(axes) - len(out.shape) :]
            if tuple([axis.length for axis in wanted]) == out.shape:
                r.set(out, wanted)
            else:
                r.set(out, r.fixed(out.shape, "a by-product"))


def like_first(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The first operand, in some way in which another one has no part."""
    r.set(op.outputs[0], r.of(a["self"]))


def _bounds_hold_zero(a: Arguments) -> bool:
    """Tell whether zero lies within the bounds of a clamp, as far as these are numbers."""
    low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
    return not (isinstance(low, (int, float)) and low > 0) and not (
        isinstance(high, (int, float)) and high < 0
    )


def _positive_power(a: Arguments) -> bool:
    exponent = a.get("exponent")
    return isinstance(exponent, (int, float)) and exponent > 0


def _power(a: Arguments) -> dict[str, float]:
    """The exponent, if that is a number and a number's power is what is taken."""
    exponent = a.get("exponent")
    return {"self": float(exponent)} if isinstance(exponent, (int, float)) else {}


def _fills_zero(a: Arguments) -> bool:
    value = a.get("value")
    return isinstance(value, (int, float)) and value == 0


def _not_rounded(a: Arguments) -> bool:
    return a.get("rounding_mode") is None


def _idle(a: Arguments) -> bool:
    """Tell whether a dropout drops nothing."""
    return not a["train"]


def _bounds_scale(a: Arguments) -> bool:
    """Tell whether the bounds of a clamp are tensors, which scale with it, or zero."""
    return all(isinstance(a.get(name), Stub) or not a.get(name) for name in ("min", "max"))


def _is_number(a: Arguments) -> bool:
    return not isinstance(a["weight"], Stub)


def _copies_numbers(a: Arguments) -> bool:
    """Tell whether the numbers are not rounded by the dtype they are copied to."""
    return keeps_numbers({"self": a["src"], "dtype": a["self"].dtype})


def _zero_copied(r: Relation, op: Operation, a: Arguments) -> bool:
    """Zero where the copied tensor is, whatever was there before."""
    return r.vanishes(a["src"]) and covers(r, a["src"], a["self"])


# The same numbers again, in the same memory or in new.
register(
    "alias contiguous detach lift_fresh positive conj_physical _conj_physical",
    Operator(pointwise, zeros=KEPT, movement=SAME),
)
register("clone", Operator(pointwise, zeros=KEPT, movement=COPIED))
register("_to_copy", Operator(pointwise, zeros=KEPT, movement=CONVERTED))
register("to", Operator(pointwise, zeros=KEPT, movement=dataclasses.replace(CONVERTED, copies=False)))
register("lift resolve_conj resolve_neg _conj", Operator(pointwise, zeros=KEPT, movement=SAME))
register(
    "type_as",
    Operator(like_first, zeros=PASSED, movement=Movement(MoveKind.PLACED, same_dims, when=keeps_numbers)),
)

# Functions of one value with f(0) = 0. Those which bend at zero alone are linear on either side of it.
register(
    "abs relu leaky_relu prelu _prelu_kernel rrelu rrelu_with_noise polar copysign",
    Operator(pointwise, zeros=KEPT, sources=first()),
)
register(
    "neg native_dropout deg2rad rad2deg", Operator(pointwise, zeros=KEPT, sources=first(), additive=True)
)
register(
    "dropout feature_dropout",
    Operator(pointwise, zeros=KEPT, movement=dataclasses.replace(SAME, when=_idle), sources=first()),
)
register(
    "alpha_dropout",
    Operator(
        pointwise,
        zeros=kept_if(_idle),
        movement=dataclasses.replace(SAME, when=_idle),
    ),
)
register(
    "div true_divide",
    Operator(
        pointwise,
        zeros=QUOTIENT,
        sources=first(_not_rounded),
        degrees=lambda a: {"self": 1, "other": -1} if _not_rounded(a) else {},
    ),
)
register(
    "angle asin asinh atan atanh ceil erfinv frac special_bessel_j1 special_entr special_i1 special_i1e "
    "special_modified_bessel_i1 celu elu erf expm1 floor fmod gelu hardshrink "
    "hardswish log1p mish nan_to_num relu6 round selu sgn sign silu sin sinh softshrink tan "
    "tanh trunc floor_divide fake_quantize_per_tensor_affine_cachemask "
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    Operator(pointwise, zeros=KEPT),
)
register("hardtanh", Operator(pointwise, zeros=jointly_if(_bounds_hold_zero)))
register(
    "clamp clamp_min clamp_max",
    Operator(
        pointwise,
        zeros=jointly_if(_bounds_hold_zero),
        sources=aligned("self", "min", "max", when=_bounds_scale),
    ),
)
register("xlogy special_xlog1py", Operator(pointwise, zeros=KEPT, sources=first()))
register("sqrt", Operator(pointwise, zeros=KEPT, degrees=degree(self=0.5)))
register("square", Operator(pointwise, zeros=KEPT, degrees=degree(self=2)))
register("rsqrt", Operator(pointwise, degrees=degree(self=-0.5)))
register("reciprocal", Operator(pointwise, degrees=degree(self=-1)))
register("pow", Operator(pointwise, zeros=kept_if(_positive_power), degrees=_power))
register("masked_fill", Operator(pointwise, zeros=kept_if(_fills_zero), sources=first(_fills_zero)))

# Functions of several values.
register("add", Operator(pointwise, zeros=JOINTLY, sources=summed, role=Role.SUM, additive=True))
register("sub rsub", Operator(pointwise, zeros=JOINTLY, sources=summed, additive=True))
register("mul", Operator(pointwise, zeros=PRODUCT, sources=each_of, degrees=degree(self=1, other=1)))
register("remainder", Operator(pointwise, zeros=KEPT, sources=together))
register("atan2 heaviside", Operator(pointwise, zeros=JOINTLY))
register(
    "maximum minimum fmax fmin hypot where complex", Operator(pointwise, zeros=JOINTLY, sources=together)
)
register("lerp", Operator(pointwise, zeros=JOINTLY, sources=aligned("self", "end", when=_is_number)))
register(
    "addcmul",
    Operator(
        pointwise,
        zeros=SUM_OF_PRODUCT,
        sources=one_of(aligned("self", "tensor1"), aligned("self", "tensor2")),
    ),
)

# Numbers whatever the operand holds.
register("zeros_like zero", Operator(pointwise, zeros=ALWAYS))
register("fill full_like ones_like empty_like rand_like randn_like", Operator(pointwise))
register("bernoulli uniform_ normal_ exponential_", Operator(pointwise))
register(
    "copy",
    Operator(
        pointwise,
        zeros=Zeros(_zero_copied),
        movement=dataclasses.replace(REPEATED, when=_copies_numbers),
    ),
)

# Functions of which f(0) = 0 is not known, and which torch does not tag as pointwise.
register("__and__ __or__ __xor__ bitwise_not hardsigmoid log_sigmoid_forward", Operator(pointwise))
