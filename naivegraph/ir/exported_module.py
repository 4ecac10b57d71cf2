"""A `torch.fx.GraphModule` that can be pickled, whatever its code calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn

from naivegraph.ir.function_name import found_by_name, named
from naivegraph.ir.pytree import ValueRef

__all__ = ["ExportedModule", "NodeData", "graph_of", "nodes_of", "parts_alone"]


@dataclasses.dataclass(frozen=True)
class NodeData:
    """A node of a graph of torch.fx, with a `ValueRef` for each node among its arguments.

    Attributes:
        op: The kind of the node, as torch.fx calls it.
        name: Its name.
        target: What it calls, or the name of that.
        args: Positional arguments.
        kwargs: Keyword arguments.
        meta: What is known of it.
    """

    op: str
    name: str
    target: Any
    args: Any
    kwargs: Any
    meta: dict[str, Any]


class ExportedModule(fx.GraphModule):
    """A graph of torch.fx as a module.

    A `torch.fx.GraphModule` is pickled as its code, which torch runs on stand-ins for tensors when loading.
    Not all code runs on them: some makes tensors of sizes alone, or writes into one. So this one is pickled
    as its nodes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the nodes."""
        return _loaded, (parts_alone(self), nodes_of(self.graph), type(self).__name__, self.meta)

    def __copy__(self) -> ExportedModule:
        made = ExportedModule(self, self.graph, type(self).__name__)
        made.meta = self.meta
        return made


def nodes_of(graph: fx.Graph) -> list[NodeData]:
    """The nodes of a graph as data."""
    numbers = {node: number for number, node in enumerate(graph.nodes)}

    def refer(argument: Any) -> Any:
        """Return arguments with a reference in place of each node, and names of functions."""
        return _mapped(argument, lambda leaf: ValueRef(numbers[leaf]) if isinstance(leaf, fx.Node) else leaf)

    return [
        NodeData(n.op, n.name, named(n.target), refer(n.args), refer(n.kwargs), dict(n.meta))
        for n in graph.nodes
    ]


def graph_of(nodes: Sequence[NodeData]) -> fx.Graph:
    """The graph of the nodes that `nodes_of` gave."""
    graph = fx.Graph()
    made: list[fx.Node] = []

    def refer(argument: Any) -> Any:
        """Return arguments with the node of each reference."""
        return _mapped(argument, lambda leaf: made[leaf.index] if isinstance(leaf, ValueRef) else leaf)

    for each in nodes:
        target = found_by_name(each.target)
        node = graph.create_node(each.op, target, refer(each.args), refer(each.kwargs), name=each.name)
        node.meta = dict(each.meta)
        made.append(node)
    return graph


def parts_alone(module: fx.GraphModule) -> nn.Module:
    """A module with the layers, parameters and buffers of another, and its flag, without its graph."""
    holder = nn.Module()
    for kind in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"):
        vars(holder)[kind] = vars(module)[kind]
    return holder


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Plain containers with `change` applied to what is in them."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple([_mapped(item, change) for item in value])
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_mapped(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)


def _loaded(holder: nn.Module, nodes: list[NodeData], name: str, meta: dict[str, Any]) -> ExportedModule:
    made = ExportedModule(holder, graph_of(nodes), name)
    made.meta = meta
    made.training = holder.training
    return made
