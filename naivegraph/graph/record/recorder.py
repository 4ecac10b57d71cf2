"""The recorder of one run of a network: layers, torch functions, and the ATen operators they are made of.

Each call of a layer or of a public torch function becomes a vertex. The ATen operators called within are
recorded with it, as the rules of widths are about these.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.graph.record.data_dependent import READS, counts_in, may_be_sizes, with_expressions
from naivegraph.graph.record.decompositions import DropoutProbability
from naivegraph.graph.record.foreign_tensors import ForeignTensors
from naivegraph.graph.record.modes_seen import OpenModes
from naivegraph.graph.record.symbolic_int import SymbolicInt, ledger
from naivegraph.graph.record.torch_modes import unseen
from naivegraph.graph.torch_utils.leaf_modules import ModulePlace, converted_from, memory_key
from naivegraph.graph.torch_utils.source_lines import user_line
from naivegraph.graph.torch_utils.torch_functions import (
    SIZES,
    any_batched,
    function_name,
    mutated_arguments,
    training_argument,
)
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.pytree import flat, has_tensor, map_leaves, rebuild
from naivegraph.ir.values import (
    Compound,
    ConstantTensor,
    DimSize,
    Expression,
    Operation,
    State,
    Stub,
    Training,
)
from naivegraph.ir.vertex import Kind, Vertex

__all__ = ["Recorder", "Watch"]

Watch = Callable[[str, Any], None]
_Function = Callable[..., Any]
_DISABLED = torch._C.DisableTorchFunction


class Recorder:
    """State of the run that is being recorded.

    Args:
        places: Path of each module of the network, and whether it is a layer, by `id` of the module.
        state: Every parameter and buffer by every name it has.
        watch: Called with name and value of each vertex as it is recorded.
        start: Number of the first tensor.
        known: Stubs that some tensors have already, by `id` of the tensor.
        training: Whether the network is in train mode.
        call: The function that runs an ATen operator; by default the operator itself.
    """

    def __init__(
        self,
        places: dict[int, ModulePlace],
        state: dict[str, torch.Tensor],
        watch: Watch | None = None,
        *,
        start: int = 0,
        known: Mapping[int, Stub] | None = None,
        training: bool = False,
        call: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any] | None = None,
    ) -> None:
        self._call = call or (lambda func, args, kwargs: func(*args, **kwargs))
        self.places, self._training, self._watch = places, training, watch
        self.vertices: list[Vertex] = []
        self.modes = OpenModes()
        self.inside = False  # a vertex is being recorded: nothing but ATen operators counts
        self.path = [""]
        self.stubs = dict(known or {})  # by id() of the tensor, kept alive below
        self.alive: list[torch.Tensor] = []
        self.state, self._states = dict[str, Stub](), dict[int, State]()
        self._produced: set[int] = set()  # id() of inputs and of tensors that vertices returned
        self.constants: dict[int, ConstantTensor] = {}
        self._operations, self._mutated = list[Operation](), set[int]()
        self._names: dict[str, int] = {}
        self._reserved = {place.path for place in places.values()}
        self._count = itertools.count(start)
        self._enter_state(state)
        self.foreign = ForeignTensors(self.state)

    def _enter_state(self, state: dict[str, torch.Tensor]) -> None:
        """Number parameters and buffers; those that share memory have one number."""
        storages: dict[Any, Stub] = {}
        for name, tensor in state.items():
            if id(tensor) in self._states:
                self.state[name] = self.stubs[id(tensor)]
                continue
            key = memory_key(tensor)
            known = storages.get(key)
            if known is not None:
                self.stubs.setdefault(id(tensor), known)
            self.state[name] = storages[key] = self.stub(tensor)
            self._states.setdefault(id(tensor), State(name))

    # Tensors

    def stub(self, tensor: torch.Tensor) -> Stub:
        """The stub of this tensor, numbered on its first use."""
        known = self.stubs.get(id(tensor))
        if known is None:
            made = converted_from(tensor, self.alive) if type(tensor) is not torch.Tensor else None
            known = _stub_of(tensor, next(self._count))
            self.stubs[id(tensor)] = known = known if made is None else self.stubs[id(made)]
            self.alive.append(tensor)
        return known

    def unused_number(self) -> int:
        """A number from which on no tensor of this run has one."""
        return next(self._count)

    def enter_input(self, name: str, value: Any) -> Vertex:
        """Record an argument of the network's forward."""
        with _DISABLED():
            vertex = Vertex(self._unique(name), "input", None, "")
            vertex.output = map_leaves(value, self._produce)
        self.vertices.append(vertex)
        self.foreign.enter_input(vertex)
        return vertex

    def _produce(self, value: Any) -> Any:
        """The stub of a tensor that vertices may use from now on; any other value as it is."""
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in self._states:
            self._produced.add(id(value))
        return self.stub(value)

    def _reference(self, tensor: torch.Tensor) -> Stub | State | ConstantTensor:
        """A tensor as an argument: made by a vertex, state of the network, or a constant of its code."""
        key = id(tensor)
        if key in self._produced:
            return self.stubs[key]
        if key in self._states:
            return self._states[key]
        if key not in self.constants:
            if key in self.stubs:
                self.foreign.open_maker(self.stubs[key])
            self.alive.append(tensor)
            self.constants[key] = ConstantTensor(tensor)
        return self.constants[key]

    def encode(self, value: Any) -> Any:
        """Arguments or results as a vertex stores them."""
        kind = type(value)
        if kind is SymbolicInt:
            return value.expression
        if value is None or kind is int or kind is bool or kind is float or kind is str:
            return value
        if isinstance(value, torch.Tensor):
            return self._reference(value)
        if kind is DropoutProbability:
            return Training(self.path[-1], value.probability, 0.0)
        if kind is tuple or kind is torch.Size:
            return tuple([self.encode(item) for item in value])
        if kind is list:
            return [self.encode(item) for item in value]
        if kind is slice:
            return slice(self.encode(value.start), self.encode(value.stop), self.encode(value.step))
        if isinstance(value, (tuple, list)):
            return rebuild(value, [self.encode(item) for item in value])
        return map_leaves(value, self._encode_leaf)

    def _encode_leaf(self, value: Any) -> Any:
        if isinstance(value, np.integer):
            return int(value)
        return self.encode(value) if isinstance(value, (torch.Tensor, SymbolicInt)) else value

    def made(self) -> list[torch.Tensor]:
        """The tensors that vertices made, inputs among them."""
        return [tensor for tensor in self.alive if id(tensor) in self._produced]

    # Vertices

    def layer(self, call: _Function, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Run a layer and record it as one vertex."""
        if any_batched((*args, *module._parameters.values())):
            return call(module, *args, **kwargs)
        name = path or type(module).__name__.lower()
        result = self._vertex(
            "layer", name, module, path, lambda: unseen(call, module, *args, **kwargs), args, kwargs
        )
        if not isinstance(module, CustomFunction) and self.vertices[-1].target is module:
            self.foreign.check(self.vertices[-1])
        return result

    def function(self, func: _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a torch function; record it if it computes or changes tensors."""
        if self.inside:
            return func(*args, **kwargs)
        size = SIZES.get(func)
        if any_batched(args):
            return func(*args, **kwargs)  # under vmap: what it is made of is recorded below
        if size is not None:
            return self._size(size, func, args, kwargs)
        if func in READS and id(args[0]) in self._produced:
            return self._read(func, args)
        path = self.path[-1]
        name = f"{path}.{function_name(func)}" if path else function_name(func)
        return self._vertex("function", name, func, path, lambda: func(*args, **kwargs), args, kwargs)

    def _vertex(
        self,
        kind: Kind,
        name: str,
        target: Any,
        path: str,
        run: _Function,
        args: tuple[Any, ...],
        kwargs: Any,
    ) -> Any:
        """Run a call as one vertex; its result, with an object of its own for each tensor that is new."""
        escapes = ledger.escapes
        self.inside, ledger.escapes = True, None
        self._operations, self._mutated = [], set()
        try:
            result = run()
            if not (has_tensor(result) or self._mutated):
                return result
            vertex = Vertex(
                self._unique(name), kind, target, path, operations=self._operations, modes=self.modes.now()
            )
            with _DISABLED():
                vertex.args = self.encode(args)
                vertex.kwargs = {key: self.encode(value) for key, value in kwargs.items()}
                result, vertex.output = self._results(result)
                if self._watch is not None:
                    self._watch(vertex.name, result)
        finally:
            self.inside, ledger.escapes = False, escapes
        if kind == "function":
            self._follow_training(vertex)
        vertex.where = user_line()
        self.foreign.enter(vertex)
        self.vertices.append(vertex)
        return result

    def watched(self, run: _Function) -> tuple[Any, Any, list[Operation]]:
        """Run a call that is no new vertex; return its result, the encoded result, and its ATen operators."""
        self.inside = True
        self._operations, self._mutated = [], set()
        try:
            result = run()
            with _DISABLED():
                result, record = self._results(result)
            return result, record, self._operations
        finally:
            self.inside = False

    def unwatched(self, result: Any, mutated: Collection[torch.Tensor]) -> tuple[Any, Any]:
        """Take in the result of a call that ran unrecorded, having changed some tensors; see `watched`."""
        with _DISABLED():
            self._mutated = set(map(id, mutated))
            for tensor in mutated:
                self._refresh(tensor)
            return self._results(result)

    def _results(self, result: Any) -> tuple[Any, Any]:
        """The result with an object of its own for each tensor in it, and the encoded result."""
        if isinstance(result, torch.Tensor):
            key = id(result)
            if key in self._mutated and (key in self._produced or key in self._states):
                return result, self.stubs[key]
            if key in self._produced or key in self._states or key in self.constants:
                # The argument itself was returned (dropout in eval mode): in train mode it need not be.
                result = torch.ops.aten.alias.default(result)
            self._produced.add(id(result))
            return result, self.stub(result)
        if isinstance(result, (tuple, list)):
            both = [self._results(item) for item in result]
            return rebuild(result, [new for new, _ in both]), rebuild(result, [record for _, record in both])
        if isinstance(result, dict):
            both_by_key = {key: self._results(item) for key, item in result.items()}
            for key, (new, _) in both_by_key.items():
                result[key] = new
            return result, {key: record for key, (_, record) in both_by_key.items()}
        return result, self.encode(result)

    def _unique(self, name: str) -> str:
        """The name, with a number if a vertex has it already."""
        if name not in self._names:
            self._names[name] = 1
            return name
        while True:
            candidate = f"{name}_{self._names[name]}"
            self._names[name] += 1
            if candidate not in self._names and candidate not in self._reserved:
                self._names[candidate] = 1
                return candidate

    def _follow_training(self, vertex: Vertex) -> None:
        """Let an argument `training` that has the value of the module's flag follow that flag."""
        argument = training_argument(vertex.target)
        if argument is None:
            return
        name, position = argument
        if vertex.kwargs.get(name) is self._training:
            vertex.kwargs[name] = Training(vertex.path)
        elif len(vertex.args) > position and vertex.args[position] is self._training:
            vertex.args = (*vertex.args[:position], Training(vertex.path), *vertex.args[position + 1 :])

    # Sizes

    def _size(self, what: str, func: _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function that returns sizes of a tensor, and make them symbolic."""
        result = func(*args, **kwargs)
        tensor = args[0]
        if id(tensor) in self._produced:
            source: int | str = self.stubs[id(tensor)].id
        elif id(tensor) in self._states:
            source = self._states[id(tensor)].name
        else:
            return result
        if isinstance(result, torch.Size):
            return torch.Size([SymbolicInt(size, DimSize(source, dim)) for dim, size in enumerate(result)])
        with _DISABLED():
            rank = tensor.dim()
        if what == "numel":
            expression: Expression = DimSize(source, 0) if rank else 1
            for dim in range(1, rank):
                expression = Compound("*", expression, DimSize(source, dim))
            return SymbolicInt(result, expression)
        dim = 0 if what == "length" else int(args[1] if len(args) > 1 else kwargs["dim"])
        return SymbolicInt(result, DimSize(source, dim % rank))

    def _read(self, func: _Function, args: tuple[Any, ...]) -> Any:
        """Run a function that reads numbers from a tensor; numbers that may be sizes become symbolic."""
        result = func(*args)
        if not may_be_sizes(result):
            return result
        counts = self.function(counts_in, args[:1], {})
        return with_expressions(result, iter([self.stubs[id(count)] for count in counts]))

    # Below autograd

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one ATen operator and record it."""
        with _DISABLED():
            recorded = tuple([self._strip(arg) for arg in args])
            named = {key: self._strip(arg) for key, arg in kwargs.items()} if kwargs else {}
            result = self._call(func, args, kwargs)
            for tensor in mutated_arguments(func, args, kwargs):
                self._mutated.add(id(tensor))
                self._refresh(tensor)
            if isinstance(result, torch.Tensor):
                outputs: tuple[Stub | None, ...] = (self.stub(result),)
            elif isinstance(result, (tuple, list)):
                outputs = tuple([self.stub(r) if isinstance(r, torch.Tensor) else None for r in flat(result)])
            else:
                outputs = (None,)
        operation = Operation(func, recorded, named, outputs)
        if self.inside:
            self._operations.append(operation)
        else:
            self._loose(operation, args, kwargs, result)
        return result

    def _strip(self, value: Any) -> Any:
        """An argument of an operator, with stubs for tensors."""
        kind = type(value)
        if kind is int or value is None or kind is bool or kind is float:
            return value
        if isinstance(value, torch.Tensor):
            return self.stub(value)
        if kind is list or kind is tuple:
            return kind([self._strip(item) for item in value])
        return value

    def _refresh(self, tensor: torch.Tensor) -> None:
        """Update the shape of a tensor that an operator changed in place; its number stays."""
        known = self.stub(tensor)
        if known.shape != tuple(tensor.shape):
            self.stubs[id(tensor)] = _stub_of(tensor, known.id)

    def _loose(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Record an operator outside of any function as a vertex, if it computes with tensors of the run."""
        inputs = [t for t in flat((args, tuple(kwargs.values()))) if isinstance(t, torch.Tensor)]
        if not any(id(tensor) in self._produced or id(tensor) in self._states for tensor in inputs):
            return
        path = self.path[-1]
        name = function_name(operation.func)
        with _DISABLED():
            vertex = Vertex(
                self._unique(f"{path}.{name}" if path else name),
                "function",
                operation.func,
                path,
                modes=self.modes.now(),
            )
            vertex.args, vertex.kwargs = self.encode(args), {k: self.encode(v) for k, v in kwargs.items()}
            vertex.output = map_leaves(result, self._produce)
        vertex.operations.append(operation)
        vertex.where = user_line()
        self.vertices.append(vertex)


def _stub_of(tensor: torch.Tensor, number: int) -> Stub:
    strides = tensor.stride() if tensor.layout is torch.strided else None
    return Stub(number, tuple(tensor.shape), tensor.dtype, strides)
