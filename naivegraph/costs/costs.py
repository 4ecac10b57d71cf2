"""The costs of a network as numbers, by the names of the costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from naivegraph.costs.by_name import known_costs
from naivegraph.costs.cost import Cost
from naivegraph.errors import nearest

if TYPE_CHECKING:
    from torch import nn

    from naivegraph.algebra.axis import Atom
    from naivegraph.widths import Widths

__all__ = ["Costs"]


class Costs(Mapping[str, int | float]):
    """The costs of a network: numbers by the names of costs, which are attributes, too. Immutable.

    A cost that was not counted, as it takes a run, is left out.

    Example:
        >>> costs = Costs({"macs": 1024, "params": 80})
        >>> costs["macs"], costs.params, "latency" in costs
        (1024, 80, False)
        >>> print(costs)
        MACs       1,024
        parameters    80
    """

    __slots__ = ("_numbers",)
    _numbers: dict[str, int | float]

    def __init__(self, numbers: Mapping[str, int | float]) -> None:
        object.__setattr__(self, "_numbers", dict(numbers))

    @classmethod
    def of(
        cls,
        widths: Widths,
        count: Callable[[Atom], int] | None = None,
        *,
        also: Iterable[Cost] = (),
        gone: frozenset[str] = frozenset(),
    ) -> Costs:
        """The costs of a graph whose axes are related.

        Args:
            widths: The widths of the graph.
            count: The number of neurons of each width by its atom, if not as many as now.
            also: Costs to count besides those counted by default.
            gone: The names of the vertices that leave the graph.
        """
        costs = dict.fromkeys([*usual_costs(), *also])
        return cls({cost.name: cost.value(widths, count, gone) for cost in costs})

    @classmethod
    def of_module(cls, module: nn.Module) -> Costs:
        """The costs of a module that are known without a run."""
        found = {cost.name: cost.of_module(module) for cost in usual_costs()}
        return cls({name: value for name, value in found.items() if value is not None})

    def __getitem__(self, name: str) -> int | float:
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getattr__(self, name: str) -> int | float:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._numbers:
            hint = nearest(name, self._numbers, otherwise=f"counted are {', '.join(self._numbers) or 'none'}")
            raise AttributeError(f"no cost {name!r} was counted{hint}")
        return self._numbers[name]

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name!r} cannot be set: costs do not change")

    def __hash__(self) -> int:
        return hash(frozenset(self._numbers.items()))

    def __reduce__(self) -> tuple[type[Costs], tuple[dict[str, int | float]]]:
        return Costs, (self._numbers,)

    def __repr__(self) -> str:
        return f"Costs({self._numbers})"

    def __str__(self) -> str:
        rows = self.shown().values()
        widest = max((len(title) for title, _ in rows), default=0)
        right = max((len(value) for _, value in rows), default=0)
        return "\n".join(f"{title:<{widest}} {value:>{right}}" for title, value in rows)

    def shown(self) -> dict[str, tuple[str, str]]:
        """By name, the title and the value of each cost as tables and sentences show them."""
        known = known_costs()
        return {
            name: (known[name].title, known[name].format(value)) if name in known else (name, f"{value:,}")
            for name, value in self.items()
        }


def usual_costs() -> list[Cost]:
    """The costs counted by default."""
    return [cost for cost in known_costs().values() if cost.counted]
