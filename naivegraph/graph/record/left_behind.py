"""Tensors that a forward leaves behind, in attributes or by hooks, for a loss or a later call to read."""

from __future__ import annotations

import collections
import contextlib
import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.graph.record.recorder import Recorder
from naivegraph.graph.record.retained import retained
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, is_record, leaves, stubs_in
from naivegraph.ir.vertex import Vertex

__all__ = ["left_behind", "stores_in_train_mode"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_PLAIN = (int, float, bool, str, type(None))


def left_behind(
    recorder: Recorder, module: nn.Module, arguments: dict[str, Any], kept: Any
) -> dict[int, str]:
    """The places where a run left tensors computed from its inputs, by the tensors' numbers.

    Those computed from parameters and sizes alone are caches, which the network fills anew.

    Args:
        recorder: The recorder of the run, which is over.
        module: The network.
        arguments: Its arguments by name, in whose lists and dicts the forward may have stored tensors.
        kept: The tensors of the inputs, and what the forward returned, which are told apart otherwise.

    Returns:
        "Net.logits" or "Net.block.features" for what a module holds, "a hook of Net.block" for what the
        closure of a hook holds, "FEATURES" for what is under this name where the code of a forward sees it,
        "the argument 'store'", "a dict with the key 'h'" for what anything else refers to.
    """
    known = {id(leaf) for leaf in leaves(kept) if isinstance(leaf, torch.Tensor)}
    made = {id(tensor): recorder.stubs[id(tensor)].id for tensor in recorder.made()}
    held = [*_held(module)]
    for name, value in arguments.items():
        held += _tensors(value, f"the argument {name!r}")
    found = {made[key]: place for key, place in held if key in made and key not in known}
    named = {key for key, _ in held}
    del held
    others = retained(recorder.made(), recorder.alive, known | named)
    found.update({made[key]: place for key, place in others.items()})
    if not found:
        return {}
    computed = _computed_from_inputs(recorder.vertices)
    return {number: place for number, place in found.items() if number in computed}


def stores_in_train_mode(module: nn.Module) -> bool:
    """Tell whether some forward both looks at its `training` flag and stores something in its module.

    What it stores in train mode alone, the run in eval mode does not show.
    """
    kinds: set[Any] = {type(each) for _, each in modules_of(module)}
    return any(_stores_by_mode(kind) for kind in kinds)


@functools.cache
def _stores_by_mode(kind: Any) -> bool:
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    if code is None or kind.__module__.startswith("torch.nn.") or "training" not in code.co_names:
        return False
    own, instructions = code.co_varnames[:1], list(dis.get_instructions(code))
    return any(
        each.opname in ("STORE_ATTR", "STORE_SUBSCR")
        and any(_names(before.argval, own) for before in instructions[max(0, at - 4) : at])
        for at, each in enumerate(instructions)
    )


def _names(argument: Any, own: tuple[str, ...]) -> bool:
    """Tell whether an instruction loads the module itself; from Python 3.13 on some load two variables."""
    return (
        argument in own if isinstance(argument, str) else isinstance(argument, tuple) and own[0] in argument
    )


def _held(module: nn.Module) -> Iterator[tuple[int, str]]:
    """The `id` and place of each tensor that a module, or a hook of one, holds; parameters aside."""
    for path, owner in modules_of(module):
        at = ".".join(filter(None, (type(module).__name__, path)))
        for name, value in vars(owner).items():
            if name not in INTERNAL and not isinstance(value, _PLAIN):
                yield from _tensors(value, f"{at}.{name}")
        for name, value in owner._buffers.items():
            yield id(value), f"{at}.{name}"
        for hooks in _HOOKS:
            for hook in vars(owner).get(hooks, {}).values():
                yield from _tensors(_reached(hook), f"a hook of {at}")
    yield from _seen_by_code(module)


def _seen_by_code(module: nn.Module) -> Iterator[tuple[int, str]]:
    """The `id` and name of each tensor in variables that the network's code shares with other code.

    The code is that of the methods of its classes, and of the functions beside these that they name.
    """
    seen: set[int] = set()
    kinds: dict[Any, None] = {type(owner): None for _, owner in modules_of(module)}
    own = [vars(owner)["forward"] for _, owner in modules_of(module) if "forward" in vars(owner)]
    waiting = [each for kind in kinds for each in _methods(kind)] + [
        each for each in own if _is_function(each)
    ]
    met = set(waiting)
    while waiting:
        function = waiting.pop()
        for name, value in _shared(function):
            if _is_function(value) and value.__module__ == function.__module__ and value not in met:
                met.add(value)
                waiting.append(value)
            elif not isinstance(value, (*_PLAIN, type, types.ModuleType, nn.Module)) and not callable(value):
                # Of another object than a container only the fields: loggers, for one, reach everything.
                fields = fields_of(value) if is_record(value) else None
                held = value if fields is None else [v for v in fields.values() if not is_record(v)]
                yield from _tensors(held, name, seen)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


@functools.cache
def _methods(kind: type) -> tuple[Any, ...]:
    """The functions in a class of the user's, and in the classes that it is derived from."""
    return tuple(
        inspect.unwrap(value)
        for base in kind.__mro__
        if base.__module__.partition(".")[0] != "torch"
        for value in vars(base).values()
        if inspect.isfunction(value)
    )


def _shared(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function names, those of the functions around it, and its defaults."""
    code = function.__code__
    for name in code.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty one
            yield name, cell.cell_contents
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default of {function.__qualname__}", value


def _tensors(value: Any, place: str, seen: set[int] | None = None) -> Iterator[tuple[int, str]]:
    seen = set() if seen is None else seen
    for leaf in leaves(value, seen):
        if isinstance(leaf, torch.Tensor):
            yield id(leaf), place
        elif isinstance(leaf, (collections.deque, set, frozenset)):
            yield from _tensors(list(leaf), place, seen)
        elif isinstance(leaf, types.SimpleNamespace):
            yield from _tensors(vars(leaf), place, seen)


def _reached(function: Callable[..., Any]) -> list[Any]:
    """Objects that a function may have stored something in: its closure, globals, object and defaults."""
    function = inspect.unwrap(getattr(function, "func", function))
    plain = getattr(function, "__func__", function)
    owner = getattr(function, "__self__", None if inspect.isroutine(function) else function)
    found = (
        [] if owner is None or isinstance(owner, nn.Module) else list(getattr(owner, "__dict__", {}).values())
    )
    if inspect.isfunction(plain):
        variables = inspect.getclosurevars(plain)
        found += [*variables.nonlocals.values(), *variables.globals.values(), *(plain.__defaults__ or ())]
    return [value for value in found if not isinstance(value, nn.Module)]


def _computed_from_inputs(vertices: list[Vertex]) -> set[int]:
    """The numbers of inputs, and of all that operators compute from them."""
    found: set[int] = set()
    for vertex in vertices:
        if vertex.kind == "input":
            found.update(stub.id for stub in stubs_in(vertex.output))
            continue
        for operation in vertex.operations:
            if any(stub.id in found for stub in operation.operands):
                found.update(stub.id for stub in operation.outputs if stub is not None)
        if any(stub.id in found for stub in stubs_in([vertex.args, vertex.kwargs])):
            found.update(stub.id for stub in stubs_in(vertex.output))
    return found
