"""Values of a recorded network: references to tensors of a run, and expressions of sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch

from naivegraph.errors import NaivegraphError

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
    """A tensor of one run: its number in that run, shape, dtype and strides (None if they are not known).

    In the arguments of a vertex it stands for the tensor that an earlier vertex produced.
    """

    id: int
    shape: tuple[int, ...] = dataclasses.field(compare=False)
    dtype: torch.dtype = dataclasses.field(compare=False)
    strides: tuple[int, ...] | None = dataclasses.field(default=None, compare=False, repr=False)


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
    on: bool | float | complex | str | tuple[Any, ...] | None = True
    off: bool | float | complex | str | tuple[Any, ...] | None = False


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
    _operands: tuple[Stub, ...] | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    @property
    def operands(self) -> tuple[Stub, ...]:
        """The tensors among its arguments, in order; an operation never changes, so found once."""
        if self._operands is None:
            found: list[Stub] = []
            _gather_stubs((*self.args, *self.kwargs.values()), found)
            self._operands = tuple(found)
        return self._operands

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the operator by its name, as torch's own object cannot be."""
        name = f"{self.func._schema.name}.{self.func._overloadname}"
        args = tuple(map(_named, self.args))
        kwargs = {key: _named(value) for key, value in self.kwargs.items()}
        return _operation, (name, args, kwargs, self.outputs)


def _gather_stubs(values: Iterable[Any], found: list[Stub]) -> None:
    """Append the stubs in nested lists and tuples, which an operator's arguments are made of."""
    for value in values:
        if type(value) is Stub:
            found.append(value)
        elif type(value) is list or type(value) is tuple:
            _gather_stubs(value, found)


def _operation(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: tuple[Stub | None, ...]
) -> Operation:
    """The operation of a pickle.

    Raises:
        NaivegraphError: No such operator is registered in this process.
    """
    space, _, rest = name.partition("::")
    packet, _, overload = rest.partition(".")
    try:
        func = getattr(getattr(getattr(torch.ops, space), packet), overload)
    except (AttributeError, RuntimeError) as error:
        raise NaivegraphError(
            f"the graph calls the operator {name}, which this process does not have: import what registers "
            "it before the graph is unpickled"
        ) from error
    found = {key: _found(value) for key, value in kwargs.items()}
    return Operation(func, tuple(map(_found, args)), found, outputs)


@dataclasses.dataclass(frozen=True)
class _MemoryFormat:
    """A memory format in a pickle: torch's own object is not in those of torch.save."""

    name: str


def _named(value: Any) -> Any:
    return (
        _MemoryFormat(str(value).removeprefix("torch.")) if isinstance(value, torch.memory_format) else value
    )


def _found(value: Any) -> Any:
    return getattr(torch, value.name) if isinstance(value, _MemoryFormat) else value


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
