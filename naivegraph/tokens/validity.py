"""Validity of networks of a frame: what in them is at odds with what."""

from __future__ import annotations

import torch
from torch import Tensor

from naivegraph.tokens.network_tensors import NetworkTensors

__all__ = ["faults", "given_to"]


def faults(networks: NetworkTensors) -> dict[str, Tensor]:
    """Faults that a network can have, each with a mask `[n]` of those that have it.

    Presence, edges and skips count from .5 on.
    """
    frame = networks.frame
    operator, hidden = networks.operator, networks.operator[:, :-1]
    presence, edges = networks.presence > 0.5, networks.edges > 0.5
    there = hidden != 0
    found = {
        "its head has another operator, or a hidden layer is a head": (
            (operator[:, -1] != frame.head) | (hidden == frame.head).any(1)
        ),
        "a layer comes after a place without one": (there[:, 1:] & ~there[:, :-1]).any(1),
        "a place without a layer has neurons": (presence[:, :-1].any(-1) & ~there).any(1),
        "a layer has no neurons": (there & ~presence[:, :-1].any(-1)).any(1),
        "a neuron is at a place beyond its layer's": (
            presence[:, :-1, frame.width :].any((1, 2)) | presence[:, -1, frame.outputs :].any(1)
        ),
        "an output is missing": ~presence[:, -1, : frame.outputs].all(1),
    }
    given = given_to(networks)
    loose = edges & ~(presence[..., None] & given[:, :, None])
    found["an edge has no neuron at an end"] = loose.any((1, 2, 3))
    if networks.skips is not None:
        skips = networks.skips > 0.5
        padded = torch.zeros_like(given)
        size = min(frame.columns, frame.rows)
        padded[..., :size] = presence[..., :size]
        found["a layer adds what has other neurons than it"] = (
            skips & ((given != padded).any(-1) | (operator == 0))
        ).any(1) | skips[:, -1]
    return found


def given_to(networks: NetworkTensors) -> Tensor:
    """The neurons whose values each layer is given, `[n, depth + 1, W_in]`."""
    frame = networks.frame
    state = torch.zeros(len(networks), frame.columns, dtype=torch.bool, device=networks.presence.device)
    state[:, : frame.inputs] = True
    given = []
    for layer in range(frame.depth + 1):
        given.append(state)
        if layer < frame.depth:
            own = torch.zeros_like(state)
            own[:, : frame.width] = networks.presence[:, layer, : frame.width] > 0.5
            state = torch.where((networks.operator[:, layer] != 0)[:, None], own, state)
    return torch.stack(given, 1)
