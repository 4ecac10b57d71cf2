"""A space of networks for tests of studies."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.search.study import History, Proposal, Rung


class Layers:
    """Networks of one hidden layer; a child starts from the weights of its parent."""

    def propose(self, history: History, rng: random.Random) -> Proposal:
        """A width, each once."""
        width = len(history.names) + 2
        return Proposal({"width": width}, weights=self.build({"width": width}).state_dict(), inherited=width)

    def build(self, structure: Mapping[str, Any]) -> nn.Module:
        """Make the network."""
        width = structure["width"]
        return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def count_epochs(network: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
    """Add one to a weight per epoch, which shows from where training went on."""
    bias = dict(network.named_parameters())["1.bias"]
    with torch.no_grad():
        if rung.start == 0:
            bias.zero_()
        bias.add_(rung.epochs)
    return {
        "epochs": float(bias.detach()),
        "start": rung.start,
        "inherited": rung.inherited,
        "threads": torch.get_num_threads(),
        "noise": float(torch.rand(())),
    }
