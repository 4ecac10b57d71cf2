"""Hidden values of a network: any of them given, any of them asked for, no more computed than that takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from naivegraph.errors import NaivegraphError
from naivegraph.graph.run.interventions import Intervened, Interventions
from naivegraph.graph.run.liveness import SharedMemory, tensor_numbers, written_numbers
from naivegraph.ir.pytree import map_leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.vertex import Vertex

__all__ = ["RunPlan", "changed_later", "hidden_values", "needed_for"]


def hidden_values(
    graph: Recording,
    given: Mapping[str, Any],
    outputs: Sequence[str],
    interventions: Interventions | None = None,
) -> dict[str, Any]:
    """The values of some vertices, from those of others.

    Given values are not computed again, and nothing is that no output needs. A value is what its vertex gave,
    whatever changes the tensor in place later; given tensors are never changed.

    Args:
        graph: The run to repeat.
        given: Values of vertices, by name.
        outputs: The names of the vertices whose values are wanted.
        interventions: What replaces values; those given are left as they are, but for inputs.

    Raises:
        NaivegraphError: An input is needed and not given; or a given value has another structure than its
            vertex gives.
    """
    memory = SharedMemory(graph)
    plan = RunPlan(graph, memory, given, outputs)
    missing = [v.name for v in graph.inputs if id(v) in plan.needed and v.name not in given]
    if missing:
        known = ", ".join(map(repr, given)) or "nothing"
        raise NaivegraphError(
            f"{', '.join(map(repr, outputs))} cannot be worked out from {known} alone: give "
            f"{', '.join(map(repr, missing))}, too, whose numbers or sizes the code needs"
        )
    return _HiddenRun(graph, memory, plan, interventions).values_of(given, outputs)


def needed_for(graph: Recording, outputs: Sequence[str]) -> list[Vertex]:
    """The vertices that have to run for the values of some, in recorded order, inputs among them."""
    plan = RunPlan(graph, SharedMemory(graph), {}, outputs)
    return [vertex for vertex in graph.vertices if id(vertex) in plan.needed]


def changed_later(graph: Recording, vertex: Vertex, later: Sequence[Vertex]) -> bool:
    """Tell whether one of some vertices changes the memory of what a vertex gave."""
    return _changes(SharedMemory(graph), vertex, later)


def _changes(memory: SharedMemory, vertex: Vertex, later: Sequence[Vertex]) -> bool:
    numbers = {stub.id for stub in stubs_in(vertex.output)}
    return any(memory.shared(written_numbers(other), numbers) for other in later)


class RunPlan:
    """The vertices that have to run for some outputs.

    Args:
        graph: The run.
        memory: The tensors of it that share memory.
        given: Values of vertices, by name.
        outputs: The names of the vertices whose values are wanted, as these gave them.
        kept: Numbers of tensors that are wanted as they are in the end.

    Attributes:
        needed: By `id`, the vertices that run, or whose given value is needed.
        into: Those of them whose given value is written into the memory they share with others, as a later
            vertex changes that, and with it what was given.
    """

    def __init__(
        self,
        graph: Recording,
        memory: SharedMemory,
        given: Mapping[str, Any],
        outputs: Collection[str],
        kept: Collection[int] = (),
    ) -> None:
        self.needed: set[int] = set()
        self.into: set[int] = set()
        wanted = set(kept)
        changed: set[int] = set()
        for vertex in reversed(graph.vertices):
            made = {stub.id for stub in stubs_in(vertex.output)}
            written, used = written_numbers(vertex), tensor_numbers((vertex.args, vertex.kwargs))
            if not (vertex.name in outputs or made & wanted or memory.shared(written, wanted)):
                continue
            self.needed.add(id(vertex))
            if vertex.name in given:
                if not written and memory.shared(used, made) and memory.shared(changed, made):
                    self.into.add(id(vertex))
                else:  # what is changed in place is seen by all that share its memory, made before
                    used = written if memory.shared(written, wanted - made) else set()
            changed |= written
            wanted = (wanted - (made - used)) | used


class _HiddenRun(Intervened):
    """A run of some vertices, with the values of others given."""

    def __init__(
        self, graph: Recording, memory: SharedMemory, plan: RunPlan, interventions: Interventions | None
    ) -> None:
        super().__init__(graph, interventions)
        self._memory, self._into = memory, plan.into
        self._running = [vertex for vertex in graph.vertices if id(vertex) in plan.needed]

    def values_of(self, given: Mapping[str, Any], outputs: Collection[str]) -> dict[str, Any]:
        """Run, and return the values that are wanted."""
        found: dict[str, Any] = {}
        for place, vertex in enumerate(self._running):
            later = self._running[place + 1 :]
            if vertex.name not in given or id(vertex) in self._into:
                result = self._call(vertex)
            if vertex.name in given:
                value = given[vertex.name]
                if vertex.kind == "input":
                    value = self._enter(vertex, value)
                into = id(vertex) in self._into
                result = result.copy_(value) if into else self._put(vertex, value, later)
            self._assign(vertex, result)
            if vertex.name in outputs:
                found[vertex.name] = self._unchanged(vertex, result, later)
        return {name: found[name] for name in outputs}

    def _put(self, vertex: Vertex, value: Any, later: Sequence[Vertex]) -> Any:
        """The value to go on with, which what its vertex would have changed has from now on, too."""
        own = self._unchanged(vertex, value, later)
        for number in written_numbers(vertex) & self._tensors.keys():
            if isinstance(own, torch.Tensor) and self._tensors[number].shape == own.shape:
                own = self._tensors[number].copy_(own)
        return own

    def _unchanged(self, vertex: Vertex, value: Any, later: Sequence[Vertex]) -> Any:
        """The value, as a copy if one of these vertices changes it in place."""
        if not _changes(self._memory, vertex, later):
            return value
        return map_leaves(value, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf)
