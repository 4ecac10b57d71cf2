"""Levenberg-Marquardt, with matrices and without, beside scipy's."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from naivegraph.weights.levenberg_marquardt import least_squares


def _valley(x: Tensor) -> Tensor:
    """Rosenbrock's valley in six dimensions."""
    return torch.cat([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


def _fit(x: Tensor) -> Tensor:
    """An exponential beside a curve that none fits exactly."""
    t = torch.linspace(0, 3, 40, dtype=torch.float64)
    return x[0] * torch.exp(-x[1] * t) + x[2] - torch.cos(t) * torch.exp(-t)


@pytest.mark.parametrize("dense", [True, False])
def test_a_valley_is_followed_to_its_end(dense: bool) -> None:
    jacobian = torch.func.jacrev(_valley) if dense else None
    start = torch.full((6,), -1.2, dtype=torch.float64)
    found = least_squares(_valley, start, seconds=60, tolerance=1e-20, jacobian=jacobian)
    assert found.ended == "solved"
    assert list(found.losses) == sorted(found.losses, reverse=True)
    torch.testing.assert_close(found.x, torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("dense", [True, False])
def test_the_least_sum_is_that_of_scipy(dense: bool) -> None:
    start = torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64)
    found = least_squares(
        _fit, start, seconds=60, tolerance=0.0, jacobian=torch.func.jacrev(_fit) if dense else None
    )
    oracle = optimize.least_squares(
        lambda x: _fit(torch.from_numpy(x)).numpy(), start.numpy(), xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert found.ended == "no step lowers the loss"
    assert found.losses[-1] == pytest.approx(2 * oracle.cost, rel=1e-6)


def test_it_ends_in_time() -> None:
    found = least_squares(_valley, torch.full((6,), -1.2).double(), seconds=0.0, tolerance=0.0)
    assert found.ended == "seconds"
    assert np.isclose(found.losses[0], float(_valley(found.x).square().sum()))


class _Slow(torch.autograd.Function):
    """The identity, whose derivative takes its time."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.03)
        return gradient.clone()


def test_conjugate_gradients_end_in_time() -> None:
    values = torch.logspace(-4, 0, 300, dtype=torch.float64)
    start = time.monotonic()
    least_squares(
        lambda x: _Slow.apply(values * x - 1),  # type: ignore[no-untyped-call]
        torch.zeros(300).double(),
        seconds=0.2,
        tolerance=0.0,
    )
    assert time.monotonic() - start < 1.5


def test_steps_are_counted() -> None:
    found = least_squares(_valley, torch.full((6,), -1.2).double(), seconds=60, tolerance=0.0, steps=3)
    assert (found.ended, len(found.losses)) == ("steps", 4)
