"""Steps of a walk through a schema: what waits, what was done, and the sizes and rows each step adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.operation import NodeOperation, RefusedStep, SizePlan
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.size_model import SchemaRule, SizeModel, SizeTerm

__all__ = ["Arrival", "SubWalk", "WaitingNode", "WalkStep", "bound_sizes", "pose_step"]


@dataclasses.dataclass(frozen=True, eq=False)
class SubWalk:
    """A walk within a node whose operation is a schema.

    Attributes:
        outer: The node.
        parent: The walk it is a part of; None for the outermost.
        name: The name of this use of the node.
    """

    outer: SchemaNode
    parent: SubWalk | None
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Arrival:
    """An input that a waiting node has.

    Attributes:
        port: The port it comes by.
        source: The step it comes from; -1, -2... for the inputs of the network.
        shape: Its shape.
        by: The schema node that sent it; None for an input of the network.
    """

    port: str
    source: int
    shape: FeatureShape
    by: SchemaNode | None


@dataclasses.dataclass(frozen=True, eq=False)
class WaitingNode:
    """A use of a node that waits for its turn, and perhaps for further inputs.

    Attributes:
        node: The node.
        scope: The walk within a node that it is a part of.
        priority: Its turn, after the turns of the nodes around it.
        created: The step that made it.
        place: Its place among those of that step.
        arrivals: The inputs it has.
    """

    node: SchemaNode
    scope: SubWalk | None
    priority: tuple[int, ...]
    created: int
    place: int
    arrivals: tuple[Arrival, ...]

    @property
    def missing(self) -> list[str]:
        """The ports that have too few inputs."""
        counts = dict.fromkeys(self.node.ports, 0)
        for arrival in self.arrivals:
            counts[arrival.port] += 1
        return [port for port, count in counts.items() if count < self.node.inputs]

    @property
    def turn(self) -> tuple[tuple[int, ...], int, int]:
        """The key to sort by: the least comes first."""
        return self.priority, -self.created, self.place


@dataclasses.dataclass(eq=False)
class WalkStep:
    """One node of a walk.

    Attributes:
        name: Its name in the network.
        node: The schema node.
        scope: The walk within a node that it is a part of.
        index: The number that decided what was drawn here.
        variant: The variant of its operation.
        sources: The steps that each port takes inputs from; -1, -2... for inputs of the network.
        arrived: Their shapes.
        given: The shape of each port, merged.
        operated: The shape that the operation gives.
        made: The shape that the node gives.
        numbers: Sizes that the operation needs, by name.
        preferred: Sizes with the value they would rather have.
        free: Whether its operation has channels of its own.
        growing: The nodes whose growth it follows.
        end: Whether it is an output.
    """

    name: str
    node: SchemaNode
    scope: SubWalk | None
    index: int
    variant: Any
    sources: dict[str, list[int]]
    arrived: dict[str, list[FeatureShape]]
    given: dict[str, FeatureShape]
    operated: FeatureShape
    made: FeatureShape
    numbers: dict[str, tuple[SizeTerm, ...]]
    preferred: list[tuple[SizeTerm, int]]
    free: bool
    growing: SchemaNode
    end: bool = False

    @property
    def all_sources(self) -> list[int]:
        """The sources of all ports, in order."""
        return [source for sources in self.sources.values() for source in sources]


def pose_step(
    model: SizeModel, waiting: WaitingNode, name: str, index: int, variant: Any, relaxed: bool
) -> WalkStep:
    """Add the sizes and rows of a node whose turn has come.

    Raises:
        RefusedStep: It cannot take these inputs, whatever their sizes.
    """
    node = waiting.node
    plan = SizePlan(model, node.name, name, variant, relaxed)
    by_port = {port: [a for a in waiting.arrivals if a.port == port] for port in node.ports}
    arrived = {port: [a.shape for a in arrivals] for port, arrivals in by_port.items()}
    given = {port: _merged(node, shapes, plan) for port, shapes in arrived.items()}
    before = len(model.names)
    operated = next(iter(given.values()))
    if isinstance(node.operation, NodeOperation):
        operated = node.operation.sizes(given, plan)
    elif len(given) > 1:
        raise plan.refuse(f"without an operation nothing takes its ports {', '.join(given)}")
    made = _after(node, operated, plan)
    bound_sizes(model, node, made, name)
    sources = {port: [a.source for a in arrivals] for port, arrivals in by_port.items()}
    return WalkStep(
        name=name,
        node=node,
        scope=waiting.scope,
        index=index,
        variant=variant,
        sources=sources,
        arrived=arrived,
        given=given,
        operated=operated,
        made=made,
        numbers=plan.numbers,
        preferred=plan.preferred,
        free=operated.channels.index >= before and operated.channels.factor == 1,
        growing=node,
    )


def _merged(node: SchemaNode, shapes: Sequence[FeatureShape], plan: SizePlan) -> FeatureShape:
    return shapes[0] if node.merge is None or len(shapes) == 1 else node.merge.merged(shapes, plan)


def _after(node: SchemaNode, operated: FeatureShape, plan: SizePlan) -> FeatureShape:
    """The shape after norm and activation."""
    model = plan.model
    if node.norm is not None and node.norm.divisor > 1:
        rule = plan.rule("norm", f"{node.norm.word} groups divide the channels")
        plan.divisible(rule, operated.channels, node.norm.divisor)
    if node.activation is None or not node.activation.gated:
        return operated
    half = model.size(f"{plan.name} channels gated")
    rule = plan.rule("activation", f"{node.activation.word} halves the channels")
    model.row(rule, [(1, operated.channels), (-2, half)], 0, 0, -1)
    return FeatureShape(half, operated.spatial, operated.tokens)


def bound_sizes(model: SizeModel, node: SchemaNode, made: FeatureShape, name: str) -> None:
    """Add the bounds that a node states of what it gives.

    Raises:
        RefusedStep: They are for another number of dimensions.
    """
    if node.channels is not None:
        rule = SchemaRule(node.name, "channels", f"channels {node.channels}")
        model.row(rule, [(1, made.channels)], node.channels.lower, node.channels.upper, -1)
    if node.multiple > 1:
        rule = SchemaRule(node.name, "multiple", f"channels a multiple of {node.multiple}")
        times = model.size(f"{name} multiple")
        model.row(rule, [(1, made.channels), (-node.multiple, times)], 0, 0, -1)
    bounds = node.spatial if len(node.spatial) != 1 else node.spatial * len(made.spatial)
    if len(bounds) != len(made.spatial):
        text = f"it bounds {len(bounds)} spatial sizes, but is given {made.layout}"
        raise RefusedStep(SchemaRule(node.name, "spatial", text))
    for d, (bound, term) in enumerate(zip(bounds, made.spatial, strict=True)):
        if bound is not None:
            where = "" if len(set(bounds)) == 1 else f" {d}"
            rule = SchemaRule(node.name, "spatial", f"spatial size{where} {bound}")
            model.row(rule, [(1, term)], bound.lower, bound.upper, d)
