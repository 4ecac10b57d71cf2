"""Samples of operators that change shapes, move elements, or make tensors of a size."""

from __future__ import annotations

import torch

from naivegraph.extend.operator_trial import Sample as S
from tests.operators.samples.make import Samples, real, rows

__all__ = ["SHAPED"]

_X = real(2, 3, 4)
_IMAGE = real(2, 3, 4, 5)
_COMPLEX = torch.complex(real(2, 3, 4), real(2, 3, 4))
_BY_NAME = {"dtype": torch.float64}

SHAPED: Samples = rows(
    ("view reshape _unsafe_view", [S(_X, [2, 12]), S(_X, [6, 2, 2]), S(_X, [1, 24]), S(_X, [2, 3, 2, 2])]),
    ("_reshape_alias", [S(_X, [2, 12], [12, 1])]),
    ("flatten", [S(_X, 1), S(_X, 0, 1)]),
    ("unflatten", [S(_X, 2, [2, 2])]),
    ("squeeze", [S(real(2, 1, 3)), S(real(2, 1, 3), 1), S(real(2, 1, 1, 3), [1, 2])]),
    ("unsqueeze", [S(_X, 0), S(_X, -1)]),
    ("permute", [S(_X, [2, 0, 1]), S(_X, [0, -1, 1])]),
    ("transpose swapaxes", [S(_X, 0, 1), S(_X, 1, -1)]),
    ("t", [S(real(3, 4)), S(real(3))]),
    ("numpy_T", [S(real(3, 4))]),
    ("expand broadcast_to expand_copy", [S(real(3, 1), [3, 4]), S(real(3, 1), [2, 3, 4]), S(_X, [2, 3, 4])]),
    ("as_strided as_strided_copy", [S(_X, [2, 3, 4], [12, 4, 1]), S(_X, [2, 3], [12, 4])]),
    ("unfold unfold_copy", [S(_X, 2, 2, 1), S(_X, -2, 2, 1), S(real(2, 6, 3), 1, 2, 2)]),
    ("cat concat concatenate", [S([real(2, 3), real(2, 4)], 1), S([real(2, 3), real(5, 3)])]),
    ("stack", [S([real(2, 3), real(2, 3)]), S([real(2, 3), real(2, 3)], -1)]),
    ("split split_copy unsafe_split", [S(_X, 2, -1), S(_X, 2, 1)]),
    ("split_with_sizes split_with_sizes_copy unsafe_split_with_sizes", [S(_X, [1, 3], -1)]),
    ("chunk unsafe_chunk", [S(_X, 2, 2), S(_X, 3, 1)]),
    ("tensor_split", [S(_X, 2, 1), S(_X, [1, 2], 2)]),
    ("slice", [S(_X, 2, 1, 3), S(_X, 2, 0, 4, 2), S(_X, 1, 1, 3, 2), S(_X, 0)]),
    ("select", [S(_X, 1, -1), S(_X, 0, 0)]),
    ("unbind", [S(_X), S(_X, 1)]),
    ("constant_pad_nd", [S(_X, [1, 2]), S(_X, [0, 0, 1, 0]), S(_X, [-1, 0]), S(_X, [1, 2], 0.5)]),
    ("pad", [S(_X, [1, 2]), S(_X, [1, 1], "reflect"), S(_X, [1, 2], "constant", 0.5)]),
    ("reflection_pad1d replication_pad1d", [S(_X, [1, 2])]),
    ("reflection_pad2d replication_pad2d", [S(_IMAGE, [1, 2, 0, 1])]),
    ("reflection_pad3d replication_pad3d", [S(real(1, 2, 3, 4, 5), [1, 1, 0, 1, 1, 0])]),
    ("repeat", [S(_X, [1, 2, 3]), S(real(2, 3), [2, 1, 2])]),
    ("tile", [S(_X, [2]), S(real(2, 3), [2, 1, 2])]),
    ("repeat_interleave", [S(_X, 2, 1), S(_X, 2, 2)]),
    ("roll", [S(_X, [1], [2]), S(_X, [1, 2], [0, 2]), S(_X, [1])]),
    ("flip", [S(_X, [1]), S(_X, [0, 2])]),
    ("rot90", [S(_X, 1, [0, 1]), S(_X, 2, [1, 2]), S(_X, 1, [2, 1])]),
    ("tril triu", [S(_X), S(_X, 1)]),
    ("diagonal", [S(real(3, 4)), S(_X, 1, 1, 2)]),
    ("diag_embed", [S(real(2, 3)), S(real(2, 3), 1, 0, 2)]),
    ("channel_shuffle native_channel_shuffle", [S(real(2, 6, 2, 3), 3)]),
    ("pixel_shuffle", [S(real(2, 8, 2, 3), 2)]),
    ("pixel_unshuffle", [S(real(2, 3, 4, 6), 2)]),
    ("im2col", [S(_IMAGE, [2, 2], [1, 1], [1, 0], [1, 1])]),
    ("col2im", [S(real(2, 12, 12), [4, 5], [2, 2], [1, 1], [0, 0], [1, 1])]),
    ("view_as_real view_as_real_copy", [S(_COMPLEX)]),
    ("view_as_complex view_as_complex_copy", [S(real(2, 3, 2))]),
    ("_fft_r2c", [S(_X, [2], 0, True), S(_X, [1, 2], 0, False)]),
    ("_fft_c2r", [S(_COMPLEX, [2], 0, 6)]),
    ("_fft_c2c", [S(_COMPLEX, [1], 0, True)]),
    ("zeros ones rand randn", [S([2, 3], **_BY_NAME)]),
    ("full", [S([2, 3], 2.0, **_BY_NAME)]),
    ("new_zeros new_ones", [S(_X, [2, 3])]),
    ("new_full", [S(_X, [2, 3], 2.0)]),
    ("scalar_tensor", [S(2.0)]),
    ("arange", [S(4, **_BY_NAME)]),
    ("eye", [S(3, **_BY_NAME)]),
    ("linspace logspace", [S(0.0, 1.0, 4, **_BY_NAME)]),
    ("randperm", [S(4)]),
    ("tril_indices triu_indices", [S(3, 4)]),
    ("diagonal_scatter", [S(real(3, 4), real(3))]),
    ("select_scatter", [S(_X, real(2, 4), 1, -1)]),
    ("slice_scatter", [S(_X, real(2, 3, 2), 2, 1, 3), S(_X, real(2, 2, 4), 1, 0, 3, 2)]),
    ("linalg_cross", [S(_X.transpose(1, 2).contiguous(), real(2, 4, 3))]),
)
