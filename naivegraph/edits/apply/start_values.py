"""Values of new neurons that start as combinations of old ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.origins import Axes, Places
from naivegraph.edits.plan.index_formula import Formula, Indices, along, formula_length, indices
from naivegraph.edits.plan.start import Start
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import EditError

__all__ = ["start_values"]

# Numbers that are added up at a time.
_MANY = 1 << 24


def start_values(
    start: Start,
    width: WidthChange,
    known: Axes,
    axes: list[Formula],
    before: torch.Tensor,
    after: torch.Tensor,
) -> None:
    """Write the combinations of old neurons as which new ones of a width start in a tensor.

    Args:
        start: The combinations.
        width: The change of the width.
        known: The origins of indices of the whole change.
        axes: The axes of the tensor.
        before: The tensor before the change.
        after: The tensor afterwards, changed in place.

    Raises:
        EditError: The width lies more than once along the dimension, so that a new neuron has no place of its
            own there.
    """
    if any(_times(term, start.width) > 1 for term in axes[start.dim]):
        raise EditError(f"{start.tensor} has {width.name} more than once along dimension {start.dim}")
    _Started(start, width, known, axes).write(before, after)


def _times(term: list[Any], key: str) -> int:
    return sum(
        sum(_times(each, key) for each in factor) if isinstance(factor, list) else factor == key
        for factor in term
    )


class _Started:
    """The sums of one start, and the places that they go to."""

    def __init__(self, start: Start, width: WidthChange, known: Axes, axes: list[Formula]) -> None:
        self._start, self._width, self._known, self._axes = start, width, known, axes
        self._axis = axes[start.dim]
        self._whole = {key: np.arange(size, dtype=np.int64) for key, size in known.after.items()}

    def write(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Write the new neurons of a tensor."""
        dim, key = self._start.dim, self._start.width
        fixed: Formula = [[before.shape[dim]]]
        axes = [fixed if d == dim else axis for d, axis in enumerate(self._axes)]
        sums = self._sums(Places(self._known, axes).taken(before))
        order = self._width.order
        place = np.arange(self._width.after) if order is None else np.argsort(order)
        targets = self._places(self._known.after, place[self._width.stay :])
        sources = self._places(self._sizes(), self._start.chosen)
        none = {key: np.zeros(self._width.new)}
        own = along(self._axis, {**self._known.after, key: self._width.new}, none) == 0
        chosen = sums.index_select(dim, _index(sources[own], after)).to(after.dtype)
        after.index_copy_(dim, _index(targets[own], after), chosen)

    def _sizes(self) -> dict[str, int]:
        return {**self._known.after, self._start.width: len(self._start.sums)}

    def _places(self, sizes: Mapping[str, int], neurons: Indices) -> Indices:
        return indices(self._axis, sizes, {**self._whole, self._start.width: neurons})

    def _sums(self, old: torch.Tensor) -> torch.Tensor:
        """The sums, along the dimension, where each stands for one neuron of the width."""
        dim, wide = self._start.dim, _wide(old)
        shape = list(old.shape)
        shape[dim] = formula_length(self._axis, self._sizes())
        out = torch.zeros(shape, dtype=wide, device=old.device)
        row = max(old.numel() // max(old.shape[dim], 1), 1)
        for targets, sources, weights in self._terms():
            for at in range(0, len(targets), max(_MANY // row, 1)):
                part = slice(at, at + max(_MANY // row, 1))
                factor = torch.from_numpy(weights[part]).to(old.device, wide)
                factor = factor.reshape([-1 if d == dim else 1 for d in range(old.dim())])
                some = old.index_select(dim, _index(sources[part], old)).to(wide)
                out.index_add_(dim, _index(targets[part], old), some * factor)
        return out

    def _terms(self) -> Iterator[tuple[Indices, Indices, Any]]:
        """For the entries that are added up: the place of the sum, that of the old entry, and its weight."""
        key, sums = self._start.width, self._start.sums
        neurons = np.concatenate([np.zeros(0, np.int64), *[old for old, _ in sums]])
        numbers = np.repeat(np.arange(len(sums)), [len(old) for old, _ in sums])
        weights = np.concatenate([np.zeros(0), *[own for _, own in sums]])
        if len(neurons):
            chosen = {**self._known.chosen, key: neurons}
            yield (
                self._places(self._sizes(), numbers),
                indices(self._axis, self._known.before, chosen),
                along(self._axis, {**self._known.after, key: len(neurons)}, {key: weights}),
            )


def _wide(tensor: torch.Tensor) -> torch.dtype:
    """The type in which sums of a tensor's entries are worked out."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _index(places: Indices, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(places)).to(like.device)
