"""One network of a batch as a plain module of torch."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from naivegraph.errors import EditError
from naivegraph.tokens.frame import ACTIVATIONS
from naivegraph.tokens.network_tensors import NetworkTensors
from naivegraph.tokens.validity import faults, given_to

__all__ = ["AddInput", "plain_module"]


class AddInput(nn.Module):
    """A module that adds what it is given to what a body gives."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """`x + body(x)`."""
        added: Tensor = x + self.body(x)
        return added


def plain_module(networks: NetworkTensors, number: int) -> nn.Module:
    """A network as a module, which shares nothing with it.

    Raises:
        EditError: It is none; the message says why.
    """
    one = networks[number]
    wrong = [what for what, mask in faults(one).items() if mask.item()]
    if wrong:
        raise EditError(
            f"network {number} is none: {'; '.join(wrong)}; ng.tokens.repair gives the nearest that is one"
        )
    frame, given = one.frame, given_to(one)[0]
    modules: dict[str, nn.Module] = {}
    for layer in range(frame.depth):
        if one.operator[0, layer] != 0:
            modules[f"layer{layer + 1}"] = _layer(one, layer, given[layer])
    if frame.images:
        modules["pool"], modules["flat"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    modules["head"] = _linear(one, frame.depth, given[-1], images=False)
    return nn.Sequential(OrderedDict(modules))


def _layer(one: NetworkTensors, layer: int, given: Tensor) -> nn.Module:
    """A hidden layer: linear or a convolution, a norm and an activation."""
    there = one.presence[0, layer] > 0.5
    parts: dict[str, nn.Module] = {"linear": _linear(one, layer, given, images=one.frame.images)}
    if one.scale is not None and one.shift is not None:
        norm = nn.GroupNorm(1, int(there.sum()), dtype=one.weights.dtype)
        _fill(norm.weight, one.scale[0, layer, there])
        _fill(norm.bias, one.shift[0, layer, there])
        parts["norm"] = norm
    parts["activation"] = ACTIVATIONS[one.frame.operators[int(one.operator[0, layer])]].module()
    body = nn.Sequential(OrderedDict(parts))
    return AddInput(body) if one.skips is not None and one.skips[0, layer] > 0.5 else body


def _linear(one: NetworkTensors, layer: int, given: Tensor, *, images: bool) -> nn.Module:
    """The products of a layer, of the neurons that are there."""
    there, frame = one.presence[0, layer] > 0.5, one.frame
    weights = (one.weights[0, layer] * one.edges[0, layer, :, :, None])[there][:, given]
    sizes, dtype = (int(given.sum()), int(there.sum())), one.weights.dtype
    made: nn.Linear | nn.Conv2d
    if images:
        made = nn.Conv2d(*sizes, frame.side, padding=frame.side // 2, dtype=dtype)
        _fill(made.weight, weights.reshape(made.weight.shape))
    else:
        made = nn.Linear(*sizes, dtype=dtype)
        _fill(made.weight, weights[..., frame.kernel // 2])
    made.bias = nn.Parameter(one.bias[0, layer, there].detach().clone())
    return made.to(one.weights.device)


def _fill(parameter: Tensor, values: Tensor) -> None:
    """Give a parameter values."""
    with torch.no_grad():
        parameter.copy_(values)
