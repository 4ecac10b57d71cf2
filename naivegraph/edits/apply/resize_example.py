"""The example of a graph after a change of the sizes of its inputs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.origins import Axes, Source
from naivegraph.edits.plan.change import Change, InputChange
from naivegraph.edits.plan.index_formula import Indices
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
                f"the input {each.name!r} has not {source.before} "
                + ("places in a table" if each.dim is None else f"neurons in dimension {each.dim}")
                + ", for which the edit was made"
            )
        chosen = torch.from_numpy(source.indices)
        places = torch.from_numpy(_places(source.before, source))

        def resize(
            leaf: Any,
            old: list[Any] = found,
            dim: int | None = each.dim,
            to: torch.Tensor = chosen,
            at: torch.Tensor = places,
        ) -> Any:
            """Return the tensor that changes with its new size or places, and any other leaf as it is."""
            if not any(leaf is tensor for tensor in old):
                return leaf
            if dim is None:
                return at.to(leaf.device)[leaf.long()].to(leaf.dtype)
            return leaf.index_select(dim, to.to(leaf.device))

        example[each.name] = map_leaves(example[each.name], resize)
    return example


def _places(before: int, source: Source) -> Indices:
    """For each place along an axis the one it has now; that of the first that stayed, for one that went."""
    every = np.arange(len(source.indices))
    stays = every if source.new is None else every[~source.new.numpy()]
    out = np.full(before, stays[0] if len(stays) else 0, np.int64)
    out[source.indices[stays]] = stays
    return out


def _fits(found: list[Any], each: InputChange, before: int) -> bool:
    return bool(found) and all(isinstance(one, torch.Tensor) and _has(one, each, before) for one in found)


def _has(tensor: torch.Tensor, each: InputChange, before: int) -> bool:
    if each.dim is None:
        return not tensor.is_floating_point() and (not tensor.numel() or int(tensor.max()) < before)
    return each.dim < tensor.dim() and tensor.shape[each.dim] == before
