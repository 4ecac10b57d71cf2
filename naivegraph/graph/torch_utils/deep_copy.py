"""Copies of networks that hold results of an earlier run."""

from __future__ import annotations

import copy
import functools
import types
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["copied_argument", "deep_copy", "reaches_modules"]

Value = TypeVar("Value")


def deep_copy(value: Value, memo: dict[int, Any] | None = None) -> Value:
    """A copy as `copy.deepcopy` makes it, in which results of earlier runs are plain tensors.

    Networks keep such results: features for a distillation loss, and the weights that
    `torch.nn.utils.weight_norm`, `spectral_norm` and `prune` work out before each run. Torch refuses to copy
    a tensor that gradients lead back from, as the copy could not take part in that run; the copy of a network
    does not need to.

    Args:
        value: A module, or anything else.
        memo: Copies by the id of the original, as in `copy.deepcopy`.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 2)
        >>> net.features = net(torch.ones(1, 2))
        >>> deep_copy(net).features.requires_grad
        False
    """
    memo = {} if memo is None else memo
    with _WithoutHistory():
        return copy.deepcopy(value, memo)


def reaches_modules(value: Any) -> list[nn.Module]:
    """The modules that an argument of a call may call: itself, or those that a function is bound to or uses.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> reaches_modules([len, net.forward]) == [net]
        True
    """
    found: list[nn.Module] = []
    waiting, seen = [value], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, nn.Module):
            found.append(each)
        elif id(each) not in seen:
            seen.add(id(each))
            waiting.extend(reversed(_held(each)))
    return found


def _held(value: Any) -> list[Any]:
    """Values that a function was made with, or the items of a container; none for other values."""
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    return list(value) if isinstance(value, (tuple, list)) else []


def copied_argument(value: Any, memo: dict[int, Any]) -> Any:
    """An argument of a call that does with the copy of a network what `value` does with the network.

    Of other values, which reach no modules, it is the value itself. Functions made inside of others are made
    anew with copies of what they use; `copy.deepcopy` takes them as they are.

    Args:
        value: The argument.
        memo: Copies by the id of the original, with those of the network's modules.
    """
    if not reaches_modules(value):
        return value
    if not isinstance(value, types.FunctionType):
        return deep_copy(value, memo)
    if id(value) not in memo:
        cells = [types.CellType() for _ in value.__closure__ or ()]
        made = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(cells)
        )
        made.__kwdefaults__, memo[id(value)] = value.__kwdefaults__, made
        for cell, old in zip(cells, value.__closure__ or (), strict=True):
            if old != types.CellType():
                cell.cell_contents = copied_argument(old.cell_contents, memo)
    return memo[id(value)]


class _WithoutHistory(TorchFunctionMode):
    """A mode in which a copy of a tensor that was computed with gradients has none behind it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function, or copy such a tensor."""
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))
