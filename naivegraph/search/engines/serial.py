"""The engine without workers: each job runs where it is sent from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["SerialEngine"]


class SerialEngine(Executor):
    """Runs a job at once, in this process.

    Example:
        >>> SerialEngine().submit(max, 1, 2).result()
        2
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call, and give its answer."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # the caller of `result` gets it
            future.set_exception(error)
        return future
