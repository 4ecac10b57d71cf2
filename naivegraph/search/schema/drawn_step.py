"""Steps of a walk whose sizes were decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from naivegraph.search.schema.feature_shape import FeatureShape, KnownShape
from naivegraph.search.schema.operation import LayerPlan
from naivegraph.search.schema.size_model import SizeTerm
from naivegraph.search.schema.walk_steps import WalkStep

__all__ = ["DrawnStep", "drawn_steps"]


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnStep:
    """One node of a walk, with its sizes.

    Attributes:
        name: Its name in the network.
        node: The name of the schema node.
        sources: The steps that each port takes inputs from; -1, -2... for inputs of the network.
        made: The shape it gives.
        index: The number that decided what was drawn here.
        plan: What its operation is made of.
        end: Whether it is an output.
        step: The step with open sizes.
    """

    name: str
    node: str
    sources: dict[str, tuple[int, ...]]
    made: KnownShape
    index: int
    plan: LayerPlan
    end: bool
    step: WalkStep

    def __repr__(self) -> str:
        return f"{self.name}: {self.made}"


def drawn_steps(steps: Sequence[WalkStep], values: Sequence[int]) -> tuple[DrawnStep, ...]:
    """Steps with the sizes that were decided."""

    def number(term: SizeTerm) -> int:
        """Return the value of a size."""
        return term.factor if term.index < 0 else term.factor * values[term.index]

    def shape(open_: FeatureShape) -> KnownShape:
        """Return a shape with the values of its sizes."""
        return KnownShape(number(open_.channels), tuple(map(number, open_.spatial)), open_.tokens)

    made = []
    for step in steps:
        plan = LayerPlan(
            {port: shape(given) for port, given in step.given.items()},
            shape(step.operated),
            {name: tuple(map(number, terms)) for name, terms in step.numbers.items()},
            step.variant,
        )
        sources = {port: tuple(found) for port, found in step.sources.items()}
        made.append(
            DrawnStep(step.name, step.node.name, sources, shape(step.made), step.index, plan, step.end, step)
        )
    return tuple(made)
