"""The subject of pruning: a network, captured in the quickest way, or a graph there is already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from naivegraph.edits.request.target import check_model, check_no_example
from naivegraph.graph.torch_utils.preserve_state import restored
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.ir.signature import keyword_inputs, nested_arguments
from naivegraph.network import Graph, capture

__all__ = ["Captured", "captured"]


@dataclasses.dataclass(frozen=True)
class Captured:
    """A network to prune, with its graph.

    Attributes:
        graph: Its graph.
        edited: The model that the edit is applied to: the user's graph, which is then updated, or the
            network.
        args: The example for the network's own forward.
        kwargs: The keyword inputs of the example.
        runs: Whether the network's own forward computes what the graph does: its structure was not edited.
    """

    graph: Graph
    edited: nn.Module | Graph
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    runs: bool = True


def captured(model: Any, args: Any, kwargs: Mapping[str, Any] | None, say: Callable[[str], None]) -> Captured:
    """Capture a network that is to be pruned, or take the user's graph.

    Raises:
        CaptureError: A network could not be captured.
        EditError: It is neither network nor graph, or a graph with an example.
    """
    check_model("prune", model)
    if isinstance(model, Graph):
        check_no_example("prune", args, kwargs)
        example = nested_arguments(model.module, {**model.constants, **model.example})
        return Captured(model, model, *example, runs=not model.rewired)
    named = keyword_inputs(kwargs)
    network: nn.Module = unwrapped(model)
    say("running the network once to capture it")
    with restored(network):  # caches would keep the old sizes
        graph = capture(network, args, named, verify="recorded", fake=True)
    positional = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    return Captured(graph, network, positional, named)
