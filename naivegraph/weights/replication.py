"""Self-replication as a problem of least squares."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

__all__ = ["Replication"]

_NORM = 10.0  # the weight of the norm beside the differences of single weights


class Replication:
    """The differences between weights and what is predicted for them.

    With bounds of the norm, the logarithm of the gain is an unknown, too, and what the norm is outside of the
    bounds by, as a share of the nearer one, is one more residual. Within them solutions are curves, which are
    found far more often than the single points that one value of the norm leaves.

    Args:
        body: From weights, `[n]`, and codes to outputs, `[n]`.
        codes: The codes of the weights.
        gain: What outputs are multiplied by; where the norm has bounds, at the start.
        norm: The bounds of the norm, or None.
    """

    def __init__(
        self,
        body: Callable[[Tensor, Tensor], Tensor],
        codes: Tensor,
        gain: float,
        norm: tuple[float, float] | None,
    ) -> None:
        self._body, self._codes, self._gain, self._norm = body, codes, gain, norm
        self._by_weight = vmap(
            grad(lambda weights, code: body(weights, code[None])[0]), (None, 0), chunk_size=512
        )

    def unknowns(self, weights: Tensor) -> Tensor:
        """The unknowns to start with."""
        if self._norm is None:
            return weights
        return torch.cat([weights, torch.tensor([self._gain], dtype=weights.dtype).log()])

    def found(self, x: Tensor) -> tuple[Tensor, float]:
        """The weights and the gain of unknowns."""
        count = len(self._codes)
        return x[:count], self._gain if self._norm is None else float(x[count].exp())

    def residual(self, x: Tensor) -> Tensor:
        """The residuals, `[n]` or `[n + 1]`."""
        count = len(self._codes)
        weights = x[:count]
        if self._norm is None:
            return weights - self._gain * self._body(weights, self._codes)
        off = _NORM * (weights.norm() / self._nearer(weights) - 1)
        return torch.cat([weights - x[count].exp() * self._body(weights, self._codes), off[None]])

    def jacobian(self, x: Tensor) -> Tensor:
        """Their derivatives, `[residuals, unknowns]`."""
        count = len(self._codes)
        weights, gain = x[:count], self.found(x)[1]
        matrix = torch.zeros(len(x), len(x), dtype=x.dtype)
        matrix[:count, :count] = -gain * self._by_weight(weights, self._codes)
        matrix.diagonal()[:count] += 1
        if self._norm is not None:
            matrix[:count, count] = -gain * self._body(weights, self._codes)
            outside = bool(weights.norm() != self._nearer(weights))
            matrix[count, :count] = outside * _NORM / self._nearer(weights) * weights / weights.norm()
        return matrix

    def _nearer(self, weights: Tensor) -> Tensor:
        """The bound that the norm violates; the norm itself where it violates none."""
        low, high = self._norm or (0.0, math.inf)
        return torch.clamp(weights.norm(), low, high)
