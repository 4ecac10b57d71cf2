"""Networks of one frame run all at once, as products of stacked and masked matrices."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.tokens.frame import ACTIVATIONS
from naivegraph.tokens.network_tensors import NetworkTensors

__all__ = ["MaskedRun", "masked_run"]

_EPSILON = 1e-5  # that of torch's norms


@dataclasses.dataclass(frozen=True)
class MaskedRun:
    """The values that networks computed.

    Attributes:
        outputs: `[n, b, outputs]`.
        hidden: What goes into the activation of each hidden layer, `[n, b, width, ...]`.
        last: What goes into the head, `[n, b, W_in]`; of images, the mean over all pixels.
    """

    outputs: Tensor
    hidden: list[Tensor]
    last: Tensor


def masked_run(networks: NetworkTensors, inputs: Tensor) -> MaskedRun:
    """Run networks.

    Args:
        networks: n networks.
        inputs: `[b, inputs]` or `[b, inputs, height, width]` for all, or `[n, b, ...]`.

    Raises:
        ValueError: The inputs are of another shape.
    """
    frame = networks.frame
    state = _given(networks, inputs)
    shares = networks.shares().to(state.dtype)
    presence, hidden = networks.presence.to(state.dtype), []
    for layer in range(frame.depth):
        there = _spread(presence[:, layer, : frame.width], state)
        z = _linear(networks, layer, state)
        if networks.scale is not None and networks.shift is not None:
            z = _norm(z, there) * _spread(networks.scale[:, layer, : frame.width], state)
            z = z + _spread(networks.shift[:, layer, : frame.width], state)
        hidden.append(z)
        out = _pad(_activated(networks, shares[:, layer], z) * there, frame.columns)
        if networks.skips is not None:
            out = out + state * _spread(networks.skips[:, layer : layer + 1].to(state.dtype), state)
        none = _spread(shares[:, layer, :1], state)
        state = none * state + (1 - none) * out
    last = state.mean((-1, -2)) if frame.images else state
    return MaskedRun(_head(networks, last) * presence[:, -1, None, : frame.outputs], hidden, last)


def _given(networks: NetworkTensors, inputs: Tensor) -> Tensor:
    """The inputs at their places, `[n, b, W_in]` or `[n, b, W_in, height, width]`."""
    frame, count = networks.frame, len(networks)
    dims = 4 if frame.images else 2
    each = inputs.dim() == dims + 1 and len(inputs) == count
    if not (inputs.dim() == dims or each) or inputs.shape[1 + each] != frame.inputs:
        shape = f"[b, {frame.inputs}{', height, width' if frame.images else ''}]"
        raise ValueError(
            f"inputs are {tuple(inputs.shape)}, and are to be {shape}, with {count} in front if each network "
            "has its own"
        )
    inputs = inputs.to(networks.weights.dtype)
    return _pad(inputs if each else inputs.expand(count, *inputs.shape), frame.columns)


def _linear(networks: NetworkTensors, layer: int, state: Tensor) -> Tensor:
    """The products of a hidden layer, `[n, b, width, ...]`."""
    frame = networks.frame
    kernel = networks.weights[:, layer, : frame.width] * networks.edges[:, layer, : frame.width, :, None]
    bias = networks.bias[:, layer, : frame.width]
    if not frame.images:
        return bias[:, None] + state @ kernel[..., 0].mT
    n, batch, *_ = state.shape
    if n == 0:
        return state.new_zeros(n, batch, frame.width, *state.shape[3:])
    out = F.conv2d(
        state.transpose(0, 1).flatten(1, 2),
        kernel.reshape(-1, frame.columns, frame.side, frame.side),
        bias.flatten(),
        padding=frame.side // 2,
        groups=n,
    )
    return out.reshape(batch, n, frame.width, *state.shape[3:]).transpose(0, 1)


def _activated(networks: NetworkTensors, shares: Tensor, z: Tensor) -> Tensor:
    """The activations of what a layer computed, by the shares of the operators, `[n, operators]`."""
    functions = [ACTIVATIONS[name].module() for name in networks.frame.activations]
    if networks.operator_share is not None:
        weighed = [_spread(shares[:, i : i + 1], z) * each(z) for i, each in enumerate(functions, start=1)]
        return torch.stack(weighed).sum(0)
    found = torch.zeros_like(z)
    for i, each in enumerate(functions, start=1):
        rows = (shares[:, i] > 0).nonzero()[:, 0]
        if len(rows):  # each function is worked out for the networks that have it
            found = found.index_copy(0, rows, each(z[rows]))
    return found


def _head(networks: NetworkTensors, given: Tensor) -> Tensor:
    """The outputs, `[n, b, outputs]`, of what goes into the head."""
    outputs, middle = networks.frame.outputs, networks.frame.kernel // 2
    weights = networks.weights[:, -1, :outputs, :, middle] * networks.edges[:, -1, :outputs]
    found: Tensor = networks.bias[:, -1, None, :outputs] + given @ weights.mT
    return found


def _norm(z: Tensor, presence: Tensor) -> Tensor:
    """Values `[n, b, neurons, ...]` less their mean, by their deviation, over the neurons that are there."""
    axes = list(range(2, z.dim()))
    count = presence.expand(len(z), 1, *z.shape[2:]).sum(axes, keepdim=True).clamp_min(1.0)
    centred = z - (z * presence).sum(axes, keepdim=True) / count
    variance = (centred.square() * presence).sum(axes, keepdim=True) / count
    return centred * (variance + _EPSILON).rsqrt()


def _pad(values: Tensor, columns: int) -> Tensor:
    """Values, `[n, b, some, ...]`, with zeros up to so many."""
    missing = columns - values.shape[2]
    return F.pad(values, (*(0, 0) * (values.dim() - 3), 0, missing)) if missing else values


def _spread(numbers: Tensor, state: Tensor) -> Tensor:
    """Numbers `[n, neurons]` for values `[n, b, neurons, ...]`."""
    return numbers.reshape(len(numbers), 1, numbers.shape[1], *[1] * (state.dim() - 3))
