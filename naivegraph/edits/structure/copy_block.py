"""Copies of blocks: the calls of a module once more, on a copy of the module."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.export.history import forget_history
from naivegraph.graph.mutate import add_vertex, new_stub, register
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.blocks import Region, region_of
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.deep_copy import copied_argument, deep_copy, reaches_modules
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import leaves, map_leaves, stubs_in
from naivegraph.ir.values import Attribute, Compound, DimSize, State, Stub, Training
from naivegraph.network import Graph
from naivegraph.operators import movement_of
from naivegraph.undo import UndoLog

__all__ = ["check_identity", "copy_block", "silence"]

_SILENCED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm,
    nn.GroupNorm,
)  # fmt: skip
_SILENCED_FUNCTIONS = frozenset(
    getattr(nn.functional, name)
    for name in (
        "linear", "conv1d", "conv2d", "conv3d", "batch_norm", "layer_norm", "group_norm", "instance_norm",
        "rms_norm",
    )
)  # fmt: skip


def copy_block(graph: Graph, vertices: Sequence[Vertex], path: str, name: str, undo: UndoLog) -> Region:
    """Call a copy of a module, with weights of its own, on what the module's calls give; nothing uses it yet.

    Args:
        graph: The graph, changed in place.
        vertices: The calls of the module, a region.
        path: The path of the module.
        name: The path of its copy.
        undo: The log that takes it back.

    Returns:
        The region of the copy.

    Raises:
        EditError: The region uses parameters of other modules.
    """
    region = region_of(graph, vertices, repr(path))
    memo: dict[int, Any] = {}
    copied = deep_copy(graph.module.get_submodule(path), memo)
    forget_history(copied, undo)  # it is told by the edit that makes the copy
    register(graph, name, copied, undo=undo)
    stubs: dict[int, Stub] = {region.entry.id: region.exit}

    def moved(where: str) -> str:
        """Return the place in the copy; another module's stays."""
        return f"{name}{where[len(path) :]}" if where == path or where.startswith(f"{path}.") else where

    def change(leaf: Any) -> Any:
        """Return the value in the copy."""
        match leaf:
            case Stub():
                return stubs.get(leaf.id, leaf)
            case State():
                return State(_own(moved(leaf.name), leaf.name, path))
            case Training() | Attribute():
                return dataclasses.replace(leaf, path=moved(leaf.path))
            case DimSize(tensor=int()):
                new = stubs.get(int(leaf.tensor))
                return leaf if new is None else DimSize(new.id, leaf.dim)
            case DimSize():
                return DimSize(moved(str(leaf.tensor)), leaf.dim)
            case Compound():
                return Compound(leaf.operator, change(leaf.left), change(leaf.right))
            case _:
                other = next((m for m in reaches_modules(leaf) if id(m) not in memo), None)
                if other is not None:
                    raise EditError(
                        f"{path!r} calls a {type(other).__name__} of another module: it cannot be doubled"
                    )
                return copied_argument(leaf, memo)

    made: list[Vertex] = []
    at = graph.vertices.index(region.end) + 1
    for vertex in region.vertices:
        args, kwargs = map_leaves(vertex.args, change), map_leaves(vertex.kwargs, change)
        for stub in stubs_in(vertex.output):
            if stub.id not in stubs:
                stubs[stub.id] = new_stub(graph, stub.shape, stub.dtype)
        target = vertex.target
        if isinstance(target, nn.Module):
            target = graph.module.get_submodule(moved(vertex.path))
        if target is None:
            raise EditError(f"{vertex.name!r} is an input of the network, which cannot be copied")
        called = moved(vertex.name) if moved(vertex.name) != vertex.name else f"{name}.{vertex.name}"
        new = add_vertex(
            graph, called, target, args, kwargs, at=at + len(made),
            output=map_leaves(vertex.output, change), undo=undo,
        )  # fmt: skip
        new.path, new.where = moved(vertex.path), vertex.where
        made.append(new)
    end = made[region.vertices.index(region.end)]
    return dataclasses.replace(
        region, vertices=tuple(made), entry=region.exit, exit=stubs[region.exit.id], end=end
    )


def _own(there: str, here: str, path: str) -> str:
    if there == here:
        raise EditError(
            f"{path!r} computes with {here!r}, which belongs to another module: it cannot be doubled"
        )
    return there


def check_identity(graph: Graph, original: Region, made: Region, name: str) -> None:
    """Check, on the example, that a copy gives back what it takes from the block it was made of.

    Raises:
        EditError: It does not, as what is around its branches is not the identity.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(vertex: str, value: Any) -> None:
        """Keep what the two ends give, before others change it in place."""
        if vertex in (original.end.name, made.end.name):
            found[vertex] = value.clone()

    with restored(graph.module), preserved(graph.module), torch.no_grad():
        Interpreter(graph, watch=keep).run(placed(graph, copy_tensors(graph.example)))
    taken, given = found[original.end.name], found[made.end.name]
    scale = float(taken.abs().max()) if taken.numel() else 0.0
    # Zero is added, so that only rounding is allowed for: more would let in what is nearly the identity.
    near = 8 * torch.finfo(taken.dtype).eps if taken.is_floating_point() else 0.0
    if math.isfinite(scale) and not torch.allclose(given, taken, rtol=near, atol=near * max(scale, 1e-30)):
        raise EditError(
            f"{name!r} cannot start as the identity: with branches that give zero it does not give back what "
            "it takes, as there are layers beside or behind its residual branches, or several shortcuts"
        )


def silence(graph: Graph, original: Region, made: Region, name: str, undo: UndoLog) -> None:
    """Let the branches of a copy give zero, so that it gives back what it takes around them.

    Raises:
        EditError: It is no residual block around which the identity leads, or a branch does not end with a
            layer that can give zero.
    """
    twins = dict(zip(map(id, original.vertices), made.vertices, strict=True))
    branches = [
        summand
        for section in original.sections
        if section.shortcut is not None and section.shortcut.shortcut
        for summand in section.summands
        if not summand.shortcut
    ]
    if not branches:
        raise EditError(f"{name!r} cannot start as the identity: it is no residual block")
    for branch in branches:
        ends = [vertex for vertex in branch.vertices[::-1] if not _moves(vertex)]
        parameters = _scales(graph, twins[id(ends[0])]) if ends else []
        if not parameters:
            told = repr(ends[0].name) if ends else "nothing"
            raise EditError(
                f"{name!r} cannot start as the identity: {told}, with which a branch ends, is no linear "
                "layer, convolution or norm with a scale, which could give zero"
            )
        for parameter in parameters:
            undo.push(functools.partial(setattr, parameter, "data", parameter.data))
            parameter.data = torch.zeros_like(parameter.data)


def _moves(vertex: Vertex) -> bool:
    """Check whether a vertex only moves elements, so that zeros stay zeros."""
    return isinstance(vertex.target, nn.Dropout) or all(
        movement_of(operation) is not None for operation in vertex.operations
    )


def _scales(graph: Graph, vertex: Vertex) -> list[torch.Tensor]:
    """The parameters with which, at zero, a vertex gives zero; none if it is no such layer."""
    layer = vertex.target
    if isinstance(layer, nn.Module):
        known = isinstance(layer, _SILENCED) and layer.weight is not None
        return list(layer.parameters()) if known else []
    named = dict.fromkeys(x.name for x in leaves((vertex.args, vertex.kwargs)) if isinstance(x, State))
    tensors = [graph.tensor(name) for name in named] if layer in _SILENCED_FUNCTIONS else []
    return [tensor for tensor in tensors if isinstance(tensor, nn.Parameter)]
