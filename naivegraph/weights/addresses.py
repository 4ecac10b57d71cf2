"""Addresses of weights, which follow the edits of a network.

A weight's address is the name of its tensor and, for each axis, the id of the neuron at its place. Ids stay
with their neurons, wherever an edit moves them; neurons that came get ids that none has had before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from naivegraph.edits.apply.origins import Axes, Source
from naivegraph.edits.plan.change import Change
from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.weights.codes import keys_of, normal_codes

__all__ = ["Addresses"]

_Ids = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _State:
    """The ids after an edit, by tensor and axis, and the text of that edit."""

    edit: str
    ids: Mapping[str, list[_Ids]]


class Addresses:
    """The addresses of all weights of a network.

    Args:
        module: The network.
        size: The numbers of a code.
        seed: The seed of the codes.

    Example:
        >>> import naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        >>> addresses = Addresses(net, size=8, seed=0)
        >>> before = addresses.codes()
        >>> edit = ng.resize(net, torch.ones(1, 3), {"0": -1})
        >>> _ = addresses.follow()
        >>> after, rows = addresses.codes(), [3 * n + i for n in edit.sizes["0"].kept[0] for i in range(3)]
        >>> bool((after[: len(rows)] == before[rows]).all())
        True
    """

    def __init__(self, module: nn.Module, size: int, seed: int) -> None:
        self._module, self.size, self.seed = module, size, seed
        shapes = {name: tuple(each.shape) for name, each in module.named_parameters()}
        ids = {name: [np.arange(n) for n in shape] for name, shape in shapes.items()}
        self._earlier = list(history_of(module))
        self._states = [_State("", ids)]
        self._next = {name: list(shape) for name, shape in shapes.items()}

    @property
    def ids(self) -> Mapping[str, list[_Ids]]:
        """The ids along each axis of each parameter, by its name."""
        return self._states[-1].ids

    def codes(self) -> Tensor:
        """The codes of all weights, `[weights, size]`, in the order of the parameters."""
        rows = [normal_codes(keys_of(name, ids, self.seed), self.size) for name, ids in self.ids.items()]
        return torch.from_numpy(np.concatenate(rows) if rows else np.zeros((0, self.size)))

    def follow(self) -> dict[str, Tensor]:
        """Follow the edits that were made, or taken back, since.

        Returns:
            For each parameter with new entries, a mask of these.

        Raises:
            EditError: A parameter is of another size, and no edit says how that came.
        """
        found = history_of(self._module)
        edits = found[len(self._earlier) :]
        if found[: len(self._earlier)] != self._earlier:
            raise EditError("edits were taken back that are older than these addresses: make them anew")
        known = [state.edit for state in self._states[1:]]
        same = 0
        while same < min(len(known), len(edits)) and known[same] == edits[same]:
            same += 1
        del self._states[same + 1 :]
        first_new = {name: list(counts) for name, counts in self._next.items()}
        for text in edits[same:]:
            self._states.append(_State(text, self._after(Change.from_json(text))))
        self._states[-1] = _State(self._states[-1].edit, self._of_layers_there())
        self.check()
        return {name: mask for name in self.ids if (mask := self._new(name, first_new)).any()}

    def _after(self, change: Change) -> dict[str, list[_Ids]]:
        """The ids after a change."""
        axes, names, ids = Axes(change), _first_names(self._module), dict(self.ids)
        for alias, formulas in change.tensors.items():
            name = names.get(alias, alias)
            if name in ids:
                ids[name] = [
                    self._moved(name, axis, axes.of(formula)) for axis, formula in enumerate(formulas)
                ]
        return ids

    def _moved(self, name: str, axis: int, source: Source) -> _Ids:
        """The ids along an axis, after an edit that moved its neurons."""
        ids = self.ids[name][axis][source.indices]
        if source.new is not None:
            count = int(source.new.sum())
            ids[source.new.numpy()] = self._next[name][axis] + np.arange(count)
            self._next[name][axis] += count
        return ids

    def _of_layers_there(self) -> dict[str, list[_Ids]]:
        """The ids without those of layers that went, and with new ones for layers that came."""
        found: dict[str, list[_Ids]] = {}
        for name, each in self._module.named_parameters():
            if name not in self.ids:
                start = self._next.setdefault(name, [0] * each.dim())
                found[name] = [first + np.arange(n) for first, n in zip(start, each.shape, strict=True)]
                self._next[name] = [first + n for first, n in zip(start, each.shape, strict=True)]
            else:
                found[name] = self.ids[name]
        return found

    def _new(self, name: str, first_new: Mapping[str, list[int]]) -> Tensor:
        """A mask of the entries of a parameter that have an id from some number on."""
        ids = self.ids[name]
        mask = np.zeros([len(each) for each in ids], dtype=bool)
        for axis, (each, first) in enumerate(zip(ids, first_new.get(name, [0] * len(ids)), strict=True)):
            mask |= (each >= first).reshape([-1 if d == axis else 1 for d in range(len(ids))])
        return torch.from_numpy(mask)

    def check(self) -> None:
        """Check that every parameter has the size that the edits say.

        Raises:
            EditError: One has another, as where a layer was replaced by hand.
        """
        for name, each in self._module.named_parameters():
            sizes = tuple(len(axis) for axis in self.ids[name]) if name in self.ids else None
            if sizes != tuple(each.shape):
                raise EditError(
                    f"{name!r} is {tuple(each.shape)}, where the addresses of its weights are {sizes}: "
                    "change it by edits, or make the addresses anew"
                )


def _first_names(module: nn.Module) -> dict[str, str]:
    """The first name of each parameter, by all the names it has."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(each), name)
        for name, each in module.named_parameters(remove_duplicate=False)
    }
