"""Making samples: tensors of numbers drawn once, and rows for several operators."""

from __future__ import annotations

import torch
from torch import Tensor

from naivegraph.extend.operator_trial import Sample

__all__ = ["Samples", "chance", "flags", "mixed", "numbers", "real", "rows", "single"]

Samples = dict[str, list[Sample]]
_GENERATOR = torch.Generator().manual_seed(0)


def real(*shape: int) -> Tensor:
    """Normal numbers in double precision."""
    return torch.randn(shape, generator=_GENERATOR, dtype=torch.float64)


def single(*shape: int) -> Tensor:
    """Normal numbers in single precision, where an operator knows no other."""
    return real(*shape).float()


def chance(*shape: int) -> Tensor:
    """Numbers between 0.05 and 0.95."""
    return 0.05 + 0.9 * torch.rand(shape, generator=_GENERATOR, dtype=torch.float64)


def mixed(rows: int, columns: int) -> Tensor:
    """Numbers of which neighbours differ in sign, so that no row or column has one sign."""
    signs = 1 - 2 * ((torch.arange(rows)[:, None] + torch.arange(columns)) % 2)
    return signs * chance(rows, columns)


def flags(*shape: int) -> Tensor:
    """Truth values, of which the first is true and the last is not."""
    out = torch.rand(shape, generator=_GENERATOR) < 0.5
    out.view(-1)[0], out.view(-1)[-1] = True, False
    return out


def numbers(high: int, *shape: int) -> Tensor:
    """Whole numbers from 0 up to, and without, `high`."""
    return torch.randint(high, shape, generator=_GENERATOR)


def rows(*entries: tuple[str, list[Sample]]) -> Samples:
    """A table of samples, each row for operators whose names are separated by spaces."""
    return {name: samples for names, samples in entries for name in names.split()}
