"""Linear layers of a schema, and changes of layout: maps to vectors, maps to tokens, means."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.graph.build.nodes import Node, call
from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.operation import LayerPlan, NodeOperation, SizePlan
from naivegraph.search.schema.size_model import SchemaRule, SizeTerm

__all__ = ["Dense", "Flatten", "MeanOverSpace", "ToTokens", "dense", "flatten", "mean", "to_tokens"]


@dataclasses.dataclass(frozen=True)
class Dense(NodeOperation):
    """A linear layer, of a vector or of each token.

    Attributes:
        bias: Whether it adds a bias.
    """

    bias: bool = True

    word = "dense"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """New features; the number of tokens as it comes."""
        (source,) = given.values()
        if source.spatial and not source.tokens:
            raise plan.refuse(
                f"{self.word} takes a vector or tokens, not {source.layout}: put search.flatten() or "
                "search.to_tokens() in front of it"
            )
        return FeatureShape(plan.channels(), source.spatial, source.tokens)

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        return nn.Linear(plan.first.channels, plan.made.channels, self.bias)


class _Product(NodeOperation):
    """An operation that multiplies spatial sizes, which are fixed before: products are no linear rows."""

    def variants(self, draw: random.Random) -> Sequence[Any]:
        """Places within the intervals at which open sizes are fixed."""
        return (draw.random(), 0.5, 0.0, 1.0)

    def area(self, source: FeatureShape, plan: SizePlan, rule: SchemaRule) -> int:
        """The product of the spatial sizes, each fixed within its interval where it is open."""
        sizes = []
        for d, term in enumerate(source.spatial):
            low, high = plan.model.interval(term)
            step = abs(term.factor) if term.index >= 0 else 1
            value = low + round(plan.variant * ((high - low) // step)) * step
            if low != high:
                plan.model.row(rule, [(1, term)], value, value, d)
            sizes.append(value)
        return math.prod(sizes)


@dataclasses.dataclass(frozen=True)
class Flatten(_Product):
    """Maps or tokens as a vector."""

    word = "flatten"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """The product of all sizes."""
        (source,) = given.values()
        if not source.spatial:
            raise plan.refuse(f"{self.word} takes maps or tokens, not {source.layout}")
        if plan.relaxed and not all(map(plan.model.fixed, source.spatial)):
            return FeatureShape(plan.model.size(f"{plan.name} features", upper=1 << 31), ())
        area = self.area(source, plan, plan.rule("operation", "flatten takes a map of known size"))
        return FeatureShape(source.channels.times(area), ())

    def write(self, plan: LayerPlan, inputs: Sequence[Node], name: str) -> Node:
        """The function of torch."""
        return call(torch.flatten, inputs[0], 1, name=name)


class _MapToTokens(nn.Module):
    """Layer that lays maps out as tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, ...) to (batch, pixels, channels)."""
        return x.flatten(2).transpose(1, 2)


@dataclasses.dataclass(frozen=True)
class ToTokens(_Product):
    """Maps as tokens, a token per pixel."""

    word = "to_tokens"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """As many tokens as pixels."""
        (source,) = given.values()
        if source.tokens or not source.spatial:
            raise plan.refuse(f"{self.word} takes maps, not {source.layout}")
        if plan.relaxed and not all(map(plan.model.fixed, source.spatial)):
            return FeatureShape(
                source.channels, (plan.model.size(f"{plan.name} length", upper=1 << 31),), True
            )
        area = self.area(source, plan, plan.rule("operation", "to_tokens takes a map of known size"))
        return FeatureShape(source.channels, (SizeTerm(-1, area),), True)

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer."""
        return _MapToTokens()


@dataclasses.dataclass(frozen=True)
class MeanOverSpace(NodeOperation):
    """The mean of all pixels or tokens: a vector."""

    word = "mean"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels as they come."""
        (source,) = given.values()
        if not source.spatial:
            raise plan.refuse(f"{self.word} takes maps or tokens, not {source.layout}")
        return FeatureShape(source.channels, ())

    def write(self, plan: LayerPlan, inputs: Sequence[Node], name: str) -> Node:
        """The function of torch."""
        first = plan.first
        dims = [1] if first.tokens else list(range(2, 2 + len(first.spatial)))
        return call(torch.mean, inputs[0], dims, name=name)


def dense(*, bias: bool = True) -> Dense:
    """A linear layer, of a vector or of each token."""
    return Dense(bias)


def flatten() -> Flatten:
    """Maps or tokens as a vector."""
    return Flatten()


def to_tokens() -> ToTokens:
    """Maps as tokens, a token per pixel, channels as features."""
    return ToTokens()


def mean() -> MeanOverSpace:
    """The mean of all pixels or tokens, a vector."""
    return MeanOverSpace()
