"""Refusal to run a network's own forward, which does not know that its graph's structure was edited."""

from __future__ import annotations

from typing import Any

from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.step_module import BuiltModule
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["Children", "OutdatedForward", "children_of", "refuse_forward"]

# Modules with the submodules that they had.
Children = list[tuple[nn.Module, dict[str, nn.Module | None]]]


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


def children_of(network: nn.Module) -> Children:
    """The modules of a network with their submodules, to be told from those after an edit."""
    return [(module, dict(module._modules)) for _, module in modules_of(network)]


def refuse_forward(graph: Graph, verb: str, undo: UndoLog, before: Children) -> None:
    """Let the forward of a graph's network raise from now on, until the edit is undone.

    So does that of each of its parts in which layers came or went: another network may have it, too.
    A layer that the graph calls as such goes on.

    Args:
        graph: The graph after the edit.
        verb: The edit.
        undo: Takes what lets them run again.
        before: The modules before the edit.
    """
    called = {id(vertex.target) for vertex in graph}
    module = graph.module
    built = isinstance(module, BuiltModule)
    name = "the module that the graph was made with" if built else type(module).__name__
    if id(module) not in called:
        _refuse(module, name, verb, undo)
    for part in _changed(before):
        if part is not module and id(part) not in called:
            _refuse(part, f"{type(part).__name__}, a part of {name},", verb, undo)


def _changed(before: Children) -> list[nn.Module]:
    """The modules that have other submodules than before, or one that has."""
    found = {id(module) for module, children in before if not _same(module._modules, children)}
    count = -1
    while count != len(found):
        count = len(found)
        found |= {id(m) for m, children in before if any(id(each) in found for each in children.values())}
    return [module for module, _ in before if id(module) in found]


def _same(now: dict[str, nn.Module | None], before: dict[str, nn.Module | None]) -> bool:
    return list(now) == list(before) and all(now[name] is before[name] for name in before)


def _refuse(module: nn.Module, name: str, verb: str, undo: UndoLog) -> None:
    hooks = module._forward_pre_hooks
    if any(isinstance(hook, OutdatedForward) for hook in hooks.values()):
        return
    refusal = OutdatedForward(name, verb)

    def let_forward() -> None:
        """Take the hook away."""
        for key in [key for key, hook in hooks.items() if hook is refusal]:
            del hooks[key]

    undo.push(let_forward)  # before the hook is there, as an interrupt may come in between
    module.register_forward_pre_hook(refusal)
