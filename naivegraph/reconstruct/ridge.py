"""Least squares from moments, with a ridge towards the weights that were kept."""

from __future__ import annotations

import torch

from naivegraph.reconstruct.moments import Moments

__all__ = ["RIDGES", "least_squares"]

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def least_squares(moments: Moments, kept: torch.Tensor, ridge: float, *, bias: bool) -> torch.Tensor | None:
    """The weights of least squared error, with a penalty on their distance from the kept ones.

    Args:
        moments: The moments.
        kept: The weights kept, `[groups, unknowns + 1, outputs]`, the bias as last row.
        ridge: The penalty's factor, in units of the mean square of an input.
        bias: Whether the bias is solved for, too, without a penalty.

    Returns:
        The weights; None if the system has no answer in float64.
    """
    size = kept.shape[1] if bias else kept.shape[1] - 1
    gram = moments.gram[:, :size, :size]
    rest = (moments.cross - moments.gram @ kept)[:, :size]
    scale = torch.diagonal(moments.gram, dim1=1, dim2=2)[:, :-1].mean(1)
    penalty = torch.full((len(gram), size), ridge, dtype=torch.float64, device=gram.device) * scale[:, None]
    penalty = penalty + 1e-12 * moments.rows
    if bias:
        penalty[:, -1] = 0
    factor, failed = torch.linalg.cholesky_ex(gram + torch.diag_embed(penalty))
    if bool(failed.any()):
        return None
    out = kept.clone()
    out[:, :size] += torch.cholesky_solve(rest, factor)
    return out if bool(torch.isfinite(out).all()) else None
