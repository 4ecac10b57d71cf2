"""The registry of costs by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from naivegraph.costs.cost import Cost
from naivegraph.errors import EditError, NaivegraphError, nearest

__all__ = ["COSTS", "cost_named", "known_costs", "register_cost"]

AnyCost = TypeVar("AnyCost", bound=Cost)

COSTS: dict[str, Cost] = {}


def register_cost(cost: AnyCost, *, replace: bool = False) -> AnyCost:
    """Register a cost under its name, for budgets, edits, reports and the command line.

    Args:
        cost: The cost.
        replace: Take it in place of one of the same name.

    Returns:
        The cost.

    Raises:
        NaivegraphError: It is no `Cost`, its name is no identifier or taken.

    Example:
        >>> cost_named("macs").title
        'MACs'
    """
    if not isinstance(cost, Cost):
        raise NaivegraphError(f"an instance of a subclass of Cost is registered, not {cost!r}")
    # Costs are attributes of `Costs`, so they may not hide what a mapping has.
    if not cost.name.isidentifier() or cost.name.startswith("_") or hasattr(Mapping, cost.name):
        raise NaivegraphError(f"a cost cannot be named {cost.name!r}; give it a name such as 'latency'")
    if COSTS.get(cost.name, cost) is not cost and not replace:
        raise NaivegraphError(f"there is a cost {cost.name!r} already; replace=True takes this one instead")
    COSTS[cost.name] = cost
    return cost


def known_costs() -> Mapping[str, Cost]:
    """Every registered cost by its name, in the order of registration."""
    return MappingProxyType(COSTS)


def cost_named(name: str | Cost) -> Cost:
    """The cost of this name; a cost itself as it is.

    Raises:
        EditError: There is none; the message gives the nearest names.
    """
    if isinstance(name, Cost):
        return name
    if not isinstance(name, str):
        raise EditError(f"a cost is found by its name, not by {name!r}")
    if name not in COSTS:
        costs = ", ".join(f"{cost.name} ({cost.unit})" for cost in COSTS.values())
        hint = nearest(name, COSTS, otherwise=f"there are {costs}")
        raise EditError(f"there is no cost {name!r}{hint}")
    return COSTS[name]
