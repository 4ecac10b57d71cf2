"""The change of one width as plain data: the neurons that stay, those that come, and their order."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from naivegraph.edits.plan.index_formula import Indices, from_runs, to_runs
from naivegraph.edits.plan.plain import Plain, natural, runs

__all__ = ["WidthChange", "rolled"]


@dataclasses.dataclass(frozen=True, eq=False)
class WidthChange(Plain):
    """The change of one width.

    New neurons come after the kept ones, unless there is an order.

    Attributes:
        name: Its name.
        before: Its size before.
        kept: The sorted indices that stay. Where each row of a product keeps its own, an array [rows, k]: one
            list for every neuron, before the change, of the factor directly outside this width.
        new: The number of new neurons.
        order: For each place after the change, the number of the neuron there, counted among the kept ones
            and then the new ones; None for that order.
    """

    name: str
    before: int
    kept: Indices
    new: int = 0
    order: Indices | None = None

    @property
    def after(self) -> int:
        """Its size afterwards."""
        return self.stay + self.new

    @property
    def stay(self) -> int:
        """The number of neurons that stay (in each row)."""
        return int(self.kept.shape[-1])

    def to_data(self) -> dict[str, Any]:
        """Give what `json.dumps` takes."""
        order = {} if self.order is None else {"order": to_runs(self.order)}
        return {
            "name": self.name,
            "before": self.before,
            **_kept_to_json(self.kept),
            "new": self.new,
            **order,
        }

    @classmethod
    def from_data(cls, data: Any) -> WidthChange:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        before, new = natural(data["before"]), natural(data.get("new", 0))
        kept = _kept(data, before)
        order = _order(data["order"], kept.shape[-1] + new) if "order" in data else None
        return cls(str(data["name"]), before, kept, new, order)


def rolled(size: int, front: int) -> Indices | None:
    """The order in which the last `front` of the neurons come first; None if there are none."""
    return np.roll(np.arange(size, dtype=np.int64), front) if front else None


def _kept_to_json(kept: Indices) -> dict[str, Any]:
    return {"kept": to_runs(kept)} if kept.ndim == 1 else {"rows": [to_runs(row) for row in kept]}


def _kept(data: Any, before: int) -> Indices:
    if "rows" not in data:
        return runs(data["kept"], before)
    rows = [runs(each, before) for each in data["rows"]]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("the rows of a width do not keep equally many neurons")
    return np.stack(rows)


def _order(data: Any, size: int) -> Indices:
    order = from_runs([[natural(a), natural(b)] for a, b in data])
    if len(order) != size or not np.array_equal(np.sort(order), np.arange(size)):
        raise ValueError(f"the order {data} does not have each of {size} neurons once")
    return order
