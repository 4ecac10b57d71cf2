"""The vertices that a network's output depends on, and those that nothing needs."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping

import torch

from naivegraph.graph.run.interpreter import Reads
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["SharedMemory", "changed_in_place", "idle", "tensor_numbers", "written_numbers"]


def tensor_numbers(value: object) -> set[int]:
    """Numbers of the tensors in a pytree, and of those with a size in it."""
    reads = Reads.of(value)
    return reads.tensors | reads.measured


def idle(
    graph: Recording, kept: Iterable[Vertex] = (), uses: Mapping[int, Collection[int]] | None = None
) -> list[Vertex]:
    """The vertices that neither the output nor the network's state depends on, in recorded order.

    A vertex that changes a tensor in place is needed where that tensor, or one that shares memory with it, is
    needed later. Inputs are never idle.

    Args:
        graph: The graph.
        kept: Vertices that are needed whatever becomes of their tensors.
        uses: By `id` of a vertex, the numbers of the tensors that it is taken to use.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> class Net(torch.nn.Module):
        ...     def forward(self, x):
        ...         x.exp()
        ...         return x.sin()
        >>> idle(capture(Net(), torch.ones(1, 2)))
        [Vertex('exp', function)]
    """
    memory = SharedMemory(graph)
    keep, other = {id(vertex) for vertex in kept}, uses or {}
    wanted, found = tensor_numbers(graph.output), list[Vertex]()
    state = {stub.id for stub in graph.state.values()}
    for vertex in reversed(graph.vertices):
        made = {stub.id for stub in stubs_in(vertex.output)}
        used = set(other.get(id(vertex), ())) or tensor_numbers((vertex.args, vertex.kwargs))
        needed = vertex.kind == "input" or id(vertex) in keep or bool(made & wanted)
        if needed or memory.shared(written_numbers(vertex), wanted | state):
            wanted = (wanted - (made - used)) | used
        else:
            found.append(vertex)
    return found[::-1]


def changed_in_place(
    graph: Recording, stub: Stub, vertices: Iterable[Vertex], *, through_others: bool = False
) -> bool:
    """Tell whether one of these vertices changes a tensor, or one that shares memory with it, in place.

    Args:
        graph: The graph.
        stub: The tensor.
        vertices: The vertices.
        through_others: Count only what is changed through other tensors that share its memory.
    """
    memory, own = SharedMemory(graph), {stub.id} if through_others else set()
    return any(memory.shared(written_numbers(vertex) - own, {stub.id}) for vertex in vertices)


class SharedMemory:
    """Groups of tensors that share memory, as far as operators say so."""

    def __init__(self, graph: Recording) -> None:
        self._parent: dict[int, int] = {}
        for vertex in graph.vertices:
            for operation in vertex.operations:
                results = [stub.id for stub in operation.outputs if stub is not None]
                if results and any(r.alias_info is not None for r in operation.func._schema.returns):
                    for number in (*results[1:], *_aliased(operation, written=False)):
                        self._parent[self._group(number)] = self._group(results[0])

    def _group(self, number: int) -> int:
        while number in self._parent and self._parent[number] != number:
            number = self._parent[number]
        return number

    def shared(self, some: set[int], others: set[int]) -> bool:
        """Tell whether one of some tensors shares memory with one of others."""
        if not some:
            return False
        groups = {self._group(number) for number in some}
        return any(self._group(number) in groups for number in others)


def written_numbers(vertex: Vertex) -> set[int]:
    """Numbers of the tensors that a vertex changes in place."""
    mutable = (operation for operation in vertex.operations if _is_mutable(operation.func))
    return {number for operation in mutable for number in _aliased(operation, written=True)}


@functools.cache
def _is_mutable(func: torch._ops.OpOverload) -> bool:
    return func._schema.is_mutable


def _aliased(operation: Operation, *, written: bool) -> list[int]:
    """Numbers of the operands that an operator's results may be views of, or that it changes."""
    found: list[Stub] = []
    for position, argument in enumerate(operation.func._schema.arguments):
        info = argument.alias_info
        if info is None or (written and not info.is_write):
            continue
        given = operation.args[position : position + 1] or (operation.kwargs.get(argument.name),)
        found.extend(stubs_in(given))
    return [stub.id for stub in found]
