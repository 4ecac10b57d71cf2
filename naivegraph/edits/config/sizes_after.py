"""Lengths of axes once a change is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from naivegraph.algebra.axis import Axis
from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.index_formula import formula_length, formula_of
from naivegraph.ir.values import Stub
from naivegraph.widths import Widths

__all__ = ["SizesAfter", "Told"]


@dataclasses.dataclass
class Told:
    """The fate of sizes that a network tells of itself.

    Attributes:
        attributes: Those that follow.
        notes: Sentences on those that do not.
    """

    attributes: list[AttributeChange] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


class SizesAfter:
    """The lengths of axes once a change is made.

    Attributes:
        change: The change.
        widths: The widths it is a change of.

    Args:
        change: The change.
        widths: The widths.
    """

    def __init__(self, change: Change, widths: Widths) -> None:
        self.change, self.widths = change, widths
        keys = {width.name: key for key, width in change.widths.items()}
        self._keys = {width.atom: keys[width.name] for width in widths if width.name in keys}
        self._sizes = {key: width.after for key, width in change.widths.items()}

    def of(self, axis: Axis) -> int:
        """The length of a resolved axis afterwards."""
        return formula_length(formula_of(axis, self._keys), self._sizes)

    def common_axis(self, stubs: Sequence[Stub], size: int) -> Axis | None:
        """The axis of so many neurons that some tensors have; None if there is none, or not one alone."""
        found = dict.fromkeys(
            axis
            for stub in stubs
            if stub.shape
            for axis in [self.widths.neuron_axis(stub)]
            if axis.length == size
        )
        return next(iter(found)) if len(found) == 1 else None
