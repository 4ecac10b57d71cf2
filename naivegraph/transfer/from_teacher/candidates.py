"""Hidden neurons of several blocks side by side, of which some are to stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from naivegraph.ir.vertex import Vertex
from naivegraph.reconstruct.linear_call import LinearCall
from naivegraph.reconstruct.linear_layout import Layout
from naivegraph.transfer.from_teacher.branch_layers import LayerBranch
from naivegraph.transfer.from_teacher.layer_weights import folded
from naivegraph.transfer.from_teacher.row_fit import RowFit, drop_neurons

__all__ = ["Candidates", "choose", "places_of", "side_by_side"]


@dataclasses.dataclass
class Candidates:
    """The hidden neurons of all blocks at one place, side by side.

    Attributes:
        inputs: The inputs of the next layer on each batch.
        layout: The layout of the next layer's call.
        kept: Weights to begin with, `[unknowns + 1, outputs]`.
    """

    inputs: list[torch.Tensor]
    layout: Layout
    kept: torch.Tensor


def side_by_side(
    calls: list[list[LinearCall]], layers: list[Vertex], branches: Sequence[LayerBranch | None]
) -> Candidates:
    """The inputs of the next layer from all blocks, and the weights of all of them."""
    layout = calls[0][0].layout
    dim = layout.channel_dim(calls[0][0].x.shape)
    inputs = [torch.cat([mine[b].x for mine in calls], dim) for b in range(len(calls[0]))]
    parts = [
        folded(vertex, (), mine[0].layout)
        if branch is None
        else folded(vertex, branch.norms, mine[0].layout, branch.scales)
        for vertex, branch, mine in zip(layers, branches, calls, strict=True)
    ]
    width = calls[0][0].x.shape[dim]
    matrices = [part[:-1].reshape(-1, width, part.shape[1]) for part in parts]
    whole = torch.cat(matrices, 1).reshape(-1, parts[0].shape[1])
    shift = torch.stack([part[-1] for part in parts]).sum(0)
    return Candidates(inputs, layout, torch.cat([whole, shift[None]]))


def choose(fit: RowFit, found: Candidates, keep: int) -> torch.Tensor:
    """The hidden neurons that stay."""
    total = found.inputs[0].shape[found.layout.channel_dim(found.inputs[0].shape)]
    if total <= keep:
        return torch.arange(total)
    blocks = torch.arange(len(found.kept) - 1).reshape(-1, total).T
    return drop_neurons(*fit.compensated(), blocks, keep)


def places_of(keep: torch.Tensor, found: Candidates, total: int) -> torch.Tensor:
    """The inputs of some neurons, in the layout's order: places of the kernel first."""
    places = (len(found.kept) - 1) // total
    return (torch.arange(places)[:, None] * total + keep).reshape(-1)
