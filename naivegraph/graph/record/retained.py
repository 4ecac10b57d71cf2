"""Tensors of a run that something still refers to when it is over, whatever that is.

The references to a tensor are counted: those of the recorder are known, and any other one belongs to what the
forward has stored the tensor in. Only where there is one Python's garbage collector is asked whose it is.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Collection, Sequence
from typing import Any

import torch

__all__ = ["retained"]


def retained(
    tensors: Sequence[torch.Tensor], alive: list[torch.Tensor], known: Collection[int] = ()
) -> dict[int, str]:
    """The tensors, by their `id`, to which there are other references, with a word on whose.

    Args:
        tensors: The tensors, in a list that nothing else refers to.
        alive: Another list, which has all of them.
        known: The `id` of tensors that are known to be referred to, and not asked about.

    Example:
        >>> one, two = torch.ones(2), torch.ones(2)
        >>> store, alive = {"h": one}, [one, two]
        >>> tensors = [*alive]
        >>> del one, two
        >>> [*retained(tensors, alive).values()]
        ["a dict with the key 'h'"]
    """
    expected, of_base = _known_counts()
    bases = {id(tensor._base) for tensor in alive if tensor._is_view()}
    counts = _counts(tensors)
    held = [
        index
        for index, count in enumerate(counts)
        if count > expected + (of_base if id(tensors[index]) in bases else 0)
        and id(tensors[index]) not in known
    ]
    if not held:
        return {}
    gc.collect()  # what is in cycles that nothing reaches is not kept
    own = {id(tensors), id(alive)}
    found: dict[int, str] = {}
    for index in held:
        owners = [
            owner
            for owner in gc.get_referrers(tensors[index])
            if id(owner) not in own and not isinstance(owner, types.FrameType)
        ]
        if owners:
            found[id(tensors[index])] = _told(owners, tensors[index])
    return found


def _counts(tensors: Collection[torch.Tensor]) -> list[int]:
    """The number of references to each of some tensors."""
    return [sys.getrefcount(tensor) for tensor in tensors]


def _known_counts() -> tuple[int, int]:
    """The number for a tensor that two lists have, and how many more it is for one that has views.

    Both depend on the versions of Python and torch.
    """
    alive = [torch.empty(2), torch.empty(2)]
    views = [alive[1][:1]]
    plain, base = _counts([*alive])
    del views
    return plain, max(base - plain, 0)


def _told(owners: list[Any], tensor: torch.Tensor) -> str:
    for owner in owners:
        if isinstance(owner, dict):
            key = next((key for key, value in owner.items() if value is tensor), None)
            return f"a dict with the key {key!r}"
        if isinstance(owner, types.CellType):
            return "a variable of a function that is kept"
    kind = type(owners[0])
    return f"{'a' if kind.__module__ == 'builtins' else 'an object of the class'} {kind.__name__}"
