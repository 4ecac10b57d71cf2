"""One rule per ATen operator: which axes are equal, what the result's axes are, what it costs."""

import functools

import torch

from naivegraph.operators import (
    fourier,
    index,
    linear,
    losses,
    pointwise,
    recurrent,
    reduce,
    sample,
    scatter,
    shape,
)
from naivegraph.operators.registry import RULES
from naivegraph.operators.relation import Rule

__all__ = ["rule_for"]

_ = (
    fourier,
    index,
    linear,
    losses,
    recurrent,
    reduce,
    sample,
    scatter,
)  # imported for the rules they register


@functools.cache
def rule_for(func: torch._ops.OpOverload) -> Rule:
    """The rule of an operator: its own, the element-wise one where torch tags it so, else to fix all."""
    own = RULES.get(func.overloadpacket)
    if own is not None:
        return own
    if torch.Tag.pointwise in func.tags:
        return pointwise.pointwise
    return shape.unknown
