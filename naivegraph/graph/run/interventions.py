"""Interventions in a run of a graph: functions that replace the values of vertices as they are computed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.liveness import SharedMemory, tensor_numbers, written_numbers
from naivegraph.ir.pytree import map_leaves, pairs, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["Intervened", "Intervention", "Interventions", "ValueMemory", "copied", "intervened", "memory_of"]

# A function of a vertex's value, which may change that in place, to the value in its place.
Intervention = Callable[[Any], Any]


class Interventions:
    """The interventions under way on a graph, in the order in which they came.

    Attributes:
        runs: The number of runs of the graph under way, in which hooks on the layers leave all to the graph.
    """

    def __init__(self) -> None:
        self._all: list[Mapping[str, Intervention]] = []
        self.runs = 0

    def __bool__(self) -> bool:
        return bool(self._all)

    def __deepcopy__(self, memo: Any) -> Interventions:
        """A copy of a network is one without."""
        return Interventions()

    def __reduce__(self) -> tuple[type[Interventions], tuple[()]]:
        return Interventions, ()

    def add(self, some: Mapping[str, Intervention]) -> None:
        """Begin with interventions, by the names of vertices; they come after those there are."""
        self._all.append(some)

    def remove(self, some: Mapping[str, Intervention]) -> None:
        """End interventions that were added."""
        self._all[:] = [each for each in self._all if each is not some]

    def by_vertex(self, graph: Recording) -> dict[str, list[Intervention]]:
        """The interventions at each vertex of a run.

        Raises:
            NaivegraphError: There is no such vertex in it.
        """
        found: dict[str, list[Intervention]] = {}
        for some in self._all:
            for name, each in some.items():
                found.setdefault(name, []).append(each)
        missing = [name for name in found if name not in graph]
        if missing:
            mode = "train" if graph.module.training else "eval"
            raise NaivegraphError(
                f"the intervention is at {missing[0]!r}, which the network does not call in {mode} mode"
            )
        return found


@dataclasses.dataclass(frozen=True)
class ValueMemory:
    """The memory that the value of a vertex lies in.

    Attributes:
        in_place: The number of the tensor that the vertex changes in place and gives; None if it is new.
        seen: Whether others see it, too, and some vertex changes it: another value has to be written into it.
    """

    in_place: int | None
    seen: bool


def memory_of(graph: Recording, vertex: Vertex, memory: SharedMemory | None = None) -> ValueMemory:
    """The memory of a vertex's value."""
    written, output = written_numbers(vertex), vertex.output
    if isinstance(output, Stub) and output.id in written:
        return ValueMemory(output.id, True)
    shared = memory or SharedMemory(graph)
    made = {stub.id for stub in stubs_in(output)}
    later = graph.vertices[graph.vertices.index(vertex) + 1 :]
    is_view = shared.shared(tensor_numbers((vertex.args, vertex.kwargs)), made)
    return ValueMemory(None, is_view and any(shared.shared(written_numbers(other), made) for other in later))


def copied(value: Any) -> Any:
    """The value with a copy of each tensor in it."""
    return map_leaves(value, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf)


def intervened(vertex: Vertex, value: Any, interventions: Iterable[Intervention]) -> Any:
    """The value that interventions put in the place of a vertex's own, in memory of its own.

    Raises:
        EditError: One gives something of another structure, shape or type.
    """
    for each in interventions:
        given = copied(value)
        found = each(given)
        _check(vertex, value, found)
        value = found if found is given else copied(found)
    return value


def _check(vertex: Vertex, value: Any, found: Any) -> None:
    start = f"the intervention at {vertex.name!r} gives"
    try:
        both = list(pairs(value, found))
    except ValueError as error:
        raise EditError(f"{start} something else than the vertex: {error}") from error
    for one, other, at in both:
        if not isinstance(one, torch.Tensor):
            continue
        place = f" at {at}" if at else ""
        if not isinstance(other, torch.Tensor):
            raise EditError(f"{start} {other!r}{place} in place of a tensor")
        if one.shape != other.shape or one.dtype != other.dtype:
            raise EditError(
                f"{start} a tensor of shape {tuple(other.shape)} and {other.dtype}{place} in place of one of "
                f"{tuple(one.shape)} and {one.dtype}"
            )


class Intervened(Interpreter):
    """A run of a graph in which interventions replace values.

    Args:
        graph: The run to repeat.
        interventions: The interventions; None for none.
        wanted: As of `Interpreter`.
        watch: As of `Interpreter`; it gets the values in place.
    """

    def __init__(
        self,
        graph: Recording,
        interventions: Interventions | None,
        wanted: Iterable[str] = (),
        watch: Callable[[str, Any], None] | None = None,
    ) -> None:
        super().__init__(graph, wanted, watch)
        self._interventions = interventions or Interventions()
        self._at: Mapping[str, Sequence[Intervention]] = self._interventions.by_vertex(graph)

    def _enter(self, vertex: Vertex, value: Any) -> Any:
        return intervened(vertex, value, self._at.get(vertex.name, ()))

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        self._interventions.runs += 1
        try:
            yield
        finally:
            self._interventions.runs -= 1

    def _call(self, vertex: Vertex) -> Any:
        some = self._at.get(vertex.name)
        with self._quiet():
            if not some:
                return super()._call(vertex)
            memory = memory_of(self._graph, vertex)
            if memory.in_place is None:
                result = super()._call(vertex)
                value = intervened(vertex, result, some)
                return result.copy_(value) if memory.seen and isinstance(result, torch.Tensor) else value
            # The vertex works on a copy, so that the memory is written once: autograd may need what it made.
            own = self._tensors[memory.in_place]
            self._tensors[memory.in_place] = own.clone()
            value = intervened(vertex, super()._call(vertex), some)
            return own.copy_(value) if own.shape == value.shape else value
