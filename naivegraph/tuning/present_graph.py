"""The graph of a network as it is now, however it was edited since."""

from __future__ import annotations

from typing import Any

from torch import nn

from naivegraph.network import Graph, capture

__all__ = ["present_graph"]


def present_graph(subject: nn.Module | Graph, example: tuple[Any, Any] | None) -> Graph:
    """The graph itself, or a new one of a network with its example, the positional and keyword inputs."""
    if isinstance(subject, Graph):
        return subject
    args, kwargs = example or ((), None)
    return capture(subject, args, kwargs, verify="recorded", fake=True)
