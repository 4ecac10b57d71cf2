"""Running means and second moments of the rows of two matrices, together."""

from __future__ import annotations

import torch

__all__ = ["JointMoments"]


class JointMoments:
    """Means and centred second moments of rows `x` and `y`, which come a batch at a time, in float64.

    A batch is centred by its own means and then merged, which loses no digits where means are large: Chan,
    Golub and LeVeque, "Algorithms for computing the sample variance: analysis and recommendations", The
    American Statistician 37, 1983, equation 2.1, for products of two columns.

    Attributes:
        rows: The number of rows.
        x_mean: `[inputs]`.
        y_mean: `[outputs]`.
        xx: `[inputs, inputs]`, the sums of products of centred columns.
        xy: `[inputs, outputs]`.
        yy: `[outputs, outputs]`.

    Example:
        >>> moments = JointMoments()
        >>> x = torch.arange(6.0)[:, None] + 1e6
        >>> for batch in x.split(2):
        ...     moments.add(batch, 2 * batch)
        >>> moments.rows, float(moments.xx), float(moments.xy)
        (6, 17.5, 35.0)
    """

    def __init__(self) -> None:
        self.rows = 0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add rows.

        Args:
            x: `[rows, inputs]`.
            y: `[rows, outputs]`.
        """
        x, y, new = x.detach().double(), y.detach().double(), len(x)
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        if not self.rows:
            self.rows, self.x_mean, self.y_mean = new, x_mean, y_mean
            self.xx, self.xy, self.yy = x.T @ x, x.T @ y, y.T @ y
            return
        total = self.rows + new
        weight, by_x, by_y = self.rows * new / total, x_mean - self.x_mean, y_mean - self.y_mean
        self.xx += x.T @ x + weight * torch.outer(by_x, by_x)
        self.xy += x.T @ y + weight * torch.outer(by_x, by_y)
        self.yy += y.T @ y + weight * torch.outer(by_y, by_y)
        self.x_mean = self.x_mean + by_x * (new / total)
        self.y_mean = self.y_mean + by_y * (new / total)
        self.rows = total

    @property
    def finite(self) -> bool:
        """Tell whether all of them are finite."""
        return all(bool(torch.isfinite(t).all()) for t in (self.xx, self.xy, self.yy))
