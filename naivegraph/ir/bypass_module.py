"""Modules in place of those whose branches were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.ir.step_module import add_submodule

__all__ = ["Bypass", "BypassCall", "function_at", "name_of_function"]

# A call of what is left: a layer by its path in the module, or a function by its name.
BypassCall = tuple[str, str]

_PLACES: dict[str, Any] = {"torch.nn.functional": F, "torch": torch, "torch.Tensor": torch.Tensor}


class Bypass(nn.Module):
    """Module that gives on what it takes, or a zero that changes no sum, or what the layers left make of it.

    What it takes is the first tensor among its arguments. It returns as many things as the module in its
    place did, of which all but the first are None.

    Args:
        calls: What is called one after the other: ("layer", path) or ("function", name).
        layers: The layers of these paths, which keep them.
        zero: Whether to give a zero.
        outputs: The number of things that are returned as a tuple; None for a tensor by itself.
        mark: A tensor by its name, which is saved with the module, so that files of a network with it are
            told from those of others.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3)
        >>> Bypass()(x) is x, Bypass(zero=True, outputs=2)(x)
        (True, (tensor(0.), None))
    """

    def __init__(
        self,
        calls: Sequence[BypassCall] = (),
        layers: dict[str, nn.Module] | None = None,
        *,
        zero: bool = False,
        outputs: int | None = None,
        mark: tuple[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.calls, self.zero, self.outputs = tuple(calls), zero, outputs
        for path, layer in (layers or {}).items():
            add_submodule(self, path, layer)
        if mark is not None:
            path, _, own = mark[0].rpartition(".")
            if path:
                add_submodule(self, path, nn.Module())
            self.get_submodule(path).register_buffer(own, mark[1])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Give on the first tensor."""
        x = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        for kind, name in self.calls:
            x = self.get_submodule(name)(x) if kind == "layer" else function_at(name)(x)
        if self.zero:
            x = x.new_zeros(())
        return x if self.outputs is None else (x, *[None] * (self.outputs - 1))

    def extra_repr(self) -> str:
        """The calls that are left, for `print`."""
        return "gives zero" if self.zero else " -> ".join(name for _, name in self.calls)


def name_of_function(function: Callable[..., Any]) -> str | None:
    """The name by which `function_at` finds a function of torch; None if it does not."""
    name = getattr(function, "__name__", "")
    for place, owner in _PLACES.items():
        if name and not name.startswith("__") and getattr(owner, name, None) is function:
            return f"{place}.{name}"
    return None


def function_at(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of torch of a name.

    Raises:
        ValueError: There is none.
    """
    place, _, own = name.rpartition(".")
    found = getattr(_PLACES.get(place), own, None)
    if own.startswith("_") or not callable(found):
        raise ValueError(f"{name!r} is no function of torch")
    function: Callable[[torch.Tensor], torch.Tensor] = found
    return function
