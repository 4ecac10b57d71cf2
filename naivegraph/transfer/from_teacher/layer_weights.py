"""Weights of single layers as matrices, batch norms folded in, and layers run with other weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.ir.vertex import Vertex
from naivegraph.reconstruct.linear_call import LinearCall
from naivegraph.reconstruct.linear_layout import Layout

__all__ = ["bias_of", "folded", "run_with", "weight_shape"]


def folded(
    vertex: Vertex, norms: Sequence[Vertex], layout: Layout, scales: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    """The weights of a layer with batch norms or scales behind it folded in, `[unknowns + 1, outputs]`."""
    layer: Any = vertex.target
    matrix = layout.matrix(layer.weight.detach()).double()[0]
    bias = bias_of(vertex)
    shift = matrix.new_zeros(matrix.shape[1]) if bias is None else bias.detach().double()
    for each in norms:
        norm: Any = each.target
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.detach().double()
        shift = (shift - norm.running_mean.double()) * scale
        shift = shift if norm.bias is None else shift + norm.bias.detach().double()
        matrix = matrix * scale
    for numbers in scales:
        matrix, shift = matrix * numbers.detach().double(), shift * numbers.detach().double()
    return torch.cat([matrix, shift[None]])


def run_with(vertex: Vertex, weights: torch.Tensor, calls: list[LinearCall]) -> list[torch.Tensor]:
    """The outputs of a layer with other weights."""
    layer = deep_copy(vertex.target)
    assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    layout = calls[0].layout
    layer.weight.copy_(layout.weight(weights[:-1][None], layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(weights[-1])
    found = []
    for call in calls:
        out = layer(call.x)
        if layer.bias is None:
            sizes = [1] * out.dim()
            sizes[layout.channel_dim(out.shape)] = -1
            out = out + weights[-1].to(out.dtype).reshape(sizes)
        found.append(out)
    return found


def weight_shape(vertex: Vertex) -> tuple[int, ...]:
    """The shape of a layer's weight."""
    layer: Any = vertex.target
    return tuple(layer.weight.shape)


def bias_of(vertex: Vertex) -> nn.Parameter | None:
    """The bias of a layer, if it has one."""
    found: nn.Parameter | None = getattr(vertex.target, "bias", None)
    return found
