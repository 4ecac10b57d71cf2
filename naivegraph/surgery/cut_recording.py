"""A part of a recorded run as a run of its own: from some of its values to others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from naivegraph.errors import EditError
from naivegraph.graph.run.hidden_values import RunPlan
from naivegraph.graph.run.liveness import SharedMemory, tensor_numbers, written_numbers
from naivegraph.graph.verify.shape_prop import new_number, propagate_shapes
from naivegraph.ir.pytree import map_leaves, stubs_in, with_tensors
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Compound, DimSize, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.widths import relate

__all__ = ["crossing", "cut_recording"]


def cut_recording(
    run: Recording, given: Mapping[str, str], outputs: Sequence[str] | None, example: Mapping[str, Any]
) -> Recording:
    """Make a recording of the part of a run that leads from some vertices to others, on the same layers.

    Args:
        run: The run.
        given: By the name of a vertex whose value is an input of the part, the name of that input.
        outputs: The names of the vertices whose values the part returns: that value if there is one, a dict
            of them by name otherwise. None for what the run returns.
        example: The values of the inputs, by their names.

    Raises:
        EditError: The outputs need something else, too, or nothing of what is given.
    """
    whole = _with_sizes_at_hand(run, given)
    work = _Running(whole, given, outputs)
    missing = work.missing()
    if missing:
        raise EditError(
            f"{work.wanted} cannot be worked out from {work.names} alone: add "
            f"{', '.join(map(repr, missing))} to inputs=, whose numbers or sizes are used, too"
        )
    needed = {vertex.name for vertex in work.vertices}
    unused = [name for name in given if name not in needed]
    if unused:
        raise EditError(f"{work.wanted} can be worked out without {unused[0]!r}: leave it out of inputs=")
    part = _Part(work).made(outputs)
    part.example = dict(example)
    propagate_shapes(part)
    return part


def crossing(run: Recording, name: str) -> list[str]:
    """The vertices, apart from one, whose tensors the rest of a run takes after it, to its output.

    Raises:
        EditError: What the run returns does not depend on the vertex.
    """
    given = {name: name}
    wanted = "cut the network to what is wanted first, ng.surgery.cut(graph, inputs, outputs)"
    return _Running(_with_sizes_at_hand(run, given), given, None).missing(wanted)


def _with_sizes_at_hand(run: Recording, given: Mapping[str, str]) -> Recording:
    """A copy of the run that reads sizes off what is given, where these equal those of tensors before it.

    Code keeps the size of a batch, say, that it read off the network's input.
    """
    reached = _numbers_from(run.vertices, given)
    sources = [stub for name in given for stub in stubs_in(run[name].output)]
    stubs = {stub.id: stub for vertex in run.vertices for stub in stubs_in(vertex.output)}
    found: dict[DimSize, DimSize] = {}

    def same(size: DimSize) -> DimSize:
        """Return the size of what is given that is made of the same entries, or the size as it is."""
        if isinstance(size.tensor, str) or size.tensor in reached or size.tensor not in stubs:
            return size
        if size not in found:
            axes = relate(run)
            axis = axes.of(stubs[size.tensor])[size.dim]
            places = ((s, dim) for s in sources for dim, each in enumerate(axes.of(s)) if each == axis)
            stub, dim = next(places, (None, 0))
            found[size] = size if stub is None else DimSize(stub.id, dim)
        return found[size]

    copied = Recording.__new__(Recording)
    vars(copied).update(vars(run))
    copied.vertices = [
        dataclasses.replace(v, args=_with_sizes(v.args, same), kwargs=_with_sizes(v.kwargs, same))
        for v in run.vertices
    ]
    return copied


def _with_sizes(value: Any, other: Callable[[DimSize], DimSize]) -> Any:
    """A copy of a pytree with other sizes for those that are read off tensors."""

    def change(leaf: Any) -> Any:
        """Return an expression with such sizes, and any other leaf as it is."""
        if isinstance(leaf, DimSize):
            return other(leaf)
        if isinstance(leaf, Compound):
            return Compound(leaf.operator, change(leaf.left), change(leaf.right))
        return leaf

    return map_leaves(value, change)


def _numbers_from(vertices: Sequence[Vertex], given: Mapping[str, str]) -> set[int]:
    """The numbers of the tensors that are given or made from what is."""
    found: set[int] = set()
    for vertex in vertices:
        if vertex.name in given or found & tensor_numbers((vertex.args, vertex.kwargs)):
            found |= {stub.id for stub in stubs_in(vertex.output)}
    return found


class _Running:
    """The vertices that run where some values are given, for the values of others.

    Attributes:
        run: The run they are of.
        memory: The tensors of it that share memory.
        into: By `id`, those whose given value is written into memory.
        vertices: The vertices, in order.
        given: By the name of a vertex whose value is given, the name of the input.
        names: The same in words.
        wanted: What is wanted, in words.
    """

    def __init__(self, run: Recording, given: Mapping[str, str], outputs: Sequence[str] | None) -> None:
        self.run, self.given = run, given
        self.memory = SharedMemory(run)
        kept = tensor_numbers(run.output) if outputs is None else set()
        plan = RunPlan(run, self.memory, given, outputs or (), kept)
        self.into = plan.into
        self.vertices = [vertex for vertex in run.vertices if id(vertex) in plan.needed]
        self._last = [*outputs] if outputs else [v.name for v in self.vertices if kept & _made(v)]
        self._named = outputs is not None
        self.names = ", ".join(map(repr, given))
        self.wanted = ", ".join(map(repr, outputs)) if outputs else "the network's output"

    def missing(self, remedy: str = "say with outputs= what is wanted") -> list[str]:
        """The vertices that make what is used beside that which is given.

        Args:
            remedy: The way out where the network returns something else, too.

        Raises:
            EditError: Something that is wanted does not depend on what is given.
        """
        outside: dict[int, str] = {}  # by number of a tensor that comes from other inputs, who made it
        inside: set[int] = set()
        found: dict[str, None] = {}
        for vertex in self.vertices:
            made, used = _made(vertex), tensor_numbers((vertex.args, vertex.kwargs))
            if vertex.name in self.given or used & inside:
                if vertex.name not in self.given or id(vertex) in self.into:
                    found.update((outside[number], None) for number in sorted(used & outside.keys()))
                writes = made if id(vertex) in self.into else written_numbers(vertex)
                inside |= made | {n for n in outside if self.memory.shared({n}, writes)}
                outside = {number: maker for number, maker in outside.items() if number not in inside}
            elif vertex.name in self._last:
                hint = "" if self._named else f", which the network returns, too; {remedy}"
                raise EditError(
                    f"{vertex.name!r} does not depend on {self.names}: no part leads from there to it{hint}"
                )
            elif vertex.kind == "input" or used & outside.keys():
                outside.update(dict.fromkeys(made, vertex.name))
        if not found:
            left = (v.name for v in self.vertices if v.kind == "input" and v.name not in self.given)
            found.update(dict.fromkeys(left))
        return [*found]


def _made(vertex: Vertex) -> set[int]:
    return {stub.id for stub in stubs_in(vertex.output)}


class _Part:
    """The vertices of a part, as they are made."""

    def __init__(self, work: _Running) -> None:
        self._work, self._run = work, work.run
        self._number = new_number(work.run)
        self._names = {*(vertex.name for vertex in work.run.vertices), *work.given.values()}
        self._now: dict[int, Stub] = {}  # what stands for a tensor of the run, if not itself
        self._sizes: dict[int, int] = {}  # inputs by the numbers of what they stand for, which may come later
        self._so_far: set[int] = set()
        self._vertices: list[Vertex] = []

    def made(self, outputs: Sequence[str] | None) -> Recording:
        """Make the recording of the part, without an example."""
        inputs = {}
        for name, own in self._work.given.items():
            value = map_leaves(self._run[name].output, self._fresh)
            inputs[name] = Vertex(own, "input", None, "", output=value)
            old = stubs_in(self._run[name].output)
            self._sizes.update((o.id, n.id) for o, n in zip(old, stubs_in(value), strict=True))
        self._vertices += inputs.values()
        found: dict[str, Any] = {}
        for place, vertex in enumerate(self._work.vertices):
            later = self._work.vertices[place + 1 :]
            if vertex.name in inputs:
                self._give(vertex, inputs[vertex.name].output, later)
            else:
                self._call(vertex)
            self._so_far |= _made(vertex)
            if outputs and vertex.name in outputs:
                value = with_tensors(vertex.output, self._now)
                found[vertex.name] = self._cloned(vertex, value) if self._changes(vertex, later) else value
        output: Any = {name: found[name] for name in outputs or ()}
        if outputs is None:
            output = with_tensors(self._run.output, self._now)
        elif len(outputs) == 1:
            output = found[outputs[0]]
        state, first = dict(self._run.state), list(inputs.values())
        return Recording(self._run.module, self._vertices, state, first, output, rewired=True)

    def _fresh(self, leaf: Any) -> Any:
        """A stub with a number of its own for a stub, and any other leaf as it is."""
        if not isinstance(leaf, Stub):
            return leaf
        self._number += 1
        return dataclasses.replace(leaf, id=self._number)

    def _changes(self, vertex: Vertex, later: Sequence[Vertex]) -> bool:
        """Tell whether one of some vertices changes what a vertex gave."""
        return any(self._work.memory.shared(written_numbers(other), _made(vertex)) for other in later)

    def _call(self, vertex: Vertex) -> None:
        """Call what a vertex of the run calls."""
        given = _with_sizes((vertex.args, vertex.kwargs), self._size)
        args, kwargs = with_tensors(given, self._now)
        output = with_tensors(vertex.output, self._now)
        self._vertices.append(dataclasses.replace(vertex, args=args, kwargs=kwargs, output=output))

    def _size(self, size: DimSize) -> DimSize:
        """A size of an input for that of what it stands for, and any other size as it is."""
        number = self._sizes.get(size.tensor) if isinstance(size.tensor, int) else None
        return size if number is None else DimSize(number, size.dim)

    def _give(self, vertex: Vertex, value: Any, later: Sequence[Vertex]) -> None:
        """Let what is given stand for what a vertex gave, as `hidden_values` does when it runs."""
        if id(vertex) in self._work.into:
            self._call(dataclasses.replace(vertex, name=self._name(f"{vertex.name}_before")))
            into = with_tensors(vertex.output, self._now)
            self._function(f"{vertex.name}_copy", torch.Tensor.copy_, (into, value), into)
            return
        for number in sorted(written_numbers(vertex) & self._so_far):
            before = self._now.get(number) or self._stub(number)
            if isinstance(value, Stub) and before.shape == value.shape:
                self._function(f"{vertex.name}_copy", torch.Tensor.copy_, (before, value), before)
                value = before
        if stubs_in(value) and self._changes(vertex, later) and not written_numbers(vertex) & self._so_far:
            value = self._cloned(vertex, value)
        pairs = zip(stubs_in(vertex.output), stubs_in(value), strict=True)
        self._now.update((old.id, new) for old, new in pairs)

    def _stub(self, number: int) -> Stub:
        """A tensor of the part by its number in the run."""
        return next(s for v in reversed(self._vertices) for s in stubs_in(v.output) if s.id == number)

    def _cloned(self, vertex: Vertex, value: Any) -> Any:
        """Copies of the tensors in a value."""
        clones: dict[int, Stub] = {}
        for stub in stubs_in(value):
            if stub.id not in clones:
                clones[stub.id] = self._fresh(stub)
                self._function(f"{vertex.name}_clone", torch.Tensor.clone, (stub,), clones[stub.id])
        return with_tensors(value, clones)

    def _function(self, name: str, target: Any, args: tuple[Any, ...], output: Any) -> None:
        """Add a call of a function."""
        self._vertices.append(Vertex(self._name(name), "function", target, "", args, {}, output))

    def _name(self, wished: str) -> str:
        """A name that no vertex has."""
        free = next(each for each in _numbered(wished) if each not in self._names)
        self._names.add(free)
        return free


def _numbered(name: str) -> Iterator[str]:
    """A name, then the name with numbers."""
    yield name
    count = 0
    while True:
        count += 1
        yield f"{name}_{count}"
