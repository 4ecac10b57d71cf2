"""Checks that several contracts share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["NetworkState", "expect", "tensors_of"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def expect(holds: bool, otherwise: str) -> None:
    """Fail the running test unless `holds`; unlike an `assert`, also under `python -O`.

    Raises:
        AssertionError: It does not hold.
    """
    if not holds:
        raise AssertionError(otherwise)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Every tensor in lists, tuples and dicts, each once, in order."""
    return list({id(tensor): tensor for tensor in _walk(value)}.values())


def _walk(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _walk(item)
    elif isinstance(value, Mapping):
        yield from _walk(list(value.values()))


class NetworkState:
    """Everything of a network that may not change while it is looked at.

    Args:
        module: The network.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._before = dict(_facts(module))

    def change(self) -> str:
        """The first thing that is not as it was, or the empty string.

        Example:
            >>> layer = torch.nn.Linear(2, 2)
            >>> state = NetworkState(layer)
            >>> state.change(), layer.requires_grad_(False) and state.change()
            ('', 'requires_grad of weight')
        """
        now = dict(_facts(self._module))
        for name in (*self._before, *now):
            if name not in now or name not in self._before or not _equal(self._before[name], now[name]):
                return name
        return ""


def _facts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    tensors: list[tuple[str, torch.Tensor]] = [*module.named_parameters(remove_duplicate=False)]
    tensors += module.named_buffers(remove_duplicate=False)
    for name, tensor in tensors:
        yield f"the object at {name}", id(tensor)
        yield f"requires_grad of {name}", tensor.requires_grad
        yield f"the values of {name}", tensor.detach().clone()
        yield f"the gradient of {name}", None if tensor.grad is None else tensor.grad.clone()
    for path, part in module.named_modules():
        where = path or "the network"
        yield f"the training flag of {where}", part.training
        yield f"the attributes of {where}", sorted(vars(part))
        yield f"the hooks of {where}", [len(vars(part).get(kind, ())) for kind in _HOOKS]
        for name, value in vars(part).items():
            if isinstance(value, (bool, int, float, str, tuple)) and name != "training":
                yield f"the attribute {name} of {where}", value


def _equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.shape == two.shape and one.dtype == two.dtype
        return same and torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))
    return type(one) is type(two) and bool(one == two)
