"""The record of an operator: all facts about it in one place."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from naivegraph.errors import NaivegraphError
from naivegraph.operators.movement import Arguments, Movement
from naivegraph.operators.relation import Rule
from naivegraph.operators.scaling import Degrees, Norm, Reduction
from naivegraph.operators.shapes import ShapeRule
from naivegraph.operators.sources import Sources
from naivegraph.operators.zeros import Zeros

__all__ = ["CHANNELS", "FEATURES", "Neurons", "Operator", "Role"]


class Role(enum.Enum):
    """Role of an operator in edits that rewire or rebuild it."""

    SUM = "the sum of two tensors"
    CONCATENATION = "tensors one after the other"
    CONVOLUTION = "a kernel that slides over its input"


@dataclasses.dataclass(frozen=True, slots=True)
class Neurons:
    """The dimension of the neurons of a layer's operator, in its operands and results.

    Attributes:
        dim: The dimension.
        taken: The number of first operands with their neurons there too (a bias may come before the input).
    """

    dim: int
    taken: int = 1

    def in_rank(self, rank: int) -> int | None:
        """The dimension, counted from the front, of a tensor of this rank; None if it has none such."""
        return self.dim % rank if -rank <= self.dim < rank else None


CHANNELS, FEATURES = Neurons(1), Neurons(-1)


_KINDS: tuple[tuple[str, type], ...] = (
    ("zeros", Zeros), ("movement", Movement), ("neurons", Neurons), ("role", Role), ("norm", Norm),
    ("reduction", Reduction),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """The facts about an operator, and its variant in place.

    Only `axes` is required. Where another fact is missing, nothing is assumed: results do not vanish, no
    weight is traced through the operator, shapes are tried out. `OperatorContract` checks a record against
    the operator itself.

    Attributes:
        axes: The rule `axes(relation, operation, arguments by name)`: it unifies equal axes, sets those of
            results, notes neurons that enter a statistic, and adds multiply-accumulates.
        zeros: The rule for results that are zero where operands are.
        movement: The way it moves elements, if it does nothing else.
        sources: The operands in which it is linear.
        shapes: Rules for the shapes of results, by name of the overload.
        neurons: The dimension of the neurons of a layer that is this operator.
        role: Its role in edits that rewire or rebuild it.
        updates: The names of arguments that it writes into, though its schema does not say so.
        additive: Whether it adds up element by element, or over other dimensions, and does the same for all
            neurons: then the mean of some neurons becomes the mean of theirs. Movements always do.
        degrees: The degrees in which results scale with positive factors of arguments.
        norm: The kind of normalisation, with arguments `input`, `weight`, `bias` and `eps`.
        reduction: The way in which a reduction over `dim` changes with the number of neurons.

    Raises:
        NaivegraphError: `axes` is no function, or another fact is of the wrong type.

    Example:
        >>> from naivegraph.operators.pointwise import pointwise
        >>> from naivegraph.operators.zeros import KEPT
        >>> Operator(pointwise, zeros=KEPT).movement is None  # say, of x -> 2*x, of each element by itself
        True
    """

    axes: Rule
    zeros: Zeros | None = None
    movement: Movement | None = None
    sources: Sources | None = None
    shapes: Mapping[str, ShapeRule] = dataclasses.field(default_factory=dict)
    neurons: Neurons | None = None
    role: Role | None = None
    updates: Callable[[Arguments], tuple[str, ...]] | None = None
    additive: bool = False
    degrees: Degrees | None = None
    norm: Norm | None = None
    reduction: Reduction | None = None

    def __post_init__(self) -> None:
        if not callable(self.axes):
            raise NaivegraphError(
                f"axes={self.axes!r} is no rule: give `pointwise` for an operator that treats every element "
                "by itself, or a function `axes(relation, operation, arguments)` that calls `relation.set` "
                "for every result"
            )
        for name, kind in _KINDS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise NaivegraphError(f"{name}={value!r} of an Operator is a {kind.__name__} or None")
