"""Samples of operators that look up or write at indices, sort, compare, invert, or measure a loss."""

from __future__ import annotations

import torch

from naivegraph.extend.operator_trial import Sample as S
from tests.operators.samples.make import Samples, chance, flags, numbers, real, rows

__all__ = ["VALUES"]

_X = real(2, 3, 4)
_SQUARE = real(2, 3, 3) + 3 * torch.eye(3, dtype=torch.float64)
_PLACES = torch.tensor([2, 0])

VALUES: Samples = rows(
    (
        "index",
        [S(_X, [None, _PLACES]), S(_X, [numbers(2, 5), None, numbers(4, 5)]), S(_X, [flags(2)])],
    ),
    ("index_select", [S(_X, 1, _PLACES)]),
    ("_unsafe_index", [S(_X, [None, _PLACES])]),
    ("gather", [S(_X, 1, numbers(3, 2, 2, 4))]),
    ("take_along_dim", [S(_X, numbers(3, 2, 2, 4), 1)]),
    ("take", [S(_X, numbers(24, 3))]),
    ("bucketize", [S(_X, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))]),
    ("searchsorted", [S(torch.sort(real(2, 5)).values, real(2, 3))]),
    ("index_add index_copy", [S(_X, 1, _PLACES, real(2, 2, 4))]),
    ("index_fill", [S(_X, 1, _PLACES, 0.0), S(_X, 1, _PLACES, 2.0)]),
    ("index_reduce", [S(_X, 1, _PLACES, real(2, 2, 4), "mean")]),
    ("scatter", [S(_X, 1, numbers(3, 2, 2, 4), real(2, 2, 4)), S(_X, 1, numbers(3, 2, 2, 4), 0.0)]),
    ("scatter_add", [S(_X, 1, numbers(3, 2, 2, 4), real(2, 2, 4))]),
    ("scatter_reduce", [S(_X, 1, numbers(3, 2, 2, 4), real(2, 2, 4), "sum")]),
    (
        "index_put _unsafe_index_put _index_put_impl",
        [S(_X, [None, _PLACES], real(2, 2, 4)), S(_X, [flags(2, 3, 4)], real(1))],
    ),
    ("masked_scatter", [S(_X, flags(2, 3, 4), real(24))]),
    ("put", [S(_X, numbers(24, 3), real(3))]),
    ("_local_scalar_dense is_nonzero", [S(real())]),
    ("nonzero _unique2", [S(_X)]),
    ("unique_dim", [S(_X, 1)]),
    ("histc", [S(_X, 3)]),
    ("masked_select", [S(_X, flags(2, 3, 4))]),
    ("bincount", [S(numbers(4, 5))]),
    ("equal", [S(_X, _X.clone())]),
    ("cumsum cumprod logcumsumexp cummax cummin", [S(_X, 1), S(_X, 2)]),
    ("sort argsort", [S(_X, 1), S(_X, 2, True)]),
    ("msort", [S(_X)]),
    ("topk kthvalue", [S(_X, 2, 1), S(_X, 2, 2)]),
    ("linalg_inv_ex linalg_matrix_exp _linalg_det _linalg_slogdet _linalg_svd linalg_pinv", [S(_SQUARE)]),
    ("linalg_qr linalg_eig linalg_lu_factor_ex", [S(_SQUARE)]),
    ("linalg_cholesky_ex _linalg_eigh", [S(_SQUARE @ _SQUARE.mT)]),
    ("_linalg_check_errors", [S(torch.zeros(2, dtype=torch.int32), "linalg.inv", is_matrix=False)]),
    ("mse_loss smooth_l1_loss huber_loss soft_margin_loss", [S(_X, real(2, 3, 4), n) for n in (0, 1, 2)]),
    ("binary_cross_entropy", [S(chance(2, 3), chance(2, 3), None, n) for n in (0, 1)]),
    ("binary_cross_entropy_with_logits", [S(real(2, 3), chance(2, 3), None, None, n) for n in (0, 1)]),
    ("nll_loss_forward", [S(real(4, 3), numbers(3, 4), None, n, -100) for n in (0, 1)]),
    ("nll_loss2d_forward", [S(real(2, 3, 4, 5), numbers(3, 2, 4, 5), None, n, -100) for n in (0, 1)]),
    ("nll_loss multi_margin_loss", [S(real(4, 3), numbers(3, 4))]),
    ("nll_loss2d", [S(real(2, 3, 4, 5), numbers(3, 2, 4, 5))]),
    ("multilabel_margin_loss_forward", [S(real(2, 3), torch.tensor([[0, 2, -1], [1, -1, -1]]), 1)]),
    ("_cdist_forward", [S(_X, real(2, 5, 4), 2.0, None)]),
    ("_euclidean_dist cdist", [S(_X, real(2, 5, 4))]),
    ("_pdist_forward pdist", [S(real(3, 4))]),
)
