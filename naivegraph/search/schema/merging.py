"""Merges of several inputs of a schema node: sums, products, concatenations."""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence

import torch

from naivegraph.errors import SchemaError, nearest
from naivegraph.graph.build.nodes import Node, call, concat
from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.operation import RefusedStep, SizePlan

__all__ = ["MERGES", "Merge", "merge_of"]


class Merge(abc.ABC):
    """A way to make one tensor of several.

    Attributes:
        word: The word for it.
    """

    word: str

    def join(self, first: FeatureShape, other: FeatureShape, plan: SizePlan) -> None:
        """Add the rows between two of the inputs.

        Raises:
            RefusedStep: They are laid out differently.
        """
        rule = plan.rule("merge", f"{self.word} takes inputs of equal {self.equal}")
        if first.tokens != other.tokens or len(first.spatial) != len(other.spatial):
            text = f"{self.word} takes inputs of one layout, not {first.layout} and {other.layout}"
            raise RefusedStep(plan.rule("merge", text))
        for d, (one, two) in enumerate(zip(first.spatial, other.spatial, strict=True)):
            plan.model.equal(rule, one, two, d)
        self.channels(first, other, plan)

    equal = "shapes"

    def channels(self, first: FeatureShape, other: FeatureShape, plan: SizePlan) -> None:
        """Add the rows between the channels of two of the inputs; by default they are equal."""
        rule = plan.rule("merge", f"{self.word} takes inputs of equal {self.equal}")
        plan.model.equal(rule, first.channels, other.channels, -1)

    def merged(self, shapes: Sequence[FeatureShape], plan: SizePlan) -> FeatureShape:
        """The shape of the result; by default that of the first."""
        return shapes[0]

    @abc.abstractmethod
    def write(self, nodes: Sequence[Node], tokens: bool, name: str) -> Node:
        """Write it into a network."""


class _Chain(Merge):
    """A function of two tensors, carried out one after the other."""

    def __init__(self, word: str, function: object) -> None:
        self.word, self._function = word, function

    def write(self, nodes: Sequence[Node], tokens: bool, name: str) -> Node:
        """A call for each input after the first."""
        last = len(nodes) - 1

        def step(left: Node, numbered: tuple[int, Node]) -> Node:
            """Return the call that takes one more input."""
            number, right = numbered
            title = name if number == last else f"{name}_{number}"
            return call(self._function, left, right, name=title)  # type: ignore[arg-type]

        return functools.reduce(step, enumerate(nodes[1:], 1), nodes[0])


class _Product(_Chain):
    """Products, for which maps of one pixel count for all pixels."""

    def join(self, first: FeatureShape, other: FeatureShape, plan: SizePlan) -> None:
        """As for sums, where neither input is a single pixel."""
        if len(first.spatial) == len(other.spatial) and (_pixel(first, plan) or _pixel(other, plan)):
            self.channels(first, other, plan)
        else:
            super().join(first, other, plan)

    def merged(self, shapes: Sequence[FeatureShape], plan: SizePlan) -> FeatureShape:
        """The shape of the first input that is more than a pixel."""
        return next((shape for shape in shapes if not _pixel(shape, plan)), shapes[0])


def _pixel(shape: FeatureShape, plan: SizePlan) -> bool:
    return bool(shape.spatial) and all(plan.model.interval(term) == (1, 1) for term in shape.spatial)


class _Concatenation(Merge):
    """Channels of all inputs, one after the other."""

    word = "concat"
    equal = "spatial sizes"

    def channels(self, first: FeatureShape, other: FeatureShape, plan: SizePlan) -> None:
        """Any channels go with any."""

    def merged(self, shapes: Sequence[FeatureShape], plan: SizePlan) -> FeatureShape:
        """The sum of all channels."""
        if len(shapes) == 1:
            return shapes[0]
        total = plan.model.size(f"{plan.name} channels together", upper=1 << 31)
        terms = [(1, shape.channels) for shape in shapes]
        rule = plan.rule("merge", "concat adds channels up")
        plan.model.row(rule, [*terms, (-1, total)], 0, 0, -1)
        return FeatureShape(total, shapes[0].spatial, shapes[0].tokens)

    def write(self, nodes: Sequence[Node], tokens: bool, name: str) -> Node:
        """One concatenation."""
        return concat(*nodes, dim=-1 if tokens else 1, name=name)


MERGES: dict[str, Merge] = {
    merge.word: merge
    for merge in (
        _Chain("add", torch.add),
        _Chain("sub", torch.sub),
        _Chain("max", torch.maximum),
        _Chain("min", torch.minimum),
        _Product("mul", torch.mul),
        _Concatenation(),
    )
}


def merge_of(merge: str | Merge | None, node: str) -> Merge | None:
    """A merge by its word, or one of the user's own.

    Raises:
        SchemaError: There is none of that name.
    """
    if merge is None or isinstance(merge, Merge):
        return merge
    if merge not in MERGES:
        known = ", ".join(MERGES)
        raise SchemaError(
            f"{node}: there is no merge {merge!r}{nearest(str(merge), MERGES)} (there are {known})"
        )
    return MERGES[merge]
