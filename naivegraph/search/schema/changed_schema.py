"""A schema with other numbers in some of its rules."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from naivegraph.errors import SchemaError
from naivegraph.search.schema.convolutions import ConvTransposeOperation, PaddedWindow
from naivegraph.search.schema.feature_shape import ShapeWish, SizeBounds, TokenShape
from naivegraph.search.schema.rule_conflicts import RuleChange
from naivegraph.search.schema.schema_node import SchemaNode

if TYPE_CHECKING:
    from naivegraph.search.schema.schema import Schema

__all__ = ["changed_schema"]


def changed_schema(
    schema: Schema, shape: ShapeWish, changes: Sequence[RuleChange]
) -> tuple[Schema, ShapeWish]:
    """A copy of a schema, and a shape, with these changes."""
    made = copy.deepcopy(schema)
    for change in changes:
        if change.rule.kind == "input":
            shape = _changed_shape(shape, change.bounds)
        else:
            for node in _named(made, change.rule.node):
                _change(node, change)
    return made, shape


def _named(schema: Schema, name: str) -> list[SchemaNode]:
    """The nodes of this name, in the schema and those within."""
    schemas = [schema, *dict.fromkeys(schema.within())]
    return [node for each in schemas for node in each.nodes if node.name == name]


def _change(node: SchemaNode, change: RuleChange) -> None:
    """Carry out one change of a node."""
    bounds = change.bounds
    if change.rule.kind == "channels":
        node.channels = bounds[-1]
    elif change.rule.kind == "multiple":
        node.multiple = 1
    elif change.rule.kind == "spatial":
        node.spatial = _replaced(node.spatial, bounds)
    elif isinstance(node.operation, PaddedWindow):
        node.operation = _padded(node.operation, change.rule.kind, bounds)


def _padded(operation: PaddedWindow, kind: str, bounds: Mapping[int, SizeBounds]) -> PaddedWindow:
    """The operation with another padding, or output padding."""
    if kind == "padding":
        return dataclasses.replace(operation, padding=_replaced(operation.padding, bounds))
    if not isinstance(operation, ConvTransposeOperation):
        raise SchemaError(f"{type(operation).__name__} has no output padding to change")
    return dataclasses.replace(operation, output_padding=_replaced(operation.output_padding, bounds))


def _replaced(
    old: tuple[SizeBounds | None, ...], new: Mapping[int, SizeBounds]
) -> tuple[SizeBounds | None, ...]:
    """Bounds per dimension, some of them new; one for all dimensions takes in each new one."""
    if len(old) > 1:
        return tuple(new.get(part, bound) for part, bound in enumerate(old))
    lows, highs = [each.lower for each in new.values()], [each.upper for each in new.values()]
    low = None if None in lows else min(each for each in lows if each is not None)
    high = None if None in highs else max(each for each in highs if each is not None)
    return (SizeBounds(low, high),)


def _changed_shape(shape: ShapeWish, bounds: Mapping[int, SizeBounds]) -> ShapeWish:
    """The shape with other spatial sizes; inputs follow each other in steps of 8 dimensions."""
    if isinstance(shape, Mapping):
        made = {}
        for number, (name, wish) in enumerate(shape.items()):
            own = {part - 8 * number: bound for part, bound in bounds.items() if part // 8 == number}
            changed = _changed_shape(wish, own)
            if isinstance(changed, Mapping):
                raise SchemaError(f"the shape of the input {name!r} is one of several inputs: {wish!r}")
            made[name] = changed
        return made
    if isinstance(shape, TokenShape):
        length = bounds[0].lower if 0 in bounds else shape.length
        return TokenShape(length or shape.length, shape.features)
    sizes = list(shape)
    for part, bound in bounds.items():
        sizes[part + 1] = bound.lower or sizes[part + 1]
    return tuple(sizes)
