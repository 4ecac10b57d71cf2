"""A device whose time is a known function of the network that runs on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.latency.stopwatch import Clock
from naivegraph.prune import trial

Seconds = Callable[[nn.Module], float]


@dataclasses.dataclass
class Device:
    """A device, and its clock.

    Attributes:
        seconds: The time of a run of a network.
        slowness: A factor on all times.
        now: The time of day.
        made: The times of the networks that were made to run on it.
    """

    seconds: Seconds
    slowness: float = 1.0
    now: float = 0.0
    made: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, model: nn.Module, example: Any) -> Callable[[], object]:
        """A function that runs a network, as `runtime=` takes it."""
        taken = self.seconds(model)
        self.made.append(taken)

        def run() -> object:
            self.now += taken * self.slowness
            with torch.no_grad():
                return model(example)

        return run

    def clock(self, device: torch.device, *, on_thread: bool) -> Clock:
        """The clock of this device."""
        return Clock("simulated", lambda: self.now, lambda start, end: float(end) - float(start))  # type: ignore[arg-type]


def simulated(monkeypatch: pytest.MonkeyPatch, seconds: Seconds) -> Device:
    """A device that takes these seconds, by whose clock everything is timed in a test."""
    device = Device(seconds)
    monkeypatch.setattr(trial, "clock_of", device.clock)
    return device


def linear_macs(model: nn.Module) -> int:
    """Multiply-accumulates of the linear layers for one row."""
    return sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear))


def perceptron(width: int = 64) -> nn.Sequential:
    """Three linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 8)
    )
