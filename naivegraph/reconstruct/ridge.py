"""Least squares from moments, with a ridge towards the weights that were kept."""

from __future__ import annotations

import torch

from naivegraph.reconstruct.moments import Moments

__all__ = ["RIDGES", "RidgeSystem", "least_squares"]

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


class RidgeSystem:
    """The normal equations of one ridge, factored once for any targets.

    Args:
        moments: The moments, of which those with targets do not count.
        ridge: The penalty's factor, in units of the mean square of an input.
        bias: Whether the bias is solved for, too, without a penalty.
    """

    def __init__(self, moments: Moments, ridge: float, *, bias: bool) -> None:
        size = moments.gram.shape[1] if bias else moments.gram.shape[1] - 1
        gram = moments.gram[:, :size, :size]
        scale = torch.diagonal(moments.gram, dim1=1, dim2=2)[:, :-1].mean(1)
        penalty = torch.full((len(gram), size), ridge, dtype=torch.float64, device=gram.device)
        penalty = penalty * scale[:, None] + 1e-12 * moments.rows
        if bias:
            penalty[:, -1] = 0
        self._size, self._gram = size, moments.gram
        self._factor, failed = torch.linalg.cholesky_ex(gram + torch.diag_embed(penalty))
        self._failed = bool(failed.any())

    def solve(self, cross: torch.Tensor, kept: torch.Tensor) -> torch.Tensor | None:
        """The weights of least squared error, with a penalty on their distance from the kept ones.

        Args:
            cross: `X^T Y`, `[groups, unknowns + 1, outputs]`.
            kept: The weights kept, of the same shape, the bias as last row.

        Returns:
            The weights; None if the system has no answer in float64.
        """
        if self._failed:
            return None
        rest = (cross - self._gram @ kept)[:, : self._size]
        out = kept.clone()
        out[:, : self._size] += torch.cholesky_solve(rest, self._factor)
        return out if bool(torch.isfinite(out).all()) else None


def least_squares(moments: Moments, kept: torch.Tensor, ridge: float, *, bias: bool) -> torch.Tensor | None:
    """The answer of a `RidgeSystem` for the targets of the moments."""
    return RidgeSystem(moments, ridge, bias=bias).solve(moments.cross, kept)
