"""Rows of a layer before an activation, and the part of their errors that it lets through."""

from __future__ import annotations

import dataclasses
import math

import torch

__all__ = ["SaturatedRows"]

_KEPT = 1 << 26  # numbers of inputs kept of a layer; of more rows, evenly many
_FEW = 0.01  # a share of targets beyond bounds that changes next to nothing, as behind a smooth activation


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some rows, `[groups, rows, ...]`, those held out apart; bounds have one row if all are alike."""

    x: torch.Tensor
    y: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def answers(self, weights: torch.Tensor) -> torch.Tensor:
        """Answers of weights, the shift as last row."""
        weights = weights.to(self.x.dtype)
        return torch.baddbmm(weights[:, -1:], self.x, weights[:, :-1])

    def wanted(self, given: torch.Tensor) -> torch.Tensor:
        """The number nearest to each answer that is as good as the target."""
        below, above = torch.minimum(given, self.low), torch.maximum(given, self.high)
        return torch.where(self.y <= self.low, below, torch.where(self.y >= self.high, above, self.y))


class SaturatedRows:
    """Rows with targets, and the bounds beyond which an activation takes all numbers for one.

    A target beyond a bound is met by whatever is beyond it. As the least squares of what is missed then are
    no longer linear, targets are moved to where answers are as good, again and again: each time the sum of
    squares falls (Zhang et al., "Accelerating very deep convolutional networks for classification and
    detection", IEEE TPAMI 2016, section 3.2, fit a layer before its rectifier so, with a penalty).

    Args:
        rows: How many there will be, about.
        inputs: The inputs of each, in all groups.
    """

    def __init__(self, rows: int, inputs: int) -> None:
        self._every = max(1, math.ceil(rows * inputs / _KEPT))
        self._parts: dict[bool, list[_Part]] = {False: [], True: []}
        self._targets = self._beyond = 0

    def __bool__(self) -> bool:
        return self._beyond > _FEW * self._targets

    def add(
        self, x: torch.Tensor, y: torch.Tensor, low: torch.Tensor, high: torch.Tensor, held: torch.Tensor
    ) -> None:
        """Add rows.

        Args:
            x: Inputs, `[groups, rows, unknowns]`.
            y: Targets, `[groups, rows, outputs]`.
            low: The numbers up to which all are alike, `[groups, rows, outputs]` or with one row.
            high: Those from which on all are alike.
            held: Whether each row is held out.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        for apart in (False, True):
            chosen = (held == apart).nonzero()[:: self._every, 0]
            if len(chosen):
                numbers = [
                    t[:, chosen if t.shape[1] > 1 else slice(None)].to(dtype) for t in (x, y, low, high)
                ]
                part = _Part(*numbers)
                self._parts[apart].append(part)
                self._targets += part.y.numel()
                self._beyond += int(((part.y <= part.low) | (part.y >= part.high)).sum())

    def moved(self, weights: torch.Tensor, held: bool) -> torch.Tensor:
        """The gain of `X^T Y`, in float64, where targets move to where the answers of weights are as good."""
        total = torch.zeros_like(weights)
        for part in self._parts[held]:
            gained = part.wanted(part.answers(weights)) - part.y
            total[:, :-1] += part.x.transpose(1, 2) @ gained
            total[:, -1] += gained.sum(1)
        return total * self._every

    def error(self, weights: torch.Tensor, held: bool) -> float:
        """The sum of squares of what answers miss."""
        total = 0.0
        for part in self._parts[held]:
            given = part.answers(weights)
            total += float((part.wanted(given) - given).square().sum())
        return total * self._every
