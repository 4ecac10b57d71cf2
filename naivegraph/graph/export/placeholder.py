"""Arguments of graphs of torch.fx, whatever they are called."""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx

__all__ = ["placeholder"]


def placeholder(graph: fx.Graph, name: str, default: Any = inspect.Parameter.empty) -> fx.Node:
    """Add an argument to a graph of torch.fx.

    Nodes are not called as Python's own functions are. The code that torch.fx writes begins with
    `sum_1 = sum` for an argument `sum`, and so overwrites an argument `sum_1` before that is read; the node
    gets another name here.

    Args:
        graph: The graph.
        name: The name of the argument.
        default: Its default; by default it has none.

    Example:
        >>> graph = fx.Graph()
        >>> first, second = placeholder(graph, "sum"), placeholder(graph, "sum_1")
        >>> _ = graph.output((first, second))
        >>> fx.GraphModule({}, graph)(1, 2)
        (1, 2)
    """
    args = () if default is inspect.Parameter.empty else (default,)
    node = graph.create_node("placeholder", name, args)
    if node.name == name:
        return node
    graph.erase_node(node)
    return graph.create_node("placeholder", name, args, name=f"argument_{name}")
