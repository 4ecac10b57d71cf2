"""The reason why a schema has no network: rules that conflict, the nearest change, the furthest walk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from naivegraph.errors import SchemaError
from naivegraph.search.schema.changed_schema import changed_schema
from naivegraph.search.schema.depth import WalkDepths
from naivegraph.search.schema.drawn_walk import Walk
from naivegraph.search.schema.feature_shape import KnownShape, ShapeWish
from naivegraph.search.schema.indices import SeedIndices
from naivegraph.search.schema.rule_conflicts import LeastChange, RuleChange, conflicts_of, least_change
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.size_model import SchemaRule, SizeModel
from naivegraph.search.schema.walk_frame import PartialWalk
from naivegraph.search.schema.walk_picture import walk_picture
from naivegraph.search.schema.walker import Walker

if TYPE_CHECKING:
    from naivegraph.search.schema.schema import Schema

__all__ = ["Asked", "SchemaExplanation", "explain_conflict"]

_TOPOLOGIES = 8
_MOST_LINES = 14


@dataclasses.dataclass(frozen=True, eq=False)
class SchemaExplanation:
    """Explanation of a schema for a shape: a network, or the reason why there is none.

    Attributes:
        schema: The schema.
        shape: The shape.
        nodes: The numbers of nodes asked for.
        walk: A walk, if there is one.
        rules: The rules that conflict; without any one of them the others can hold. Empty where the reason is
            not in sizes.
        others: Further conflicts, apart from the first.
        count: The number of rules among which they were found.
        changes: The nearest change: other numbers, as few and as near as can be. Empty where none helps.
        deepest: The furthest that a walk came.
        message: The reason in a sentence, where it is not in sizes.
        model: The sizes and rows among which the conflict was found.
    """

    schema: Schema
    shape: ShapeWish
    nodes: tuple[int, int]
    walk: Walk | None = None
    rules: tuple[SchemaRule, ...] = ()
    others: tuple[tuple[SchemaRule, ...], ...] = ()
    count: int = 0
    changes: tuple[RuleChange, ...] = ()
    deepest: PartialWalk | None = None
    message: str = ""
    model: SizeModel | None = None

    @property
    def feasible(self) -> bool:
        """True if there is a network."""
        return self.walk is not None

    def changed(self) -> tuple[Schema, ShapeWish]:
        """The schema and the shape with the nearest change, which have a network.

        Raises:
            SchemaError: No change is known.
        """
        if not self.changes:
            raise SchemaError("no change is known that would help")
        return changed_schema(self.schema, self.shape, self.changes)

    def svg(self) -> str:
        """A picture: the furthest walk, nodes of rules in conflict marked, and what was tried last."""
        return walk_picture(self)

    def _repr_svg_(self) -> str:
        return self.svg()

    def __str__(self) -> str:
        if self.walk is not None:
            return f"There is a network of {len(self.walk)} nodes:\n{self.walk}"
        lines = [
            f"No network was found for {_told(self.shape)} with {self.nodes[0]} to {self.nodes[1]} nodes."
        ]
        lines += [self.message] if self.message else []
        if self.rules:
            lines.append(f"{len(self.rules)} of {self.count} rules conflict; any one less would do:")
            lines += [f"  {rule}" for rule in self.rules]
        for other in self.others:
            lines += ["So do these:", *(f"  {rule}" for rule in other)]
        if self.changes:
            lines += ["The nearest change that has a network:", *(f"  {change}" for change in self.changes)]
        elif self.rules:
            lines.append("No change of numbers alone was found to help.")
        return "\n".join([*lines, *self._walked()])

    def _walked(self) -> list[str]:
        """The furthest walk in words."""
        if self.deepest is None:
            return []
        steps = self.deepest.steps
        lines = [f"The furthest walk came to {steps[-1][0]}, its node {len(steps)}:"]
        lines += ["  ..."] if len(steps) > _MOST_LINES else []
        lines += [f"  {name}: {shape}" for name, shape, _ in steps[-_MOST_LINES:]]
        lines += [f"  then tried {what}: {reason}" for what, reason in self.deepest.tried]
        return lines


def _told(shape: ShapeWish) -> str:
    return str(shape) if not isinstance(shape, tuple) else " x ".join(map(str, shape))


@dataclasses.dataclass(frozen=True)
class Asked:
    """All that was asked for.

    Attributes:
        schema: The schema.
        shape: The shape, as the user wrote it.
        seed: The seed.
        starts: The nodes that inputs go to, with their shapes.
        depths: Numbers of nodes that walks take.
        nodes: The numbers of nodes asked for.
    """

    schema: Schema
    shape: ShapeWish
    seed: int
    starts: Sequence[tuple[SchemaNode, KnownShape]]
    depths: WalkDepths
    nodes: tuple[int, int]


def explain_conflict(asked: Asked, deepest: PartialWalk) -> SchemaExplanation:
    """The conflict of the topology that is nearest to a network."""
    found = _nearest(asked, relaxed=True)
    if found is None or not found[1].amount:
        found = _nearest(asked, relaxed=False) or found
    base = SchemaExplanation(asked.schema, asked.shape, asked.nodes, deepest=deepest)
    if found is None:
        message = "No walk comes to an end, whatever the sizes: what was tried last is told below."
        return dataclasses.replace(base, message=message)
    walker, change = found
    sets = list(conflicts_of(walker.model))
    changes = _verified(asked, walker, change)
    message = "" if sets else "No rules were found to conflict: another seed may lead to a network."
    count = len({row.owner for row in walker.model.rows})
    rules = sets[0] if sets else ()
    return dataclasses.replace(
        base,
        rules=rules,
        others=tuple(sets[1:]),
        count=count,
        changes=changes,
        message=message,
        model=walker.model,
    )


def _nearest(asked: Asked, relaxed: bool) -> tuple[Walker, LeastChange] | None:
    """Of some topologies drawn without regard to sizes, the one that needs the least change."""
    best: tuple[Walker, LeastChange] | None = None
    seen: set[tuple[str, ...]] = set()
    for number in range(_TOPOLOGIES):
        indices = SeedIndices(f"{asked.seed} {number}")
        walker = Walker(
            asked.starts, asked.depths, asked.nodes, indices, blind=True, relaxed=relaxed, adjustable=True
        )
        if not walker.run():
            continue
        names = tuple(f"{step.name} {step.all_sources}" for step in walker.steps)
        if names in seen:
            continue
        seen.add(names)
        change = least_change(walker.model)
        if change is None:
            change = LeastChange(float("inf"), ())
        if best is None or change.amount < best[1].amount:
            best = (walker, change)
    return best


def _verified(asked: Asked, walker: Walker, change: LeastChange) -> tuple[RuleChange, ...]:
    """The changes with which there is a network, to exact numbers if that will do; none otherwise."""
    genome = [step.index for step in walker.steps]
    for changes in (tuple(each.narrowed() for each in change.changes), change.changes):
        if changes:
            schema, shape = changed_schema(asked.schema, asked.shape, changes)
            try:
                schema.walk(shape, genome=genome, nodes=asked.nodes)
            except SchemaError:
                continue
            return changes
    return ()
