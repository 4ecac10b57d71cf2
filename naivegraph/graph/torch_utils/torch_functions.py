"""Facts about a torch function that do not depend on its arguments, worked out once per function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["SIZES", "any_batched", "function_name", "mutated_arguments", "training_argument"]

SIZES: dict[Any, str] = {  # functions that return sizes of a tensor
    torch.Tensor.shape.__get__: "shape",  # type: ignore[attr-defined]
    torch.Tensor.size: "size",
    torch.Tensor.numel: "numel",
    torch.Tensor.nelement: "numel",
    torch.numel: "numel",
    torch.Tensor.__len__: "length",
}
_FLAGS = ("training", "train")
_is_wrapped: Callable[[torch.Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor
_transforms: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack


def any_batched(args: tuple[Any, ...]) -> bool:
    """Tell whether a call happens under `torch.vmap`, on tensors that stand for one row of others."""
    return _transforms() is not None and any(
        isinstance(arg, torch.Tensor) and _is_wrapped(arg) for arg in args
    )


@functools.cache
def function_name(func: Any) -> str:
    """A short name of a torch function: `add`, `getitem`, `T`, `relu_`."""
    if isinstance(func, torch._ops.OpOverload):
        return func._schema.name.split("::")[-1]
    owner = getattr(func, "__self__", None)
    if isinstance(owner, type) and (inspect.ismethod(func) or issubclass(owner, torch.autograd.Function)):
        return owner.__name__  # From torch 2.14 on, `apply` of an autograd function is no method of Python's.
    name: str = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):
        name = func.__self__.__name__
    return name.strip("_") if name.startswith("__") else name


@functools.cache
def training_argument(func: Any) -> tuple[str, int] | None:
    """Name and position of the argument that switches between training and evaluation, if there is one."""
    for position, name in enumerate(_argument_names(func)):
        if name in _FLAGS:
            return name, position
    return None


def _argument_names(func: Any) -> list[str]:
    """Names of a function's arguments, from its schema, its signature, or the operator of the same name."""
    if isinstance(func, torch._ops.OpOverload):
        return [argument.name for argument in func._schema.arguments]
    try:
        return list(inspect.signature(func).parameters)
    except (ValueError, TypeError):
        packet = getattr(torch.ops.aten, function_name(func), None)
    if packet is None:
        return []
    return [argument.name for argument in getattr(packet, packet.overloads()[0])._schema.arguments]


@functools.cache
def _written(func: torch._ops.OpOverload) -> tuple[tuple[int, str], ...]:
    """Position and name of the arguments that an operator writes into, by its schema."""
    arguments = enumerate(func._schema.arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


def mutated_arguments(
    func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[torch.Tensor]:
    """The tensors that this ATen call writes into."""
    found: list[torch.Tensor] = []
    for position, name in _written(func):
        value = args[position] if position < len(args) else kwargs.get(name)
        several = value if isinstance(value, (list, tuple)) else (value,)
        found.extend(item for item in several if isinstance(item, torch.Tensor))
    return found
