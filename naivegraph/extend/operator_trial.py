"""Runs of one operator on samples, and the relation its record makes of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.lookup import relate_operation
from naivegraph.operators.relation import Relation, tensors_in

__all__ = [
    "OperatorCall",
    "Related",
    "Sample",
    "atoms_of",
    "differ",
    "marks_of",
    "operands_text",
    "relate_call",
    "subsets",
]

Marks = npt.NDArray[np.bool_]
Values = Mapping[int, torch.Tensor]


class Sample:
    """Arguments to run an operator on; tensors are best in double precision, small, and of distinct sizes.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.

    Example:
        >>> Sample(torch.ones(2, 3), 1).args[1]
        1
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        given = [*map(_text, self.args), *(f"{name}={_text(value)}" for name, value in self.kwargs.items())]
        return f"({', '.join(given)})"


def _text(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, (list, tuple)) else repr(value)


def tensor_at(results: Sequence[torch.Tensor | None], place: int) -> torch.Tensor:
    """The tensor in one place of the results of an operator.

    Raises:
        TypeError: There is none.
    """
    found = results[place]
    if found is None:
        raise TypeError(f"result {place} of the operator is no tensor")
    return found


@dataclasses.dataclass(frozen=True)
class OperatorCall:
    """One call of an overload, which can be repeated on other numbers.

    Attributes:
        operation: The call as a recording has it.
        operands: The tensors it takes, by number.
        results: The tensors it returned; None for other results.
    """

    operation: Operation
    operands: dict[int, torch.Tensor]
    results: list[torch.Tensor | None]

    @staticmethod
    def of(packet: torch._ops.OpOverloadPacket, sample: Sample) -> OperatorCall:
        """Run the first overload of an operator that takes a sample.

        Raises:
            TypeError: None does; the message has the reason of each.
        """
        reasons = []
        overloads: list[str] = packet.overloads()  # type: ignore[no-untyped-call]
        for name in overloads:
            func = getattr(packet, name)
            if any(argument.is_out for argument in func._schema.arguments):
                continue
            try:
                return OperatorCall._of(func, sample)
            except (RuntimeError, TypeError, NotImplementedError, ValueError, IndexError) as error:
                reasons.append(f"{func}: {str(error).splitlines()[0]}")
        raise TypeError(f"no overload of {packet} takes {sample}: {'; '.join(reasons)}")

    @staticmethod
    def _of(func: torch._ops.OpOverload, sample: Sample) -> OperatorCall:
        stubs: dict[int, Stub] = {}
        operands: dict[int, torch.Tensor] = {}

        def stub(value: Any) -> Any:
            """Replace tensors by stubs, one for each tensor."""
            if isinstance(value, torch.Tensor):
                if id(value) not in stubs:
                    stubs[id(value)] = Stub(len(stubs), tuple(value.shape), value.dtype)
                    operands[len(operands)] = value
                return stubs[id(value)]
            return [stub(item) for item in value] if isinstance(value, (list, tuple)) else value

        args = tuple(stub(value) for value in sample.args)
        kwargs = {name: stub(value) for name, value in sample.kwargs.items()}
        call = OperatorCall(Operation(func, args, kwargs, ()), operands, [])
        given = {key: value.clone() for key, value in operands.items()}
        results = call.run_on(given)
        same = {id(value): key for key, value in given.items()}
        outputs: list[Stub | None] = []
        for result in results:
            if result is None:
                outputs.append(None)
                continue
            number = same.get(id(result), len(stubs) + len(outputs))
            outputs.append(Stub(number, tuple(result.shape), result.dtype))
        return OperatorCall(Operation(func, args, kwargs, tuple(outputs)), operands, results)

    def run(self, values: Values) -> list[torch.Tensor | None]:
        """The results for other operands, by number; those not given are as they were."""
        return self.run_on({key: values.get(key, value).clone() for key, value in self.operands.items()})

    def run_on(self, given: Values) -> list[torch.Tensor | None]:
        """The results for just these operands, by number, which an operator in place writes into."""
        torch.manual_seed(0)
        with torch.no_grad():
            result = self.apply(self.operation.func, given)
        several = result if isinstance(result, (list, tuple)) else [result]
        return [item if isinstance(item, torch.Tensor) else None for item in several]

    def result(self, place: int, values: Values) -> torch.Tensor:
        """The tensor in one place of the results for other operands; see `run`.

        Raises:
            TypeError: There is none.
        """
        return tensor_at(self.run(values), place)

    def apply(self, function: Callable[..., Any], given: Values) -> Any:
        """The value of a function of the call's arguments, with these operands."""

        def real(value: Any) -> Any:
            """Replace stubs by the given tensors."""
            if isinstance(value, Stub):
                return given[value.id]
            return [real(item) for item in value] if isinstance(value, (list, tuple)) else value

        named = {name: real(value) for name, value in self.operation.kwargs.items()}
        return function(*map(real, self.operation.args), **named)

    @property
    def stubs(self) -> dict[int, Stub]:
        """The stubs of the operands, by number."""
        return {stub.id: stub for stub in tensors_in([self.operation.args, self.operation.kwargs])}

    @property
    def floating(self) -> list[int]:
        """The operands of real or complex numbers."""
        return [
            key for key, value in self.operands.items() if value.is_floating_point() or value.is_complex()
        ]

    def __str__(self) -> str:
        named = {id(value): value for value in self.operands.values()}
        return f"{self.operation.func}({', '.join(map(_text, named.values()))})"


@dataclasses.dataclass(frozen=True)
class Related:
    """The relation of one call, with the axes of its operands.

    Attributes:
        relation: With the axes of the results; what has another shape in place has those of then.
        taken: The axes of the operands as they were before, by number.
    """

    relation: Relation
    taken: dict[int, list[Axis]]


def relate_call(
    call: OperatorCall, vanishing: frozenset[int] = frozenset(), pinned: Sequence[bool] | None = None
) -> Related:
    """Relate one call, whose operands are tied to nothing before.

    Args:
        call: The call.
        vanishing: Operands that are zero on every neuron whose parameters are.
        pinned: Which dimensions of the first operand are fixed; None for none.
    """
    relation = Relation()
    relation.algebra.where = "the sample"
    relation.operation = call.operation
    for number, value in call.operands.items():
        relation.axes[number] = relation.fresh(value.shape)
    if pinned is not None:
        for axis, fixed in zip(relation.axes[0], pinned, strict=True):
            if fixed:
                relation.pin(axis, "fixed before")
    relation.vanishing = set(vanishing)
    taken = {number: list(axes) for number, axes in relation.axes.items()}
    relate_operation(relation, call.operation)
    return Related(relation, taken)


def atoms_of(relation: Relation, axes: list[Axis]) -> set[Atom]:
    """The free runs of neurons in these axes."""
    return {atom for axis in axes for atom in relation.algebra.resolve(axis).atoms()}


def _marked(axis: Axis, atom: Atom, index: int) -> Marks:
    """Mark the indices of a resolved axis that belong to one neuron of an atom."""
    parts = [np.zeros(0, np.bool_)]
    for term in axis.terms:
        found = np.zeros(1, np.bool_)
        for factor in term:
            if isinstance(factor, Axis):
                inner = _marked(factor, atom, index)
            elif isinstance(factor, Atom):
                inner = np.arange(factor.length) == index if factor is atom else np.zeros(factor.length, bool)
            else:
                inner = np.zeros(int(factor), np.bool_)
            found = np.logical_or.outer(found, inner).reshape(-1)
        parts.append(found)
    return np.concatenate(parts)


def marks_of(relation: Relation, axes: list[Axis], atom: Atom, index: int) -> torch.Tensor:
    """Mark the elements of a tensor with these axes that belong to one neuron of an atom."""
    lengths = [axis.length for axis in axes]
    out = np.zeros(lengths, np.bool_)
    for dim, axis in enumerate(axes):
        along = _marked(relation.algebra.resolve(axis), atom, index)
        out |= along.reshape([-1 if d == dim else 1 for d in range(len(axes))])
    return torch.from_numpy(out)


def subsets(numbers: list[int]) -> list[frozenset[int]]:
    """All operands, each alone, all but each, and every set of up to three."""
    sizes = range(1, len(numbers) + 1) if len(numbers) <= 3 else (1, len(numbers) - 1, len(numbers))
    return [frozenset(each) for size in sizes for each in itertools.combinations(numbers, size)]


def operands_text(call: OperatorCall, numbers: frozenset[int]) -> str:
    """Name operands by their order, for messages."""
    order = list(call.operands)
    return "operand " + " and ".join(str(order.index(number)) for number in sorted(numbers))


def differ(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Mark the elements that are not equal, up to rounding."""
    if old.dtype.is_floating_point or old.dtype.is_complex:
        return ~torch.isclose(old, new, rtol=1e-6, atol=1e-9, equal_nan=True)
    return old != new
