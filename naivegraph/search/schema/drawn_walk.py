"""A walk through a schema with all sizes known, which can be written as a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from naivegraph.network import Graph
from naivegraph.search.schema.drawn_step import DrawnStep
from naivegraph.search.schema.feature_shape import KnownShape
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.write_graph import write_graph

if TYPE_CHECKING:
    from naivegraph.search.schema.schema import Schema

__all__ = ["Walk"]


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """A walk through a schema: its nodes in order, with all sizes.

    Attributes:
        schema: The schema.
        inputs: The shape of each input, by name.
        starts: The nodes that inputs go to, with their shapes.
        steps: The nodes, in order.
        nodes: The numbers of nodes that were asked for.
    """

    schema: Schema
    inputs: Mapping[str, KnownShape]
    starts: Sequence[tuple[SchemaNode, KnownShape]]
    steps: tuple[DrawnStep, ...]
    nodes: tuple[int, int]

    @property
    def genome(self) -> list[int]:
        """The indices, one per node: the same list gives the same walk again. It can be written as JSON."""
        return [step.index for step in self.steps]

    def graph(self, seed: int = 0) -> Graph:
        """The network, with fresh weights.

        Args:
            seed: The seed of the weights.

        Raises:
            SchemaError: A module of the user's gives another shape than it was said to.
        """
        return write_graph(self.inputs, self.steps, seed)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        lines = [f"{name}: {shape}" for name, shape in self.inputs.items()]
        names = list(self.inputs)
        for step in self.steps:
            sources = [s for each in step.sources.values() for s in each]
            told = ", ".join(names[-1 - s] if s < 0 else self.steps[s].name for s in sources)
            lines.append(f"{step.name}: {step.made} of {told}")
        return "\n".join(lines)
