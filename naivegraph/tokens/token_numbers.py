"""The numbers of tokens, those that a network has, and how they spread over many networks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.tokens.frame import Frame

__all__ = ["NumberScale", "number_mask", "number_places", "number_scale", "structure_places"]

_NUMBERS = ("bias", "scale", "shift", "weights")
_LEAST = 0.05  # of the root mean square of all spreads: where networks agree, small differences stay small


def number_places(frame: Frame) -> Tensor:
    """The places of a token's features that are numbers, not structure, in their order."""
    parts = [torch.arange(part.start, part.stop) for name, part in frame.features.items() if name in _NUMBERS]
    return torch.cat(parts)


def structure_places(frame: Frame) -> Tensor:
    """The places of a token's features that say its structure, in their order."""
    parts = [
        torch.arange(part.start, part.stop) for name, part in frame.features.items() if name not in _NUMBERS
    ]
    return torch.cat(parts)


def number_mask(frame: Frame, tokens: Tensor) -> Tensor:
    """The numbers that networks have, `[n, tokens, numbers]`, 1 or 0, in the order of `number_places`.

    Biases, scales and shifts belong to neurons that are there, weights to edges; of a head's kernels only the
    middle counts.
    """
    features, head = frame.features, frame.places[:, 0] == frame.depth
    presence = (tokens[..., features["presence"]] > 0.5).to(tokens)
    hidden = presence * (~head)[:, None]
    edges = (tokens[..., features["edges"]] > 0.5).to(tokens)
    kernels = torch.ones(len(head), frame.kernel, dtype=tokens.dtype, device=tokens.device)
    kernels[head] = 0.0
    kernels[head, frame.kernel // 2] = 1.0
    found = {
        "bias": presence,
        "scale": hidden,
        "shift": hidden,
        "weights": (edges[..., None] * kernels[:, None]).flatten(2),
    }
    return torch.cat([found[name] for name in features if name in _NUMBERS], -1)


@dataclasses.dataclass(frozen=True)
class NumberScale:
    """The mean and the standard deviation of each number over the networks that have it.

    Attributes:
        centre: `[tokens, numbers]`.
        spread: `[tokens, numbers]`, never 0.
    """

    centre: Tensor
    spread: Tensor

    def standard(self, tokens: Tensor, frame: Frame) -> Tensor:
        """The numbers with mean 0 and deviation 1, `[n, tokens, numbers]`; 0 where there is none."""
        numbers = tokens[..., number_places(frame)]
        return (numbers - self.centre) / self.spread * number_mask(frame, tokens)

    def restored(self, numbers: Tensor) -> Tensor:
        """The numbers of networks from standard ones."""
        return numbers * self.spread + self.centre


def number_scale(frame: Frame, tokens: Tensor) -> NumberScale:
    """Measure how the numbers of networks spread.

    Example:
        >>> from naivegraph.tokens.networks import Networks
        >>> frame = Frame("dense", inputs=1, outputs=1, depth=1, width=1, activations=("relu",))
        >>> networks = Networks.empty(frame, 2)
        >>> networks.bias[:, 1, 0] = torch.tensor([1.0, 3.0])
        >>> scale = number_scale(frame, networks.tokens())
        >>> float(scale.centre[1, 0]), float(scale.spread[1, 0])
        (2.0, 1.0)
    """
    numbers, mask = tokens[..., number_places(frame)], number_mask(frame, tokens)
    count = mask.sum(0).clamp_min(1.0)
    centre = (numbers * mask).sum(0) / count
    variance = ((numbers - centre).square() * mask).sum(0) / count
    whole = (variance * mask.sum(0)).sum() / mask.sum().clamp_min(1.0)
    return NumberScale(centre, variance.clamp_min(_LEAST**2 * float(whole) or 1.0).sqrt())
