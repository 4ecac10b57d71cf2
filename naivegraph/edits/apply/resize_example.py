"""The example of a graph after a change of the sizes of its inputs."""

from __future__ import annotations

import copy
from typing import Any

import torch

from naivegraph.edits.apply.origins import Axes
from naivegraph.edits.plan.change import Change, InputChange
from naivegraph.errors import EditError
from naivegraph.ir.pytree import map_leaves, pairs
from naivegraph.ir.recording import Recording
from naivegraph.operators.relation import tensors_in

__all__ = ["resize_example"]


def resize_example(change: Change, graph: Recording) -> None:
    """Resize the example of a graph, and that of its run in train mode, as a change says.

    New channels repeat those there are. The graph gets other examples; those it has are left as they are, so
    that a snapshot of the graph takes this back.

    Raises:
        EditError: The graph has no such input, or another size of it.
    """
    if not change.inputs:
        return
    graph.first_example = graph.first_example or graph.example
    graph.example = _resized(change, graph)
    if graph.training is not None:
        graph.training = copy.copy(graph.training)
        graph.training.example = _resized(change, graph.training)


def _resized(change: Change, run: Recording) -> dict[str, Any]:
    known, example = Axes(change), dict(run.example)
    vertices = {vertex.name: vertex for vertex in run.inputs}
    for each in change.inputs:
        if each.name not in vertices or each.name not in example:
            raise EditError(f"the network has no input {each.name!r}, which the edit resizes")
        source = known.of(each.axis)
        stubs = tensors_in(vertices[each.name].output)
        number = stubs[each.index].id if each.index < len(stubs) else None
        both = pairs(vertices[each.name].output, example[each.name])
        found = [tensor for stub, tensor, _ in both if getattr(stub, "id", None) == number]
        if number is None or not _fits(found, each, source.before):
            raise EditError(
                f"the input {each.name!r} has not {source.before} neurons in dimension {each.dim}, for which "
                "the edit was made"
            )
        chosen = torch.from_numpy(source.indices)

        def resize(leaf: Any, old: list[Any] = found, dim: int = each.dim, to: torch.Tensor = chosen) -> Any:
            """Return the tensor that changes with its new size, and any other leaf as it is."""
            own = any(leaf is tensor for tensor in old)
            return leaf.index_select(dim, to.to(leaf.device)) if own else leaf

        example[each.name] = map_leaves(example[each.name], resize)
    return example


def _fits(found: list[Any], each: InputChange, before: int) -> bool:
    return bool(found) and all(
        isinstance(tensor, torch.Tensor) and each.dim < tensor.dim() and tensor.shape[each.dim] == before
        for tensor in found
    )
