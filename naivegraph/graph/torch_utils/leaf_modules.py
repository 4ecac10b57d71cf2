"""Leaf modules: those recorded as one vertex, while the forward of all others is looked into."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.custom_rule import CustomFunction

__all__ = ["ModulePlace", "converted_from", "is_layer", "memory_key", "places"]

_TORCH_LAYERS = "torch.nn.modules."
_CONTAINERS = nn.Sequential.__module__


@dataclasses.dataclass(frozen=True, slots=True)
class ModulePlace:
    """Place of a module in its network.

    Attributes:
        path: Its (first) path.
        layer: Whether a call of it is one vertex.
    """

    path: str
    layer: bool


def places(root: nn.Module, opened: Container[str] = ()) -> dict[int, ModulePlace]:
    """The place of every module of the network, by the module's `id`.

    Args:
        root: The network.
        opened: Paths of layers that are looked into all the same.
    """
    return {
        id(module): ModulePlace(path, path not in opened and is_layer(module))
        for path, module in modules_of(root)
    }


def is_layer(module: nn.Module) -> bool:
    """Tell whether a call of this module is recorded as one vertex.

    True of torch's own layers that are no containers, of functions with a custom rule, and of modules without
    children, parameters and buffers whose behaviour depends on `training`. A forward that was replaced on the
    object is looked into.
    """
    kind = type(module)
    if kind is CustomFunction:
        return True
    if "forward" in vars(module):
        return False
    if any(child is not None for child in module._modules.values()):
        return False
    if kind.__module__.startswith(_TORCH_LAYERS):
        return kind.__module__ != _CONTAINERS
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        return False
    return _names_training(kind.forward)


@functools.cache
def _names_training(forward: Callable[..., Any]) -> bool:
    """Tell whether the code of a forward names an attribute `training`."""
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code is not None and "training" in code.co_names


def memory_key(tensor: torch.Tensor) -> object:
    """A key that is equal for tensors that are the same numbers in memory."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.numel() == 0:
        return id(tensor)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def converted_from(tensor: torch.Tensor, known: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The tensor that a function wrapped in a subclass of the user's, which no operator shows.

    Args:
        tensor: The tensor of the subclass.
        known: Tensors seen so far, the latest last.

    Returns:
        The last of them with the same memory; None if there is none, or `tensor` is of no such class.
    """
    kind = type(tensor)
    if kind is torch.Tensor or kind.__torch_function__ is torch._C._disabled_torch_function_impl:
        return None
    key = memory_key(tensor)
    return next((other for other in reversed(known) if memory_key(other) == key), None)
