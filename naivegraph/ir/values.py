"""Values of a recorded network: references to tensors of a run, and expressions of sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

__all__ = [
    "Attribute",
    "Compound",
    "ConstantTensor",
    "DimSize",
    "Expression",
    "Operation",
    "State",
    "Stub",
    "Training",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Stub:
    """A tensor of one run: its number in that run, shape and dtype.

    In the arguments of a vertex it stands for the tensor that an earlier vertex produced.
    """

    id: int
    shape: tuple[int, ...] = dataclasses.field(compare=False)
    dtype: torch.dtype = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A parameter or buffer of the network, by its name as in `named_parameters`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ConstantTensor:
    """A tensor that is neither parameter, buffer, input nor computed: a constant of the user's code."""

    tensor: torch.Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """A constant that depends on whether the module at this path trains; by default its `training` flag.

    Attributes:
        path: The module whose flag decides.
        on: The value in train mode.
        off: The value in eval mode.
    """

    path: str
    on: bool | float | complex | str | None = True
    off: bool | float | complex | str | None = False


@dataclasses.dataclass(frozen=True, slots=True)
class DimSize:
    """The size of one dimension of a tensor: of a run (its stub's id) or of the state (its name)."""

    tensor: int | str
    dim: int


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """An integer attribute of a module: `path.name`, through `keys` (indices, fields) if nested."""

    path: str
    name: str
    keys: tuple[str | int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Compound:
    """`left operator right` with operator one of + - * // %."""

    operator: str
    left: Expression
    right: Expression


Expression = int | DimSize | Attribute | Compound


@dataclasses.dataclass(slots=True)
class Operation:
    """A call of one ATen operator.

    Attributes:
        func: The operator.
        args: Positional arguments, with stubs for tensors.
        kwargs: Keyword arguments, with stubs for tensors.
        outputs: A stub per returned value, in order; None for a value that is no tensor.
    """

    func: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Stub | None, ...]


SourceLine = tuple[str, int]  # file and line of the user's code

# An expression that became an ordinary number where the code needed one, the line, and the use it was put to.
Escape = tuple[Expression, SourceLine | None, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison, by the user's code, of two symbolic integers that differed.

    Attributes:
        difference: The larger minus the smaller.
        least: Its least value at which the comparison comes out as recorded.
        where: File and line of the comparison.
    """

    difference: Expression
    least: int
    where: SourceLine | None
