"""Rows of a table on another grid, as weighted sums of the old ones."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from naivegraph.edits.plan.start import Sums

__all__ = ["extended", "resampled"]


def extended(before: int, after: int) -> Sums:
    """The old rows, and behind them the same again.

    Example:
        >>> [int(old[0]) for old, _ in extended(3, 5)]
        [0, 1, 2, 0, 1]
    """
    return [(np.array([place % before], np.int64), np.ones(1)) for place in range(after)]


def resampled(before: tuple[int, ...], after: tuple[int, ...], mode: str) -> Sums:
    """The rows of a grid interpolated from another one, as torch interpolates images.

    The weights are what `torch.nn.functional.interpolate` makes of images of a single pixel. Along a line the
    ends go to the ends; in a grid the outlines of the pixels do (`align_corners=False`).

    Args:
        before: The sizes of the old grid.
        after: Those of the new one.
        mode: "linear" for one size, "bilinear" or "bicubic" for two.

    Example:
        >>> [(old.tolist(), weights.tolist()) for old, weights in resampled((2,), (3,), "linear")]
        [([0], [1.0]), ([0, 1], [0.5, 0.5]), ([1], [1.0])]
    """
    count = int(np.prod(before))
    pixels = torch.eye(count, dtype=torch.float64).reshape(count, 1, *before)
    found = functional.interpolate(pixels, size=after, mode=mode, align_corners=mode == "linear")
    weights = found.reshape(count, -1).T.numpy()
    return [(np.flatnonzero(row), row[row != 0]) for row in weights]
