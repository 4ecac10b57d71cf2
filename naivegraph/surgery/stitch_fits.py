"""Linear maps from the hidden values of one network to those of another, fitted to their moments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch

from naivegraph.edits.request import validate
from naivegraph.errors import EditError, nearest
from naivegraph.optional_package import optional_package
from naivegraph.surgery.joint_moments import JointMoments

__all__ = ["FITS", "FitName", "LinearMap", "Rank", "check_fit", "fit_linear_map", "rank"]

FitName = Literal["ridge", "least_squares", "procrustes", "permutation"]

# The penalty of ridge regression, in units of the mean variance of an input.
_PENALTY = 1e-4
_SINGULAR = 1e-12  # of the largest eigenvalue: what a smaller one is divided by is rounding error


@dataclasses.dataclass(frozen=True)
class Rank:
    """A fit of low rank, as `ng.surgery.rank` makes it.

    Attributes:
        rank: The rank.
    """

    rank: int

    def __str__(self) -> str:
        return f"rank {self.rank}"


def rank(number: int) -> Rank:
    """A stitch of low rank, for `fit=` of `ng.surgery.stitch`.

    It is the map of that rank with the least squared error (reduced-rank regression: Izenman, "Reduced-rank
    regression for the multivariate linear model", Journal of Multivariate Analysis 5, 1975), which is not
    the nearest one to the map of full rank.

    Raises:
        EditError: The number is no whole number from 1 up.

    Example:
        >>> print(rank(8))
        rank 8
    """
    return Rank(validate.whole(number, "the rank", 1))


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """A linear map of rows: `x @ factors[0] @ ... + bias`.

    Attributes:
        factors: One matrix `[inputs, outputs]`, or two whose product it is.
        bias: `[outputs]`.
        explained: The share of the variance of the targets that it explains, at most 1.
    """

    factors: tuple[torch.Tensor, ...]
    bias: torch.Tensor
    explained: float


def fit_linear_map(moments: JointMoments, fit: str | Rank) -> LinearMap:
    """Fit a linear map to moments.

    Args:
        moments: Those of the hidden values of both networks.
        fit: The way.

    Raises:
        EditError: There is no such way, or it has no answer.
    """
    check_fit(fit)
    if not moments.finite:
        raise EditError("hidden values are not finite on the data: no map can be fitted to them")
    factors = _low_rank(moments, fit.rank) if isinstance(fit, Rank) else (FITS[fit](moments),)
    weight = factors[0] if len(factors) == 1 else factors[0] @ factors[1]
    residual = (moments.yy - weight.T @ (2 * moments.xy - moments.xx @ weight)).trace()
    whole = moments.yy.trace().clamp_min(torch.finfo(torch.float64).tiny)
    bias = moments.y_mean - moments.x_mean @ weight
    return LinearMap(factors, bias, 1 - float(residual / whole))


def check_fit(fit: object) -> None:
    """Check that a way to fit is one of those there are.

    Raises:
        EditError: It is not.
    """
    if isinstance(fit, Rank):
        return
    if not isinstance(fit, str) or fit not in FITS:
        known = ", ".join(map(repr, FITS))
        hint = nearest(fit, FITS) if isinstance(fit, str) else ""
        raise EditError(f"fit={fit!r}: give one of {known}, ng.surgery.rank(8), or 'random'{hint}")


def _ridge(moments: JointMoments) -> torch.Tensor:
    """Hoerl and Kennard 1970; the penalty keeps neurons that are always zero from making it singular."""
    spread = moments.xx.diagonal()
    penalty = _PENALTY * spread.mean() + torch.finfo(torch.float64).tiny
    penalised = moments.xx + penalty * torch.eye(len(spread)).to(moments.xx)
    weight: torch.Tensor = torch.linalg.solve(penalised, moments.xy)
    return weight


def _least_squares(moments: JointMoments) -> torch.Tensor:
    values = torch.linalg.eigvalsh(moments.xx)
    size, rank = len(values), int((values > _SINGULAR * values[-1].clamp_min(0)).sum())
    if rank < size:
        raise EditError(
            f"fit='least_squares' has no single answer: {moments.rows} rows of hidden values span {rank} of "
            f"{size} dimensions; give more data, or fit='ridge'"
        )
    weight: torch.Tensor = torch.linalg.solve(moments.xx, moments.xy)
    return weight


def _procrustes(moments: JointMoments) -> torch.Tensor:
    """Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966."""
    left, _, right = torch.linalg.svd(moments.xy, full_matrices=False)
    weight: torch.Tensor = left @ right
    return weight


def _permutation(moments: JointMoments) -> torch.Tensor:
    """The matching of least squared error: it has the largest sum of covariances.

    Li, Yosinski, Clune, Lipson and Hopcroft, "Convergent learning", ICLR 2016, section 3.
    """
    optimize = optional_package("scipy.optimize", "surgery", "fit='permutation'")
    rows, columns = optimize.linear_sum_assignment(moments.xy.cpu().numpy(), maximize=True)
    weight = torch.zeros_like(moments.xy)
    weight[rows, columns] = 1
    return weight


def _low_rank(moments: JointMoments, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    most = min(moments.xy.shape)
    if rank > most:
        raise EditError(f"fit={Rank(rank)}: a map between these has rank {most} at most; give fit='ridge'")
    # With the penalty as further rows of data: Mukherjee and Zhu, "Reduced rank ridge regression and its
    # kernel extensions", Statistical Analysis and Data Mining 4, 2011, section 2.
    weight = _ridge(moments)
    fitted = moments.xy.T @ weight
    _, vectors = torch.linalg.eigh((fitted + fitted.T) / 2)
    leading = vectors[:, -rank:]
    return weight @ leading, leading.T.contiguous()


FITS: dict[str, Callable[[JointMoments], torch.Tensor]] = {
    "ridge": _ridge,
    "least_squares": _least_squares,
    "procrustes": _procrustes,
    "permutation": _permutation,
}
