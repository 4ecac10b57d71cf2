"""The torch modes that a forward sets, seen while it is recorded.

Recording runs without gradients, so whether a forward asked for that cannot be read from torch's own state.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from naivegraph.ir.call_modes import Autocast, CallModes

__all__ = ["OpenModes", "modes_seen"]

# Checkpoints run a part without gradients at first, and again with them: the part itself has them.
_ELSEWHERE = frozenset({"torch.utils.checkpoint"})


class OpenModes:
    """The modes that hold at the present place of a forward.

    Attributes:
        gradients: As in `CallModes`.
        autocast: The autocasts by type of device.
    """

    def __init__(self) -> None:
        self.gradients: bool | None = None
        self.autocast: dict[str, Autocast] = {}

    def now(self) -> CallModes | None:
        """The modes of a call that is made now; None if the forward set none."""
        if self.gradients is None and not self.autocast:
            return None
        return CallModes(self.gradients, tuple(self.autocast.values()))


@contextlib.contextmanager
def modes_seen(modes: OpenModes) -> Iterator[None]:
    """Note the modes that this thread enters and leaves during a block.

    Inside it `torch.inference_mode()` is as `torch.no_grad()`, for layers run as other operators there. What
    `torch.set_grad_enabled` sets is not noted: it is often what the code read before, and recording runs
    without gradients.
    """
    grad: Any = torch.autograd.grad_mode
    with (
        _entered(grad.no_grad, modes, lambda mode: _gradients(modes, False)),
        _entered(grad.enable_grad, modes, lambda mode: _gradients(modes, True)),
        _entered(grad.inference_mode, modes, lambda mode: _gradients(modes, not mode.mode), original=False),
        _entered(torch.autocast, modes, lambda mode: _autocast(modes, mode)),
    ):
        yield


def _gradients(modes: OpenModes, enabled: bool) -> None:
    modes.gradients = enabled


def _autocast(modes: OpenModes, mode: Any) -> None:
    dtype = mode.fast_dtype or torch.get_autocast_dtype(mode.device)
    modes.autocast = {**modes.autocast, mode.device: (mode.device, dtype, mode._enabled)}


@contextlib.contextmanager
def _entered(
    kind: Any, modes: OpenModes, note: Callable[[Any], None], *, original: bool = True
) -> Iterator[None]:
    """Replace `__enter__` and `__exit__` of a class of modes during a block.

    Args:
        kind: The class.
        modes: What is noted.
        note: Called with each mode that is entered.
        original: Whether it is entered and left, too.
    """
    enter, leave = kind.__dict__["__enter__"], kind.__dict__["__exit__"]
    thread = threading.get_ident()

    def entered(mode: Any) -> Any:
        """Enter a mode, and note it."""
        mine = threading.get_ident() == thread
        if not mine or sys._getframe(1).f_globals.get("__name__") in _ELSEWHERE:
            return enter(mode)
        before = modes.gradients, modes.autocast
        result = enter(mode) if original else None
        vars(mode).setdefault("_naivegraph_before", []).append(before)
        note(mode)
        return result

    def left(mode: Any, *error: Any) -> Any:
        """Leave a mode, and what was noted of it."""
        before = vars(mode).get("_naivegraph_before")
        if not before:
            return leave(mode, *error)
        result = leave(mode, *error) if original else None
        modes.gradients, modes.autocast = before.pop()
        return result

    kind.__enter__, kind.__exit__ = entered, left
    try:
        yield
    finally:
        kind.__enter__, kind.__exit__ = enter, leave
