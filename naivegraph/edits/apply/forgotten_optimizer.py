"""Optimizers that hold state of the parameters of an edit, and were not handed over."""

from __future__ import annotations

import collections
import gc
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from naivegraph.user_warnings import warn_user

__all__ = ["forgotten_optimizer"]


def forgotten_optimizer(changed: Mapping[str, torch.Tensor], optimizers: Iterable[Any]) -> tuple[str, ...]:
    """A sentence if some optimizer holds state of a changed parameter, and is not among those that follow.

    Its state would keep the shape of before: most optimizers raise at the next step, but fused ones go on
    with the state of other entries, of which a warning tells, too. Python's garbage collector is asked who
    refers to a parameter, which takes about 50 ms, and only in a process that ever made an optimizer.

    Args:
        changed: The parameters whose sizes change, by name.
        optimizers: Those that follow.
    """
    if not changed or not _any_made(Optimizer):
        return ()
    known = {id(each.state) for each in optimizers if isinstance(each, Optimizer)}
    for holder in gc.get_referrers(*changed.values()):
        if type(holder) is not collections.defaultdict or id(holder) in known:
            continue
        name = next((name for name, parameter in changed.items() if holder.get(parameter)), None)
        if name is not None:
            told = (
                f"An optimizer that was not handed over holds state of {name} as it was before the edit: "
                "undo the edit and give it as optimizer=, or make a new one; a fused one goes wrong without "
                "a word."
            )
            if _is_fused(holder):
                warn_user(told)
            return (told,)
    return ()


def _is_fused(state: object) -> bool:
    """Tell whether a state is that of a fused optimizer, which does not look at its shapes."""
    owners = [
        each if isinstance(each, dict) else vars(each)
        for each in gc.get_referrers(state)
        if isinstance(each, (dict, Optimizer))
    ]
    groups = [group for owner in owners for group in owner.get("param_groups", ())]
    return any(isinstance(group, dict) and group.get("fused") for group in groups)


def _any_made(kind: type[Optimizer]) -> bool:
    """Tell whether an optimizer of some class was ever made: torch then marks the class's `step`."""
    return any(
        getattr(each.__dict__.get("step"), "hooked", False) or _any_made(each)
        for each in kind.__subclasses__()
    )
