"""Nonlinear least squares by the method of Levenberg and Marquardt, densely or by products alone.

Damping follows Nielsen, "Damping parameter in Marquardt's method", 1999. Without matrices the steps come from
conjugate gradients on the normal equations (Nocedal and Wright, "Numerical optimization", 2006, 10.3). Each
step has a second order, along bent valleys: Transtrum and Sethna, "Improvements to the Levenberg-Marquardt
algorithm for nonlinear least-squares minimization", 2012.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp

__all__ = ["Descent", "least_squares"]

_INNER_STEPS = 100  # of conjugate gradients, for one step
_PROBE = 0.1  # of a step, at which its curvature is measured
_BEND = 0.4  # of a step: the largest second order that is added to it


@dataclasses.dataclass(frozen=True)
class Descent:
    """The end of a descent.

    Attributes:
        x: The unknowns, `[n]`.
        losses: The sum of squares at the start and after each step.
        ended: The reason for which it ended: "solved", "seconds", "steps", "slow" or "no step lowers the
            loss".
    """

    x: Tensor
    losses: tuple[float, ...]
    ended: str


def least_squares(
    residual: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    seconds: float,
    tolerance: float,
    jacobian: Callable[[Tensor], Tensor] | None = None,
    steps: int | None = None,
    patience: int | None = None,
    watch: Callable[[Tensor, float], object] = lambda x, loss: None,
) -> Descent:
    """Lower the sum of squares of a function.

    Args:
        residual: From the unknowns, `[n]`, to the residuals, `[m]`.
        x: The unknowns to start with.
        seconds: Time after which no other step is begun, and none of conjugate gradients within a step.
        tolerance: The sum of squares at which it is solved.
        jacobian: From the unknowns to `[m, n]`; without it products with it are worked out by
            differentiation, and no matrix is held.
        steps: The most steps; any number if None.
        patience: Steps within which the sum of squares is to halve, or the descent ends.
        watch: Takes the unknowns and the sum of squares after each step.

    Example:
        >>> line = lambda x: torch.stack([x[0] + x[1] - 3, x[0] - x[1] - 1, 10 * (x[0] * x[1] - 2)])
        >>> found = least_squares(line, torch.ones(2, dtype=torch.double), seconds=5, tolerance=1e-20)
        >>> [round(each, 6) for each in found.x.tolist()]
        [2.0, 1.0]
    """
    end = time.monotonic() + seconds
    now = residual(x)
    losses, damping, growth = [float(now @ now)], 0.0, 2.0
    while losses[-1] > tolerance:
        model = _Products(residual, x, end) if jacobian is None else _Matrix(jacobian(x))
        gradient = model.back(now)
        damping = damping or 1e-3 * model.size(gradient)
        while True:
            if time.monotonic() >= end:
                return Descent(x, tuple(losses), "seconds")
            step = model.solve(-gradient, damping)
            foreseen = float(step @ (damping * step - gradient))
            step = step + _bend(residual, model, x, now, step, damping)
            there = residual(x + step)
            loss = float(there @ there)
            gain = (losses[-1] - loss) / foreseen if foreseen > 0 else -1.0
            if loss < losses[-1] and gain > 0:
                break
            damping, growth = damping * growth, 2 * growth
            if growth > 2.0**40 or float(step.norm()) <= 1e-15 * float(x.norm()):
                return Descent(x, tuple(losses), "no step lowers the loss")
        x, now = x + step, there
        damping, growth = damping * max(1 / 3, 1 - (2 * min(gain, 1.0) - 1) ** 3), 2.0
        losses.append(loss)
        watch(x, loss)
        if steps is not None and len(losses) > steps:
            return Descent(x, tuple(losses), "steps")
        if patience and len(losses) > patience and losses[-1] > losses[-1 - patience] / 2:
            return Descent(x, tuple(losses), "slow")
    return Descent(x, tuple(losses), "solved")


def _bend(
    residual: Callable[[Tensor], Tensor],
    model: _Matrix | _Products,
    x: Tensor,
    now: Tensor,
    step: Tensor,
    damping: float,
) -> Tensor:
    """The second order of a step along a bent valley, if it is small beside the step."""
    curvature = 2 / _PROBE * ((residual(x + _PROBE * step) - now) / _PROBE - model.ahead(step))
    bend = 0.5 * model.solve(-model.back(curvature), damping)
    small = float(bend.norm()) <= _BEND * float(step.norm())
    return bend if small else torch.zeros_like(step)


class _Matrix:
    """Products with a Jacobian that is held, and solutions by the factor of Cholesky."""

    def __init__(self, jacobian: Tensor) -> None:
        self._jacobian, self._normal = jacobian, jacobian.T @ jacobian
        self._factors: dict[float, Tensor | None] = {}

    def ahead(self, v: Tensor) -> Tensor:
        """The Jacobian times a vector."""
        return self._jacobian @ v

    def back(self, u: Tensor) -> Tensor:
        """The transposed Jacobian times a vector."""
        return self._jacobian.T @ u

    def size(self, gradient: Tensor) -> float:
        """A size of the normal matrix."""
        return float(self._normal.diagonal().max())

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """Solve the damped normal equations; not a number where they are not positive definite."""
        if damping not in self._factors:
            damped = self._normal.clone()
            damped.diagonal().add_(damping)
            factor, info = torch.linalg.cholesky_ex(damped)
            self._factors = {damping: None if int(info) else factor}
        factor_ = self._factors[damping]
        if factor_ is None:
            return torch.full_like(right, torch.nan)
        return torch.cholesky_solve(right[:, None], factor_)[:, 0]


class _Products:
    """Products with a Jacobian that is not held, and solutions by conjugate gradients."""

    def __init__(self, residual: Callable[[Tensor], Tensor], x: Tensor, end: float) -> None:
        self._end = end
        here: Any = vjp(residual, x)
        now, self._back = here
        # The transpose of a transpose; forward differentiation is not there for every operator.
        back: Any = vjp(lambda u: self._back(u)[0], torch.zeros_like(now))
        _, self._ahead = back

    def ahead(self, v: Tensor) -> Tensor:
        """The Jacobian times a vector."""
        out: Tensor = self._ahead(v)[0]
        return out

    def back(self, u: Tensor) -> Tensor:
        """The transposed Jacobian times a vector."""
        out: Tensor = self._back(u)[0]
        return out

    def size(self, gradient: Tensor) -> float:
        """A size of the normal matrix."""
        ahead = self.ahead(gradient)
        return float(ahead @ ahead) / max(float(gradient @ gradient), 1e-300)

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """Solve the damped normal equations as far as so many steps lead, or the time."""
        step, rest = torch.zeros_like(right), right
        direction, square = rest, float(rest @ rest)
        stop = square * min(0.1, square**0.25) ** 2
        for number in range(_INNER_STEPS):
            if square <= stop or (number and time.monotonic() >= self._end):
                break
            ahead = self.ahead(direction)
            length = square / (float(ahead @ ahead) + damping * float(direction @ direction))
            step = step + length * direction
            rest = rest - length * (self.back(ahead) + damping * direction)
            before, square = square, float(rest @ rest)
            direction = rest + square / before * direction
        return step
