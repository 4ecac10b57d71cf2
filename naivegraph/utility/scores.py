"""Scores of single weights, from which the utilities of neurons are summed up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import parameters_of

__all__ = ["BoundLoss", "Loss", "Score", "batch_norm_scale", "restored_buffers", "weights"]

# The values of a parameter's elements, but for their signs, by its name; None where it does not count.
Score = Callable[[str], torch.Tensor | None]

# A function that runs a network on data of its own, or on a batch that it is given, and returns the loss; and
# the same for one network.
Loss = Callable[..., torch.Tensor]
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


@contextlib.contextmanager
def restored_buffers(module: nn.Module) -> Iterator[None]:
    """Restore running statistics, which a run for the loss may change, after the block."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
