"""Where operators' rules are kept: one rule per ATen operator packet (all overloads of one name)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from naivegraph.widths.relation import Rule

__all__ = ["RULES", "operator", "rule"]

RULES: dict[torch._ops.OpOverloadPacket, Rule] = {}


def operator(name: str) -> torch._ops.OpOverloadPacket | None:
    """The ATen operator of this exact name, or None where this torch has none."""
    return getattr(torch.ops.aten, name, None)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the ATen operators with these names."""

    def register(function: Rule) -> Rule:
        for name in names:
            packet = operator(name)
            if packet is not None:
                RULES[packet] = function
        return function

    return register
