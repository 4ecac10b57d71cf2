"""One node of a captured network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from naivegraph.ir.values import Operation, Where

__all__ = [
    "Kind",
    "Vertex",
]

Kind = Literal["input", "layer", "function"]


@dataclasses.dataclass(eq=False, slots=True)
class Vertex:
    """A layer, a torch function or an input of the network, with the arguments it was called with.

    Arguments and output nest tuples, lists, dicts and slices. In them a tensor is a `Stub` (an earlier
    vertex produced it), a `State` (parameter or buffer) or `Held` (a constant of the user's code), a number
    that remembers where it came from is an expression, and a flag of the enclosing module is `Training`.

    Attributes:
        name: Unique in its graph. A layer: its module path; a function: the path of the module whose
            forward called it and the function's name; an input: the argument's name.
        kind: What it is.
        target: The module called, or the torch function; None for inputs.
        path: Module path of the layer, or of the innermost module whose forward made the call.
        args: Positional arguments.
        kwargs: Keyword arguments.
        output: What came back, with stubs at the tensors.
        operations: The ATen calls it was made of, below autograd.
        where: File and line of the user's code which made the call.
    """

    name: str
    kind: Kind
    target: nn.Module | Callable[..., Any] | None
    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    output: Any = None
    operations: list[Operation] = dataclasses.field(default_factory=list)
    where: Where | None = None

    def __repr__(self) -> str:
        return f"Vertex({self.name!r}, {self.kind})"
