"""Units: parts of a network that one block of a bigger or smaller network can stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.module_paths import common_path
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["Outlines", "Token", "Unit", "state_names", "tokens", "units"]


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """A run of vertices that come one after the other.

    Attributes:
        name: The path of the module whose calls they are, or the first vertex.
        vertices: The vertices.
    """

    name: str
    vertices: tuple[Vertex, ...]

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Token:
    """A vertex of a module's own forward, or the consecutive calls of one of its children.

    Attributes:
        path: The path of the child; "" for a vertex of its own.
        vertices: The vertices.
    """

    path: str
    vertices: tuple[Vertex, ...]


def tokens(vertices: Iterable[Vertex], path: str) -> list[Token]:
    """The parts of a module's forward in order.

    Args:
        vertices: The vertices below the module.
        path: Its path.
    """
    found: list[tuple[str, list[Vertex]]] = []
    for vertex in vertices:
        child = _child(vertex, path)
        if child and found and found[-1][0] == child:
            found[-1][1].append(vertex)
        else:
            found.append((child, [vertex]))
    return [Token(child, tuple(run)) for child, run in found]


def _child(vertex: Vertex, path: str) -> str:
    """The path of the child that a vertex belongs to; "" if it is the child itself, or the module's own."""
    if vertex.kind == "input" or vertex.path == path:
        return ""
    rest = vertex.path[len(path) + 1 :] if path else vertex.path
    child = f"{path}.{rest.split('.')[0]}" if path else rest.split(".")[0]
    return "" if vertex.kind == "layer" and vertex.path == child else child


class Outlines:
    """The structure of a network's vertices without its widths.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Recording) -> None:
        self.graph = graph
        self._dims = neuron_dimensions(graph)

    def geometry(self, stub: Stub) -> tuple[int | None, ...]:
        """The sizes of a tensor, None for that of its neurons."""
        dim = self._dims.get(tensor_key(stub))
        return tuple(None if place == dim else size for place, size in enumerate(stub.shape))

    def of(self, vertex: Vertex) -> tuple[Any, ...]:
        """The function or class called, and, of a layer with weights, the places it gives neurons at."""
        target = vertex.target
        if not isinstance(target, nn.Module):
            return (vertex.kind, target)
        shaped = next(target.parameters(), None) is not None and isinstance(vertex.output, Stub)
        return type(target), self.geometry(vertex.output) if shaped else None

    def all(self, vertices: Iterable[Vertex]) -> tuple[tuple[Any, ...], ...]:
        """The structure of several vertices."""
        return tuple(map(self.of, vertices))

    def core(self, unit: Unit) -> tuple[tuple[Any, ...], ...]:
        """The structure of a unit up to its last weights: the activation or pool behind is left out."""
        vertices = list(unit.vertices)
        while len(vertices) > 1 and not self.has_weights(vertices[-1:]):
            if len(stubs_in((vertices[-1].args, vertices[-1].kwargs))) > 1:
                break  # where ways meet
            vertices.pop()
        return self.all(vertices)

    def kinds(self, unit: Unit) -> set[Any]:
        """The class of the module whose calls a unit is, and the classes of its layers with weights."""
        layers = tuple(type(vertex.target) for vertex in unit.vertices if self.has_weights([vertex]))
        found: set[Any] = {layers} if layers else set()
        if len(unit.vertices) > 1 and all(vertex.path.startswith(unit.name) for vertex in unit.vertices):
            found.add(type(self.graph.module.get_submodule(unit.name)))
        return found

    def has_weights(self, vertices: Iterable[Vertex]) -> bool:
        """Tell whether one of them multiplies by a matrix or kernel of the network."""
        return any(self.graph.tensor(name).dim() > 1 for v in vertices for name in state_names(v, self.graph))


def state_names(vertex: Vertex, graph: Recording) -> list[str]:
    """The names of the parameters and buffers that a vertex computes with, in a fixed order."""
    found: list[str] = []
    if isinstance(vertex.target, nn.Module):
        inside = [name for name, _ in (*vertex.target.named_parameters(), *vertex.target.named_buffers())]
        found += [f"{vertex.path}.{name}" if vertex.path else name for name in inside]
    found += [leaf.name for leaf in leaves((vertex.args, vertex.kwargs)) if isinstance(leaf, State)]
    return [name for name in dict.fromkeys(found) if isinstance(graph.tensor(name), torch.Tensor)]


def units(outlines: Outlines, parts: Sequence[Token]) -> list[Unit]:
    """The parts of a module's forward in units: each begins with weights, and has one tensor in and one out.

    What has no weights (activations, pools) belongs to the unit before.
    """
    found: list[list[Vertex]] = []
    for cell in _cells(parts):
        if found and not outlines.has_weights(cell):
            found[-1] += cell
        else:
            found.append(list(cell))
    return [Unit(_name(run), tuple(run)) for run in found]


def _name(vertices: Sequence[Vertex]) -> str:
    path = common_path([vertex.path for vertex in vertices])
    own = vertices[0].path == path and vertices[0].kind == "function"
    return path if path and (own or len(vertices) > 1 or vertices[0].path == path) else vertices[0].name


def _cells(parts: Sequence[Token]) -> Iterator[list[Vertex]]:
    """The parts between the places where all of the forward passes through one tensor."""
    if all(token.path for token in parts):  # children alone, as of a module list
        yield from (list(token.vertices) for token in parts)
        return
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, token in enumerate(parts):
        for vertex in token.vertices:
            for stub in stubs_in((vertex.args, vertex.kwargs)):
                last[stub.id] = place
            for stub in stubs_in(vertex.output):
                made.setdefault(stub.id, place)
    entry = _entry(parts, made)
    if entry is not None:
        made[entry] = -1
    cell: list[Vertex] = []
    for place, token in enumerate(parts):
        cell += token.vertices
        live = [stub for stub, first in made.items() if first <= place < last.get(stub, first)]
        if len(live) <= 1:
            yield cell
            cell = []
    if cell:
        yield cell


def _entry(parts: Sequence[Token], made: dict[int, int]) -> int | None:
    """The tensor that comes in: the last one made of those that the first part alone takes."""
    ends = [
        {
            stub.id
            for vertex in (token.vertices if token else ())
            for stub in stubs_in((vertex.args, vertex.kwargs))
            if stub.id not in made and stub.dtype.is_floating_point
        }
        for token in (parts[0] if parts else None, parts[-1] if len(parts) > 1 else None)
    ]
    return max(ends[0] - ends[1] or ends[0], default=None)
