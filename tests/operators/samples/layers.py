"""Samples of operators that layers are made of: products, convolutions, norms, pooling, attention."""

from __future__ import annotations

import torch

from naivegraph.extend.operator_trial import Sample as S
from tests.operators.samples.make import Samples, chance, mixed, numbers, real, rows, single

__all__ = ["LAYERS"]

_X = real(2, 3, 4)
_IMAGE = real(2, 3, 4, 6)
_VOLUME = real(1, 2, 4, 4, 6)
_STATISTICS = (real(3), chance(3))


def _convolutions() -> list[S]:
    def one(groups: int, transposed: bool, bias: bool) -> S:
        rows_, columns = (4, 6 // groups) if transposed else (6, 4 // groups)
        added = real(6) if bias else None
        weight = real(rows_, columns, 3, 2)
        return S(real(2, 4, 5, 4), weight, added, [1, 1], [1, 0], [1, 1], transposed, [0, 0], groups)

    return [
        *(
            one(groups, transposed, bias)
            for groups in (1, 2)
            for transposed in (False, True)
            for bias in (False, True)
        ),
        S(real(2, 4, 5), real(4, 1, 3), None, [1], [1], [1], False, [0], 4),
    ]


def _attention(**options: object) -> S:
    return S(real(1, 4, 3, 6), real(1, 4, 5, 6), real(1, 4, 5, 6), **options)


LAYERS: Samples = rows(
    ("mm", [S(real(3, 4), real(4, 5))]),
    ("bmm", [S(_X, real(2, 4, 5))]),
    ("addmm", [S(real(5), real(3, 4), real(4, 5)), S(real(3, 5), real(3, 4), real(4, 5), beta=0)]),
    ("baddbmm", [S(real(2, 3, 5), _X, real(2, 4, 5)), S(real(5), _X, real(2, 4, 5))]),
    ("mv", [S(real(3, 4), real(4))]),
    ("dot vdot", [S(real(4), real(4))]),
    ("addmv", [S(real(3), real(3, 4), real(4))]),
    (
        "_grouped_mm",
        [S(single(6, 8).bfloat16(), single(2, 8, 16).bfloat16(), torch.tensor([2, 6], dtype=torch.int32))],
    ),
    ("convolution", _convolutions()),
    (
        "_convolution",
        [S(*sample.args, False, False, False, False) for sample in _convolutions()],
    ),
    ("mkldnn_convolution", [S(single(2, 4, 5, 4), single(6, 4, 3, 2), single(6), [1, 0], [1, 1], [1, 1], 1)]),
    ("embedding", [S(real(5, 3), numbers(5, 2, 4))]),
    (
        "_embedding_bag _embedding_bag_forward_only embedding_bag",
        [S(real(5, 3), numbers(5, 6), torch.tensor([0, 2, 5]), False, mode) for mode in (0, 1, 2)],
    ),
    (
        "_trilinear",
        [S(real(2, 3), real(5, 3, 4), real(2, 4), [1, 3], [0], [1, 2], [2, 3])],
    ),
    (
        "_scaled_dot_product_flash_attention_for_cpu",
        [_attention(), _attention(scale=0.5), _attention(attn_mask=real(3, 5))],
    ),
    (
        "_scaled_dot_product_attention_math",
        [_attention(), S(real(1, 4, 3, 6), real(1, 2, 5, 6), real(1, 2, 5, 7), enable_gqa=True)],
    ),
    (
        "native_batch_norm",
        [
            S(_IMAGE, real(3), real(3), *_STATISTICS, False, 0.1, 1e-5),
            S(_IMAGE, real(3), None, *_STATISTICS, False, 0.1, 1e-5),
            S(_IMAGE, None, None, *_STATISTICS, False, 0.1, 1e-5),
            S(_IMAGE, real(3), real(3), None, None, True, 0.1, 1e-5),
        ],
    ),
    ("_native_batch_norm_legit", [S(_IMAGE, real(3), real(3), *_STATISTICS, False, 0.1, 1e-5)]),
    ("_native_batch_norm_legit_functional", [S(_IMAGE, real(3), real(3), *_STATISTICS, True, 0.1, 1e-5)]),
    (
        "_native_batch_norm_legit_no_training _batch_norm_no_update",
        [S(_IMAGE, real(3), real(3), *_STATISTICS, 0.1, 1e-5)],
    ),
    ("_batch_norm_with_update", [S(_IMAGE, real(3), real(3), *_STATISTICS, 0.1, 1e-5)]),
    ("batch_norm", [S(_IMAGE, real(3), real(3), *_STATISTICS, False, 0.1, 1e-5, False)]),
    (
        "native_layer_norm",
        [
            S(_X, [4], real(4), real(4), 1e-5),
            S(_X, [4], real(4), None, 1e-5),
            S(_X, [4], None, None, 1e-5),
            S(_X, [3, 4], real(3, 4), real(3, 4), 1e-5),
        ],
    ),
    ("layer_norm", [S(_X, [4], real(4), real(4))]),
    ("rms_norm _fused_rms_norm", [S(_X, [4], real(4), 1e-5), S(_X, [4], None, 1e-5)]),
    ("_weight_norm_interface _weight_norm", [S(real(3, 4, 2), real(3, 1, 1), 0)]),
    ("renorm", [S(_X, 2, 0, 1.0), S(_X, 1, 2, 0.5)]),
    ("embedding_renorm", [S(real(5, 3), numbers(5, 4), 1.0, 2.0)]),
    (
        "native_group_norm",
        [
            S(real(2, 6, 4), real(6), real(6), 2, 6, 4, 3, 1e-5),
            S(real(2, 6, 4), real(6), None, 2, 6, 4, 2, 1e-5),
            S(real(2, 6, 4), None, None, 2, 6, 4, 2, 1e-5),
        ],
    ),
    ("group_norm", [S(real(2, 6, 4), 3, real(6), real(6))]),
    (
        "mean sum amax amin logsumexp nansum",
        [S(_X, [1]), S(_X, [0, 2], True), S(_X, [-1])],
    ),
    ("max min", [S(_X), S(_X, 1), S(_X, 2, True), S(_X, mixed(3, 4))]),
    ("median", [S(_X), S(_X, 1), S(_X, 2, True)]),
    ("var std var_mean std_mean", [S(_X, [1]), S(_X, [0, 2], True, True), S(_X, [2], correction=0)]),
    ("linalg_vector_norm", [S(_X, 2, [1]), S(_X, 1, [0, 2], True), S(_X, 3)]),
    ("norm", [S(_X, 2, [1]), S(_X)]),
    ("prod any all argmax argmin", [S(_X, 1), S(_X, 2, True)]),
    ("count_nonzero", [S(_X, 1)]),
    ("aminmax", [S(_X, dim=1), S(_X)]),
    ("_softmax _log_softmax", [S(_X, 1, False), S(_X, -1, False)]),
    ("softmax log_softmax _safe_softmax", [S(_X, 1)]),
    ("glu", [S(_X, 2), S(real(2, 6, 4), 1)]),
    ("avg_pool1d max_pool1d", [S(real(2, 3, 6), [2]), S(real(3, 6), [2], [1])]),
    ("adaptive_avg_pool1d adaptive_max_pool1d", [S(real(2, 3, 6), [2])]),
    ("avg_pool2d max_pool2d max_pool2d_with_indices", [S(_IMAGE, [2, 2]), S(real(3, 4, 6), [2, 3], [1, 1])]),
    ("adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d", [S(_IMAGE, [2, 3])]),
    ("avg_pool3d max_pool3d max_pool3d_with_indices", [S(_VOLUME, [2, 2, 2])]),
    ("_adaptive_avg_pool3d adaptive_max_pool3d", [S(_VOLUME, [2, 2, 3])]),
    ("upsample_nearest1d _upsample_nearest_exact1d", [S(_X, [8])]),
    ("upsample_linear1d", [S(_X, [7], False)]),
    ("upsample_nearest2d _upsample_nearest_exact2d", [S(_IMAGE, [8, 9])]),
    (
        "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
        [S(_IMAGE, [7, 9], False)],
    ),
    ("upsample_nearest3d _upsample_nearest_exact3d", [S(_VOLUME, [8, 8, 9])]),
    ("upsample_trilinear3d", [S(_VOLUME, [7, 8, 9], True)]),
    ("grid_sampler_2d grid_sampler", [S(_IMAGE, chance(2, 5, 3, 2) - 0.5, 0, 0, False)]),
    ("_grid_sampler_2d_cpu_fallback", [S(_IMAGE.float(), chance(2, 5, 3, 2).float() - 0.5, 0, 0, False)]),
    ("grid_sampler_3d", [S(_VOLUME, chance(1, 2, 3, 4, 3) - 0.5, 0, 0, False)]),
    ("affine_grid_generator", [S(real(2, 2, 3), [2, 3, 4, 5], False)]),
    ("max_unpool2d", [S(real(2, 3, 2, 2), numbers(20, 2, 3, 2, 2), [4, 5])]),
    ("max_unpool3d", [S(real(1, 2, 2, 2, 2), numbers(64, 1, 2, 2, 2, 2), [4, 4, 4], [2, 2, 2], [0, 0, 0])]),
    ("fractional_max_pool2d", [S(_IMAGE, [2, 2], [2, 3], chance(2, 3, 2))]),
    ("fractional_max_pool3d", [S(_VOLUME, [2, 2, 2], [2, 2, 3], chance(1, 2, 3))]),
    ("_pack_padded_sequence", [S(real(4, 2, 3), torch.tensor([4, 2]), False)]),
    (
        "_pad_packed_sequence",
        [S(real(6, 3), torch.tensor([2, 2, 1, 1]), False, value, 4) for value in (0.0, 1.0)],
    ),
    (
        "mkldnn_rnn_layer",
        [
            S(
                *(single(3, 2, 5), single(24, 5), single(24, 6), single(24), single(24)),
                *(torch.zeros(2, 6), torch.zeros(2, 6)),
                *(False, [], 2, 6, 1, True, False, False, False),
            )
        ],
    ),
)
