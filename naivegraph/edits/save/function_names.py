"""Names of the functions that networks call, and back; a name gives nothing but functions of tensors."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch

from naivegraph.errors import NaivegraphError
from naivegraph.ir.call_modes import run_in
from naivegraph.ir.signature import check_constant

__all__ = ["function_called", "is_tensor_attribute", "is_tensor_method", "name_of"]

_Function = Callable[..., Any]

# Where torch keeps functions of tensors. The first name of a function is the one that is written.
_PLACES: tuple[tuple[str, Any], ...] = (
    ("torch", torch),
    ("torch.nn.functional", torch.nn.functional),
    ("torch.Tensor", torch.Tensor),
    ("torch.special", torch.special),
    ("torch.fft", torch.fft),
    ("torch.linalg", torch.linalg),
    ("torch._C._nn", torch._C._nn),
)
_OTHERS: dict[str, _Function] = {
    "getattr": getattr,
    "naivegraph.check_constant": check_constant,
    "naivegraph.run_in": run_in,
    # Torch's own parametrization calls the first; libraries the second, for experts (since torch 2.8).
    **{f"torch.{n}": getattr(torch, n) for n in ("_weight_norm", "_grouped_mm") if hasattr(torch, n)},
    **{f"operator.{name}": getattr(operator, name) for name in (
        "add", "floordiv", "getitem", "mod", "mul", "neg", "setitem", "sub", "truediv",
    )},
}  # fmt: skip
# Methods that torch lets subclasses override, too, but which pickle or take functions of Python.
_NO_OPERATORS = ("__reduce_ex__", "__setstate__", "__deepcopy__", "apply_", "map_", "map2_", "register_hook")


def name_of(func: _Function) -> str:
    """The name by which `function_called` finds a function.

    Raises:
        NaivegraphError: It is no function of tensors that torch has.

    Example:
        >>> name_of(torch.relu), name_of(torch.nn.functional.gelu)
        ('torch.relu', 'torch.nn.functional.gelu')
    """
    name = _names().get(func)
    if name is None:
        where = getattr(func, "__module__", None) or type(func).__module__
        raise NaivegraphError(
            f"{where}.{getattr(func, '__qualname__', func)} is no function of tensors that torch names"
        )
    return name


def function_called(name: str) -> _Function:
    """The function of a name.

    A file is not trusted: a name gives functions that compute tensors, and nothing that reads files or runs
    other code.

    Raises:
        ValueError: There is none.
    """
    found = _functions().get(name)
    if found is None:
        raise ValueError(f"{name!r} is no function of tensors")
    return found


def is_tensor_method(name: str) -> bool:
    """Check whether tensors have a method of this name."""
    return f"torch.Tensor.{name}" in _functions()


def is_tensor_attribute(name: str) -> bool:
    """Check whether tensors have this as a value, such as `shape` and `mT`."""
    found = inspect.getattr_static(torch.Tensor, name, None)
    return not name.startswith("_") and (isinstance(found, property) or inspect.isgetsetdescriptor(found))


@functools.cache
def _functions() -> dict[str, _Function]:
    out = dict(_OTHERS)
    for place, owner in _PLACES:
        out.update((f"{place}.{name}", func) for name, func in _of_tensors(owner))
    return out


@functools.cache
def _names() -> dict[_Function, str]:
    out: dict[_Function, str] = {}
    for name, func in _functions().items():
        out.setdefault(func, name)
    return out


def _of_tensors(owner: Any) -> Iterator[tuple[str, _Function]]:
    """The functions of a namespace that compute or make tensors, by torch's own lists of them."""
    over = set(torch.overrides.get_overridable_functions().get(owner, ()))
    for name in dir(owner):
        func = getattr(owner, name)
        hidden = name.startswith("_") and not (owner is torch.Tensor and name.startswith("__"))
        if (
            callable(func)
            and not hidden
            and name not in _NO_OPERATORS
            and (func in over or _computes(owner, name))
        ):
            yield name, func


def _computes(owner: Any, name: str) -> bool:
    """Check whether this is an ATen operator, none of whose arguments is a text, such as a file's name."""
    if owner is torch.Tensor:
        return not name.startswith(
            "_"
        )  # Methods of a tensor, which are called with data, not with functions.
    if not hasattr(torch._C._VariableFunctions, name) and owner is not torch._C._nn:
        return False
    packet = getattr(torch.ops.aten, name, None)
    return isinstance(packet, torch._ops.OpOverloadPacket) and not any(
        str(argument.type) == "str"
        for overload in packet.overloads()  # type: ignore[no-untyped-call]
        for argument in getattr(packet, overload)._schema.arguments
    )
