"""Elementary changes of a graph's structure, which do not look at sizes.

Each checks the graph with `lint` afterwards and leaves it as it was if that fails. Several are undone
together by one log passed as `undo=`. After a change the graph runs, `to_module()` of it is a network, and
`rewired` is True; call `graph.refresh()` before widths are related again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.record.record_run import state_of
from naivegraph.graph.record.record_train_mode import unused_parameters
from naivegraph.graph.run.interpreter import expressions
from naivegraph.graph.run.lint import lint
from naivegraph.graph.run.liveness import tensor_numbers
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.verify.shape_prop import new_number
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.ir.pytree import contains_stub, leaves, stubs_in, with_tensors
from naivegraph.ir.recording import TRAIN_MODE, Recording
from naivegraph.ir.step_module import add_submodule
from naivegraph.ir.values import Attribute, Operation, State, Stub, Training
from naivegraph.ir.vertex import Vertex
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = [
    "add_vertex",
    "changed",
    "new_stub",
    "register",
    "remove_vertex",
    "replace_argument",
    "set_output",
    "update_state",
]


@contextlib.contextmanager
def changed(graph: Recording, undo: UndoLog | None) -> Iterator[UndoLog]:
    """Change a graph during a block; leaving it checks the graph, and an error undoes the block."""
    follow_training(graph)  # while the network's own forward still computes what the graph does
    with all_or_nothing(undo) as log:
        log.push(snapshot(graph))
        before = {id(vertex): (vertex, vertex.args, vertex.kwargs) for vertex in graph.vertices}
        yield log
        for vertex in graph.vertices:
            known = before.get(id(vertex))
            if known is None or vertex.args is not known[1] or vertex.kwargs is not known[2]:
                vertex.stale = True
        _leave_training(graph)
        lint(graph)


def _leave_training(graph: Recording) -> None:
    """Drop the runs in train mode: an edited graph makes the calls of eval mode in both."""
    if graph.in_train_mode is not graph:
        graph.checks = {**graph.checks, TRAIN_MODE: _left_behind(graph, graph.in_train_mode)}
    graph.rewired, graph.training, graph.train_replay = True, None, None


def _left_behind(graph: Recording, training: Recording) -> str:
    """The difference from the run in train mode that was dropped, in words."""
    only = sorted((unused_parameters(graph) & training.state.keys()) - unused_parameters(training))
    without = (
        f", without the {len(only)} parameters ({only[0]}, ...) that train mode alone used" if only else ""
    )
    return (
        "differs: since its structure was edited, the graph calls in train mode what it calls in eval mode"
        f"{without}; before that the network called other functions there"
    )


def new_stub(graph: Recording, shape: Iterable[int], dtype: torch.dtype = torch.float32) -> Stub:
    """A stub for a tensor that is not in the graph yet, with a number of its own."""
    number = new_number(graph)
    graph.reserved = number + 1
    return Stub(number, tuple(shape), dtype)


def add_vertex(
    graph: Recording,
    name: str,
    target: nn.Module | Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    at: int | None = None,
    output: Any = None,
    undo: UndoLog | None = None,
) -> Vertex:
    """Add a vertex that calls a layer or a function; nothing uses its output yet.

    Args:
        graph: The graph, changed in place.
        name: Name of the vertex, and path of a new layer in `graph.module`.
        target: The layer, which may be one of the network's, or the function.
        args: Its arguments, with stubs of tensors made before.
        kwargs: Keyword arguments.
        at: Position in `graph.vertices`; as early as its arguments allow by default.
        output: The pytree it returns, with new stubs; by default one tensor, whose shape `refresh` finds out.
        undo: The log that takes this back; by default its own, in case of an error.

    Raises:
        NaivegraphError: The name is taken, or an argument is not made before that position.
    """
    if name in graph:
        raise EditError(f"the graph has a vertex {name!r} already")
    used = stubs_in((args, kwargs))
    earliest = 1 + max((_maker(graph, stub) for stub in used), default=-1)
    inputs = sum(vertex.kind == "input" for vertex in graph.vertices)
    position = max(earliest, inputs) if at is None else at
    if not earliest <= position <= len(graph.vertices):
        raise EditError(
            f"{name!r} cannot be at position {position}: its arguments are made by {earliest - 1}"
        )
    if output is None:
        like = used[0] if used else None
        output = new_stub(graph, like.shape if like else (), like.dtype if like else torch.float32)
    with changed(graph, undo) as log:
        if isinstance(target, nn.Module):
            path = _place(graph, name, target, log)
            vertex = Vertex(name, "layer", target, path, args, dict(kwargs or {}), output)
        else:
            vertex = Vertex(name, "function", target, "", args, dict(kwargs or {}), output)
        graph.vertices.insert(position, vertex)
    return vertex


def _place(graph: Recording, name: str, layer: nn.Module, undo: UndoLog) -> str:
    """The path of a layer in the network; a new one is registered."""
    for path, module in graph.module.named_modules():
        if module is layer:
            return str(path)
    add_submodule(graph.module, name, layer, undo)
    update_state(graph)
    return name


def update_state(graph: Recording) -> None:
    """Update the names of state to those of the module; those known keep their stubs."""
    stubs: dict[int, Stub] = {}
    state: dict[str, Stub] = {}
    for name, tensor in state_of(graph.module).items():
        if name in graph.state:
            stubs.setdefault(id(tensor), graph.state[name])
            state[name] = graph.state[name]
        else:
            if id(tensor) not in stubs:
                stubs[id(tensor)] = new_stub(graph, tensor.shape, tensor.dtype)
            state[name] = stubs[id(tensor)]
    graph.state = state


def _maker(graph: Recording, stub: Stub) -> int:
    """Position of the first vertex that makes a tensor; -1 for state."""
    for position, vertex in enumerate(graph.vertices):
        if contains_stub(vertex.output, stub):
            return position
    if any(stub.id == other.id for other in graph.state.values()):
        return -1
    raise EditError(f"no vertex of the graph makes the tensor {stub.id}")


def remove_vertex(
    graph: Recording,
    vertex: Vertex,
    replacements: Mapping[int, Stub] | None = None,
    *,
    undo: UndoLog | None = None,
) -> None:
    """Remove a vertex; the users of its tensors use others.

    A layer that no vertex uses any more is removed from the network, too, as are parameters and buffers of
    other modules that only this vertex used.

    Args:
        graph: The graph, changed in place.
        vertex: The vertex; no input.
        replacements: The stubs to use in place of its tensors, by number of the tensor.
        undo: The log that takes this back; by default its own, in case of an error.

    Raises:
        NaivegraphError: One of its tensors is used and has no replacement, or that is made too late.
    """
    if vertex.kind == "input":
        raise EditError(f"the input {vertex.name!r} of the network cannot be removed")
    if not any(vertex is other for other in graph.vertices):
        raise EditError(f"{vertex.name!r} is no vertex of this graph")
    new = dict(replacements or {})
    with changed(graph, undo) as log:
        position = next(i for i, other in enumerate(graph.vertices) if other is vertex)
        del graph.vertices[position]
        for other in graph.vertices[position:] if new else ():
            _use_others(other, new)
        graph.output = with_tensors(graph.output, new)
        graph.escapes = [(with_tensors(value, new), *rest) for value, *rest in graph.escapes]
        graph.comparisons = [
            dataclasses.replace(each, difference=with_tensors(each.difference, new))
            for each in graph.comparisons
        ]
        _forget_sizes(graph, vertex)
        if isinstance(vertex.target, nn.Module):
            _drop_layer(graph, vertex.target, log)
        _drop_state(graph, vertex, log)


def _use_others(vertex: Vertex, new: Mapping[int, Stub]) -> None:
    """Let a vertex use other tensors; what it changes in place it returns."""
    if tensor_numbers((vertex.args, vertex.kwargs)).isdisjoint(new):
        return
    vertex.args, vertex.kwargs = with_tensors(vertex.args, new), with_tensors(vertex.kwargs, new)
    if any(stub.id in new for stub in stubs_in(vertex.output)):
        vertex.output = with_tensors(vertex.output, new)
    vertex.operations = [
        Operation(
            o.func, with_tensors(o.args, new), with_tensors(o.kwargs, new), with_tensors(o.outputs, new)
        )
        for o in vertex.operations
    ]


def _forget_sizes(graph: Recording, gone: Vertex) -> None:
    """Drop what the code did with sizes of tensors that no vertex makes any more."""
    lost = tensor_numbers(gone.output) - tensor_numbers([vertex.output for vertex in graph.vertices])
    if lost:
        graph.escapes = [each for each in graph.escapes if not tensor_numbers(each[0]) & lost]
        graph.comparisons = [each for each in graph.comparisons if not tensor_numbers(each.difference) & lost]


def _drop_state(graph: Recording, gone: Vertex, undo: UndoLog) -> None:
    """Remove the parameters and buffers of a vertex's arguments from the network, if nothing uses them."""
    mine = {leaf.name for leaf in leaves((gone.args, gone.kwargs)) if isinstance(leaf, State)}
    mine.difference_update(_named(graph))
    if not mine:
        return
    layers = [vertex.target for vertex in graph.vertices if isinstance(vertex.target, nn.Module)]
    used = {id(tensor) for layer in layers for tensor in (*layer.parameters(), *layer.buffers())}
    tensors = {id(graph.tensor(name)) for name in mine} - used
    for name in [name for name in graph.state if id(graph.tensor(name)) in tensors]:
        path, _, attribute = name.rpartition(".")
        home = graph.module.get_submodule(path)
        for mapping in (home._parameters, home._buffers):
            if attribute in mapping:
                undo.keep_mapping(mapping)
                del mapping[attribute]
    update_state(graph)


def _drop_layer(graph: Recording, layer: nn.Module, undo: UndoLog) -> None:
    """Remove a layer from the network, wherever it is registered, if no vertex needs it."""
    inside = {id(module) for module in layer.modules()}
    paths = [path for path, m in graph.module.named_modules(remove_duplicate=False) if m is layer and path]
    if any(isinstance(v.target, nn.Module) and id(v.target) in inside for v in graph.vertices):
        return
    used = list(_named(graph))
    if any(name == path or name.startswith(f"{path}.") for name in used for path in paths):
        return
    for path in paths:
        parent, _, name = path.rpartition(".")
        home = graph.module.get_submodule(parent)
        undo.keep_mapping(home._modules)
        del home._modules[name]
    update_state(graph)


def _named(graph: Recording) -> Iterable[str]:
    """Paths and names of state in the arguments of vertices and in the output."""
    values: list[Any] = [graph.output]
    for vertex in graph.vertices:
        values.append((vertex.args, vertex.kwargs))
        if isinstance(vertex.target, nn.Module):
            yield vertex.path
    for leaf in leaves(values):
        if isinstance(leaf, State):
            yield leaf.name
        elif isinstance(leaf, Training):
            yield leaf.path
    for source in expressions(values):
        if isinstance(source, Attribute):
            yield source.path
        elif isinstance(source.tensor, str):
            yield source.tensor


def replace_argument(
    graph: Recording,
    vertex: Vertex,
    old: Stub,
    new: Stub,
    *,
    occurrence: int | None = None,
    undo: UndoLog | None = None,
) -> None:
    """Let a vertex use another tensor.

    Args:
        graph: The graph, changed in place.
        vertex: The vertex whose arguments change.
        old: The tensor it uses now.
        new: The tensor it is to use.
        occurrence: The number of the use of `old` to replace, from 0; all by default.
        undo: The log that takes this back; by default its own, in case of an error.

    Raises:
        NaivegraphError: The vertex does not use `old` (so often), or `new` is made too late.
    """
    both, count = _replaced((vertex.args, vertex.kwargs), old, new, occurrence)
    if count <= (occurrence or 0):
        raise EditError(f"{vertex.name!r} uses the tensor {old.id} {count} times")
    with changed(graph, undo):
        vertex.args, vertex.kwargs = both
        if occurrence is None:
            vertex.operations = [_operand_replaced(op, old, new) for op in vertex.operations]


def _operand_replaced(operation: Operation, old: Stub, new: Stub) -> Operation:
    """The recorded operation with another operand, so that it is known which tensor it changes in place."""
    if all(stub.id != old.id for stub in operation.operands):
        return operation
    args, kwargs = with_tensors((operation.args, operation.kwargs), {old.id: new})
    return Operation(operation.func, args, kwargs, operation.outputs)


def _replaced(value: Any, old: Stub, new: Stub, occurrence: int | None) -> tuple[Any, int]:
    """The pytree with one use, or all, of a tensor replaced, and the number of uses."""
    found = 0

    def change(leaf: Any) -> Any:
        """Replace a use of the tensor, and return any other leaf as it is."""
        nonlocal found
        if not isinstance(leaf, Stub) or leaf.id != old.id:
            return leaf
        found += 1
        return new if occurrence in (None, found - 1) else leaf

    return _map_plain(value, change), found


def _map_plain(value: Any, change: Callable[[Any], Any]) -> Any:
    """Map leaves of lists, tuples and dicts; unlike in `map_leaves`, a list used twice is copied twice."""
    if type(value) in (list, tuple):
        return type(value)([_map_plain(item, change) for item in value])
    if type(value) is dict:
        return {key: _map_plain(item, change) for key, item in value.items()}
    return change(value)


def set_output(graph: Recording, output: Any, *, undo: UndoLog | None = None) -> None:
    """Let the network return something else.

    Raises:
        NaivegraphError: There is no tensor in it, or one that no vertex makes.
    """
    if not any(isinstance(leaf, (Stub, State)) for leaf in leaves(output)):
        raise NaivegraphError("a network returns at least one tensor")
    with changed(graph, undo):
        graph.output = output


def register(graph: Recording, name: str, module: nn.Module, *, undo: UndoLog | None = None) -> None:
    """Register a module in the network, which no vertex calls yet."""
    with changed(graph, undo) as log:
        add_submodule(graph.module, name, module, log)
        update_state(graph)
