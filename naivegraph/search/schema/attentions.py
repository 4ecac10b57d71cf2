"""AttentionOperation of a schema, over tokens or over the pixels of maps, to itself or to another input."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from naivegraph.graph.build.nodes import Node, layer
from naivegraph.search.schema.convolutions import exact_ints
from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.operation import LayerPlan, NodeOperation, SizePlan

__all__ = ["AttentionOperation", "PixelAttention", "attention", "cross_attention"]


class PixelAttention(nn.Module):
    """Layer of attention in which the pixels of maps are tokens.

    Args:
        attention: The attention, batch first.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, ...) and a memory of maps or tokens to (batch, channels, ...).

        A memory of three dimensions is (batch, length, features).
        """
        words = query.flatten(2).transpose(1, 2) if query.dim() > 3 else query
        keys = memory.flatten(2).transpose(1, 2) if memory.dim() > 3 else memory
        found: torch.Tensor = self.attention(words, keys, keys, need_weights=False)[0]
        return found.transpose(1, 2).reshape(query.shape) if query.dim() > 3 else found


@dataclasses.dataclass(frozen=True)
class AttentionOperation(NodeOperation):
    """AttentionOperation with several heads.

    Attributes:
        heads: Their number.
        ports: The query and the memory, or one port for both.
        dropout: The probability with which a weight is left out in training.
        bias: Whether projections add biases.
    """

    heads: int
    ports: tuple[str, ...] = ("",)
    dropout: float = 0.0
    bias: bool = True

    @property
    def word(self) -> str:
        """The kind of attention."""
        return "cross_attention" if len(self.ports) > 1 else "attention"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """The shape of the query, with features that the heads divide."""
        for shape in given.values():
            if not shape.tokens and len(shape.spatial) < 2:
                raise plan.refuse(
                    f"{self.word} takes tokens or maps of 2 or 3 dimensions, not {shape.layout}: inputs of "
                    "tokens are search.tokens(length, features)"
                )
        query = next(iter(given.values()))
        plan.divisible(
            plan.rule("heads", f"{self.heads} heads divide the channels"), query.channels, self.heads
        )
        return query

    def write(self, plan: LayerPlan, inputs: Sequence[Node], name: str) -> Node:
        """`nn.MultiheadAttention` of torch, with maps laid out as tokens around it."""
        query, memory = inputs[0], inputs[-1]
        shapes = list(plan.given.values())
        made = nn.MultiheadAttention(
            shapes[0].channels,
            self.heads,
            dropout=self.dropout,
            bias=self.bias,
            kdim=shapes[-1].channels,
            vdim=shapes[-1].channels,
            batch_first=True,
        )
        if all(shape.tokens for shape in shapes):
            return layer(made, query, memory, memory, name=name, need_weights=False)[0]
        return layer(PixelAttention(made), query, memory, name=name)


def attention(heads: int, *, dropout: float = 0.0, bias: bool = True) -> AttentionOperation:
    """AttentionOperation of tokens, or of the pixels of maps, to each other."""
    (count,) = exact_ints(heads, "heads")
    return AttentionOperation(count, ("",), dropout, bias)


def cross_attention(heads: int, *, dropout: float = 0.0, bias: bool = True) -> AttentionOperation:
    """AttentionOperation of one input to another: the node takes them by the ports "query" and "memory".

    The memory may have other features than the query; each is tokens or maps.
    """
    (count,) = exact_ints(heads, "heads")
    return AttentionOperation(count, ("query", "memory"), dropout, bias)
