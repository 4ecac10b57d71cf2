"""Activations that make numbers alike, such as all below zero, and the targets that are as good for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

__all__ = ["Saturation", "saturation_of"]

_FAR = math.asinh(1024.0)  # where a saturated function is so
_POINTS, _ROUNDS = 2049, 3  # of the search for the place from which it is


@dataclasses.dataclass(frozen=True)
class Saturation:
    """The numbers that an activation makes alike.

    Attributes:
        low: All numbers up to this one; minus infinity for none.
        high: All numbers from this one on; infinity for none.
    """

    low: float = -math.inf
    high: float = math.inf

    def __bool__(self) -> bool:
        return math.isfinite(self.low) or math.isfinite(self.high)


def saturation_of(function: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor) -> Saturation:
    """The numbers that a function of single ones makes alike at its ends, found by trying.

    Args:
        function: The function; of a tensor of any shape.
        like: A tensor of the type and device it is called with.

    Example:
        >>> saturation_of(torch.nn.ReLU6(), torch.zeros(()))
        Saturation(low=0.0, high=6.0)
        >>> saturation_of(torch.nn.LeakyReLU(), torch.zeros(()))
        Saturation(low=-inf, high=inf)
    """
    low, high = _edge(function, -_FAR, _FAR, like), _edge(function, _FAR, -_FAR, like)
    return Saturation(-math.inf if low is None else low, math.inf if high is None else high)


def _edge(
    function: Callable[[torch.Tensor], torch.Tensor], flat: float, other: float, like: torch.Tensor
) -> float | None:
    """The last number, on the way from one far out to another, that a function takes for the first."""
    points = torch.linspace(flat, other, _POINTS, dtype=torch.float64).sinh().to(like)  # dense around zero
    for turn in range(_ROUNDS):
        values = function(points.clone())
        if values.shape != points.shape:
            return None
        differs = (values != values[0]).nonzero()
        if not len(differs) or (turn == 0 and int(differs[0]) == 1):
            return None  # a constant, or not flat at all
        place = int(differs[0])
        flat, other = float(points[place - 1]), float(points[place])
        points = torch.linspace(flat, other, _POINTS, dtype=torch.float64).to(like)
    return flat
