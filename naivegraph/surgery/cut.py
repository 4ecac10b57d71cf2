"""Parts of a network as networks of their own."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from naivegraph.errors import EditError
from naivegraph.graph.export.shared_layers import module_of_parts
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.hidden_values import hidden_values
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph, capture
from naivegraph.surgery.cut_recording import cut_recording
from naivegraph.widths import rewritable

__all__ = ["cut", "name_vertices"]


def cut(
    graph: Graph, inputs: Sequence[str], outputs: Sequence[str] | None = None, *, copy: bool = False
) -> Graph:
    """Cut a part out of a network: from the values of some vertices to those of others.

    The part is a network of its own, which can be run, trained, pruned, cut again and exported. Its layers
    and parameters are those of the whole, the same objects: what trains or prunes the part trains or prunes
    the whole. Prune a copy if that is not wanted. A layer that is called on both sides of the cut is shared
    by both parts. The whole is left as it was.

    Args:
        graph: The graph.
        inputs: The names of the vertices whose values the part takes, in the order in which it takes them.
            Where a shortcut crosses the cut, they are several. Dots become underscores in the names of the
            part's inputs.
        outputs: The names of the vertices whose values it returns: the value of one, or a dict of several by
            name. By default what the network returns.
        copy: Copy layers and parameters.

    Returns:
        The graph of the part, captured from a module; `graph.to_module()` is a module that shares nothing.

    Raises:
        EditError: There is no such vertex; or the outputs need more than the inputs, which the message names,
            or less.

    Example:
        >>> import naivegraph as ng
        >>> layers = torch.nn.Linear(4, 8), torch.nn.ReLU(inplace=True), torch.nn.Linear(8, 2)
        >>> net, x = torch.nn.Sequential(*layers), torch.randn(3, 4)
        >>> graph = ng.capture(net, x)
        >>> front = ng.surgery.cut(graph, inputs=["input"], outputs=["1"])
        >>> back = ng.surgery.cut(graph, inputs=["1"])
        >>> torch.equal(back(front(x)), net(x)), back.module.get_parameter("2.weight") is net[2].weight
        (True, True)
    """
    if not isinstance(graph, Graph):
        raise EditError(f"cut takes a graph, ng.capture(model, x), not a {type(graph).__name__}")
    if copy:
        graph = copying.deepcopy(graph)
    first = _checked(graph, inputs, "inputs")
    last = None if outputs is None else _checked(graph, outputs, "outputs")
    given = _input_names(graph, first)
    example = {given[name]: value for name, value in _example(graph, first).items()}
    follow_training(graph)
    part = cut_recording(graph, given, last, example)
    if graph.in_train_mode is not graph:
        _check_train_mode(graph, [*first, *(last or ())])
        part.training = cut_recording(graph.in_train_mode, given, last, example)
    made = capture(module_of_parts(part, rewritable), tuple(part.example.values()))
    training = part.training
    name_vertices(made, part.vertices, None if training is None else training.vertices)
    return made


def _checked(graph: Graph, names: Iterable[str], what: str) -> list[str]:
    """Names of vertices that give tensors, each once."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise EditError(f"{what}= takes a list of names of vertices, not {names!r}")
    found = [graph[name].name for name in names]
    if not found:
        raise EditError(f"{what}= names no vertex")
    if len(set(found)) < len(found):
        raise EditError(f"{what}= names {next(n for n in found if found.count(n) > 1)!r} twice")
    for name in found:
        if not stubs_in(graph[name].output):
            raise EditError(f"{what}= names {name!r}, which gives no tensor")
    return found


def _input_names(graph: Graph, names: Sequence[str]) -> dict[str, str]:
    """Names for the inputs of a part: identifiers, none of them taken by a vertex that stays."""
    taken = {vertex.name for vertex in graph} - set(names)
    found: dict[str, str] = {}
    for name in names:
        own = "".join(letter if letter.isalnum() else "_" for letter in name)
        own = own if own.isidentifier() else f"input_{own}"
        while own in taken:
            own += "_"
        taken.add(own)
        found[name] = own
    return found


def _example(graph: Graph, names: Sequence[str]) -> dict[str, Any]:
    """The values of vertices on the example of the graph, in eval mode."""
    example = placed(graph, copy_tensors(graph.example))
    with restored(graph.module), preserved(graph.module), torch.no_grad():
        values: dict[str, Any] = copy_tensors(hidden_values(graph, example, names))
    return values


def _check_train_mode(graph: Graph, names: Sequence[str]) -> None:
    for name in names:
        if name not in graph.in_train_mode:
            raise EditError(
                f"{name!r} is not there in train mode, in which {type(graph.module).__name__} calls other "
                "functions: name a vertex that both have, such as a layer"
            )


def name_vertices(graph: Graph, like: Sequence[Vertex], training: Sequence[Vertex] | None) -> None:
    """Name the vertices of a graph, and those of its run in train mode, like others, if they are as many.

    Args:
        graph: The graph.
        like: Vertices of the same kinds, in the same order.
        training: Those of the run in train mode, if there is one.
    """
    trained = None if graph.training is None else graph.training.vertices
    for captured, own in ((graph.vertices, like), (trained, training)):
        if captured and own and [one.kind for one in captured] == [two.kind for two in own]:
            for one, two in zip(captured, own, strict=True):
                one.name, one.where = two.name, two.where
