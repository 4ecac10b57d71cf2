"""Walks bred of earlier ones: drawn anew, with indices inherited."""

from __future__ import annotations

import random
from collections.abc import Sequence

from naivegraph.errors import SchemaError
from naivegraph.search.schema.drawn_step import DrawnStep
from naivegraph.search.schema.drawn_walk import Walk
from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.indices import Indices, SeedIndices
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.size_model import SizeModel

__all__ = ["breed"]

_ATTEMPTS = 20


class _InheritedIndices:
    """Indices of parents' nodes: of the same kind, of the most similar input, beyond the last taken."""

    def __init__(self, parents: Sequence[Walk], seed: str, switch: float, mutate: float) -> None:
        self._parents, self._switch, self._mutate = parents, switch, mutate
        self._draw = random.Random(seed)
        self._fresh: Indices = SeedIndices(f"fresh {seed}")
        self._parent = self._draw.randrange(len(parents))
        self._after = -1  # the step of the parent that was taken last
        self._known: list[int] = []

    def at(self, number: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int:
        """The index of a step: inherited, or with the probability `mutate` a fresh one."""
        while len(self._known) <= number:
            self._known.append(self._next(len(self._known), node, given, model))
        return self._known[number]

    def _next(self, number: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int:
        fresh = self._fresh.at(number, node, given, model)
        mutates, switches = self._draw.random() < self._mutate, self._draw.random() < self._switch
        if mutates:
            return fresh
        others = [each for each in range(len(self._parents)) if each != self._parent]
        self._draw.shuffle(others)
        if switches and others:
            self._parent, self._after = others[0], -1
            others = []
        for parent in (self._parent, *others):
            found = self._similar(parent, node, given, model)
            if found is not None:
                self._parent, self._after = parent, found
                return self._parents[parent].steps[found].index
        return fresh

    def _similar(self, parent: int, node: SchemaNode, given: FeatureShape, model: SizeModel) -> int | None:
        """The step of a parent at the same node with the nearest size, of equal ones the next."""
        after = self._after if parent == self._parent else -1
        steps = self._parents[parent].steps
        found = [i for i, step in enumerate(steps) if i > after and step.step.node is node]
        return min(found, key=lambda i: _distance(steps[i], given, model), default=None)


def _distance(step: DrawnStep, given: FeatureShape, model: SizeModel) -> float:
    """The distance of the spatial sizes that a step was given from open ones."""
    known = step.plan.first.spatial
    if len(known) != len(given.spatial):
        return float("inf")
    off = 0.0
    for size, term in zip(known, given.spatial, strict=True):
        low, high = model.interval(term)
        off += max(low - size, size - high, 0)
    return off


def breed(parents: Sequence[Walk], seed: int = 0, *, switch: float = 0.2, mutate: float = 0.1) -> Walk:
    """Draw a walk that inherits from others of the same schema.

    Each step takes the index of a step of one parent: the next one at the same node, of the most similar
    size. With one parent and `mutate=0` it is that parent again.

    Args:
        parents: Walks of one schema, for the same shape; the numbers of nodes asked for are the first's.
        seed: The seed of what is drawn.
        switch: The probability of going over to another parent, at each step.
        mutate: The probability of a fresh index, at each step.

    Raises:
        SchemaError: There are no parents, or of different schemas or shapes; or no walk was found.

    Example:
        >>> from naivegraph import search
        >>> s = search.Schema()
        >>> a, b = s.node("a", search.conv(3), channels=(4, 64)), s.node("b", search.flatten())
        >>> _ = a.then(a, weight=3).then(b)
        >>> one, two = (s.walk((3, 8, 8), seed=seed, nodes=(3, 9)) for seed in (0, 1))
        >>> child = search.breed([one, two], seed=2)
        >>> child.genome == s.walk((3, 8, 8), genome=child.genome, nodes=(3, 9)).genome
        True
    """
    parents = list(parents)
    if not parents or not all(isinstance(each, Walk) for each in parents):
        raise SchemaError(
            "breed takes walks, at least one: schema.walk(shape, genome=...) makes one of a genome"
        )
    first = parents[0]
    if any(each.schema is not first.schema or each.inputs != first.inputs for each in parents):
        raise SchemaError("parents are walks of one schema, for the same shape")
    for what, chance in (("switch", switch), ("mutate", mutate)):
        if not 0 <= chance <= 1:
            raise SchemaError(f"{what} is a probability from 0 to 1, not {chance!r}")
    schema, starts = first.schema, first.starts
    depths = schema.depths(starts, first.nodes)
    for number in range(_ATTEMPTS):
        indices = _InheritedIndices(parents, f"{seed} {number}", switch, mutate)
        walk = schema.attempt(first.inputs, starts, depths, first.nodes, indices)
        if isinstance(walk, Walk):
            return walk
    raise SchemaError(
        f"none of {_ATTEMPTS} walks that inherit from these parents led to a network; try another seed"
    )
