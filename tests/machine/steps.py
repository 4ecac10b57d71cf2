"""The steps of a walk, and how often each is taken."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import naivegraph as ng
from tests.machine import block_steps, history_steps, part_steps, size_steps, structure_steps
from tests.machine.walk import Walk

__all__ = ["STEPS", "draw", "take"]

_EDITS: dict[str, tuple[int, Callable[[Walk], ng.Edit]]] = {
    "resize": (6, size_steps.resize),
    "input": (2, size_steps.resize_input),
    "utility": (2, size_steps.utility),
    "kernel": (1, size_steps.resize_kernel),
    "insert": (2, structure_steps.insert),
    "remove": (2, structure_steps.remove),
    "remove output": (1, structure_steps.remove_output),
    "connect": (2, structure_steps.connect),
    "branch": (2, structure_steps.branch),
    "disconnect": (2, structure_steps.disconnect),
    "insert block": (2, block_steps.insert_block),
    "remove block": (2, block_steps.remove_block),
    "duplicate": (2, block_steps.duplicate),
}

_OTHERS: dict[str, tuple[int, Callable[[Walk], None]]] = {
    "ask": (1, block_steps.ask),
    "part": (2, part_steps.of_part),
    "module": (1, part_steps.of_whole),
    "another whole": (2, part_steps.of_another_whole),
    "undo": (2, history_steps.undo),
    "undo several": (2, history_steps.undo_several),
    "undo keeping": (1, history_steps.undo_keeping),
    "train": (2, history_steps.trained),
    "pickle": (1, history_steps.pickled),
    "save": (2, history_steps.saved),
    "copy": (1, history_steps.copied),
    "replay": (2, history_steps.replayed),
}


def _edit(walk: Walk, kind: str, make: Callable[[Walk], ng.Edit]) -> None:
    walk.edit(kind, make)


# By name: how often a step is taken, and what takes it.
STEPS: dict[str, tuple[int, Callable[[Walk], None]]] = {
    **{
        kind: (weight, functools.partial(_edit, kind=kind, make=make))
        for kind, (weight, make) in _EDITS.items()
    },
    **_OTHERS,
}


def draw(rng: random.Random, steps: tuple[str, ...] = tuple(STEPS)) -> str:
    """The name of a step, drawn by weight."""
    return rng.choices(steps, [STEPS[kind][0] for kind in steps])[0]


def take(walk: Walk, kind: str) -> None:
    """Take a step, and check everything."""
    STEPS[kind][1](walk)
    walk.check()
