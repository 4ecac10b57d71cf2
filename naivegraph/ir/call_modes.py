"""Torch modes that the code of a network sets around a call, such as `torch.no_grad()`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from naivegraph.ir.values import Training

__all__ = ["Autocast", "CallModes", "run_in"]

# A type of device, the precision, and whether it is on, as in `torch.autocast`.
Autocast = tuple[str, torch.dtype, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class CallModes:
    """Modes of one call.

    Attributes:
        gradients: Whether gradients are recorded; None for whatever holds around the network.
        autocast: The autocasts set, the last one for each type of device.

    Either may depend on train mode.
    """

    gradients: bool | Training | None = None
    autocast: tuple[Autocast, ...] | Training = ()

    def or_in_train_mode(self, other: CallModes, path: str) -> CallModes:
        """These modes in eval mode, and others while the module at a path trains.

        Example:
            >>> CallModes(False).or_in_train_mode(CallModes(), "body").gradients
            Training(path='body', on=None, off=False)
        """

        def switched(off: Any, on: Any) -> Any:
            """Return the value of both modes."""
            return off if on == off else Training(path, on, off)

        return CallModes(switched(self.gradients, other.gradients), switched(self.autocast, other.autocast))


def run_in(
    target: Callable[..., Any],
    gradients: bool | None,
    autocast: tuple[Autocast, ...],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a function, or a module, in modes.

    Args:
        target: What is called.
        gradients: As in `CallModes`; `torch.no_grad()` around the network holds in any case, unless True.
        autocast: As in `CallModes`.
        args: The arguments.
        kwargs: The keyword arguments.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> run_in(torch.neg, False, (), weight).requires_grad
        False
        >>> run_in(torch.mm, None, (("cpu", torch.bfloat16, True),), torch.ones(1, 2), torch.ones(2, 1)).dtype
        torch.bfloat16
    """
    with contextlib.ExitStack() as stack:
        if gradients is not None:
            # Recording sees these, and not `torch.set_grad_enabled`.
            stack.enter_context(torch.enable_grad() if gradients else torch.no_grad())
        for device, dtype, enabled in autocast:
            stack.enter_context(torch.autocast(device, dtype=dtype, enabled=enabled))
        return target(*args, **kwargs)
