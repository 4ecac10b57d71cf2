"""Mutations of the recipe: numbers and words that the training looks up in `module.recipe`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from naivegraph.errors import EditError
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.mutation import Mutation

__all__ = ["batch_size", "choice", "learning_rate"]


class _Scaled(Mutation):
    """A number of the recipe times a random factor, within bounds."""

    keeps_function = True
    name = ""
    whole = False

    def __init__(self, low: float, high: float, factor: float = 2.0, start: float | None = None) -> None:
        if not 0 < low <= high or factor <= 1:
            raise EditError(f"{self.name}: give 0 < low <= high and a factor above 1")
        self.low, self.high, self.factor = low, high, factor
        self.start = math.sqrt(low * high) if start is None else start

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        now = genome.recipe.get(self.name, self.start)
        value = now * self.factor ** rng.uniform(-1, 1)
        value = min(max(value, self.low), self.high)
        genome.recipe[self.name] = round(value) if self.whole else value
        return f"{self.name} {genome.recipe[self.name]:.3g}"


class learning_rate(_Scaled):
    """Another learning rate: the present one times a random factor, within bounds.

    Args:
        low: The smallest.
        high: The largest.
        factor: The largest factor.
        start: The first one; by default the geometric mean of the bounds.
    """

    name = "learning_rate"


class batch_size(_Scaled):
    """Another batch size: the present one times a random factor, within bounds, a whole number.

    Args:
        low: The smallest.
        high: The largest.
        factor: The largest factor.
        start: The first one; by default the geometric mean of the bounds.
    """

    name = "batch_size"
    whole = True


class choice(Mutation):
    """Another of some values in the recipe, such as the name of an optimizer.

    Args:
        name: The name of the entry.
        values: What to choose from, as JSON has it.

    Example:
        >>> choice("optimizer", ["SGD", "Adam"]).name
        'optimizer'
    """

    keeps_function = True

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        if len(values) < 2:
            raise EditError(f"{name}: give at least two values")
        self.name, self.values = name, list(values)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        value = rng.choice([value for value in self.values if value != genome.recipe.get(self.name)])
        genome.recipe[self.name] = value
        return f"{self.name} {value}"
