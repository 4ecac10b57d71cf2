"""Functions related by their custom rules instead of the operators they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naivegraph.algebra.axis import Axis
from naivegraph.errors import NaivegraphError
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.vertex import Vertex
from naivegraph.operators.constraints import LinearConstraint, MultipleConstraint, NeuronConstraint
from naivegraph.operators.relation import Relation, tensors_in

__all__ = ["relate_custom"]


def relate_custom(relation: Relation, vertex: Vertex, layer: CustomFunction) -> None:
    """Relate the tensors that a function takes and returns by its custom rule; all else is fixed.

    Raises:
        NaivegraphError: The rule ties dimensions of different sizes.
    """
    ties = _Ties(relation, vertex)
    try:
        layer.rule.tie(ties)
    except (ValueError, IndexError, KeyError) as error:
        raise NaivegraphError(f"the rule {layer.rule} does not hold for {vertex.name!r}: {error}") from error
    ties.close(layer.rule)


class _Ties:
    """Receiver of a rule's constraints, which adds them to the relation; see `Ties`."""

    def __init__(self, relation: Relation, vertex: Vertex) -> None:
        self._relation = relation
        self._vertex = vertex
        taken = dict.fromkeys(tensors_in([list(vertex.args), dict(vertex.kwargs)]))
        self.inputs: list[list[Any]] = [_own(relation.of(stub)) for stub in taken]
        returned = dict.fromkeys(tensors_in(vertex.output))
        self.outputs: list[list[Any]] = []
        for stub in returned:
            if stub.id not in relation.axes:
                relation.axes[stub.id] = relation.fresh(stub.shape)
            self.outputs.append(_own(relation.axes[stub.id]))
        # By id, as two tensors may have equal axes.
        self._inputs = {id(axis) for axes in self.inputs for axis in axes}
        self._shared: set[int] = set()
        self._free: dict[int, Axis] = {}

    def _tied(self, axes: Sequence[Axis]) -> None:
        """Note dimensions as tied to each other: an output may change only together with an input."""
        if any(id(axis) in self._inputs for axis in axes):
            self._shared.update(id(axis) for axis in axes)

    def equal(self, first: Axis, *others: Axis) -> None:
        """Unify the axes."""
        for other in others:
            if other.length != first.length:
                raise ValueError(f"it ties dimensions of size {first.length} and {other.length}")
            self._relation.algebra.unify(first, other)
        self._tied([first, *others])

    def joined(self, whole: Axis, parts: Sequence[Axis]) -> None:
        """Unify the whole with the concatenation of its parts."""
        total = sum(part.length for part in parts)
        if total != whole.length:
            raise ValueError(f"parts of size {total} in all cannot be joined to {whole.length}")
        self._relation.algebra.unify(whole, self._relation.algebra.concatenate(list(parts)))
        self._tied([whole, *parts])

    def free(self, dimension: Axis) -> None:
        """Let an input's dimension change by itself."""
        if id(dimension) in self._inputs:
            self._free[id(dimension)] = dimension

    def fixed(self, dimension: Axis, reason: str) -> None:
        """Fix the axis."""
        self._relation.pin(dimension, reason)

    def step(self, dimension: Axis, multiple: int) -> None:
        """Add a constraint that the size is a multiple."""
        if multiple < 1:
            raise ValueError(f"a size cannot be a multiple of {multiple}; give a number from 1 up")
        self._relation.constraints.append(MultipleConstraint(self._vertex.name, dimension, multiple))

    def neurons(self, dimension: Axis, indices: Sequence[int], *, keep: bool) -> None:
        """Add a constraint on neurons."""
        if any(index < 0 or (keep and index >= dimension.length) for index in indices):
            raise ValueError(f"there are {dimension.length} neurons, not {list(indices)}")
        indices = [index for index in indices if index < dimension.length]  # the others are gone already
        self._relation.constraints.append(
            NeuronConstraint(self._vertex.name, dimension, tuple(indices), keep)
        )

    def linear(
        self, terms: Sequence[tuple[int, Axis]], *, low: int | None = None, high: int | None = None
    ) -> None:
        """Add a linear constraint."""
        if low is not None and high is not None and low > high:
            raise ValueError(f"nothing is at least {low} and at most {high}")
        self._relation.constraints.append(LinearConstraint(self._vertex.name, tuple(terms), low, high))

    def close(self, rule: object) -> None:
        """Fix every dimension that the rule said nothing about."""
        for axis in (axis for axes in (*self.inputs, *self.outputs) for axis in axes):
            if id(axis) in self._shared:
                continue
            if id(axis) not in self._free:
                self._relation.pin(axis, f"not said to change by {type(rule).__name__}")
                continue
            # Nothing tells what the function computes from new neurons.
            self._relation.statistics.append((axis, f"what {self._vertex.name} makes of any size"))


def _own(axes: Sequence[Axis]) -> list[Any]:
    """Copies of the axes, so that each dimension has an object of its own."""
    return [Axis(axis.terms, axis.length) for axis in axes]
