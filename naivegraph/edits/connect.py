"""Addition of an edge to a sum or a concatenation, which may be made for it."""

from __future__ import annotations

from typing import Any, Literal

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize_program.strategy import Strategy
from naivegraph.edits.structure.connection import check_merge, concatenation_behind, connected
from naivegraph.edits.structure.merges import is_concatenation
from naivegraph.edits.structure.planned_sizes import Step
from naivegraph.edits.structure.vertices import path_between, vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.solvers import Backend
from naivegraph.utility import Utility
from naivegraph.utility.scores import Loss

__all__ = ["connect"]


@graph_verb
def connect(
    model: Graph,
    source: str | Vertex,
    target: str | Vertex,
    *,
    utility: Utility = None,
    loss: Loss | None = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
    position: int | None = None,
    merge: Literal["sum", "concat"] | None = None,
) -> Edit:
    """Let a sum or a concatenation take the output of one more vertex, in place.

    A sum's size and the new summand's are made equal first. Whatever uses a concatenation takes as many
    neurons more as the new part has, at its place, with weights of zero, so that the function is kept. Where
    that cannot be, as the network's output or a summand that cannot change holds its size, the parts and the
    new one shrink instead, as the program chooses.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        source: A vertex or its name.
        target: A sum or a concatenation, or with `merge` any vertex. Behind a sum of two comes another one,
            named like it.
        utility: The values of neurons where some must go, by default "magnitude"; see
            `naivegraph.utility.utility`.
        loss: For utility="taylor": a function of the network which returns its loss.
        strategy: What decides where a sum and its summand differ in size; by default first the smaller grows,
            if that cannot be the bigger shrinks, else both change.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.
        optimizer: An optimizer (or several) which follows.
        position: The index of the new part among those of a concatenation; by default it comes last.
        merge: Let a sum or a concatenation be made where the target is none: whatever used its output uses
            that of both. Through a concatenation the function is kept; a sum adds what the source gives
            (`naivegraph.branch` starts with zeros).

    Returns:
        The edit.

    Raises:
        EditError: It would be a cycle, the target takes nothing more, or shapes do not fit; the graph is as
            it was.
        InfeasibleError: The sizes cannot be made to fit; the graph is as it was.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from naivegraph.graph import concat, input_node, layer
        >>> from naivegraph.network import Graph
        >>> x = input_node("x", 4)
        >>> a, b = layer(nn.Linear(4, 3), x, name="a"), layer(nn.Linear(4, 2), x, name="b")
        >>> graph = Graph([x], [layer(nn.Linear(2, 1), concat(b, name="both"), name="c") * a])
        >>> edit = connect(graph, "a", "both")
        >>> graph.sizes["both"], graph["c"].target.in_features
        (5, 5)
        >>> edit = connect(graph, "x", "both", position=0)
        >>> [vertex.name for vertex in graph.inputs_of("both")], graph.sizes["both"]
        (['x', 'b', 'a'], 9)
        >>> edit = connect(graph, "x", "b", merge="concat")
        >>> [vertex.name for vertex in graph.inputs_of("cat")], graph.sizes["cat"]
        (['b', 'x'], 6)
    """
    choice = SizeChoice(utility, loss, strategy, backend)
    start, end = vertex_of(model, source), vertex_of(model, target)
    if merge is not None:
        check_merge(merge)
    way = ([] if merge else [end]) if start is end else path_between(model, end, start)
    if way:
        names = " -> ".join(vertex.name for vertex in [*way, end])
        raise EditError(f"{start.name!r} cannot be connected to {end.name!r}: that would be a cycle, {names}")
    joined, before = end.name, list[Step]()
    if merge == "concat" and not is_concatenation(end):
        joined, concatenate = concatenation_behind(model, end)
        before = [concatenate]
    options = {"position": position, "merge": merge}
    told = {name: value for name, value in options.items() if value is not None}
    return connected(
        model, start.name, joined, choice, {"verb": "connect", "source": start.name, "target": end.name},
        before=before, position=position, merge=merge,
        asked={"connect": [start.name, end.name], **told}, optimizer=optimizer,
    )  # fmt: skip
