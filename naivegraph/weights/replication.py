"""Self-replication as a problem of least squares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

__all__ = ["Replication"]

_NORM = 10.0  # the weight of the norm beside the differences of single weights


class Replication:
    """The differences between weights and what is predicted for them.

    With a norm to hold, the logarithm of the gain is an unknown, too, and what the norm is off by, as a share
    of it, is one more residual: as many unknowns as residuals again.

    Args:
        body: From weights, `[n]`, and codes to outputs, `[n]`.
        codes: The codes of the weights.
        gain: What outputs are multiplied by; where a norm is held, at the start.
        norm: The norm to hold, or None.
    """

    def __init__(
        self,
        body: Callable[[Tensor, Tensor], Tensor],
        codes: Tensor,
        gain: float,
        norm: float | None,
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
        off = _NORM * (weights.norm() / self._norm - 1)
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
            matrix[count, :count] = _NORM / self._norm * weights / weights.norm()
        return matrix
