"""What stands for a tensor or a number in a captured graph, where the tensor itself is not kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

__all__ = ["Attribute", "Compound", "Expression", "Held", "Operation", "Shape", "State", "Stub", "Training"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stub:
    """A tensor of one run: its number in that run, shape and dtype.

    In the arguments of a vertex it means "the tensor which an earlier vertex produced".
    """

    id: int
    shape: tuple[int, ...] = dataclasses.field(compare=False)
    dtype: torch.dtype = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A parameter or buffer of the network, by its name as in `named_parameters`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A tensor which is neither parameter, buffer, input nor computed: a constant of the user's code."""

    tensor: torch.Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """One value while the module at this path trains and another while it does not.

    By default it is the module's `training` flag itself.
    """

    path: str
    on: bool | float | complex | str | None = True
    off: bool | float | complex | str | None = False


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
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


Expression = int | Shape | Attribute | Compound


@dataclasses.dataclass(slots=True)
class Operation:
    """One ATen operator call: tensors are replaced by stubs, in `outputs` in the order they are returned.

    `outputs` holds one entry per returned value; None where that value is no tensor.
    """

    func: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Stub | None, ...]


Where = tuple[str, int]

Escape = tuple[Expression, Where | None, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers that differed where the code compared them, or were put in order by it.

    Attributes:
        difference: The larger less the smaller one.
        least: What it must be at least, for the comparison to come out as it did.
        where: File and line of the comparison.
    """

    difference: Expression
    least: int
    where: Where | None
