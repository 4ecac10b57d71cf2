"""Calibration batches in two: samples that solutions are fitted to, and those held out to judge them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from naivegraph.calibration import CalibrationBatch
from naivegraph.ir.pytree import map_leaves
from naivegraph.transfer.from_teacher.row_fit import is_held

__all__ = ["split_batches"]


def split_batches(
    batches: Sequence[CalibrationBatch],
) -> tuple[list[CalibrationBatch], list[CalibrationBatch]]:
    """The samples to fit to and those held out, every 8th; of too few samples all are both.

    Example:
        >>> batch = CalibrationBatch(1, {"x": torch.arange(10.0)}, 10, None)
        >>> fitted, held = split_batches([batch])
        >>> fitted[0].samples, held[0].inputs["x"].tolist()
        (9, [7.0])
    """
    fitted, held = list(_parts(batches, judged=False)), list(_parts(batches, judged=True))
    return (fitted, held) if held else (list(batches), list(batches))


def _parts(batches: Sequence[CalibrationBatch], *, judged: bool) -> Iterator[CalibrationBatch]:
    first = 0
    for batch in batches:
        rows = torch.nonzero(is_held(first + torch.arange(batch.samples)) == judged).reshape(-1)
        first += batch.samples
        if not len(rows):
            continue

        def cut(leaf: Any, rows: torch.Tensor = rows, count: int = batch.samples) -> Any:
            """Return the chosen samples of a tensor that has a row for each."""
            stacked = isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and len(leaf) == count
            return leaf[rows.to(leaf.device)] if stacked else leaf

        yield dataclasses.replace(batch, inputs=map_leaves(batch.inputs, cut), samples=len(rows), given=None)
