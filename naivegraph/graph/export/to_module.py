"""A graph as a `torch.fx.GraphModule` of its own."""

from __future__ import annotations

import collections
import copy
import inspect
import keyword
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph.export.added_layers import Assemble, Flag, NamedTuple, Value
from naivegraph.graph.export.history import Origin, history_of, note_origins, origins_of
from naivegraph.graph.export.placeholder import placeholder
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.hidden_values import changed_later, needed_for
from naivegraph.graph.run.interpreter import read_attribute
from naivegraph.graph.torch_utils.deep_copy import copied_argument, deep_copy, reaches_modules
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.torch_functions import function_name
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.ir.call_modes import CallModes, run_in
from naivegraph.ir.custom_rule import Call
from naivegraph.ir.exported_module import ExportedModule
from naivegraph.ir.function_name import FunctionName, named
from naivegraph.ir.pytree import ValueRef, fields_of, is_record, map_leaves, rebuild, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import check_constant
from naivegraph.ir.step_module import BuiltModule, box_at
from naivegraph.ir.train_eval_module import TrainEvalModule
from naivegraph.ir.values import Attribute, Compound, ConstantTensor, DimSize, State, Stub, Training
from naivegraph.ir.vertex import Vertex

__all__ = ["SIZES", "Arguments", "Rewrite", "Sizes", "exported", "to_module"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Sizes = dict[Attribute, int]
# A function of a run and of the sizes found in another run of the network. It returns new arguments of
# vertices, by name, with attributes of `SIZES` in place of sizes that may change, and the values of these
# attributes.
Rewrite = Callable[[Recording, Sizes], tuple[dict[str, Arguments], Sizes]]

SIZES = "naivegraph_sizes"  # the submodule whose attributes are sizes

_RECORDED = (Stub, State, ConstantTensor, Training, DimSize, Attribute, Compound)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
_PLAIN = (bool, int, float, str)
_METHODS = (type(torch.Tensor.view), type(torch.Tensor.__getitem__))
# Methods that call themselves by the name of another one: `__pow__` says it is `pow`.
_OTHER_NAMES: dict[Any, str] = {
    found: name
    for name, found in vars(torch.Tensor).items()
    if inspect.isfunction(found) and found.__name__ != name
}
_ITEMS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: operator.getitem,
    torch.Tensor.__setitem__: operator.setitem,
}


@ordinary_mode()
def to_module(graph: Recording, rewrite: Rewrite, outputs: Mapping[str, str] | None = None) -> fx.GraphModule:
    """Export a graph as a `torch.fx.GraphModule` that computes the same and shares nothing with it.

    Sizes of inputs are read from the inputs, so it takes other batch sizes. Integer attributes become the
    numbers they are now. Where a number would fix a size that is free otherwise, it is an attribute of the
    submodule `naivegraph_sizes`, which edits change. `training` flags, and constants that differ in train
    mode, follow `train()` and `eval()`. If a network calls other operators in train mode, so does the module
    while its own flag is set (not that of a part of it), unless the graph's structure was edited. Arguments
    that are plain values, such as `return_dict=False`, come last and may be left out.

    Args:
        graph: The recording.
        rewrite: The function that replaces numbers by sizes that may change, of which widths alone know.
        outputs: The names of the vertices whose values it returns as a dict, by key, with no more in it than
            they need; by default it returns what the network does.

    Returns:
        The module, in the mode of the network.

    Raises:
        NaivegraphError: In train mode the network has no such vertex.
    """
    follow_training(graph)
    if outputs is not None:
        _check_both_modes(graph, outputs)
    module = exported(graph, rewrite, outputs)
    module.train(graph.module.training)
    for name, flag in _flags(graph, module).items():
        module.get_submodule(name).train(flag)
    note_origins(module, (*origins_of(graph.module), _origin(graph, outputs)))
    return module


def _check_both_modes(graph: Recording, outputs: Mapping[str, str]) -> None:
    missing = [name for name in outputs.values() if name not in graph.in_train_mode]
    if missing:
        raise NaivegraphError(
            f"{missing[0]!r} is not there in train mode, in which {type(graph.module).__name__} calls other "
            "functions, so no module could return it in both: graph.run(x, [...]) has it in this mode"
        )


def exported(
    graph: Recording, rewrite: Rewrite, outputs: Mapping[str, str] | None = None, *, shared: bool = False
) -> fx.GraphModule:
    """Export the runs of a graph, without modes and history.

    Args:
        graph: The recording.
        rewrite: The function that replaces numbers by sizes that may change.
        outputs: The names of the vertices whose values it returns as a dict, by key.
        shared: Take the network's own layers and tensors, not copies, and inputs in the order of the graph.
    """
    parts, name = _Parts(rewrite, graph.module if shared else None), type(graph.module).__name__
    made = _Export(graph, parts, outputs).build()
    if graph.in_train_mode is graph:
        return ExportedModule(parts.root, made, name)
    return TrainEvalModule(parts.root, made, _Export(graph.in_train_mode, parts, outputs).build(), name)


def _origin(graph: Recording, outputs: Mapping[str, str] | None) -> Origin:
    return Origin(
        tuple(history_of(graph.module)),
        type(graph.module).__name__,
        isinstance(graph.module, BuiltModule),
        copy_tensors(graph.first_example or graph.example),
        dict(graph.constants),
        None if outputs is None else dict(outputs),
    )


def _flags(graph: Recording, module: nn.Module) -> dict[str, bool]:
    paths = {path for path, _ in module.named_modules()}
    return {path: m.training for path, m in graph.module.named_modules() if path in paths and path}


class _Parts:
    """Parts that the exported runs of a network share: copies of layers and tensors, names of new parts."""

    def __init__(self, rewrite: Rewrite, shared: nn.Module | None = None) -> None:
        self.rewrite = rewrite
        own = () if shared is None else (*shared.modules(), *shared.parameters(), *shared.buffers())
        self.memo: dict[int, Any] = {id(each): each for each in own}
        self.in_order = shared is not None
        self.root = nn.Module()
        self.placed: set[str] = set()
        self.flags: dict[str, str] = {}
        self.numbers: Sizes = {}
        self._counts: dict[str, int] = {}

    def name(self, base: str) -> str:
        """A new name for a part that is added."""
        number = self._counts.get(base, 0)
        self._counts[base] = number + 1
        return f"{base}_{number}"


class _Export:
    """Builder of the graph of one run; nodes are made in recorded order, on which operators in place rely."""

    def __init__(self, graph: Recording, parts: _Parts, outputs: Mapping[str, str] | None = None) -> None:
        self._graph = graph
        self._parts = parts
        self._outputs = outputs
        self._hidden: dict[str, Any] = {}
        self._memo, self._root, self._placed = parts.memo, parts.root, parts.placed
        self._fx = fx.Graph()
        self._nodes: dict[int, fx.Node] = {}  # by number of the stub
        self._others: dict[Any, Any] = {}  # sizes, state, flags: made once
        self._arguments, self._numbers = parts.rewrite(graph, parts.numbers)
        parts.numbers.update(self._numbers)

    def build(self) -> fx.Graph:
        """Build the `torch.fx.Graph` of the run."""
        for vertex in self._inputs():
            self._input(vertex)
        self._take_constants()
        wanted = None if self._outputs is None else [*self._outputs.values()]
        running = self._graph.vertices if wanted is None else needed_for(self._graph, wanted)
        for place, vertex in enumerate(running):
            if vertex.kind != "input":
                self._assign(vertex.output, self._call(vertex))
            if wanted is not None and vertex.name in wanted:
                self._hidden[vertex.name] = self._value_of(vertex, running[place + 1 :])
        if self._outputs is None:
            self._fx.output(self._encode_output(self._graph.output))
        else:
            self._fx.output({key: self._hidden[name] for key, name in self._outputs.items()})
        return self._fx

    def _value_of(self, vertex: Vertex, later: Sequence[Vertex]) -> Any:
        """The value that a vertex gave, as a copy if one of those that run later changes it in place."""
        if not changed_later(self._graph, vertex, later):
            return self._encode_output(vertex.output)
        nodes = dict(self._nodes)
        for stub in stubs_in(vertex.output):
            self._nodes[stub.id] = self._fx.call_function(torch.clone, (self._leaf(stub),))
        value = self._encode_output(vertex.output)
        self._nodes = nodes
        return value

    def _inputs(self) -> list[Vertex]:
        """The input vertices in the order of the forward's arguments."""
        if self._parts.in_order:
            return self._graph.inputs
        order = list(inspect.signature(self._graph.module.forward).parameters)
        return sorted(
            self._graph.inputs, key=lambda v: order.index(v.name) if v.name in order else len(order)
        )

    def _input(self, vertex: Vertex) -> None:
        node = placeholder(self._fx, _identifier(vertex.name))
        node.meta["vertex"] = vertex.name
        self._assign(vertex.output, node)

    def _take_constants(self) -> None:
        """Add arguments that are no tensors, with the captured value as default and only value allowed."""
        plain = {n: v for n, v in self._graph.constants.items() if _has_code(v)}
        nodes = {n: placeholder(self._fx, _identifier(n), v) for n, v in plain.items()}
        for name, value in plain.items():
            self._fx.call_function(check_constant, (name, value, nodes[name]))

    def _call(self, vertex: Vertex) -> fx.Node:
        """The node that calls what a vertex calls."""
        positional, named = self._arguments.get(vertex.name, (vertex.args, vertex.kwargs))
        args = self._encode(positional)
        kwargs = {key: self._encode(value) for key, value in named.items()}
        target = vertex.target
        if vertex.modes is not None:
            node = self._call_in(vertex.modes, target, vertex.path or vertex.name, args, kwargs)
        elif isinstance(target, nn.Module):
            path = vertex.path or vertex.name
            self._place_module(path, target)
            node = self._fx.call_module(path, args, kwargs)
        else:
            node = self._call_function(target, args, kwargs)
        node.meta["vertex"] = vertex.name
        return node

    def _call_in(
        self, modes: CallModes, target: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> fx.Node:
        """The node of a call in the torch modes that the network's code set."""
        if isinstance(target, nn.Module):
            self._place_module(path, target)
        else:
            if getattr(target, "__name__", "") == "__get__":  # which cannot be copied or pickled
                target = operator.attrgetter(function_name(target))
            path = self._parts.name("naivegraph_call")
            self._root.add_module(path, Call(target))
        called = self._fx.create_node("get_attr", path)
        how = self._encode(modes.gradients), self._encode(modes.autocast)
        node = self._fx.call_function(run_in, (called, *how, *args), kwargs)
        node.meta["is_wrapped"] = True  # torch.fx, where it traces the code anew, looks into other functions
        return node

    def _call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        """The node of a function or method, of the kind of which its code can be printed."""
        item = _ITEMS.get(target)
        if item is not None:
            return self._fx.call_function(item, args, kwargs)
        name = function_name(target)
        if getattr(target, "__name__", "") == "__get__":
            return self._fx.call_function(getattr, (args[0], name))
        if isinstance(target, _METHODS):
            return self._fx.call_method(target.__name__, args, kwargs)
        for method in (getattr(target, "__name__", ""), _OTHER_NAMES.get(target, "")):
            if getattr(torch.Tensor, method, None) is target:
                return self._fx.call_method(method, args, kwargs)
        # From torch 2.14 on `apply` of an autograd function is built in, of no module that fx could name.
        owner = getattr(target, "__self__", None)
        custom = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
        local = "<" in getattr(target, "__qualname__", "") and not isinstance(named(target), FunctionName)
        if custom or inspect.ismethod(target) or local:
            path = self._parts.name("naivegraph_call")
            self._root.add_module(path, Call(target))
            return self._fx.call_module(path, args, kwargs)
        return self._fx.call_function(target, args, kwargs)

    def _place_module(self, path: str, module: nn.Module) -> None:
        if path not in self._placed:
            self._placed.add(path)
            made, there = deep_copy(module, self._memo), box_at(self._root, path)
            for name, child in there.named_children():  # flags that parts of it have, for one
                if name not in made._modules:
                    made.add_module(name, child)
            _add(self._root, path, made)

    def _assign(self, output: Any, node: fx.Node) -> None:
        """Make nodes of the tensors in a result; one changed in place gets the node of that call."""
        if isinstance(output, Stub):
            self._nodes[output.id] = node
            return
        if isinstance(output, (tuple, list)):
            for index, item in enumerate(output):
                if stubs_in(item):
                    self._assign(item, self._fx.call_function(operator.getitem, (node, index)))
        elif isinstance(output, dict):
            for key, item in output.items():
                if stubs_in(item):
                    self._assign(item, self._fx.call_function(operator.getitem, (node, key)))
        elif is_record(output):
            for key, item in (fields_of(output) or {}).items():
                if stubs_in(item):
                    self._assign(item, self._fx.call_function(getattr, (node, key)))

    def _encode(self, value: Any) -> Any:
        """Arguments with nodes in place of tensors, sizes, state and flags."""
        kind = type(value)
        if kind is tuple:
            return tuple([self._encode(item) for item in value])
        if kind is list:
            return [self._encode(item) for item in value]
        if kind is dict:
            return {key: self._encode(item) for key, item in value.items()}
        if kind is slice:
            return slice(self._encode(value.start), self._encode(value.stop), self._encode(value.step))
        if hasattr(value, "_fields") and stubs_in(value):
            return self._named_tuple(value, self._encode)
        if isinstance(value, (tuple, list)):
            return rebuild(value, [self._encode(item) for item in value])
        return self._leaf(value)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, Stub):
            return self._nodes[value.id] if value.id in self._nodes else self._state_of(value)
        if isinstance(value, Attribute) and value not in self._numbers:
            return read_attribute(self._graph.module, value)
        if isinstance(value, (State, DimSize, ConstantTensor, Training, Compound, Attribute)):
            # True, 1 and 1.0 are equal, and not the same argument
            key: Any = id(value) if isinstance(value, ConstantTensor) else repr(value)
            if key not in self._others:
                self._others[key] = self._make(value)
            return self._others[key]
        if reaches_modules(value):
            if id(value) not in self._others:
                self._others[id(value)] = self._calling(value)
            return self._others[id(value)]
        return value.item() if isinstance(value, np.generic) else value  # the repr of the former is no code

    def _calling(self, value: Any) -> fx.Node:
        """The node of an argument that calls modules of the network, which are placed where they were."""
        paths = {id(module): path for path, module in self._graph.module.named_modules()}
        called: list[fx.Node] = []
        for module in reaches_modules(value):
            inside = {path: module} if (path := paths.get(id(module))) else dict(module.named_children())
            for path, part in inside.items() if id(module) in paths else ():
                self._place_module(path, part)
                called.append(self._fx.create_node("get_attr", path))
        if called and paths.get(id(value)):
            return called[0]
        name = self._parts.name("naivegraph_value")
        self._root.add_module(name, Value(copied_argument(value, self._memo)))
        return self._fx.call_module(name, tuple(called))

    def _make(self, value: State | DimSize | ConstantTensor | Training | Compound | Attribute) -> Any:
        """The node of a value that is no tensor of a vertex, or the number that it is."""
        if isinstance(value, Attribute):
            setattr(box_at(self._root, value.path), value.name, self._numbers[value])
            return self._fx.create_node("get_attr", f"{value.path}.{value.name}", name=value.name)
        if isinstance(value, State):
            self._place_state(value.name)
            return self._fx.get_attr(value.name)
        if isinstance(value, ConstantTensor):
            name = self._parts.name("constant")
            self._root.register_buffer(
                name, copy.deepcopy(value.tensor.detach(), self._memo), persistent=False
            )
            return self._fx.get_attr(name)
        if isinstance(value, Training):
            return self._fx.call_module(self._flag(value))
        if isinstance(value, DimSize):
            if isinstance(value.tensor, str):
                return self._graph.tensor(value.tensor).shape[value.dim]
            return self._fx.call_method("size", (self._nodes[value.tensor], value.dim))
        left, right = self._leaf(value.left), self._leaf(value.right)
        if isinstance(left, fx.Node) or isinstance(right, fx.Node):
            return self._fx.call_function(_OPERATORS[value.operator], (left, right))
        return _OPERATORS[value.operator](left, right)

    def _flag(self, value: Training) -> str:
        """The name of the layer that returns this value."""
        flags = self._parts.flags
        if repr(value) not in flags:
            base = f"{value.path}.naivegraph_training" if value.path else "naivegraph_training"
            name = flags[repr(value)] = (
                base if repr(value) == repr(Training(value.path)) else self._parts.name(base)
            )
            _add(self._root, name, Flag(value.on, value.off))
        return flags[repr(value)]

    def _state_of(self, stub: Stub) -> fx.Node:
        name = next(name for name, other in self._graph.state.items() if other.id == stub.id)
        node: fx.Node = self._leaf(State(name))
        return node

    def _place_state(self, name: str) -> None:
        """Copy a parameter or buffer to the same place in the new module."""
        path, _, attribute = name.rpartition(".")
        owner = self._graph.module.get_submodule(path)
        tensor = copy.deepcopy(self._graph.tensor(name), self._memo)
        home = box_at(self._root, path)
        if attribute in owner._parameters:
            home.register_parameter(attribute, tensor)  # type: ignore[arg-type]
        elif attribute not in home._buffers:
            persistent = attribute not in owner._non_persistent_buffers_set
            home.register_buffer(attribute, tensor, persistent=persistent)

    def _encode_output(self, value: Any) -> Any:
        """The output with nodes; records and dicts of other classes are assembled by a layer."""
        if type(value) is dict:
            return {key: self._encode_output(item) for key, item in value.items()}
        named = hasattr(value, "_fields")  # torch 2.6 writes code that does not know such a class
        if isinstance(value, (tuple, list)) and not named:
            return rebuild(value, [self._encode_output(item) for item in value])
        if not isinstance(value, (dict, collections.deque)) and not named and not is_record(value):
            return self._encode(value)
        if named and all(isinstance(item, _RECORDED) or item is None for item in value):
            return self._named_tuple(value, self._encode_output)
        parts: list[Any] = []

        def place(leaf: Any) -> Any:
            """Return a reference to a value, and a copy of any other leaf."""
            if not isinstance(leaf, _RECORDED):
                return deep_copy(leaf, self._memo)
            parts.append(self._encode(leaf))
            return ValueRef(len(parts) - 1)

        name = self._parts.name("naivegraph_output")
        self._root.add_module(name, Assemble(map_leaves(value, place)))
        return self._fx.call_module(name, tuple(parts))

    def _named_tuple(self, value: Any, encode: Callable[[Any], Any]) -> fx.Node:
        """The node of a layer that makes a named tuple: its class may look at the values, not at nodes."""
        name = self._parts.name("naivegraph_tuple")
        self._root.add_module(name, NamedTuple(type(value)))
        return self._fx.call_module(name, tuple([encode(item) for item in value]))


def _has_code(value: Any) -> bool:
    """Tell whether the code of a value can be written: of a plain one, or of a container of such values."""
    if type(value) in (tuple, list):
        return all(map(_has_code, value))
    if type(value) is dict:
        return all(map(_has_code, value)) and all(map(_has_code, value.values()))
    return value is None or type(value) in _PLAIN


def _identifier(name: str) -> str:
    """The name as a Python identifier."""
    name = "".join(letter if letter.isalnum() else "_" for letter in name)
    if keyword.iskeyword(name):
        return f"{name}_"
    return name if name.isidentifier() else f"input_{name}"


def _add(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    box_at(root, parent).add_module(name, module)
