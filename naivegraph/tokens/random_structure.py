"""Random networks of a frame: layers, neurons, edges, and weights as torch starts them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.validity import given_to

__all__ = ["random_structure"]

_SKIP = 0.6  # the share of layers that add what they were given, of those of a residual frame that can


def random_structure(frame: Frame, count: int, seed: int, *, density: float = 1.0) -> Networks:
    """Draw valid networks.

    Each has 1 to `depth` hidden layers, each of 2 to `width` neurons at the first places, any of the
    activations, and edges from all neurons before, or a share of these. In residual frames a layer may have
    the neurons of that before, and add what it was given. Weights and biases are uniform within one over the
    root of a neuron's inputs.

    Args:
        frame: The frame.
        count: The number of networks.
        seed: The seed.
        density: The share of edges between neurons that are there; each neuron has one at least.

    Raises:
        ValueError: The count is below 1, or the density not in (0, 1].
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count={count} is to be a whole number of at least 1")
    if not 0 < density <= 1:
        raise ValueError(f"density={density} is to be above 0 and at most 1")
    random = torch.Generator().manual_seed(seed)
    networks = Networks.empty(frame, count)
    lengths = torch.randint(1, frame.depth + 1, (count, 1), generator=random)
    there = torch.arange(frame.depth) < lengths
    drawn = torch.randint(1, frame.head, (count, frame.depth), generator=random)
    networks.operator[:, :-1] = torch.where(there, drawn, 0)
    widths, skips = _widths(frame, count, random)
    networks.presence[:, :-1] = (torch.arange(frame.rows) < widths[..., None]) & there[..., None]
    if networks.skips is not None:
        networks.skips[:, :-1] = skips & there
    _connect(networks, density, random)
    _weigh(networks, random)
    return networks


def _widths(frame: Frame, count: int, random: Generator) -> tuple[Tensor, Tensor]:
    """The widths of hidden layers, and whether they add what they were given, `[count, depth]`."""
    low = min(2, frame.width)
    widths = torch.randint(low, frame.width + 1, (count, frame.depth), generator=random)
    skips = torch.zeros(count, frame.depth, dtype=torch.bool)
    if frame.residual:
        skips = torch.rand(count, frame.depth, generator=random) < _SKIP
        skips[:, 0] = False
        for layer in range(1, frame.depth):
            widths[:, layer] = torch.where(skips[:, layer], widths[:, layer - 1], widths[:, layer])
    return widths, skips


def _connect(networks: Networks, density: float, random: Generator) -> None:
    """Draw edges between neurons that are there."""
    possible = networks.presence[..., None] & given_to(networks)[:, :, None]
    chance = torch.rand(possible.shape, generator=random).masked_fill(~possible, 2.0)
    first = torch.zeros_like(possible).scatter_(-1, chance.argmin(-1, keepdim=True), True)
    networks.edges.copy_(possible & ((chance < density) | first))


def _weigh(networks: Networks, random: Generator) -> None:
    """Draw weights and biases; norms start with a scale of 1."""
    taps = torch.full((networks.frame.depth + 1,), float(networks.frame.kernel))
    taps[-1] = 1.0
    inputs = (networks.edges.sum(-1) * taps[:, None]).clamp_min(1.0)
    bound = inputs.rsqrt()
    for values, size in ((networks.weights, bound[..., None, None]), (networks.bias, bound)):
        values.copy_((2 * torch.rand(values.shape, generator=random) - 1) * size)
    if networks.scale is not None:
        networks.scale.copy_(networks.presence)
