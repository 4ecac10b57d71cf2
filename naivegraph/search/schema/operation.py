"""Base class of what a schema node does to its inputs, and what it sees of a walk and of a network."""

from __future__ import annotations

import abc
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.errors import SchemaError
from naivegraph.graph.build.nodes import Node, layer
from naivegraph.search.schema.feature_shape import FeatureShape, KnownShape
from naivegraph.search.schema.size_model import SchemaRule, SizeModel, SizeTerm

__all__ = ["LayerPlan", "NodeOperation", "RefusedStep", "SizePlan"]


class RefusedStep(SchemaError):
    """A step that a walk cannot take, whatever the sizes; `rule` says why."""

    def __init__(self, rule: SchemaRule) -> None:
        super().__init__(str(rule))
        self.rule = rule


@dataclasses.dataclass
class SizePlan:
    """The view that an operation has of the walk: it adds sizes and rows.

    Attributes:
        model: The sizes.
        node: The name of the schema node.
        name: The name of this use of it.
        variant: The variant drawn, one of the operation's `variants`.
        relaxed: Whether sizes that are products may be left open.
        numbers: Sizes to be known when the layer is made, by name.
        preferred: Sizes with the value they would rather have.
    """

    model: SizeModel
    node: str
    name: str
    variant: Any = None
    relaxed: bool = False
    numbers: dict[str, tuple[SizeTerm, ...]] = dataclasses.field(default_factory=dict)
    preferred: list[tuple[SizeTerm, int]] = dataclasses.field(default_factory=list)

    def rule(self, kind: str, text: str) -> SchemaRule:
        """A rule of this node."""
        return SchemaRule(self.node, kind, text)

    def channels(self) -> SizeTerm:
        """A new size for the channels that the operation gives."""
        return self.model.size(f"{self.name} channels")

    def refuse(self, text: str) -> RefusedStep:
        """The error to raise where the operation cannot take what it is given."""
        return RefusedStep(self.rule("operation", text))

    def divisible(self, rule: SchemaRule, term: SizeTerm, divisor: int) -> None:
        """Make a size a multiple of a number."""
        if divisor > 1:
            times = self.model.size(f"{self.name} {rule.kind}")
            self.model.row(rule, [(1, term), (-divisor, times)], 0, 0)


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """The view that an operation has of the network: all sizes are known.

    Attributes:
        given: The shape that comes in by each port.
        made: The shape that the operation gives.
        numbers: The sizes it asked for, by name.
        variant: The variant drawn.
    """

    given: dict[str, KnownShape]
    made: KnownShape
    numbers: dict[str, tuple[int, ...]]
    variant: Any = None

    @property
    def first(self) -> KnownShape:
        """The shape that comes in by the first port."""
        return next(iter(self.given.values()))


class NodeOperation(abc.ABC):
    """Base of operations: rows between sizes, and a layer once these are known.

    Attributes:
        ports: The ports it takes inputs by; one without a name by default.
    """

    ports: tuple[str, ...] = ("",)

    @property
    @abc.abstractmethod
    def word(self) -> str:
        """The word for it, which names the layer in the network."""

    def variants(self, draw: random.Random) -> Sequence[Any]:
        """The ways to carry it out in the order to try them; by default one."""
        return (None,)

    @abc.abstractmethod
    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """The shape it gives; rows between its sizes and those of the inputs go to `plan.model`.

        Args:
            given: The shape that comes in by each port.
            plan: What to add sizes and rows to.

        Raises:
            RefusedStep: It cannot take these inputs, whatever their sizes (`plan.refuse`).
        """

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer."""
        raise NotImplementedError(f"{type(self).__name__} has to define build or write")

    def write(self, plan: LayerPlan, inputs: Sequence[Node], name: str) -> Node:
        """Write the operation into a network: by default the layer of `build`, called on the inputs."""
        return layer(self.build(plan), *inputs, name=name)
