"""Moments of the rows of a linear call: all that least squares needs of them."""

from __future__ import annotations

import dataclasses

import torch

__all__ = ["Moments"]

_MANY = 1 << 21  # numbers of inputs multiplied at a time
_ROWS = 2048  # multiplied at a time, so that sums of single precision lose nothing that counts


@dataclasses.dataclass
class Moments:
    """Sums of products of inputs and targets, in float64. The inputs have a column of ones as the last.

    Attributes:
        gram: `X^T X`, `[groups, unknowns + 1, unknowns + 1]`.
        cross: `X^T Y`, `[groups, unknowns + 1, outputs]`.
        energy: The sums of squares of targets, `[groups, outputs]`.
        rows: The number of rows.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    energy: torch.Tensor
    rows: int = 0

    @staticmethod
    def none(groups: int, unknowns: int, outputs: int, device: torch.device) -> Moments:
        """The moments of no rows."""

        def zeros(*sizes: int) -> torch.Tensor:
            """Return a tensor of zeros."""
            return torch.zeros(groups, *sizes, dtype=torch.float64, device=device)

        return Moments(zeros(unknowns + 1, unknowns + 1), zeros(unknowns + 1, outputs), zeros(outputs))

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add rows.

        Products are in the network's own precision (at least single), sums of them in double precision.

        Args:
            x: Inputs, `[groups, rows, unknowns]`.
            y: Targets, `[groups, rows, outputs]`.
        """
        dtype = x.dtype if x.dtype == torch.float32 else torch.float64
        step = min(max(_MANY // max(x.shape[0] * x.shape[2], 1), 1), _ROWS)
        for first in range(0, x.shape[1], step):
            part, target = x[:, first : first + step].to(dtype), y[:, first : first + step].to(dtype)
            part = torch.cat([part, part.new_ones(*part.shape[:2], 1)], 2)
            turned = part.transpose(1, 2)
            self.gram += turned @ part
            self.cross += turned @ target
            self.energy += target.double().square().sum(1)
        self.rows += x.shape[1]

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.gram + other.gram,
            self.cross + other.cross,
            self.energy + other.energy,
            self.rows + other.rows,
        )

    def error(self, weights: torch.Tensor) -> float:
        """The sum of squared errors of weights, `[groups, unknowns + 1, outputs]`, the bias as last row."""
        products = weights * (self.gram @ weights - 2 * self.cross)
        return max(float((self.energy + products.sum(1)).sum()), 0.0)

    def spread(self) -> float:
        """The sum of squares of targets around their means."""
        return max(float((self.energy - self.cross[:, -1].square() / max(self.rows, 1)).sum()), 0.0)

    @property
    def finite(self) -> bool:
        """Tell whether all sums are finite."""
        return all(bool(torch.isfinite(t).all()) for t in (self.gram, self.cross, self.energy))
