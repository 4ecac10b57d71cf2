"""Arguments of the nodes of a `torch.fx.Graph` as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from naivegraph.errors import NaivegraphError

__all__ = ["argument_from_json", "argument_to_json"]

_CONSTANTS = (torch.dtype, torch.memory_format, torch.layout)


def argument_to_json(value: Any) -> Any:
    """An argument as JSON: numbers, texts and lists as they are, anything else as `{kind: its parts}`.

    Raises:
        NaivegraphError: It is of a class of one's own.

    Example:
        >>> argument_to_json((1, slice(None, 4), torch.float16))
        {'tuple': [1, {'slice': [None, 4, None]}, {'torch': 'float16'}]}
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case complex():
            return {"complex": [value.real, value.imag]}
        case fx.Node():
            return {"node": value.name}
        case slice():
            return {"slice": [argument_to_json(part) for part in (value.start, value.stop, value.step)]}
        case torch.device():
            return {"device": str(value)}
        case _ if value is Ellipsis:
            return {"ellipsis": []}
        case _ if isinstance(value, _CONSTANTS):
            return {"torch": str(value).removeprefix("torch.")}
    return _container_to_json(value)


def _container_to_json(value: Any) -> Any:
    # fx has lists and dicts of its own, which cannot be changed.
    if isinstance(value, list):
        return [argument_to_json(item) for item in value]
    if isinstance(value, tuple) and (type(value) is tuple or isinstance(value, torch.Size)):
        return {"tuple": [argument_to_json(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[argument_to_json(key), argument_to_json(item)] for key, item in value.items()]}
    kind = type(value)
    raise NaivegraphError(f"an argument is of {kind.__module__}.{kind.__qualname__}, which cannot be data")


def argument_from_json(data: Any, nodes: Mapping[str, fx.Node]) -> Any:
    """The argument that `argument_to_json` wrote.

    Args:
        data: What it wrote.
        nodes: The nodes so far, by name.

    Raises:
        ValueError: It is something else, or names no earlier node.
    """
    if isinstance(data, list):
        return [argument_from_json(item, nodes) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError(f"{data!r} is no argument")
    ((kind, value),) = data.items()
    if kind == "node":
        if value not in nodes:
            raise ValueError(f"there is no node {value!r} before")
        return nodes[value]
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"{data!r} is no argument")
    return reader(argument_from_json(value, nodes))


def _constant(name: str) -> Any:
    found = vars(torch).get(name)
    if not isinstance(found, _CONSTANTS):
        raise ValueError(f"torch.{name} is no type, layout or memory format")
    return found


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": lambda parts: complex(*parts),
    "slice": lambda parts: slice(*parts),
    "device": torch.device,
    "ellipsis": lambda _: ...,
    "torch": _constant,
    "tuple": tuple,
    "dict": dict,
}
