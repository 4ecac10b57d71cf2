"""Networks as tokens, one for each place of a neuron, and tokens as networks."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.network_tensors import NetworkTensors

__all__ = ["tokens_of", "tokens_to_tensors"]

_Some = TypeVar("_Some", bound=NetworkTensors)


def tokens_of(networks: NetworkTensors) -> Tensor:
    """The tokens of networks, `[n, tokens, features]`; see `Frame.features` and `Frame.places`.

    Weights without an edge, and the numbers of neurons that are not there, are 0.
    """
    frame, dtype = networks.frame, networks.weights.dtype
    layers, neurons = frame.places.T
    presence, edges = networks.presence.to(dtype), networks.edges.to(dtype)
    parts: dict[str, Tensor] = {
        "operator": networks.shares().to(dtype)[:, layers],
        "presence": presence[:, layers, neurons, None],
        "bias": (networks.bias * presence)[:, layers, neurons, None],
        "edges": edges[:, layers, neurons],
        "weights": (networks.weights * edges[..., None])[:, layers, neurons].flatten(2),
    }
    if networks.scale is not None and networks.shift is not None:
        hidden = presence * (torch.arange(frame.depth + 1) < frame.depth)[:, None]
        parts["scale"] = (networks.scale * hidden)[:, layers, neurons, None]
        parts["shift"] = (networks.shift * hidden)[:, layers, neurons, None]
    if networks.skips is not None:
        parts["skip"] = networks.skips.to(dtype)[:, layers, None]
    return torch.cat([parts[name] for name in frame.features], -1)


def tokens_to_tensors(kind: type[_Some], frame: Frame, tokens: Tensor, *, soft: bool = False) -> _Some:
    """The networks that tokens say; see `Networks.from_tokens`."""
    features = frame.features
    if tokens.dim() != 3 or tuple(tokens.shape[1:]) != (len(frame.places), frame.size):
        raise ValueError(
            f"tokens are {tuple(tokens.shape)}, and are to be [n, {len(frame.places)}, {frame.size}] in this "
            "frame"
        )
    if not tokens.is_floating_point():
        raise ValueError(f"tokens are of {tokens.dtype}, and are to be floating numbers")
    if not tokens.isfinite().all():
        number = int((~tokens.isfinite()).flatten(1).any(1).nonzero()[0, 0])
        raise ValueError(f"the tokens of network {number} hold numbers that are not finite")
    layers, neurons = frame.places.T

    def at_places(name: str, *shape: int) -> Tensor:
        """A feature of all places, `[n, depth + 1, W, *shape]`."""
        found = tokens.new_zeros(len(tokens), frame.depth + 1, frame.rows, *shape)
        return found.index_put(
            (torch.arange(len(tokens))[:, None], layers, neurons),
            tokens[..., features[name]].reshape(*tokens.shape[:2], *shape),
        )

    def by_layer(name: str) -> Tensor:
        """A feature of layers, the mean over their tokens, `[n, depth + 1, features]`."""
        size = features[name].stop - features[name].start
        counts = torch.bincount(layers)[:, None].to(tokens)
        return at_places(name, size).sum(2) / counts

    def said(share: Tensor) -> Tensor:
        """A share as a bool, or as it is."""
        return share if soft else share > 0.5

    shares = by_layer("operator")
    tensors = {
        "operator": shares.argmax(-1),
        "presence": said(at_places("presence")),
        "edges": said(at_places("edges", frame.columns)),
        "weights": at_places("weights", frame.columns, frame.kernel),
        "bias": at_places("bias"),
    }
    if frame.norm:
        tensors |= {"scale": at_places("scale"), "shift": at_places("shift")}
    if frame.residual:
        tensors["skips"] = said(by_layer("skip")[..., 0])
    if soft:
        tensors["operator_share"] = shares
    return kind(frame, **tensors)
