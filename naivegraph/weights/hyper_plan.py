"""Sizes of hypernetworks: which weights share a generator, and how wide it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from naivegraph.errors import EditError

__all__ = ["INNER_SHARE", "GeneratorPlan", "Reading", "generator_plans"]

_Shape = tuple[int, ...]
_NESTED = 3  # the share of an embedding's numbers that one has in the hypernetwork within
INNER_SHARE = 0.8  # the share of a generator's weights that a hypernetwork within may have as parameters


@dataclasses.dataclass(frozen=True)
class Reading:
    """The sizes of what generators read of each example.

    Attributes:
        features: The numbers that each weight's layer is given, by the weight's name.
        code: The numbers that these are reduced to.
    """

    features: Mapping[str, int]
    code: int


@dataclasses.dataclass(frozen=True)
class GeneratorPlan:
    """The weights that one generator makes, out of blocks of one shape.

    Attributes:
        shapes: The shapes of the weights, by name.
        block: The shape of a block.
        z: The numbers of an embedding.
        hidden: The hidden units of the generator.
        inner: The numbers of an embedding of the hypernetwork that makes the generator's own weights, or 0.
    """

    shapes: Mapping[str, _Shape]
    block: _Shape
    z: int
    hidden: int
    inner: int = 0

    def counts(self, name: str) -> tuple[int, int]:
        """The number of blocks that lie along the first two axes of a weight."""
        shape = self.shapes[name]
        return shape[0] // self.block[0], shape[1] // self.block[1]

    @property
    def blocks(self) -> int:
        """The number of blocks of all weights."""
        return sum(math.prod(self.counts(name)) for name in self.shapes)

    @property
    def row(self) -> int:
        """The numbers of a block's row."""
        return math.prod(self.block[1:])

    def parameters(self) -> float:
        """The number of parameters; infinite if there is none of these sizes."""
        embeddings = (self.blocks + self.block[0]) * self.z
        first, last = self.z * self.hidden, self.hidden * self.row
        if not self.inner:
            return embeddings + first + self.hidden + last
        try:
            shapes = {"first": (self.hidden, self.z), "last": (self.row, self.hidden)}
            inner = generator_plans(shapes, self.inner, "static", INNER_SHARE)
        except EditError:
            return math.inf
        return embeddings + self.hidden + sum(plan.parameters() for plan in inner)


def generator_plans(
    shapes: Mapping[str, _Shape], z: int, kind: str, share: float, reading: Reading | None = None
) -> list[GeneratorPlan]:
    """Plan the generators of weights.

    A weight whose first two axes are multiples of another's, with the other axes alike, is made of blocks of
    that one's shape, as the kernels of Ha, Dai and Le are of basic kernels (2016, section 3.1).

    Args:
        shapes: The shapes of the weights, by name.
        z: The numbers of an embedding.
        kind: "static", "dual" or "nested".
        share: The most parameters, as a share of the weights.
        reading: What they read of each example, if they do.

    Raises:
        EditError: The share is too small for embeddings of so many numbers.

    Example:
        >>> plans = generator_plans({"a": (16, 16, 3, 3), "b": (32, 16, 3, 3)}, 8, "static", 0.5)
        >>> [(plan.block, plan.blocks, plan.parameters() <= 0.5 * 6912) for plan in plans]
        [((16, 16, 3, 3), 3, True)]
    """
    inner = max(2, z // _NESTED) if kind == "nested" else 0
    plans = []
    for block, names in _groups(shapes).items():
        some = {name: shapes[name] for name in names}
        weights = sum(map(math.prod, some.values()))
        reads = 0
        if reading is not None:
            reads = sum((reading.features[name] + 1) * reading.code for name in some) + reading.code * z
        room = share * weights - reads
        plan = _widest(GeneratorPlan(some, block, z, 1, inner), room)
        if plan is None:
            needed = int(GeneratorPlan(some, block, z, 1).parameters()) + reads
            raise EditError(
                f"embeddings of z={z} numbers leave no room for a generator of {_listed(names)}: that takes "
                f"more than {needed:,} parameters, where a share of {share:g} of the {weights:,} weights is "
                f"{int(share * weights):,}: take a smaller z, a larger share, or more layers of one shape"
            )
        plans.append(plan)
    return plans


def _groups(shapes: Mapping[str, _Shape]) -> dict[_Shape, list[str]]:
    """The names of weights by the shape of the blocks that they are made of."""
    groups: dict[_Shape, list[str]] = {}
    for name, shape in sorted(shapes.items(), key=lambda item: math.prod(item[1])):
        fitting = [
            block
            for block in groups
            if block[2:] == shape[2:] and not shape[0] % block[0] and not shape[1] % block[1]
        ]
        groups.setdefault(fitting[-1] if fitting else shape, []).append(name)
    return groups


def _widest(plan: GeneratorPlan, room: float) -> GeneratorPlan | None:
    """The plan with as many hidden units as there is room for, or None if not even one fits."""

    def narrow(hidden: int) -> bool:
        """Tell whether more units would fit; a generator of few has no hypernetwork that makes it smaller."""
        count = dataclasses.replace(plan, hidden=hidden).parameters()
        return count <= room or (math.isinf(count) and hidden < room)

    low, high = 0, 1
    while narrow(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if narrow(middle) else (low, middle)
    found = dataclasses.replace(plan, hidden=low)
    return found if low and found.parameters() <= room else None


def _listed(names: Sequence[str]) -> str:
    """Names, the first three of many."""
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
