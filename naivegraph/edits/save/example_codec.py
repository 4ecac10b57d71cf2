"""Example inputs of a network as JSON, with their tensors beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from naivegraph.errors import NaivegraphError

__all__ = ["EXAMPLE", "from_data", "to_data"]

EXAMPLE = "naivegraph_example/"  # what the names of an example's tensors begin with in files


def to_data(value: Any, tensors: dict[str, torch.Tensor], prefix: str) -> Any:
    """A nesting of tensors, numbers and texts as JSON; its tensors are put into `tensors`.

    Raises:
        NaivegraphError: There is something else in it.
    """
    kind = type(value)
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
        name = f"{prefix}{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if value is None or kind in (bool, int, float, str):
        return {"value": value}
    if kind in (tuple, list):
        return {kind.__name__: [to_data(item, tensors, prefix) for item in value]}
    if kind is dict and all(type(key) is str for key in value):
        return {"dict": {key: to_data(item, tensors, prefix) for key, item in value.items()}}
    if kind is torch.dtype:
        return {"dtype": str(value).removeprefix("torch.")}
    raise NaivegraphError(
        f"an example input holds {kind.__module__}.{kind.__qualname__}, which is not written"
    )


def from_data(data: Any, tensors: Mapping[str, torch.Tensor], device: torch.device) -> Any:
    """The nesting `to_data` wrote, with its tensors on a device.

    Raises:
        ValueError: It wrote something else.
    """
    ((kind, value),) = data.items()
    match kind:
        case "tensor":
            return tensors[value].to(device, copy=True)
        case "value":
            return value
        case "tuple" | "list":
            items = [from_data(item, tensors, device) for item in value]
            return tuple(items) if kind == "tuple" else items
        case "dict":
            return {key: from_data(item, tensors, device) for key, item in value.items()}
        case "dtype" if isinstance(vars(torch).get(value), torch.dtype):
            return vars(torch)[value]
    raise ValueError(f"{data!r} is no example input")
