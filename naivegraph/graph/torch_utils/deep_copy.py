"""Copies of networks that hold results of an earlier run."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["deep_copy"]

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
