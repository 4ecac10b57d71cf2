"""One node of a captured network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from naivegraph.ir.call_modes import CallModes
from naivegraph.ir.function_name import found_by_name, named
from naivegraph.ir.tuple_of_kind import with_kinds, without_kinds
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
        """All of it, with functions by their names, and named tuples as their items."""
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        trees = {name: without_kinds(state[name]) for name in ("args", "kwargs", "output")}
        return {**state, **trees, "target": named(self.target)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        trees = {name: with_kinds(state[name]) for name in ("args", "kwargs", "output")}
        for name, value in {**state, **trees, "target": found_by_name(state["target"])}.items():
            setattr(self, name, value)
