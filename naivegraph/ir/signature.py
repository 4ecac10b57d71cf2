"""Arguments of a call, matched with the inputs of a graph by the signature of the forward."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.errors import CaptureError, NaivegraphError
from naivegraph.ir.pytree import pairs
from naivegraph.ir.recording import Recording
from naivegraph.ir.step_module import BuiltModule
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["bind", "check_constant", "flat_arguments", "keyword_inputs", "nested_arguments"]


def keyword_inputs(kwargs: Any) -> dict[str, Any]:
    """The keyword arguments of a forward as a dict; none for None.

    Raises:
        CaptureError: They are not a dict with strings as keys.
    """
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise CaptureError(
            f"kwargs takes a dict of the forward's keyword arguments by name, not {type(kwargs).__name__}; "
            "several positional arguments are one tuple, args=(a, b)"
        )
    return dict(kwargs)


def bind(graph: Recording, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The value of each input vertex, by its name.

    Raises:
        NaivegraphError: An argument is missing, is another pytree than the recorded one, or is a recorded
            constant with another value.
    """
    given = flat_arguments(graph.module, args, kwargs)
    names = {vertex.name: vertex for vertex in graph.inputs}
    missing = names.keys() - given.keys()
    if missing:
        raise NaivegraphError(f"the graph was captured with the argument {min(missing)!r}, which is missing")
    for name, value in given.items():
        if name in names:
            _check_input(names[name], value)
        elif name not in graph.constants:
            if not _same(_default(graph.module, name), value):
                raise NaivegraphError(_other_value(name, "its default", value))
        else:
            check_constant(name, graph.constants[name], value)
    return {name: given[name] for name in names}


def _default(module: nn.Module, name: str) -> Any:
    """The default of an argument of a forward; `inspect.Parameter.empty` if it has none."""
    parameter = inspect.signature(module.forward).parameters.get(name)
    return inspect.Parameter.empty if parameter is None else parameter.default


def check_constant(name: str, recorded: Any, value: Any) -> None:
    """Check that an argument that is no tensor has the value that was captured.

    Raises:
        NaivegraphError: It has another value.
    """
    if not _same(recorded, value):
        raise NaivegraphError(_other_value(name, repr(recorded), value))


def _other_value(name: str, recorded: str, value: Any) -> str:
    return (
        f"the graph was captured with {recorded} for the argument {name!r}, not {value!r}; "
        "capture again with that value"
    )


def _check_input(vertex: Vertex, value: Any) -> None:
    """Check that an input is the recorded pytree, with tensors where tensors were recorded."""
    try:
        for stub, tensor, at in pairs(vertex.output, value):
            if isinstance(stub, Stub) and not isinstance(tensor, torch.Tensor):
                raise ValueError(f"{at or 'it'} is {type(tensor).__name__}, not a tensor")
    except ValueError as error:
        raise NaivegraphError(f"the argument {vertex.name!r} is not as captured: {error}") from error


def flat_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward by name, those of `*args` and `**kwargs` one by one.

    The i-th of `*args` is called `args_i`; the inverse is `nested_arguments`.

    Raises:
        NaivegraphError: The forward does not take these arguments.
    """
    if isinstance(module, BuiltModule):
        return module.by_name(args, kwargs)
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise NaivegraphError(
            f"{type(module).__name__}.forward{signature} was called with other arguments: {error}"
        ) from error
    flat: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            flat.update({f"{name}_{index}": item for index, item in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            flat.update(value)
        else:
            flat[name] = value
    return flat


def nested_arguments(module: nn.Module, flat: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a forward, from the result of `flat_arguments`."""
    if isinstance(module, BuiltModule):
        return (), dict(flat)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    rest = dict(flat)
    parameters = inspect.signature(module.forward).parameters
    spread = next((n for n, p in parameters.items() if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    positional = spread is not None and f"{spread}_0" in rest
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            numbered = (f"{name}_{index}" for index in itertools.count())
            args += [rest.pop(each) for each in itertools.takewhile(rest.__contains__, numbered)]
        elif name not in rest:
            continue
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY or (
            positional and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ):
            args.append(rest.pop(name))
        else:
            kwargs[name] = rest.pop(name)
    return tuple(args), {**kwargs, **rest}


def _same(one: Any, two: Any) -> bool:
    if one is two:
        return True
    try:
        return type(one) is type(two) and bool(one == two)
    except Exception:  # of objects that cannot be compared, as those with tensors in them
        return False
