"""The torch modes by which a recorder sees calls of functions and operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import overrides
from torch.utils._python_dispatch import TorchDispatchMode

from naivegraph.graph.record.decompositions import decomposed

__all__ = ["DispatchMode", "FunctionMode", "unseen"]

_MODES: Any = overrides  # its functions on the stack of modes have no types


class _Recorder(Protocol):
    """The part of a recorder that the modes call."""

    inside: bool

    def function(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a torch function and record it."""

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an ATen operator and record it."""


class FunctionMode(overrides.TorchFunctionMode):
    """Mode that passes every call of a public torch function to the recorder."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        body = None if self._recorder.inside else decomposed(func)
        if body is None:
            return self._recorder.function(func, args, kwargs or {})
        with self:
            return body(*args, **(kwargs or {}))


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode that passes every call of an ATen operator to the recorder."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._recorder.dispatch(func, args, kwargs or {})


def unseen(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a layer without the function mode, as its operators alone are recorded.

    Only if that mode is the innermost, for the user's own modes have to see the calls.
    """
    mode = _MODES._get_current_function_mode()
    if type(mode) is not FunctionMode:
        return call(*args, **kwargs)
    _MODES._pop_mode()
    try:
        return call(*args, **kwargs)
    finally:
        _MODES._push_mode(mode)
