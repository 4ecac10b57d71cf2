"""One node of a captured network."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodWrapperType, ModuleType
from typing import Any, Literal

import torch
from torch import nn

from naivegraph.ir.call_modes import CallModes
from naivegraph.ir.values import Operation, SourceLine

__all__ = [
    "Kind",
    "Vertex",
]

Kind = Literal["input", "layer", "function"]


@dataclasses.dataclass(eq=False, slots=True)
class Vertex:
    """A layer, a torch function or an input of the network, with the arguments it was called with.

    Arguments and output are pytrees of tuples, lists, dicts, slices and records. Their leaves are a `Stub`
    for a tensor of an earlier vertex, a `State` for a parameter or buffer, a `ConstantTensor` for a constant
    of the user's code, an expression for a symbolic integer, `Training` for a value that depends on train
    mode, and plain values.

    Attributes:
        name: Unique in its graph. A layer: its module path; a function: the path of the module whose
            forward called it and the function's name; an input: the argument's name.
        kind: One of "input", "layer" and "function".
        target: The module called, or the torch function; None for inputs.
        path: Module path of the layer, or of the innermost module whose forward made the call.
        args: Positional arguments.
        kwargs: Keyword arguments.
        output: The result, with stubs for tensors.
        operations: The ATen calls it was made of, below autograd.
        where: File and line of the user's code that made the call.
        stale: Whether it calls something else since its operations were recorded.
        modes: The torch modes that the network's code set around the call; None if it set none.
    """

    name: str
    kind: Kind
    target: nn.Module | Callable[..., Any] | None
    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    output: Any = None
    operations: list[Operation] = dataclasses.field(default_factory=list)
    where: SourceLine | None = None
    stale: bool = False
    modes: CallModes | None = None

    def __repr__(self) -> str:
        return f"Vertex({self.name!r}, {self.kind})"

    def __getstate__(self) -> dict[str, Any]:
        """All of it, with functions that pickle does not know by their names."""
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        owner: Any = getattr(self.target, "__self__", None)
        if isinstance(self.target, MethodWrapperType):
            state["target"] = _ByName("torch", ("Tensor", owner.__name__, "__get__"))  # as in `x.mT`
        elif isinstance(self.target, BuiltinFunctionType) and isinstance(owner, ModuleType):
            state["target"] = _ByName(owner.__name__, (self.target.__name__,))
        elif isinstance(self.target, FunctionType) and self.target.__module__ == torch._tensor.__name__:
            state["target"] = _ByName("torch", ("Tensor", _method_name(self.target)))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if isinstance(self.target, _ByName):
            found = functools.reduce(getattr, self.target.names, _module(self.target.module))
            self.target = found


@dataclasses.dataclass(frozen=True)
class _ByName:
    """A function in a pickle: its module, and the names by which it is found there."""

    module: str
    names: tuple[str, ...]

    def __call__(self) -> None:
        """Do nothing: it stands for the function in the pickle alone."""


def _method_name(function: FunctionType) -> str:
    """The name of a method of tensors written in Python: `x ** 2` calls one that says another of itself."""
    names = (function.__name__, *vars(torch.Tensor))
    return next((name for name in names if getattr(torch.Tensor, name, None) is function), function.__name__)


def _module(path: str) -> Any:
    """A module by its path; torch's own extensions are found as attributes alone."""
    return functools.reduce(getattr, path.split(".")[1:], importlib.import_module(path.split(".")[0]))
