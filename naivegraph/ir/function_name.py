"""Functions in pickles, by the names under which they are found where pickle itself does not look."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from types import BuiltinFunctionType, FunctionType, MethodWrapperType, ModuleType
from typing import Any

import torch

__all__ = ["FunctionName", "found_by_name", "named"]


@dataclasses.dataclass(frozen=True)
class FunctionName:
    """A function in a pickle: its module, and the names by which it is found there."""

    module: str
    names: tuple[str, ...]

    def __call__(self) -> None:
        """Do nothing: it stands for the function in the pickle alone."""


def named(function: Any) -> Any:
    """The name of a function that pickle would not find by itself; any other value as it is.

    Example:
        >>> named(torch.nn.functional.max_pool2d)
        FunctionName(module='torch.nn.functional', names=('max_pool2d',))
        >>> named(len) is len
        True
    """
    owner: Any = getattr(function, "__self__", None)
    if isinstance(function, MethodWrapperType):
        return FunctionName("torch", ("Tensor", owner.__name__, "__get__"))  # as in `x.mT`
    if isinstance(function, BuiltinFunctionType) and isinstance(owner, ModuleType):
        known = owner.__name__ == "builtins"
        return function if known else FunctionName(owner.__name__, (function.__name__,))
    if isinstance(function, FunctionType):
        if function.__module__ == torch._tensor.__name__:
            return FunctionName("torch", ("Tensor", _method_name(function)))
        # Functions made by others, that say of themselves where they are found, as torch's pooling.
        name, home = function.__name__, sys.modules.get(function.__module__)
        if "<" in function.__qualname__ and home is not None and vars(home).get(name) is function:
            return FunctionName(home.__name__, (name,))
    return function


def found_by_name(value: Any) -> Any:
    """The function of a name; any other value as it is."""
    if not isinstance(value, FunctionName):
        return value
    return functools.reduce(getattr, value.names, _module(value.module))


def _method_name(function: FunctionType) -> str:
    """The name of a method of tensors written in Python: `x ** 2` calls one that says another of itself."""
    names = (function.__name__, *vars(torch.Tensor))
    return next((name for name in names if getattr(torch.Tensor, name, None) is function), function.__name__)


def _module(path: str) -> Any:
    """A module by its path; torch's own extensions are found as attributes alone."""
    if path in sys.modules:
        return sys.modules[path]
    try:
        return importlib.import_module(path)
    except ImportError:
        return functools.reduce(getattr, path.split(".")[1:], importlib.import_module(path.split(".")[0]))
