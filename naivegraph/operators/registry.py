"""Where operators' rules are kept: one rule per ATen operator packet (all overloads of one name)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from naivegraph.operators.relation import Rule

__all__ = ["RULES", "operator", "operators", "rule"]

RULES: dict[torch._ops.OpOverloadPacket, Rule] = {}


def operator(name: str) -> torch._ops.OpOverloadPacket | None:
    """The ATen operator of this exact name, or None where this torch has none."""
    return getattr(torch.ops.aten, name, None)


def operators(names: str) -> frozenset[torch._ops.OpOverloadPacket]:
    """The ATen operators with these names, separated by spaces, and their in-place forms."""
    found = (operator(name + end) for name in names.split() for end in ("", "_"))
    return frozenset(packet for packet in found if packet is not None)


def rule(names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the ATen operators with these names, separated by spaces."""

    def register(function: Rule) -> Rule:
        for name in names.split():
            packet = operator(name)
            if packet is not None:
                RULES[packet] = function
        return function

    return register
