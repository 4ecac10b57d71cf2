"""Pruning in rounds while something else trains: which round is due, and its budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from naivegraph.edits import Edit
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.prune.budgets import asked_budgets
from naivegraph.prune.captured import captured
from naivegraph.prune.floors import AllFloors, check_at_least, floors
from naivegraph.prune.gradually import Schedule, checked_schedule, round_limit
from naivegraph.prune.prune import prune
from naivegraph.widths import relate

__all__ = ["PruningSchedule", "first_inputs"]


class PruningSchedule:
    """Rounds of pruning to budgets at times that are counted (epochs or steps).

    Args:
        budgets: As for `ng.prune`: fractions are of what the network costs before the first round.
        macs: As for `ng.prune`.
        params: As for `ng.prune`.
        start: The time of the first round.
        every: The time from round to round.
        rounds: The number of rounds.
        schedule: As for `ng.prune_gradually`.
        at_least: As for `ng.prune_gradually`.
        options: Other options of `ng.prune`.

    Raises:
        EditError: An argument makes no sense.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
        >>> plan = PruningSchedule({"macs": 0.5}, start=2, rounds=2)
        >>> [time for time in range(6) if plan.due(time) and plan.prune(net, torch.ones(1, 8), None, ())]
        [2, 3]
        >>> net[0].out_features
        32
    """

    def __init__(
        self,
        budgets: Mapping[Any, float] | None = None,
        *,
        macs: float | None = None,
        params: float | None = None,
        start: int = 1,
        every: int = 1,
        rounds: int = 1,
        schedule: Schedule = "cubic",
        at_least: float | Mapping[Any, float] | None = None,
        **options: Any,
    ) -> None:
        self._goals = asked_budgets(budgets, {"macs": macs, "params": params})
        if not self._goals or "ratio" in options or "optimizer" in options:
            raise EditError("pruning on a schedule takes budgets: macs=0.5, params=0.5 or budgets={...}")
        self._start = validate.whole(start, "start", 0)
        self._every = validate.whole(every, "every", 1)
        self._progress = checked_schedule(schedule, validate.whole(rounds, "rounds", 1))
        check_at_least(at_least)
        self._at_least, self._options = at_least, options
        self._done = 0
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}
        self._least: dict[str, int] = {}

    def due(self, time: int) -> bool:
        """Tell whether a round is due at a time, one that was missed among them."""
        return self._done < len(self._progress) and time >= self._start + self._done * self._every

    def prune(self, network: nn.Module, args: Any, kwargs: Mapping[str, Any] | None, optimizers: Any) -> Edit:
        """Carry out the next round on a network with its example; optimizers follow.

        Raises:
            EditError: The network cannot be pruned so; it is as it was.
        """
        if not self._before:
            widths = relate(captured(network, args, kwargs, lambda sentence: None).graph)
            self._before = self._now = {cost.name: cost.value(widths) for cost in self._goals}
            least = floors(widths, self._at_least)
            self._least = {width.name: least[width.atom] for width in widths}
        done = self._progress[self._done]
        limits = {
            cost: round_limit(
                self._before[cost.name],
                cost.limit(budget, self._before[cost.name]),
                done,
                self._now[cost.name],
            )
            for cost, budget in self._goals.items()
        }
        least_sizes = AllFloors(self._least, self._at_least is None)
        edit = prune(
            network, args, kwargs, budgets=limits, at_least=least_sizes, optimizer=optimizers, **self._options
        )
        self._now = {cost.name: edit.after[cost.name] for cost in self._goals}
        self._done += 1
        return edit

    def state(self) -> dict[str, Any]:
        """All that changes, as data for JSON."""
        return {"done": self._done, "before": self._before, "now": self._now, "least": self._least}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._done = int(state["done"])
        self._before, self._now = dict(state["before"]), dict(state["now"])
        self._least = dict(state["least"])


def first_inputs(network: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of the first sample of a batch: its first part, or of a dict what the forward takes."""
    import inspect

    import torch

    def first(value: Any) -> Any:
        """The first sample of a tensor."""
        return value[:1] if isinstance(value, torch.Tensor) and value.dim() else value

    if isinstance(batch, Mapping):
        taken = inspect.signature(network.forward).parameters
        return (), {name: first(value) for name, value in batch.items() if name in taken and name != "labels"}
    inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
    return (first(inputs),), {}
