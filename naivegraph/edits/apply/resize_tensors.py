"""Resized tensors of a network: kept entries cut out, new ones put in their places."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from naivegraph.edits.plan.change import Change, Rows, WidthChange
from naivegraph.edits.plan.index_formula import Floats, Formula, Indices, along, formula_length, indices
from naivegraph.edits.plan.initialise import fresh_tensors
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import Modules

__all__ = ["Axes", "NewTensor", "Places", "find_tensor", "new_tensors"]

# Numbers copied at a time where several dimensions change.
_MANY = 1 << 18


def find_tensor(modules: Modules, name: str) -> torch.Tensor | None:
    """A parameter or buffer by its name, or None."""
    path, _, own = name.rpartition(".")
    try:
        found = getattr(modules[path], own)
    except AttributeError:
        return None
    return found if isinstance(found, torch.Tensor) else None


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
    """Origins of indices for all axes of one change, worked out once per axis."""

    def __init__(self, change: Change) -> None:
        self.before = {key: width.before for key, width in change.widths.items()}
        self.after = {key: width.after for key, width in change.widths.items()}
        self.old = {
            key: _turned(np.concatenate([np.ones(width.stay), np.zeros(width.new)]), width)
            for key, width in change.widths.items()
        }
        self._chosen = {
            key: _turned(templates(width.kept, width.new), width) for key, width in change.widths.items()
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
            before, found = formula_length(axis, self.before), indices(axis, self.before, self._chosen)
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


def _turned(along: npt.NDArray[Any], width: WidthChange) -> npt.NDArray[Any]:
    """Numbers for kept and then new neurons of a width, rotated so that those in front come first."""
    return np.roll(along, width.front, axis=-1) if width.front else along


def shares_of(change: Change) -> dict[str, Floats]:
    """Shares of copied neurons: the part of the original's effect that each copy takes over.

    As in Chen et al., "Net2Net: Accelerating learning via knowledge transfer", ICLR 2016, but in unequal
    parts instead of with noise, so that training tells copies apart and the function is kept exactly.
    """
    out: dict[str, Floats] = {}
    for key, width in change.widths.items():
        name = change.seed_widths.get(key, width.name)
        rng = np.random.default_rng([change.seed, zlib.crc32(name.encode())])
        weights = rng.uniform(1.0, 2.0, width.after)
        groups = np.arange(width.after)
        groups[width.stay :] = np.arange(width.new) % max(width.stay, 1)
        out[key] = _turned(weights / np.bincount(groups, weights, width.after)[groups], width)
    return out


@dataclasses.dataclass(slots=True)
class NewTensor:
    """A parameter or buffer with its new data and gradient, and the origin of each entry."""

    name: str
    tensor: torch.Tensor
    data: torch.Tensor
    grad: torch.Tensor | None
    places: Places
    owner: nn.Module
    before: torch.Tensor
    before_grad: torch.Tensor | None
    factors: list[torch.Tensor] = dataclasses.field(default_factory=list)


def like(out: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A result in the memory format of the tensor that it was made from."""
    if tensor.is_contiguous():
        return out.contiguous()
    for rank, memory in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == rank and tensor.is_contiguous(memory_format=memory):
            return out.contiguous(memory_format=memory)
    return out.contiguous()


@torch.no_grad()
def new_tensors(change: Change, module: nn.Module) -> list[NewTensor]:
    """The new data (and gradient) of every tensor that changes, each once however many names it has.

    Raises:
        EditError: The module is not the one the change was made for.
    """
    found: dict[int, tuple[str, torch.Tensor, Places]] = {}
    known, modules = Axes(change), Modules(module)
    cache: dict[Any, Places] = {}
    names: dict[str, int] = {}
    for name, axes in change.tensors.items():
        tensor = find_tensor(modules, name)
        if tensor is None:
            raise EditError(f"the network has no parameter or buffer {name!r}, which the edit changes")
        key = tuple([known.key(axis) for axis in axes])
        if key not in cache:
            cache[key] = Places(known, axes)
        places = cache[key]
        if tensor.shape != places.shape:
            raise EditError(
                f"{name} has shape {tuple(tensor.shape)}, and the edit was made for {places.shape}"
            )
        names[name] = id(tensor)
        found.setdefault(id(tensor), (name, tensor, places))
    growing = {name: (tensor, places.new_shape) for name, tensor, places in found.values() if places.grows}
    values = fresh_tensors(change, module, growing)
    shares = shares_of(change) if change.initialise == "duplicate" else None
    out = {}
    for key_, (name, tensor, places) in found.items():
        data = tensor.data
        if name in values:
            data = places.resized(data, values[name])
        else:
            data = like(places.taken(data), data)
            data = data.clone() if data.data_ptr() == tensor.data_ptr() else data
        grad = None if tensor.grad is None else places.resized(tensor.grad, 0.0)
        owner = modules[name.rpartition(".")[0]]
        out[key_] = NewTensor(name, tensor, data, grad, places, owner, tensor.data, tensor.grad)
    _multiply(change, {name: out[key_] for name, key_ in names.items()}, shares)
    return list(out.values())


def _multiply(change: Change, made: dict[str, NewTensor], shares: dict[str, Floats] | None) -> None:
    """Multiply the entries by which new neurons act by zero or by shares, and apply the scalings."""
    done: set[tuple[int, str]] = set()
    for outgoing in change.outgoing:
        new = made[outgoing.tensor]
        key = (id(new), repr((outgoing.dims, outgoing.widths, outgoing.rows)))
        if key not in done:
            done.add(key)
            factors = new.places.factors(outgoing.dims, outgoing.widths, shares)
            _scale(new, torch.where(new.places.within(outgoing.rows), factors, torch.ones_like(factors)))
    for scaling in change.scalings:
        new = made[scaling.tensor]
        factor = torch.tensor(scaling.factor, dtype=torch.float64)
        _scale(new, torch.where(new.places.within(scaling.rows), factor, torch.ones_like(factor)))


def _scale(new: NewTensor, factors: torch.Tensor) -> None:
    if bool((factors == 1).all()):
        return
    new.factors.append(factors)
    on = factors.to(new.data.device)
    # Where the factor is zero so is the result, also of inf and nan.
    new.data.copy_(
        torch.where(on == 0, torch.zeros((), dtype=new.data.dtype, device=on.device), new.data * on)
    )
