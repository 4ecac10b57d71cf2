"""Kinds of fixed points of self-replication.

A small loss alone says little: it is small for a network whose weights are all zero, or all alike, too.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp

__all__ = ["FixedPoint", "fixed_point", "kind_of", "spectral_radius"]

_ZERO = 0.05  # of the norm at the start
_CONSTANT = 0.95  # of the root mean square
_DENSE = 2000  # weights up to which all eigenvalues are worked out
_PRODUCTS, _SECONDS = 200, 30.0  # the most that are done, and the time for them, with more


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """A report on a network that is to predict its own weights.

    Attributes:
        kind: "true": each weight is predicted as it is. "constant": so it is, but all weights are nearly
            alike. "zero": they have nearly vanished. "none": they are predicted otherwise than they are.
        loss: The sum of squares of what weights and predictions differ by.
        relative: The same as a share of the sum of squares of the weights.
        largest: The largest difference.
        mean_share: The mean of the weights, without sign, as a share of their root mean square.
        norm_kept: The norm of the weights as a share of that at the start.
        radius: The spectral radius of regeneration: below 1 small changes of the weights die away when the
            network's weights are replaced by its predictions again and again.
        weights: The number of weights.
    """

    kind: str
    loss: float
    relative: float
    largest: float
    mean_share: float
    norm_kept: float
    radius: float
    weights: int

    @property
    def stable(self) -> bool:
        """True where regeneration leads back to the weights after a small change."""
        return self.radius < 1

    def __str__(self) -> str:
        told = {
            "true": "a true fixed point",
            "constant": "a constant fixed point (all weights nearly alike), no true one",
            "zero": "a zero fixed point (the weights nearly vanished), no true one",
            "none": "no fixed point",
        }[self.kind]
        return (
            f"{told}: loss {self.loss:.3g} (relative {self.relative:.3g}, largest difference "
            f"{self.largest:.3g}), mean / rms {self.mean_share:.2f}, norm kept {self.norm_kept:.2f}, "
            f"spectral radius {self.radius:.3g} ({'stable' if self.stable else 'not stable'}), "
            f"{self.weights:,} weights"
        )


def fixed_point(
    predict: Callable[[Tensor], Tensor],
    weights: Tensor,
    *,
    start: float,
    tolerance: float = 1e-4,
    radius: float | None = None,
) -> FixedPoint:
    """Report on weights and what is predicted for them.

    Args:
        predict: From weights, `[n]`, to predictions, `[n]`.
        weights: The weights.
        start: The norm of the weights at the start.
        tolerance: The relative loss up to which it counts as a fixed point.
        radius: The spectral radius, if it is known.

    Example:
        >>> report = fixed_point(lambda w: 0.5 * w + 0.5, torch.ones(4), start=2.0)
        >>> report.kind, report.relative, round(report.radius, 3), report.stable
        ('constant', 0.0, 0.5, True)
    """
    with torch.no_grad():
        difference = weights - predict(weights)
    norm, count = float(weights.norm()), max(len(weights), 1)
    loss = float(difference @ difference)
    rms = norm / count**0.5
    relative = loss / norm**2 if norm else 0.0
    mean_share = abs(float(weights.mean())) / rms if rms else 0.0
    kept = norm / start if start else float(norm > 0)
    kind = kind_of(relative, mean_share, kept, tolerance)
    found = spectral_radius(predict, weights) if radius is None else radius
    largest = float(difference.abs().max()) if len(difference) else 0.0
    return FixedPoint(kind, loss, relative, largest, mean_share, kept, found, len(weights))


def kind_of(relative: float, mean_share: float, norm_kept: float, tolerance: float = 1e-4) -> str:
    """The kind of a fixed point; the arguments are those of a `FixedPoint`.

    Example:
        >>> kind_of(1e-9, mean_share=0.1, norm_kept=0.8), kind_of(1e-9, mean_share=0.1, norm_kept=0.01)
        ('true', 'zero')
        >>> kind_of(float("nan"), mean_share=0.1, norm_kept=0.8)
        'none'
    """
    if norm_kept < _ZERO:
        return "zero"
    if not relative <= tolerance:  # nor is one where it is no number
        return "none"
    return "constant" if mean_share > _CONSTANT else "true"


def spectral_radius(predict: Callable[[Tensor], Tensor], weights: Tensor) -> float:
    """The largest absolute value of the eigenvalues of a map's Jacobian.

    Of up to 2,000 weights all eigenvalues are worked out; of more, it is Gelfand's formula after 200
    products, or as many as there is time for, ||J^k v||^(1/k), which comes near it.

    Example:
        >>> round(spectral_radius(lambda w: torch.stack([2 * w[1], 0.5 * w[0]]), torch.ones(2)), 6)
        1.0
    """
    if not len(weights):
        return 0.0
    pulled: Any = vjp(predict, weights)
    _, back = pulled
    if len(weights) <= _DENSE:
        rows = torch.func.vmap(lambda row: back(row)[0], chunk_size=256)(
            torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        )
        finite = bool(rows.isfinite().all())
        return float(torch.linalg.eigvals(rows).abs().max()) if finite else math.nan
    made = torch.Generator().manual_seed(0)
    vector = torch.randn(len(weights), generator=made, dtype=weights.dtype).to(weights.device)
    logarithm, products, end = 0.0, 0, time.monotonic() + _SECONDS
    while products < _PRODUCTS and (products < 1 or time.monotonic() < end):
        vector = vector / vector.norm()
        vector = back(vector)[0]  # the transpose has the same eigenvalues
        size = float(vector.norm())
        if not size:
            return 0.0
        products += 1
        logarithm += torch.tensor(size).log().item()
    return float(torch.tensor(logarithm / products).exp())
