"""Values of neurons with complex weights, against the same network made of real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.utility import utilities
from naivegraph.widths import relate


class Spectral(nn.Module):
    """Two complex layers with six neurons in between, and the squared magnitudes of what they give."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(4, 6, dtype=torch.complex64))
        self.last = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.first @ self.last).abs().square()


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def loss(network: Any, batch: Any) -> Tensor:
    out: Tensor = network(batch).sum(1).mean()
    return out


def found(utility: str, **options: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    widths = relate(ng.capture(Spectral(), X[:2], verify="recorded"))
    values = list(utilities(widths, utility, **options).values())
    assert [len(v) for v in values] == [6]
    return np.asarray(values[0])


def derived(sample: int) -> tuple[list[Tensor], list[Tensor]]:
    """Real and imaginary parts of the weights, and the derivatives of the loss of a sample by them."""
    net = Spectral()
    parts = [
        part.detach().clone().requires_grad_() for p in (net.first, net.last) for part in (p.real, p.imag)
    ]
    a, b, c, d = parts
    real, imaginary = X[[sample]] @ a, X[[sample]] @ b
    out = (real @ c - imaginary @ d).square() + (real @ d + imaginary @ c).square()
    return parts, list(torch.autograd.grad(out.sum(), parts))


def by_neuron(values: list[Tensor]) -> Tensor:
    """Sums over all that each of the six neurons has."""
    first, second, third, fourth = (value.detach().double() for value in values)
    return (first + second).sum(0) + (third + fourth).sum(1)


def test_taylor_counts_both_parts() -> None:
    expected = torch.zeros(6, dtype=torch.float64)
    for sample in range(5):
        parts, grads = derived(sample)
        expected += by_neuron([p * g for p, g in zip(parts, grads, strict=True)]).square() / 5
    values = found("taylor", loss=loss, calibration=[X])
    np.testing.assert_allclose(values / values.sum(), expected / expected.sum(), rtol=1e-4)


def test_fisher_is_what_the_loss_changes_by_without_the_neuron() -> None:
    expected = torch.zeros(6, dtype=torch.float64)
    for sample in range(5):
        (_, _, *last), (_, _, *grads) = derived(sample)
        change = sum((p * g).detach().double().sum(1) for p, g in zip(last, grads, strict=True))
        expected += torch.as_tensor(change).square() / 10
    np.testing.assert_allclose(found("fisher", loss=loss, calibration=[X]), expected, rtol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_weights_count_with_their_magnitudes(power: int) -> None:
    net = Spectral()
    sums = [net.first.abs().pow(power).sum(0).detach(), net.last.abs().pow(power).sum(1).detach()]
    shares = [(along / along.sum()).double().numpy() for along in sums]
    np.testing.assert_allclose(found(f"l{power}"), shares[0] + shares[1], rtol=1e-5)


@pytest.mark.parametrize("utility", ["activation", "variance", "reconstruction"])
def test_criteria_of_activations_see_both_parts(utility: str) -> None:
    class Turned(Spectral):
        """The same network with hidden values multiplied by i, and divided by it."""

        def __init__(self) -> None:
            super().__init__()
            self.first.data *= 1j
            self.last.data *= -1j

    plain = found(utility, calibration=[X])
    widths = relate(ng.capture(Turned(), X[:2], verify="recorded"))
    (turned,) = utilities(widths, utility, calibration=[X]).values()
    np.testing.assert_allclose(turned, plain, rtol=1e-4)
    assert (plain > 0).all()
