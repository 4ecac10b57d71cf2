"""Pruning in rounds, with the user's training between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from naivegraph.edits import Edit
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.network import Graph
from naivegraph.prune.budgets import asked_budgets
from naivegraph.prune.captured import captured
from naivegraph.prune.floors import AllFloors, check_at_least, floors
from naivegraph.prune.prune import prune
from naivegraph.widths import relate

__all__ = ["Schedule", "checked_schedule", "prune_gradually", "round_limit"]

Schedule = Literal["cubic", "linear"] | Callable[[float], float]

_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cubic": lambda done: 1 - (1 - done) ** 3,
    "linear": lambda done: done,
}


def prune_gradually(
    model: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    train: Callable[[Any], object],
    rounds: int = 5,
    schedule: Schedule = "cubic",
    budgets: Mapping[Any, float] | None = None,
    macs: float | None = None,
    params: float | None = None,
    at_least: float | Mapping[Any, float] | None = None,
    **options: Any,
) -> tuple[Edit, ...]:
    """Prune a network to its budgets in rounds, in place, with training after each.

    In each round the utilities are worked out anew, of the network as it was trained by then. Every round is
    an edit by itself, which the network keeps: if one fails, those before it stay. Undo them last first.

    Args:
        model: As for `ng.prune`.
        args: As for `ng.prune`.
        kwargs: As for `ng.prune`.
        train: Called with the model after each round, the last one included.
        rounds: The number of rounds.
        schedule: The part of what is to go that is gone after a part of the rounds: "cubic", most of it early
            (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1), "linear", or a function from 0..1
            to 0..1 that does not fall, and is 1 at 1.
        budgets: As for `ng.prune`: fractions are of what the network costs before the first round.
        macs: As for `ng.prune`.
        params: As for `ng.prune`.
        at_least: As for `ng.prune`: fractions are of the widths before the first round.
        options: Other options of `ng.prune`, for every round; optimizers follow all of them.

    Returns:
        The edit of each round.

    Raises:
        CaptureError: The model could not be captured.
        EditError: An argument makes no sense.
        InfeasibleError: No sizes keep the budgets of a round.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
        >>> sizes = []
        >>> def train(net):  # some epochs, here none
        ...     sizes.append(net[0].out_features)
        >>> edits = ng.prune_gradually(net, torch.ones(1, 8), train=train, rounds=3, macs=0.5)
        >>> sizes, edits[0].before.macs, edits[-1].after.macs
        ([41, 33, 32], 768, 384)
    """
    goals = asked_budgets(budgets, {"macs": macs, "params": params})
    if not goals or "ratio" in options:
        raise EditError("prune_gradually takes budgets: macs=0.5, params=0.5 or budgets={...}")
    validate.function(train, "train", "a function of the model that trains it")
    validate.whole(rounds, "rounds", 1)
    progress = checked_schedule(schedule, rounds)
    check_at_least(at_least)
    widths = relate(captured(model, args, kwargs, lambda sentence: None).graph)
    start = {cost: cost.value(widths) for cost in goals}
    goal = {cost: cost.limit(budget, start[cost]) for cost, budget in goals.items()}
    least = AllFloors(
        {width.name: floors(widths, at_least)[width.atom] for width in widths}, at_least is None
    )
    edits: list[Edit] = []
    now = dict(start)
    for done in progress:
        limits = {cost: round_limit(start[cost], goal[cost], done, now[cost]) for cost in goals}
        edit = prune(model, args, kwargs, budgets=limits, at_least=least, **options)
        edits.append(edit)
        now = {cost: edit.after[cost.name] for cost in goals}
        train(model)
    return tuple(edits)


def checked_schedule(schedule: Any, rounds: int) -> list[float]:
    """The part that is gone after each round.

    Raises:
        EditError: The schedule is none.
    """
    if isinstance(schedule, str):
        if schedule not in _SCHEDULES:
            raise EditError(f'schedule={schedule!r}: give "cubic", "linear" or a function from 0..1 to 0..1')
        schedule = _SCHEDULES[schedule]
    validate.function(schedule, "schedule", '"cubic", "linear" or a function from 0..1 to 0..1')
    found = [float(schedule(number / rounds)) for number in range(1, rounds + 1)]
    rising = all(one <= two for one, two in itertools.pairwise(found))
    if not rising or found[-1] != 1 or found[0] < 0:
        raise EditError(f"schedule= gives {found}: it must not fall, from 0 up, and end at 1")
    return found


def round_limit(start: float, goal: float, done: float, now: float) -> int | float:
    """The budget of a cost in a round, as `prune` takes it: a whole number, or a fraction of the present."""
    limit = goal if done == 1 else start - (start - goal) * done
    if isinstance(start, int) and limit >= 2:
        return int(limit)
    return min(float(limit / now), 1.0) if now else 1.0
