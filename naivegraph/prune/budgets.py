"""Requested budgets, validated before anything is done with the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naivegraph.costs import Cost, cost_named
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.prune.floors import check_ratio

__all__ = ["asked_budgets", "check_size_asked"]


def asked_budgets(
    budgets: Mapping[Any, float] | None, short: Mapping[str, float | None]
) -> dict[Cost, float]:
    """The budget of each cost.

    Args:
        budgets: By the name of a cost, or by a cost.
        short: Budgets from arguments of their own, by name of the cost; None where there is none.

    Raises:
        EditError: There is no such cost, it is given twice, or its budget is none.

    Example:
        >>> by_cost = asked_budgets({"params": 0.5}, {"macs": 1000})
        >>> {cost.title: budget for cost, budget in by_cost.items()}
        {'MACs': 1000, 'parameters': 0.5}
    """
    asked = [(cost_named(name), budget) for name, budget in short.items() if budget is not None]
    asked += [
        (cost_named(name), budget)
        for name, budget in validate.mapping(budgets, "budgets", "of numbers by the names of costs").items()
    ]
    found: dict[str, tuple[Cost, float]] = {}
    for cost, budget in asked:
        if cost.name in found:
            raise EditError(f"two budgets of {cost.name} were given, {found[cost.name][1]!r} and {budget!r}")
        cost.check_budget(budget)
        found[cost.name] = cost, budget
    return dict(found.values())


def check_size_asked(budgets: Mapping[Cost, float], ratio: Any, has_latency: bool = False) -> None:
    """Check that either budgets or a ratio are given, and that the numbers make sense.

    Raises:
        EditError: Neither or both are given, or one of the numbers makes no sense.
    """
    names = [*(cost.name for cost in budgets), *(["latency"] if has_latency else [])]
    if ratio is None and not names:
        raise EditError(
            'say how much to keep: macs=0.5, params=0.5, latency=0.5 or ratio=0.5 (or budgets={"macs": 0.5})'
        )
    if ratio is not None and names:
        raise EditError(
            "ratio= sets every size by itself and cannot be met together with a budget "
            f"({' or '.join(names)})"
        )
    if ratio is not None:
        check_ratio(ratio)
