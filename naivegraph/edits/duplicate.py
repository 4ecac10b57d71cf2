"""Duplication of a block of a graph."""

from __future__ import annotations

from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.block_removal import block_named
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.edits.structure.vertices import new_name
from naivegraph.errors import EditError
from naivegraph.graph.run.blocks import Block, region_of
from naivegraph.network import Graph

__all__ = ["duplicate"]


@graph_verb
def duplicate(
    model: Graph,
    what: str | Block,
    *,
    name: str | None = None,
    identity: bool = False,
    optimizer: Any = None,
) -> Edit:
    """Add a copy of a block behind itself, in place; its own weights start as those of the block.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        what: The block: the path of a module, or one of `graph.blocks()` that is a module's. It gives a
            tensor of the shape it takes.
        name: The path of the copy; by default that of the block with `_2`.
        identity: Let the copy start as the identity: the last layers of its residual branches give zero.
        optimizer: An optimizer (or several) which gets the copy's parameters in its first group.

    Returns:
        The edit.

    Raises:
        EditError: It is no such block; the graph is as it was.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 2))
        >>> graph = capture(net, torch.ones(1, 4))
        >>> edit = duplicate(graph, "1")
        >>> graph.sizes
        {'input': 4, '0': 6, '1': 6, '1_2': 6, '2': 2}
    """
    path, vertices = block_named(model, what)
    region = region_of(model, vertices, repr(path))
    if not _is_module(model, path):
        raise EditError(f"{path!r} is no module of the network: only a module's calls can be doubled")
    entry, exit_ = region.entry, region.exit
    if entry.shape != exit_.shape:
        raise EditError(
            f"{path!r} takes a tensor of shape {tuple(entry.shape)} and gives one of {tuple(exit_.shape)}, "
            "so a copy cannot come behind it"
        )
    if entry.dtype != exit_.dtype and not (entry.dtype.is_floating_point and exit_.dtype.is_floating_point):
        raise EditError(
            f"{path!r} takes {entry.dtype} and gives {exit_.dtype}, so a copy cannot come behind it"
        )
    made = new_name(model, path) if name is None else name
    names = [vertex.name for vertex in vertices]

    def double(rewiring: Rewiring) -> None:
        """Add the copy."""
        rewiring.double(names, path, made, identity=identity)

    return rewire(
        model,
        Change({}, {}, [], structure={"verb": "duplicate", "name": made, "behind": path}),
        [double],
        asked={"duplicate": path, "name": made},
        optimizer=optimizer,
    )


def _is_module(graph: Graph, path: str) -> bool:
    return bool(path) and any(
        where == path for where, _ in graph.module.named_modules(remove_duplicate=False)
    )
