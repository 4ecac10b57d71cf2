"""Samples of element-wise operators."""

from __future__ import annotations

import torch

from naivegraph.extend.operator_trial import Sample as S
from tests.operators.samples.make import Samples, chance, flags, mixed, numbers, real, rows, single

__all__ = ["ELEMENTWISE"]


def _observer(count: int) -> list[torch.Tensor]:
    """Switches, of an observer that rests, ranges, steps and zeros."""
    switches = [torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)]
    ranges = [torch.full((count,), -1.0), torch.full((count,), 1.0), torch.full((count,), 0.125)]
    return [*switches, *(each.float() for each in ranges), torch.zeros(count, dtype=torch.int32)]


_X = real(2, 3, 4)
_ONE = [S(_X)]
_TWO = [S(_X, real(2, 3, 4)), S(_X, real(3, 1)), S(real(4), _X)]

ELEMENTWISE: Samples = rows(
    (
        "angle asin atanh ceil conj_physical _conj_physical deg2rad rad2deg erfinv frac rrelu special_entr "
        "special_bessel_j1 special_i1 special_i1e special_modified_bessel_i1 "
        "alias contiguous detach lift_fresh positive clone lift resolve_conj resolve_neg neg relu abs asinh "
        "atan celu elu erf expm1 floor gelu hardshrink hardswish log1p mish round selu sgn sign silu "
        "sin sinh softshrink sqrt square tan tanh trunc zeros_like zero ones_like rand_like "
        "randn_like hardsigmoid log_sigmoid_forward",
        _ONE,
    ),
    (
        "_to_copy",
        [S(_X), S(_X, dtype=torch.float32), S(_X, dtype=torch.int64), S(_X, dtype=torch.complex128)],
    ),
    ("_conj", [S(torch.complex(_X, _X))]),
    ("rsqrt reciprocal", [S(chance(2, 3, 4))]),
    ("relu6", [S(4 * _X)]),
    ("to", [S(_X, torch.float32), S(_X, torch.int64)]),
    ("type_as", [S(_X, single(5))]),
    ("leaky_relu", [S(_X, 0.1)]),
    (
        "nan_to_num",
        [S(_X), S(torch.full((2, 3), float("nan"), dtype=torch.float64), 1.0), S(_X, 0.5, 0.9, -0.9)],
    ),
    ("mul div true_divide hypot", _TWO),
    ("maximum minimum fmax fmin", [*_TWO[:1], S(_X, mixed(3, 4))]),
    ("add sub", [*_TWO, S(_X, 2.0), S(_X, real(3, 1), alpha=2)]),
    ("atan2 remainder", [S(_X, real(2, 3, 4))]),
    ("copysign heaviside xlogy special_xlog1py", [S(_X, chance(2, 3, 4))]),
    ("clamp_min clamp_max", [S(_X, 0.1), S(_X, 0), S(_X, mixed(3, 4))]),
    ("rsub", [S(_X, real(3, 1)), S(_X, 2.0)]),
    ("fmod", [S(_X, 0.7)]),
    ("floor_divide", [S(_X, 0.7)]),
    ("addcmul", [S(_X, real(3, 1), real(2, 1, 1))]),
    ("lerp", [S(_X, real(2, 3, 4), 0.3), S(_X, real(2, 3, 4), real(2, 3, 4))]),
    ("where", [S(flags(2, 3, 4), _X, real(2, 3, 4)), S(flags(3, 1), _X, real(4))]),
    ("pow", [S(_X, 2), S(_X, 0.5), S(_X, -1), S(2.0, _X)]),
    ("hardtanh", [S(_X), S(_X, 0.1, 0.5)]),
    ("clamp", [S(_X, -0.5, 0.5), S(_X, 0.1), S(_X, None, -0.1), S(_X, mixed(3, 4), None)]),
    ("masked_fill", [S(_X, flags(3, 1), 0.0), S(_X, flags(2, 3, 4), 1.0)]),
    ("copy", [S(_X, real(2, 3, 4)), S(_X, real(3, 1))]),
    ("fill full_like", [S(_X, 2.0)]),
    ("prelu", [S(_X, real(3)), S(_X, real(1))]),
    ("_prelu_kernel", [S(_X, real(1, 3, 1))]),
    ("polar", [S(chance(2, 3), real(2, 3))]),
    ("complex", [S(real(2, 3), real(2, 3))]),
    ("dropout feature_dropout alpha_dropout native_dropout", [S(_X, 0.5, False), S(_X, 0.5, True)]),
    ("rrelu_with_noise", [S(_X, torch.zeros(2, 3, 4, dtype=torch.float64))]),
    ("bernoulli", [S(chance(2, 3))]),
    ("__and__ __or__ __xor__", [S(numbers(8, 2, 3), numbers(8, 2, 3))]),
    ("bitwise_not", [S(numbers(8, 2, 3))]),
    ("fake_quantize_per_tensor_affine_cachemask", [S(single(2, 3), 0.1, 3, -128, 127)]),
    (
        "fake_quantize_per_channel_affine_cachemask",
        [
            S(
                single(2, 3),
                torch.full((3,), 0.1, dtype=torch.float32),
                torch.zeros(3, dtype=torch.int32),
                1,
                -128,
                127,
            ),
            S(
                single(5, 3, 2),
                torch.full((5,), 0.125, dtype=torch.float32),
                torch.zeros(5, dtype=torch.int32),
                0,
                -128,
                127,
            ),
        ],
    ),
    (
        "_fused_moving_avg_obs_fq_helper",
        [
            S(single(2, 3), *_observer(1), 0.01, -128, 127, -1),
            S(single(5, 3), *_observer(5), 0.01, -128, 127, 0, True, True),
        ],
    ),
    (
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
        [
            S(
                single(2, 3),
                torch.full((1,), 0.1),
                torch.zeros(1, dtype=torch.int32),
                torch.ones(1, dtype=torch.int64),
                -128,
                127,
            )
        ],
    ),
)
