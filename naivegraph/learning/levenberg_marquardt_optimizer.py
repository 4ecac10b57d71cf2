"""Levenberg-Marquardt in the place of an optimizer of a config."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from naivegraph.edits.request.validate import at_least_zero, whole
from naivegraph.errors import EditError

__all__ = ["LevenbergMarquardt"]


class LevenbergMarquardt(torch.optim.Optimizer):
    """The method of Levenberg and Marquardt, for learners whose loss is a sum of squares.

    An epoch is a number of its steps on all examples at once, in float64, as `Learner.solve` makes them; a
    batch size has no effect. It is what finds true fixed points of self-replication, where Adam lowers the
    loss by making weights small.

    Args:
        params: The parameters of the learner's network.
        steps: The steps of an epoch.
        tolerance: The sum of squares at which an epoch ends earlier.

    Raises:
        EditError: A number is out of range.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> LevenbergMarquardt(net.parameters(), steps=5).steps
        5
    """

    def __init__(self, params: Iterable[nn.Parameter], steps: int = 20, tolerance: float = 1e-9) -> None:
        self.steps, self.tolerance = whole(steps, "steps", 1), at_least_zero(tolerance, "tolerance")
        super().__init__(params, {})

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Refuse: its steps need all residuals, not a loss.

        Raises:
            EditError: Always.
        """
        raise EditError("LevenbergMarquardt takes no steps from a loss: call learner.solve, or train with it")
