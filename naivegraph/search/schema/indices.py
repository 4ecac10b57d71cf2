"""Indices: the number at each step of a walk that decides all that is drawn there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.size_model import SizeModel

__all__ = ["GenomeIndices", "Indices", "SeedIndices"]

_BITS = 48  # JSON numbers are exact up to 53


class Indices(Protocol):
    """Source of the index of each step; asked again for a step, it gives the same."""

    def at(self, number: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int:
        """The index of a step.

        Args:
            number: The number of the step.
            node: The schema node whose turn it is.
            given: The shape of its first input.
            model: The sizes, in which that shape is.
        """
        ...


class SeedIndices:
    """Indices that follow from a seed.

    Args:
        seed: The seed.
    """

    def __init__(self, seed: int | str) -> None:
        self._draw = random.Random(str(seed))
        self._known: list[int] = []

    def at(self, number: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int:
        """The index of a step; that of a later one does not depend on what came before."""
        while len(self._known) <= number:
            self._known.append(self._draw.getrandbits(_BITS))
        return self._known[number]


class GenomeIndices:
    """Indices of an earlier walk; steps beyond them follow from the last.

    Args:
        genome: The indices.
    """

    def __init__(self, genome: Sequence[int]) -> None:
        self._genome = list(genome)
        self._beyond = SeedIndices(f"beyond {self._genome[-1:]}")

    def at(self, number: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int:
        """The index of a step."""
        if number < len(self._genome):
            return self._genome[number]
        return self._beyond.at(number, node, given, model)
