"""The interpreter of a graph: its vertices run in recorded order, with the present sizes and attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.ir.call_modes import run_in
from naivegraph.ir.pytree import leaves, map_leaves, pairs, rebuild, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Attribute, Compound, ConstantTensor, DimSize, State, Stub, Training
from naivegraph.ir.vertex import Vertex

__all__ = ["COMPUTE", "Interpreter", "Reads", "attribute_of", "expressions", "field_of", "read_attribute"]

COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "//": lambda left, right: left // right,
    "%": lambda left, right: left % right,
}


def read_attribute(module: nn.Module, attribute: Attribute) -> Any:
    """The present value of an attribute of the network."""
    return attribute_of(module.get_submodule(attribute.path), attribute)


def attribute_of(owner: nn.Module, attribute: Attribute) -> Any:
    """The present value of an attribute of the module it belongs to."""
    value: Any = getattr(owner, attribute.name)
    for key in attribute.keys:
        value = value[key] if isinstance(key, int) or isinstance(value, Mapping) else field_of(value, key)
    return value


def field_of(value: Any, name: str) -> Any:
    """A field of an object without its `__getattribute__`, by which configs refuse to read some."""
    fields = getattr(value, "__dict__", {})
    return fields[name] if name in fields else getattr(value, name)


def expressions(value: Any) -> Iterator[DimSize | Attribute]:
    """The sizes and attributes that the arguments (or the output) of a vertex are computed from."""
    for leaf in leaves(value):
        if isinstance(leaf, (DimSize, Attribute)):
            yield leaf
        elif isinstance(leaf, Compound):
            yield from expressions((leaf.left, leaf.right))


@dataclasses.dataclass(frozen=True, slots=True)
class Reads:
    """Sources of a pytree of arguments.

    Attributes:
        tensors: The numbers of the tensors in it.
        measured: The numbers of the tensors whose sizes are read.
        state: The names of parameters and buffers in it, or whose sizes are read.
        attributes: The attributes of modules in it.
    """

    tensors: set[int] = dataclasses.field(default_factory=set)
    measured: set[int] = dataclasses.field(default_factory=set)
    state: set[str] = dataclasses.field(default_factory=set)
    attributes: set[Attribute] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, value: Any) -> Reads:
        """Find what a pytree is computed from."""
        found = cls()
        for leaf in leaves(value):
            found._add(leaf)
        return found

    def _add(self, leaf: Any) -> None:
        kind = type(leaf)
        if kind is Stub:
            self.tensors.add(leaf.id)
        elif kind is State:
            self.state.add(leaf.name)
        elif kind is DimSize:
            (self.state if isinstance(leaf.tensor, str) else self.measured).add(leaf.tensor)
        elif kind is Attribute:
            self.attributes.add(leaf)
        elif kind is Compound:
            self._add(leaf.left)
            self._add(leaf.right)


class Interpreter:
    """One run of a graph.

    Args:
        graph: The graph.
        wanted: Names of vertices whose values are kept.
        watch: Called with name and value of each vertex as it is computed.

    Attributes:
        values: The values of the vertices that are kept, by name.
    """

    def __init__(
        self, graph: Recording, wanted: Iterable[str] = (), watch: Callable[[str, Any], None] | None = None
    ) -> None:
        self._graph = graph
        self._watch = watch
        self._wanted = set(wanted)
        self._tensors: dict[int, torch.Tensor] = {}
        self._sizes: dict[int, torch.Size] = {}
        self._measured: set[int] = set()
        self._reads = [Reads.of((vertex.args, vertex.kwargs)) for vertex in graph.vertices]
        self._drop = self._last_uses()
        self.values: dict[str, Any] = {}

    def _last_uses(self) -> list[list[int]]:
        """For each vertex the numbers of the tensors that none after it uses."""
        last: dict[int, int] = {}
        for position, (vertex, reads) in enumerate(zip(self._graph.vertices, self._reads, strict=True)):
            self._measured |= reads.measured
            for number in reads.tensors:
                last[number] = position
            for stub in stubs_in(vertex.output):
                last[stub.id] = position
        returned = Reads.of(self._graph.output)
        self._measured |= returned.measured
        drop: list[list[int]] = [[] for _ in self._reads]
        for tensor, position in last.items():
            if tensor not in returned.tensors:
                drop[position].append(tensor)
        return drop

    def run(self, inputs: dict[str, Any]) -> Any:
        """Run all vertices and return the network's output.

        Args:
            inputs: The value of each input vertex, by its name.
        """
        for position in range(len(self._graph.vertices)):
            self.step(position, inputs)
        return self.output()

    def step(self, position: int, inputs: dict[str, Any]) -> Any:
        """Run the vertex at a position, all before it being run, and forget what none after it uses.

        Args:
            position: Its position among the vertices.
            inputs: The value of each input vertex, by its name.

        Returns:
            Its value.
        """
        vertex = self._graph.vertices[position]
        result = self._enter(vertex, inputs[vertex.name]) if vertex.kind == "input" else self._call(vertex)
        self._assign(vertex, result)
        if self._watch is not None:
            self._watch(vertex.name, result)
        if vertex.name in self._wanted:
            self.values[vertex.name] = result
        for tensor in self._drop[position]:
            self._tensors.pop(tensor, None)
        return result

    def call(self, position: int) -> Any:
        """Call what the vertex at a position calls, and forget the result."""
        return self._call(self._graph.vertices[position])

    def call_on(self, position: int, stub: Stub, tensor: torch.Tensor) -> Any:
        """Call what the vertex at a position calls with another tensor for one, and forget the result."""
        self._tensors[stub.id] = tensor
        return self._call(self._graph.vertices[position])

    def output(self) -> Any:
        """The network's output, once all vertices were run."""
        return map_leaves(self._graph.output, self._resolve_leaf)

    def _enter(self, vertex: Vertex, value: Any) -> Any:
        """The value of an input vertex."""
        return value

    def _call(self, vertex: Vertex) -> Any:
        """Call the target of a vertex; its errors get a note with the vertex and line."""
        try:
            target = vertex.target
            if target is None:
                raise NaivegraphError(f"{vertex.name!r} has nothing to call")
            args = [self.resolve(arg) for arg in vertex.args]
            kwargs = {key: self.resolve(arg) for key, arg in vertex.kwargs.items()}
            if vertex.modes is None:
                return target(*args, **kwargs)
            gradients, autocast = map(self.resolve, (vertex.modes.gradients, vertex.modes.autocast))
            return run_in(target, gradients, autocast, *args, **kwargs)
        except Exception as error:
            place = f" ({line_text(vertex.where)})" if vertex.where else ""
            error.add_note(f"while the graph ran {vertex.name!r}{place}")
            raise

    def _assign(self, vertex: Vertex, result: Any) -> None:
        """Store the tensors of a result under the numbers that the vertex has for them."""
        output = vertex.output
        if type(output) is Stub and isinstance(result, torch.Tensor):
            self._set(output, result)
            return
        if output is None:
            return
        try:
            found = list(pairs(output, result))
        except ValueError as error:
            raise NaivegraphError(
                f"{vertex.name!r} gave something else than when recorded: {error}"
            ) from error
        for stub, tensor, at in found:
            if not isinstance(stub, Stub):
                continue
            if not isinstance(tensor, torch.Tensor):
                place = f" at {at}" if at else ""
                raise NaivegraphError(
                    f"{vertex.name!r} gave a {type(tensor).__name__}{place}, and a tensor when recorded"
                )
            self._set(stub, tensor)

    def _set(self, stub: Stub, tensor: torch.Tensor) -> None:
        self._tensors[stub.id] = tensor
        if stub.id in self._measured:
            self._sizes[stub.id] = tensor.shape

    def resolve(self, value: Any) -> Any:
        """The present value of an argument of a vertex."""
        kind = type(value)
        if kind is Stub:
            return self._tensors[value.id]
        if value is None or kind is int or kind is bool or kind is float or kind is str:
            return value
        if kind is tuple:
            return tuple([self.resolve(item) for item in value])
        if kind is list:
            return [self.resolve(item) for item in value]
        if kind is slice:
            return slice(self.resolve(value.start), self.resolve(value.stop), self.resolve(value.step))
        if kind in _SPECIAL:
            return self._resolve_leaf(value)
        if isinstance(value, (tuple, list)):
            return rebuild(value, [self.resolve(item) for item in value])
        return map_leaves(value, self._resolve_leaf)

    def _resolve_leaf(self, value: Any) -> Any:
        kind = type(value)
        if kind is Stub:
            return self._tensors[value.id]
        if kind is State:
            return self._graph.tensor(value.name)
        if kind is ConstantTensor:
            return value.tensor
        if kind is Training:
            return value.on if self._graph.module.get_submodule(value.path).training else value.off
        if kind is DimSize:
            if isinstance(value.tensor, str):
                return self._graph.tensor(value.tensor).shape[value.dim]
            return self._sizes[value.tensor][value.dim]
        if kind is Attribute:
            return read_attribute(self._graph.module, value)
        if kind is Compound:
            return COMPUTE[value.operator](self._resolve_leaf(value.left), self._resolve_leaf(value.right))
        return value


_SPECIAL = frozenset({State, ConstantTensor, Training, DimSize, Attribute, Compound})
