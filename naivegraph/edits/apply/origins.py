"""The origin of each entry of a resized tensor: the old one it comes from, or none, as it is new."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.edits.plan.change import Change, Rows
from naivegraph.edits.plan.index_formula import (
    Floats,
    Formula,
    Indices,
    along,
    formula_length,
    indices,
    others_alike,
)
from naivegraph.edits.plan.width_change import WidthChange

__all__ = ["Axes", "Places", "Source", "like", "ordered", "templates"]

# Numbers copied at a time where several dimensions change.
_MANY = 1 << 18


class Source:
    """The origin of each index of an axis.

    Attributes:
        before: The number of indices before.
        indices: For each index afterwards, the one it comes from.
        moved: The same, or None if all stay where they are.
        new: A mask of the new indices, or None if there are none.
    """

    def __init__(self, before: int, found: Indices, old: Floats | None) -> None:
        self.before, self.indices = before, found
        stays = len(found) == before and np.array_equal(found, np.arange(before))
        self.moved = None if stays else torch.from_numpy(found)
        self.new = None if old is None or old.all() else torch.from_numpy(old == 0)


class Axes:
    """Origins of indices for all axes of one change, worked out once per axis.

    Attributes:
        before: The sizes of widths before.
        after: Their sizes afterwards.
        old: For each width, 1 for neurons that stayed and 0 for new ones.
        chosen: For each width, the old neurons that those after the change come from.
    """

    def __init__(self, change: Change) -> None:
        self.before = {key: width.before for key, width in change.widths.items()}
        self.after = {key: width.after for key, width in change.widths.items()}
        self.old = {
            key: ordered(np.concatenate([np.ones(width.stay), np.zeros(width.new)]), width)
            for key, width in change.widths.items()
        }
        self.chosen = {
            key: ordered(templates(width.kept, width.new), width) for key, width in change.widths.items()
        }
        self._empty = any(width.before == 0 for width in change.widths.values())
        self._grows = any(width.new for width in change.widths.values())
        self._known: dict[Any, Source] = {}

    def key(self, axis: Formula) -> Any:
        """A key that is equal for equal axes, and quick to compare."""
        alone = len(axis) == len(axis[0]) == 1 if axis else False
        return axis[0][0] if alone and not isinstance(axis[0][0], list) else (repr(axis),)

    def of(self, axis: Formula) -> Source:
        """The origin of each index of an axis."""
        key = self.key(axis)
        if key not in self._known:
            old = along(axis, self.after, self.old) if self._grows else None
            before, found = formula_length(axis, self.before), indices(axis, self.before, self.chosen)
            # A width that was empty has no neuron of its own to be modelled on: its neighbour will do.
            self._known[key] = Source(before, np.minimum(found, before - 1) if self._empty else found, old)
        return self._known[key]


class Places:
    """The origin of each entry of a tensor with these axes.

    A new entry comes from an old one: that of the same place with the new neurons replaced by kept ones.
    """

    def __init__(self, known: Axes, axes: list[Formula]) -> None:
        self.axes, self._known = axes, known
        self.after = known.after
        self._sources = [known.of(axis) for axis in axes]
        self.shape = tuple([source.before for source in self._sources])
        self.new_shape = tuple([len(source.indices) for source in self._sources])
        self._old = known.old
        moved = [(dim, source.moved) for dim, source in enumerate(self._sources) if source.moved is not None]
        # The dimension that loses most comes first, so that the others have less to copy.
        self._moved = sorted(moved, key=lambda item: len(item[1]) / self.shape[item[0]])
        self.grows = any(source.new is not None for source in self._sources)

    def new(self, device: torch.device) -> torch.Tensor:
        """A mask of the new entries that broadcasts to the new shape."""
        out = torch.zeros([1] * len(self.axes), dtype=torch.bool)
        for dim, source in enumerate(self._sources):
            if source.new is not None:
                out = out | source.new.reshape(self._along(dim))
        return out.to(device)

    def _along(self, dim: int) -> list[int]:
        return [-1 if d == dim else 1 for d in range(len(self.axes))]

    def taken(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor with every entry taken from its origin."""
        if len(self._moved) > 1 and tensor.numel() > _MANY and tensor.device.type == "cpu":
            return self._taken_in_parts(tensor)
        for dim, index in self._moved:
            tensor = tensor.index_select(dim, index.to(tensor.device))
        return tensor

    def _taken_in_parts(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same in parts, so that results between two dimensions stay small: fresh memory is slow."""
        (first, rows), *others = sorted(self._moved)
        out = tensor.new_empty(self.new_shape)
        step = max(len(rows) * _MANY // tensor.numel(), 1)
        for start in range(0, len(rows), step):
            part = tensor.index_select(first, rows[start : start + step])
            for dim, index in others:
                part = part.index_select(dim, index)
            out.narrow(first, start, part.shape[first]).copy_(part)
        return out

    def resized(self, tensor: torch.Tensor, fill: float | torch.Tensor) -> torch.Tensor:
        """The tensor with new entries from `fill`."""
        out = self.taken(tensor)
        if self.grows:
            other = torch.as_tensor(fill, dtype=out.dtype, device=out.device)
            out = torch.where(self.new(out.device), other, out)
        return like(out, tensor)

    def along(self, dims: Collection[int], *, keep: bool) -> Places:
        """The places of a tensor that has these dimensions alone, the others being of one index or missing.

        Args:
            dims: The dimensions that it has.
            keep: Whether the others are there, with one index.
        """
        one: Formula = [[1]]
        axes = [axis if d in dims else one for d, axis in enumerate(self.axes) if keep or d in dims]
        return Places(self._known, axes)

    def factors(
        self, dims: Iterable[int], keys: Iterable[str], shares: dict[str, Floats] | None
    ) -> torch.Tensor:
        """The factors of outgoing entries: 0 at new neurons, or the neuron's share."""
        chosen = {key: (shares or self._old)[key] for key in keys}
        out = torch.ones([1] * len(self.axes), dtype=torch.float64)
        for dim in dims:
            out = out * torch.from_numpy(along(self.axes[dim], self.after, chosen)).reshape(self._along(dim))
        return out

    def means(self, tensor: torch.Tensor, dim: int, key: str, gains: torch.Tensor | None) -> torch.Tensor:
        """For each new entry along a width, the mean of the kept ones with the same other indices.

        Args:
            tensor: A tensor of the new shape.
            dim: The dimension.
            key: The width.
            gains: Factors of the entries along the dimension; None for none.
        """
        new = self.new_along(dim, key)
        group = torch.from_numpy(others_alike(self.axes[dim], self.after, key)).to(tensor.device)
        old, come = torch.nonzero(~new).reshape(-1), torch.nonzero(new).reshape(-1)
        kept = tensor.index_select(dim, old).double()
        if gains is not None:
            kept = kept * gains.double().index_select(0, old).reshape(self._along(dim))
        shape = list(tensor.shape)
        shape[dim] = int(group.max()) + 1
        counts = torch.zeros(shape[dim], dtype=torch.float64, device=tensor.device)
        counts.index_add_(0, group[old], torch.ones_like(old, dtype=torch.float64))
        total = torch.zeros(shape, dtype=torch.float64, device=tensor.device)
        total.index_add_(dim, group[old], kept)
        return total.index_select(dim, group[come]) / counts[group[come]].reshape(self._along(dim))

    def new_along(self, dim: int, key: str) -> torch.Tensor:
        """A mask of the indices along a dimension that are of new neurons of one width."""
        return torch.from_numpy(along(self.axes[dim], self.after, {key: self._old[key]}) == 0)

    def given_back(
        self, old: torch.Tensor, now: torch.Tensor, factors: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """The old tensor with the present values of the entries that stayed.

        Args:
            old: The tensor of the shape before.
            now: The tensor of the new shape.
            factors: The factors by which entries were multiplied, each of which is divided by again. An entry
                that is as the edit left it becomes exactly the old one.
        """
        stayed = [
            torch.arange(len(s.indices)) if s.new is None else torch.nonzero(~s.new).reshape(-1)
            for s in self._sources
        ]
        origin = [torch.from_numpy(s.indices)[at] for s, at in zip(self._sources, stayed, strict=True)]
        kept, out = _block(now, stayed).clone(), old.clone()
        if factors:
            expected, scale = _block(old, origin), torch.ones((), dtype=torch.float64, device=now.device)
            for each in factors:
                factor = _block(each.to(now.device).expand(self.new_shape), stayed)
                expected, scale = (expected * factor).to(now.dtype), scale * factor
            same = (kept == expected) | (scale == 0)
            kept = torch.where(same, _block(old, origin), (kept / scale).to(now.dtype))
        if out.dim() == 0:
            return kept
        grid = [index.to(out.device).reshape(self._along(dim)) for dim, index in enumerate(origin)]
        out[tuple(grid)] = kept
        return like(out, old)

    def within(self, rows: Rows) -> torch.Tensor:
        """A mask of the entries that come from these rows."""
        if rows is None:
            return torch.ones([1] * len(self.axes), dtype=torch.bool)
        dim, wanted = rows
        return torch.from_numpy(np.isin(self._sources[dim].indices, wanted)).reshape(self._along(dim))


def _block(tensor: torch.Tensor, indices: Sequence[torch.Tensor]) -> torch.Tensor:
    """The entries at these indices along each dimension."""
    for dim, index in enumerate(indices):
        if len(index) != tensor.shape[dim] or not torch.equal(index, torch.arange(len(index))):
            tensor = tensor.index_select(dim, index.to(tensor.device))
    return tensor


def templates(kept: Indices, new: int) -> Indices:
    """The neurons kept, and for every new one the kept neuron whose entries it is modelled on."""
    if not new:
        return kept
    base = kept if kept.shape[-1] else np.zeros((*kept.shape[:-1], 1), np.int64)
    return np.concatenate([kept, base[..., np.arange(new) % base.shape[-1]]], axis=-1)


def ordered(along: npt.NDArray[Any], width: WidthChange) -> npt.NDArray[Any]:
    """Numbers for kept and then new neurons of a width, in their order after the change."""
    return along if width.order is None else along[..., width.order]


def like(out: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A result in the memory format of the tensor that it was made from."""
    if tensor.is_contiguous():
        return out.contiguous()
    for rank, memory in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == rank and tensor.is_contiguous(memory_format=memory):
            return out.contiguous(memory_format=memory)
    return out.contiguous()
