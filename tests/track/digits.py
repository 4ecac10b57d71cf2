"""A network, data and tasks for tests, as configs name them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset


def network(width: int | None = 16, depth=1, dropout: float = 0.2):  # type: ignore[no-untyped-def]
    """A network; its signature is told by halves, as those of users are."""
    width = 4 if width is None else width
    middle = [
        layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())
    ]
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(dropout), *middle, nn.Linear(width, 3))


def clusters(count: int = 96, seed: int = 0, root: Path | None = None) -> TensorDataset:
    """Points in three clusters."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(7)) * 2
    return TensorDataset(centres[labels] + torch.randn(count, 8, generator=generator), labels)


class Dying(torch.utils.data.Dataset[Any]):
    """The same; kills its process after so many samples, once for each file, which it removes."""

    def __init__(self, after: list[int], files: list[str], count: int = 96) -> None:
        self.data, self.read = clusters(count), 0
        self.deaths = [(Path(file), left) for file, left in zip(files, after, strict=True)]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        for file, after in self.deaths:
            if file.exists():
                if self.read >= after:
                    file.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
                break
        return self.data[index]


def needs(width, **more):  # type: ignore[no-untyped-def]
    """A network whose width has no default, and whose other arguments nobody knows."""
    return network(width, **more)


def no_network() -> int:
    """No network."""
    return 3


def line(count: int = 64) -> TensorDataset:
    """Points and a number for each, in one dimension fewer than a network gives it."""
    points = torch.randn(count, 8, generator=torch.Generator().manual_seed(3))
    return TensorDataset(points, points.sum(1))


def column(width: int = 4) -> nn.Module:
    """A network that gives a column of numbers."""
    return nn.Sequential(nn.Linear(8, width), nn.Linear(width, 1))
