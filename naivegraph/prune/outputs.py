"""Comparison of an edited network's outputs with those before: tensors of the same shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from naivegraph.ir.pytree import pairs
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.relation import returned, tensors_in
from naivegraph.widths import Widths

__all__ = ["check_shapes"]

_MASKS = (torch.bool, torch.uint8)


def check_shapes(widths: Widths, run: Recording, output: Any, mode: str = "") -> None:
    """Check that the network's outputs have the shapes of a recorded run.

    The number of things that a network finds, as boxes in an image, depends on its values and may differ.

    Raises:
        ValueError: A shape differs.
    """
    fixed = {stub.id for stub in returned(run.output)}.union(run.left_behind)
    found: set[int] | None = None
    for stub, tensor, at in pairs(run.output, output):
        if isinstance(stub, np.ndarray) and np.shape(tensor) != stub.shape:
            raise ValueError(f"output{at}{mode} has shape {np.shape(tensor)}, not {stub.shape}")
        if not isinstance(stub, Stub) or stub.id not in fixed or tuple(tensor.shape) == stub.shape:
            continue
        found = _found(run) if found is None else found
        if stub.id not in found or not _same_but_counts(widths, stub, tensor):
            raise ValueError(f"output{at}{mode} has shape {tuple(tensor.shape)}, not {stub.shape}")


def _same_but_counts(widths: Widths, stub: Stub, tensor: torch.Tensor) -> bool:
    """Check whether a tensor has its sizes of before, apart from those that are no widths."""
    axes = widths.relation.of(stub)
    now, before = tuple(tensor.shape), stub.shape
    return len(now) == len(before) and all(
        one == two or not any(axis.atoms()) for one, two, axis in zip(now, before, axes, strict=True)
    )


def _found(run: Recording) -> set[int]:
    """The tensors computed from one whose shape depends on values."""
    found: set[int] = set()
    for vertex in run.vertices:
        for operation in vertex.operations:
            given = operation.operands
            if _by_value(operation) or any(stub.id in found for stub in given):
                found.update(stub.id for stub in tensors_in(list(operation.outputs)))
    return found


def _by_value(operation: Operation) -> bool:
    func = operation.func
    if func is torch.ops.aten.index.Tensor:  # numbers choose as many as there are; a mask does not
        return any(stub.dtype in _MASKS for stub in tensors_in(list(operation.args[1])))
    # An operator of another library says nothing of its shapes.
    return torch.Tag.dynamic_output_shape in func.tags or func.namespace not in ("aten", "prims")
