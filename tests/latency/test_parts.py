"""Runtimes against torch, the fit against scipy's, the interval against its definition, and profiles."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import naivegraph as ng
from naivegraph.latency.latency_cost import Latency
from naivegraph.latency.least_squares import fit_nonnegative
from naivegraph.latency.runtimes import runtime_of
from naivegraph.latency.stopwatch import median_interval


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 12), st.integers(1, 3), st.integers(0, 10**6))
def test_the_fit_is_that_of_scipy(samples: int, features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(0.1, 2.0, (samples, features)) * rng.choice([1.0, 1e6], features)
    values = np.abs(matrix @ rng.normal(size=features) / matrix.max(axis=0).max()) + 0.1
    found = fit_nonnegative(matrix, values)
    scale = matrix.max(axis=0)
    expected, residual = scipy.optimize.nnls(matrix / scale / values[:, None], np.ones(samples))
    assert np.linalg.norm(matrix @ found / values - 1) == pytest.approx(residual, abs=1e-7)
    assert np.allclose(found * scale, expected, atol=1e-6)


def test_the_interval_holds_the_median() -> None:
    """In about 95 of 100 samples, of any distribution."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        _, low, high = median_interval(rng.exponential(size=25).tolist())
        inside += low <= np.log(2) <= high
    assert 0.93 < inside / 1000 < 0.99


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head((self.conv(image) * scale).relu().mean((2, 3)))
        return out


def _available(name: str) -> bool:
    if name == "onnxruntime":
        return all(importlib.util.find_spec(each) for each in ("onnx", "onnxscript", "onnxruntime"))
    return name != "compiled" or shutil.which("g++") is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["eager", "channels_last", "compiled", "onnxruntime"])
def test_runtimes_run_the_network(name: str) -> None:
    if not _available(name):
        pytest.skip(f"{name} is not installed")
    net, args = TwoInputs().eval(), (torch.randn(2, 3, 8, 8), torch.tensor(0.5))
    expected = net(*args).detach()
    found: Any = runtime_of(name).prepare(net, args, {})()
    found = torch.as_tensor(found[0] if isinstance(found, list) else found)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_profile_adds_up() -> None:
    """What calls take and the rest are the whole network's time, and costs of any sizes follow from it."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(2304, 5)
    )
    graph = ng.capture(net, torch.randn(2, 3, 16, 16))
    profile = ng.profile(graph)
    assert profile.samples == 12
    assert set(profile.calls) == {"0", "1", "2", "3", "4"}
    whole = profile.offset + sum(call.seconds for call in profile.calls.values())
    assert whole == pytest.approx(profile.seconds)
    widths = graph.widths
    assert Latency(profile).value(widths) == pytest.approx(profile.seconds * 1e6)
    assert Latency(profile, 5.0).value(widths) == pytest.approx(profile.seconds * 1e6 + 5)
    assert profile.calls["2"].macs == 16 * 16 * 9 * 12 * 12 * 2
    assert profile.calls["2"].bytes == 4 * (2 * 16 * 14 * 14 + 16 * 16 * 9 + 16 + 2 * 16 * 12 * 12)
    assert "The slowest calls" in str(profile)
    fewer = {width.atom: 8 for width in widths}
    less = Latency(profile).value(widths, lambda atom: fewer.get(atom, atom.length))
    assert less < profile.seconds * 1e6


def test_a_profile_leaves_the_network_as_it_is() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(8 * 36, 2)
    )
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x, random = torch.randn(2, 3, 8, 8), torch.get_rng_state()
    ng.profile(net, x)
    assert net.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(8, 4)),  # no size can change
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
    ],
    ids=["fixed", "attention"],
)
def test_profiles_of_other_networks(net: nn.Module) -> None:
    x = torch.randn(2, 5, 16) if isinstance(net, nn.TransformerEncoderLayer) else torch.randn(2, 8)
    assert ng.profile(net, x).seconds > 0
