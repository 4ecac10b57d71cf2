"""Scores of single weights, from which the utilities of neurons are summed up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import parameters_of

__all__ = ["BoundLoss", "Loss", "Score", "batch_norm_scale", "taylor", "weights"]

# The values of a parameter's elements, but for their signs, by its name; None where it does not count.
Score = Callable[[str], torch.Tensor | None]

# A function that runs a network on data of its own and returns the loss; and the same for one network.
Loss = Callable[[Any], torch.Tensor]
BoundLoss = Callable[[], torch.Tensor]


def weights(module: nn.Module, loss: BoundLoss | None = None) -> Score:
    """The score that is the parameters themselves."""
    parameters = parameters_of(module)
    return lambda name: parameters[name].detach()


def batch_norm_scale(module: nn.Module, loss: BoundLoss | None = None) -> Score:
    """The score that is the scales of batch norms.

    Liu et al., "Learning efficient convolutional networks through network slimming" (ICCV 2017).
    """
    scales = {
        f"{path}.weight" if path else "weight": layer.weight.detach()
        for path, layer in module.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.weight is not None
    }
    if not scales:
        raise EditError(
            'utility="bn_scale" needs batch norms with a scale, and the network has none; try "l2"'
        )
    return scales.get


def taylor(module: nn.Module, loss: BoundLoss | None) -> Score:
    """First-order change of the loss when a weight becomes zero, `weight * gradient`, but for its sign.

    Molchanov et al., "Importance estimation for neural network pruning" (CVPR 2019), equation 8. The
    parameters' own gradients are left as they were.
    """
    if loss is None:
        raise EditError('utility="taylor" needs loss=, which takes the network and returns its loss')
    parameters = dict(module.named_parameters())
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    with torch.enable_grad():
        try:
            value = loss()
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise EditError("loss= must return one number as a tensor")
            grads = torch.autograd.grad(value, list(trainable.values()), allow_unused=True)
        finally:
            _restore(buffers)  # after the gradients: a batch norm's are worked out from its statistics
    scores = {
        name: p.detach() * g for (name, p), g in zip(trainable.items(), grads, strict=True) if g is not None
    }
    return scores.get


def _restore(buffers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Restore running statistics, which the run for the loss may have changed."""
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
