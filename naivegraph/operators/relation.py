"""The relation of the axes of all tensors of a run, which the rules of operators build up."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from naivegraph.algebra.algebra import Algebra
from naivegraph.algebra.axis import Axis, FixedLength, single
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators.constraints import AxisConstraint

__all__ = [
    "Contraction",
    "DefaultScale",
    "InputAxis",
    "InputTensor",
    "Relation",
    "Rule",
    "Summed",
    "arguments",
    "arguments_of",
    "returned",
    "tensors_in",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Contraction:
    """Multiply-accumulates of one operator: `coefficient` times the product of the sizes of `axes`."""

    where: str
    coefficient: int
    axes: tuple[Axis, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Summed:
    """A sum, by one operator, of products over `axis`, which is this dimension of each of the factors."""

    where: str
    axis: Axis
    factors: tuple[tuple[Stub, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultScale:
    """An attention with the default scale, one over the root of the head size, the length of `axis`."""

    where: str
    axis: Axis
    query: Stub
    key: Stub


# A tensor of an input: the name of its vertex, and its place among the tensors of that.
InputTensor = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class InputAxis:
    """The dimension of an input's neurons, and its axis."""

    dim: int
    axis: Axis


class Relation:
    """Axes of tensors, and facts about operators, which rules read and write.

    Attributes:
        algebra: the algebra of the axes.
        axes: by stub id, one axis per dimension.
        operation: the operator being related.
        vertex: the vertex that calls it.
        coupled: axes whose neurons enter a statistic (a mean, a norm, a softmax), with its name.
        mixed: the same axes, with the operator that computes it.
        contractions: the multiply-accumulates of every operator that has some.
        vanishing: stub ids of tensors that are zero on every neuron whose parameters are all zero.
        default_scales: attentions with the default scale.
        statistics: those among `coupled` that new neurons change too, whatever their weights.
        measured: the same, with the operator that computes it.
        summed: sums over an axis, in which a new neuron changes nothing while one of the factors is zero.
        counts: by stub id of a result, the number of groups its operator works in.
        constraints: constraints of custom rules beyond equality; their axes are not resolved.
        ordered: axes of which an operator tells neurons apart by their order, with its name.
        left_out: axes that slices left out, and perhaps no operator uses.
        inputs: the axes of neurons of those inputs that may change.
        unknown: names of operators without a record, each with its vertex.
        free_tables: stub ids of tables whose rows may change although they are looked up by index.
    """

    def __init__(self) -> None:
        self.algebra = Algebra()
        self.axes: dict[int, list[Axis]] = {}
        self.operation: Operation | None = None
        self.vertex: Vertex | None = None
        self.coupled: list[tuple[Axis, str]] = []
        self.mixed: list[tuple[Axis, Operation]] = []
        self.contractions: list[Contraction] = []
        self.vanishing: set[int] = set()
        self.default_scales: list[DefaultScale] = []
        self.summed: list[Summed] = []
        self.statistics: list[tuple[Axis, str]] = []
        self.measured: list[tuple[Axis, str, Operation]] = []
        self.unknown: list[tuple[str, str]] = []
        self.counts: dict[int, Axis] = {}
        self.ordered: list[tuple[Axis, str]] = []
        self.left_out: list[Axis] = []
        self.inputs: dict[InputTensor, InputAxis] = {}
        self.constraints: list[AxisConstraint] = []
        self.free_tables: set[int] = set()

    @property
    def where(self) -> str:
        """The vertex whose operators are being related."""
        return self.algebra.where

    def of(self, tensor: Stub) -> list[Axis]:
        """The axes of a tensor, one per dimension; a tensor not known so far is a constant and fixed."""
        found = self.axes.get(tensor.id)
        if found is None:
            found = self.fixed(tensor.shape, "a constant of the network's code")
            self.axes[tensor.id] = found
        return found

    def fixed(self, shape: Iterable[int], reason: str) -> list[Axis]:
        """Axes of these lengths that are fixed for `reason`."""
        return [single(FixedLength(n, reason)) for n in shape]

    def fresh(self, shape: Iterable[int]) -> list[Axis]:
        """New axes of these lengths; one neuron, too, may be part of a wider run."""
        return [self.algebra.new(n) for n in shape]

    def set(self, tensor: Stub | None, axes: Sequence[Axis]) -> None:
        """Set the axes of a result; of a tensor changed in place, unify them with those it has."""
        if tensor is None:
            return
        lengths = tuple([axis.length for axis in axes])
        if lengths != tensor.shape:
            raise ValueError(
                f"{self.where}: the rule gave axes {lengths} for a tensor of shape {tensor.shape}"
            )
        known = self.axes.get(tensor.id)
        if known is None:
            self.axes[tensor.id] = list(axes)
        else:
            for old, new in zip(known, axes, strict=True):
                self.algebra.unify(old, new)

    def pin(self, axis: Axis, reason: str) -> None:
        """Fix an axis, for a reason to which the present vertex is added."""
        if not self.settled(axis):
            self.algebra.pin(axis, f"{reason}, at {self.where}")

    def pin_tensor(self, tensor: Stub, reason: str) -> None:
        """Fix every axis of a tensor."""
        for axis in self.of(tensor):
            self.pin(axis, reason)

    def couple(self, axis: Axis, statistic: str, *, summed: bool = False) -> None:
        """Note that the neurons of an axis enter a statistic, so that removing one changes the others.

        Args:
            axis: The axis.
            statistic: The name of the statistic, for messages.
            summed: Whether it is a sum of products recorded by `sum_over`, which a new neuron need not
                change.
        """
        self.coupled.append((axis, f"{statistic} at {self.where}"))
        if self.operation is not None:
            self.mixed.append((axis, self.operation))
        if not summed:
            self.measure(axis, statistic)

    def measure(self, axis: Axis, statistic: str) -> None:
        """Note that new neurons of an axis change a statistic, whatever their weights."""
        text = f"{statistic} at {self.where}"
        self.statistics.append((axis, text))
        if self.operation is not None:
            self.measured.append((axis, text, self.operation))

    def contract(self, axes: Sequence[Axis], coefficient: int = 1) -> None:
        """Add multiply-accumulates: the product of the sizes of these axes."""
        self.contractions.append(Contraction(self.where, coefficient, tuple(axes)))

    def sum_over(self, axis: Axis, *factors: tuple[Stub, int]) -> None:
        """Note a sum of products of tensors over `axis`, the dimension of this number of each of them."""
        self.summed.append(Summed(self.where, axis, factors))

    def vanishes(self, tensor: Stub) -> bool:
        """Tell whether the tensor is zero on every neuron whose parameters are all zero."""
        return tensor.id in self.vanishing

    def settled(self, axis: Axis) -> bool:
        """Tell whether the axis is fixed already."""
        return self.algebra.resolve(axis).fixed

    def equal(self, operands: Sequence[Sequence[Axis]]) -> list[Axis]:
        """The axes of tensors that must have one shape, of which none is repeated."""
        for axes in operands[1:]:
            for one, other in zip(operands[0], axes, strict=True):
                self.algebra.unify(one, other)
        return [self.algebra.resolve(axis) for axis in operands[0]]

    def broadcast(self, operands: Sequence[Sequence[Axis]]) -> list[Axis]:
        """The axes of an element-wise result: aligned from the right, dimensions of size 1 repeated.

        Equal sizes are unified. A dimension of one neuron that is repeated to match a wider one is fixed, as
        removing it would leave nothing to repeat. A dimension of one index that an operator made, as a mean
        does, is repeated as well where neurons join a single one.
        """
        if len(operands) == 1:
            return [self.algebra.resolve(axis) for axis in operands[0]]
        rank = max((len(axes) for axes in operands), default=0)
        out: list[Axis] = []
        for position in range(-rank, 0):
            here = [axes[position] for axes in operands if len(axes) >= -position]
            length = max((axis.length for axis in here), default=1)
            if any(axis.length == 0 for axis in here):
                length = 0
            wide = [axis for axis in here if axis.length == length]
            if length == 1:
                wide = [axis for axis in wide if not _is_one(self.algebra.resolve(axis))] or wide
            for axis in here:
                if axis.length != length:
                    self.pin(axis, "one index broadcast against more")
            for axis in wide[1:]:
                self.algebra.unify(wide[0], axis)
            out.append(self.algebra.resolve(wide[0]))
        return out


def _is_one(axis: Axis) -> bool:
    """Tell whether an axis is the one index that an operator makes, and no neuron that is fixed."""
    return axis.fixed and not any(isinstance(f, FixedLength) for term in axis.terms for f in term)


Rule = Callable[[Relation, Operation, dict[str, Any]], None]


@functools.cache
def _schema(func: torch._ops.OpOverload) -> tuple[list[str], dict[str, Any]]:
    """The names of an operator's arguments, and the defaults of those that have one."""
    schema = func._schema.arguments
    return [a.name for a in schema], {a.name: a.default_value for a in schema if a.has_default_value()}


def arguments(operation: Operation) -> dict[str, Any]:
    """The arguments of an operator call by the names of its schema, defaults filled in."""
    return arguments_of(operation.func, operation.args, operation.kwargs)


def arguments_of(
    func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by the names of the operator's schema, defaults filled in."""
    names, defaults = _schema(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


def tensors_in(value: Any) -> list[Stub]:
    """The tensors in nested arguments, in order."""
    out: list[Stub] = []
    _gather(value, out)
    return out


def _gather(value: Any, out: list[Stub]) -> None:
    if isinstance(value, Stub):
        out.append(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (Stub, list, tuple, dict)):
                _gather(item, out)
    elif isinstance(value, dict):
        for item in value.values():
            _gather(item, out)


def returned(value: Any) -> list[Stub]:
    """The tensors that a network returns, in tuples, lists, dicts and dataclasses.

    Those in other objects are told apart when the run is recorded, as `Recording.left_behind`: a cache of
    keys and values goes back into the network, whose sizes it follows.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, (Stub, type, dict)):
        return [stub for field in dataclasses.fields(value) for stub in returned(getattr(value, field.name))]
    if isinstance(value, (list, tuple)):
        return [stub for item in value for stub in returned(item)]
    if isinstance(value, dict):
        return [stub for item in value.values() for stub in returned(item)]
    return [value] if isinstance(value, Stub) else []
