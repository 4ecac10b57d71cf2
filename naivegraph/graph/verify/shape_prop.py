"""Shape propagation: running a graph once for the shapes and operators that its vertices have now."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from naivegraph.errors import NaivegraphError
from naivegraph.graph.record.record_run import copy_tensors, slow_attention, state_of
from naivegraph.graph.record.record_train_mode import record_again
from naivegraph.graph.record.recorder import Recorder
from naivegraph.graph.record.torch_modes import DispatchMode
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import map_leaves, pairs, stubs_in, with_tensors
from naivegraph.ir.recording import TRAIN_MODE, Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.undo import all_or_nothing

__all__ = ["largest_number", "placed", "propagate_shapes"]


def propagate_shapes(graph: Recording) -> None:
    """Run the vertices once on the stored example, and update shapes, operators and names of state.

    The run in train mode, if there is one, is recorded anew; if sizes are not related by it, only once it is
    needed. Tensors keep their numbers. Flags, buffers, random numbers and attributes of the network are
    restored.

    Raises:
        NaivegraphError: The graph has no example.
        Exception: Any exception of a vertex, with a note that names it; the graph is as it was.
    """
    missing = [vertex.name for vertex in graph.inputs if vertex.name not in graph.example]
    if missing:
        raise NaivegraphError(f"the graph keeps no example of its input {missing[0]!r}: capture it again")
    module = graph.module
    recorder = Recorder({}, state_of(module), start=max(largest_number(graph) + 1, graph.reserved))
    example = placed(graph, copy_tensors(graph.example))
    run = _Observed(graph, recorder)
    with restored(module), preserved(module), slow_attention(), torch.no_grad(), DispatchMode(recorder):
        run.run(example)
    with all_or_nothing() as undo:
        undo.push(snapshot(graph))
        run.commit()
        if graph.training is not None:
            example = placed(graph, copy_tensors(graph.training.example))
            graph.training = record_again(graph, graph.training, example)
        if graph.train_replay is not None:  # made again when it is needed
            graph.train_replay = None
            graph.checks = {name: found for name, found in graph.checks.items() if name != TRAIN_MODE}


def largest_number(graph: Recording) -> int:
    """The largest number of a tensor of the graph."""
    found = [stub.id for stub in graph.state.values()]
    for vertex in graph.vertices:
        found.extend(stub.id for stub in stubs_in(vertex.output))
        found.extend(o.id for op in vertex.operations for o in op.outputs if o is not None)
    return max(found, default=-1)


def placed(graph: Recording, example: dict[str, Any]) -> dict[str, Any]:
    """An example moved to the network's device and precision, if it has one of each."""
    tensors = [graph.tensor(name) for name in graph.state]
    devices = {tensor.device for tensor in tensors}
    dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    before = {stub.dtype for stub in graph.state.values() if stub.dtype.is_floating_point}

    def place(leaf: Any) -> Any:
        """Move a tensor, and return any other leaf as it is."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if len(devices) == 1:
            leaf = leaf.to(next(iter(devices)))
        if leaf.is_floating_point() and len(dtypes) == 1 and dtypes != before and leaf.dtype in before:
            leaf = leaf.to(next(iter(dtypes)))
        return leaf

    placed: dict[str, Any] = map_leaves(example, place)
    return placed


class _Observed(Interpreter):
    """A run of a graph that observes its vertices; nothing changes before `commit`.

    The recorder numbers tensors anew; `_numbers` maps its numbers to those of the graph.
    """

    def __init__(self, graph: Recording, recorder: Recorder) -> None:
        super().__init__(graph)
        self._recorder = recorder
        self._numbers: dict[int, int] = {}
        self._used: set[int] = set()
        self._latest: dict[int, Stub] = {}  # by number in the graph
        self._seen: list[tuple[Vertex, Any, Any, Any, list[Operation]]] = []
        self._state = {name: self._name_state(name, stub) for name, stub in recorder.state.items()}

    def _name_state(self, name: str, stub: Stub) -> Stub:
        """The stub of a parameter or buffer, with the number it has in the graph if that is free."""
        known = self._graph.state.get(name)
        if known is not None and known.id not in self._used:
            self._used.add(known.id)
            self._numbers.setdefault(stub.id, known.id)
        return self._stub(stub)

    def _stub(self, stub: Stub) -> Stub:
        number = self._numbers.get(stub.id, stub.id)
        return stub if number == stub.id else dataclasses.replace(stub, id=number)

    def _enter(self, vertex: Vertex, value: Any) -> Any:
        made = self._recorder.enter_input(vertex.name, value)
        self._note(vertex, made.output, [])
        return value

    def _call(self, vertex: Vertex) -> Any:
        result, record, operations = self._recorder.watched(lambda: super(_Observed, self)._call(vertex))
        self._note(vertex, record, operations)
        return result

    def _note(self, vertex: Vertex, record: Any, operations: list[Operation]) -> None:
        """Map the numbers of a vertex's results to those of the graph, and keep what was observed."""
        try:
            both = list(pairs(vertex.output, record))
        except ValueError as error:
            raise NaivegraphError(f"{vertex.name!r} gives something else than before: {error}") from error
        for old, new, at in both:
            if isinstance(old, Stub) != isinstance(new, Stub):
                raise NaivegraphError(f"{vertex.name!r} gives something else than before{at and ' at '}{at}")
            if isinstance(old, Stub):
                # In place: the result is the tensor that was changed, which has had a number before.
                number = self._numbers.setdefault(new.id, old.id)
                self._latest[old.id] = self._latest[number] = Stub(number, new.shape, new.dtype)
        self._seen.append(
            (
                vertex,
                self._current(vertex.args),
                self._current(vertex.kwargs),
                self._current(vertex.output),
                operations,
            )
        )

    def _current(self, value: Any) -> Any:
        return with_tensors(value, self._latest)

    def commit(self) -> None:
        """Write what was observed into the graph."""
        graph = self._graph
        for vertex, args, kwargs, output, operations in self._seen:
            vertex.args, vertex.kwargs, vertex.output = args, kwargs, output
            vertex.operations = [self._operation(operation) for operation in operations]
        graph.state = {name: self._stub(stub) for name, stub in self._state.items()}
        graph.output = self._current(graph.output)

    def _operation(self, operation: Operation) -> Operation:
        return Operation(
            operation.func,
            self._renumbered(operation.args),
            self._renumbered(operation.kwargs),
            tuple([None if out is None else self._stub(out) for out in operation.outputs]),
        )

    def _renumbered(self, value: Any) -> Any:
        if isinstance(value, Stub):
            return self._stub(value)
        if isinstance(value, dict):
            return {key: self._renumbered(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)([self._renumbered(item) for item in value])
        return value
