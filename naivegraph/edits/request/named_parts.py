"""Parts of a network by names and patterns: modules, parameters and vertices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError, nearest
from naivegraph.graph.run.query import matches
from naivegraph.graph.run.state_users import state_of_vertex
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.network import Graph

__all__ = ["named_parts"]


def named_parts(model: nn.Module | Graph, patterns: str | Sequence[Any], argument: str) -> set[int]:
    """The modules, parameters and buffers that patterns name, by `id`.

    Args:
        model: The network, or its graph.
        patterns: Names or patterns: of modules, with all that is in them, of parameters, and in a graph of
            vertices, with what they compute with.
        argument: The name of the argument that has the patterns, for messages.

    Raises:
        EditError: A pattern is none, or fits nothing.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> named_parts(net, "0", "layers") == {id(net[0]), id(net[0].weight), id(net[0].bias)}
        True
    """
    named: dict[str, list[nn.Module | torch.Tensor]] = {}
    network = model.module if isinstance(model, Graph) else model
    for path, module in modules_of(network, every_path=True):
        if path:
            named.setdefault(path, []).append(module)
    for path, parameter in network.named_parameters(remove_duplicate=False):
        named.setdefault(path, []).append(parameter)
    if isinstance(model, Graph):
        for vertex in model:
            layer = vertex.target
            used = [layer] if isinstance(layer, nn.Module) else state_of_vertex(model, vertex)
            if used:
                named.setdefault(vertex.name, []).extend(used)
    parts: set[int] = set()
    for pattern in patterns if isinstance(patterns, (list, tuple, set, frozenset)) else [patterns]:
        if not isinstance(pattern, str):
            raise EditError(f"{argument}= takes names or patterns, not {pattern!r}")
        found = [each for name, all_ in named.items() if matches(name, pattern) for each in all_]
        if not found:
            raise EditError(
                f"{argument}= names {pattern!r}, and no module or parameter has that name"
                f"{nearest(pattern, named)}"
            )
        for each in found:
            parts.add(id(each))
            if isinstance(each, nn.Module):
                parts.update(map(id, (*each.modules(), *each.parameters(), *each.buffers())))
    return parts
