"""A run of a graph that observes the shapes and operators its vertices have now."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Any

from naivegraph.errors import NaivegraphError
from naivegraph.graph.record.recorder import Recorder
from naivegraph.graph.record.torch_modes import DispatchMode
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.liveness import written_numbers
from naivegraph.ir.pytree import pairs, stubs_in, with_tensors
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["ObservedRun"]


class ObservedRun(Interpreter):
    """A run of a graph that observes its vertices; nothing changes before `commit`.

    The recorder numbers tensors anew; `_numbers` maps its numbers to those of the graph.

    Args:
        graph: The graph.
        recorder: The recorder.
        changed: The paths of the modules of which attributes have changed. Then those vertices alone are
            observed that call something else than before, or take tensors of other shapes; those in
            between are run for their results, those after the last one are not. By default all are observed.
    """

    def __init__(self, graph: Recording, recorder: Recorder, changed: Collection[str] | None = None) -> None:
        super().__init__(graph)
        self._recorder = recorder
        self._numbers: dict[int, int] = {}
        self._used: set[int] = set()
        self._position = -1  # of the vertex that runs
        self._latest: dict[int, Stub] = {}  # by number in the graph, where a tensor is not as before
        self._seen: list[tuple[Vertex, Any, Any, Any, list[Operation]]] = []
        self._state = {name: self._name_state(name, stub) for name, stub in recorder.state.items()}
        everything = range(len(graph.vertices))
        self._observed: Collection[int] = everything if changed is None else self._affected(changed)
        inputs = (i for i, vertex in enumerate(graph.vertices) if vertex.kind == "input")
        self._end = max(itertools.chain(self._observed, inputs), default=-1)
        self._last_read = {
            number: position
            for position, reads in enumerate(self._reads)
            for number in (*reads.tensors, *reads.measured)
        }

    def _name_state(self, name: str, stub: Stub) -> Stub:
        """The stub of a parameter or buffer, with the number it has in the graph if that is free."""
        known = self._graph.state.get(name)
        if known is not None and known.id not in self._used:
            self._used.add(known.id)
            self._numbers.setdefault(stub.id, known.id)
        return self._stub(stub)

    def _stub(self, stub: Stub) -> Stub:
        number = self._numbers.get(stub.id, stub.id)
        return stub if number == stub.id else Stub(number, stub.shape, stub.dtype, stub.strides)

    # Those affected

    def _affected(self, changed: Iterable[str]) -> set[int]:
        """The positions of the vertices that call something else, or take other parameters or attributes."""
        known = self._graph.state
        names = {name for name, stub in self._state.items() if not _same(stub, known.get(name))}
        names.update(known.keys() - self._state.keys())
        numbers = {known[name].id for name in names if name in known}
        modules = set(changed)
        paths = {path for name in names for path in _around(name)}
        paths.update(path for module in modules for path in (module, *_around(module)))
        found: set[int] = set()
        for position, (vertex, reads) in enumerate(zip(self._graph.vertices, self._reads, strict=True)):
            if (
                vertex.stale
                or (vertex.kind == "layer" and vertex.path in paths)
                or not names.isdisjoint(reads.state)
                or any(attribute.path in modules for attribute in reads.attributes)
                or (numbers and not numbers.isdisjoint(_operands(vertex)))
            ):
                found.add(position)
        return found

    def _is_observed(self, position: int, vertex: Vertex) -> bool:
        """Tell whether a vertex is affected, or changes something in place that it does not return."""
        reads = self._reads[position]
        if position in self._observed or not (
            self._latest.keys().isdisjoint(reads.tensors) and self._latest.keys().isdisjoint(reads.measured)
        ):
            return True
        return not written_numbers(vertex) <= {stub.id for stub in stubs_in(vertex.output)}

    # Running

    def observe(self, inputs: dict[str, Any]) -> None:
        """Run the vertices, as far as there are some to observe.

        Args:
            inputs: The value of each input vertex, by its name.
        """
        for position in range(len(self._graph.vertices)):
            if position > self._end:
                return
            self._position = position
            self.step(position, inputs)

    def _enter(self, vertex: Vertex, value: Any) -> Any:
        made = self._recorder.enter_input(vertex.name, value)
        self._note(vertex, made.output, [])
        return value

    def _call(self, vertex: Vertex) -> Any:
        if not self._is_observed(self._position, vertex):
            return self._pass(vertex)
        with DispatchMode(self._recorder):
            result, record, operations = self._recorder.watched(
                lambda: super(ObservedRun, self)._call(vertex)
            )
        self._note(vertex, record, operations)
        return result

    def _pass(self, vertex: Vertex) -> Any:
        """Run a vertex that is not observed; its results have the numbers they have in the graph."""
        # What a vertex makes and then changes itself is no tensor before it runs.
        written = written_numbers(vertex) & self._tensors.keys()
        mutated = [self._tensors[number] for number in written]
        result, record = self._recorder.unwatched(super()._call(vertex), mutated)
        for old, new, _ in self._both(vertex, record):
            if isinstance(old, Stub):
                self._numbers.setdefault(new.id, old.id)
        return result

    def _both(self, vertex: Vertex, record: Any) -> list[tuple[Any, Any, str]]:
        """Pairs of what a vertex gave before and gives now, leaf by leaf."""
        try:
            both = list(pairs(vertex.output, record))
        except ValueError as error:
            raise NaivegraphError(f"{vertex.name!r} gives something else than before: {error}") from error
        for old, new, at in both:
            if isinstance(old, Stub) != isinstance(new, Stub):
                raise NaivegraphError(f"{vertex.name!r} gives something else than before{at and ' at '}{at}")
        return both

    def _note(self, vertex: Vertex, record: Any, operations: list[Operation]) -> None:
        """Map the numbers of a vertex's results to those of the graph, and keep what was observed."""
        for old, new, _ in self._both(vertex, record):
            if not isinstance(old, Stub):
                continue
            # In place: the result is the tensor that was changed, which has had a number before.
            number = self._numbers.setdefault(new.id, old.id)
            now = Stub(number, new.shape, new.dtype, new.strides)
            if old.id in self._latest or not _same(old, now):
                self._latest[old.id] = self._latest[number] = now
                self._end = max(self._end, *(self._last_read.get(each, -1) for each in (old.id, number)))
        args, kwargs, output = map(self._current, (vertex.args, vertex.kwargs, vertex.output))
        self._seen.append((vertex, args, kwargs, output, operations))

    def _current(self, value: Any) -> Any:
        return with_tensors(value, self._latest) if self._latest else value

    def commit(self) -> None:
        """Write what was observed into the graph."""
        graph = self._graph
        for vertex, args, kwargs, output, operations in self._seen:
            vertex.args, vertex.kwargs, vertex.output = args, kwargs, output
            vertex.operations = [self._operation(operation) for operation in operations]
            vertex.stale = False
        graph.state = {name: self._stub(stub) for name, stub in self._state.items()}
        graph.output = self._current(graph.output)
        graph.found = {}

    def _operation(self, operation: Operation) -> Operation:
        return Operation(
            operation.func,
            self._renumbered(operation.args),
            self._renumbered(operation.kwargs),
            tuple([None if out is None else self._stub(out) for out in operation.outputs]),
        )

    def _renumbered(self, value: Any) -> Any:
        kind = type(value)
        if kind is Stub:
            return self._stub(value)
        if kind is dict:
            return {key: self._renumbered(item) for key, item in value.items()}
        if kind is list or kind is tuple:
            return kind([self._renumbered(item) for item in value])
        return value


def _same(one: Stub, two: Stub | None) -> bool:
    """Tell whether two stubs have the same number, shape, dtype and strides.

    Functions such as `reshape` call other operators where the strides are others.
    """
    return (
        two is not None
        and one.strides is not None
        and (one.id, one.shape, one.dtype, one.strides) == (two.id, two.shape, two.dtype, two.strides)
    )


def _around(name: str) -> list[str]:
    """The paths of the modules around a module, parameter or buffer."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts))]


def _operands(vertex: Vertex) -> list[int]:
    """The numbers of the tensors that the operators of a vertex take."""
    return [stub.id for operation in vertex.operations for stub in operation.operands]
