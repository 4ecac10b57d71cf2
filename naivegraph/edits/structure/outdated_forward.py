"""Refusal to run a network's own forward, which does not know that its graph's structure was edited."""

from __future__ import annotations

from typing import Any

from torch import nn

from naivegraph.errors import EditError
from naivegraph.ir.step_module import BuiltModule
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["OutdatedForward", "refuse_forward"]


class OutdatedForward:
    """Hook that raises in place of a forward that would compute the network as it was before an edit.

    Attributes:
        network: The name of the network's class.
        verb: The edit.
    """

    def __init__(self, network: str, verb: str) -> None:
        self.network, self.verb = network, verb

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Raise the error; `args` are not looked at."""
        raise EditError(
            f"the forward of {self.network} does not know of the edit of its graph ({self.verb}): run the "
            "graph (edit.graph(...)) or a module made of it (edit.graph.to_module()), or undo the edit"
        )


def refuse_forward(graph: Graph, verb: str, undo: UndoLog) -> None:
    """Let the forward of a graph's network raise from now on, until the edit is undone.

    Where the network is a single layer, the graph calls it as such.
    """
    module = graph.module
    hooks = module._forward_pre_hooks
    if any(vertex.target is module for vertex in graph) or any(
        isinstance(hook, OutdatedForward) for hook in hooks.values()
    ):
        return
    name = (
        "the module that the graph was made with"
        if isinstance(module, BuiltModule)
        else type(module).__name__
    )
    refusal = OutdatedForward(name, verb)

    def let_forward() -> None:
        """Take the hook away."""
        for key in [key for key, hook in hooks.items() if hook is refusal]:
            del hooks[key]

    undo.push(let_forward)  # before the hook is there, as an interrupt may come in between
    module.register_forward_pre_hook(refusal)
