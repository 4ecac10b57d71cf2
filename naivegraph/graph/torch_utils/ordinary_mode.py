"""Edits and recordings inside the caller's `torch.inference_mode()` or `torch.autocast(...)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["ordinary_mode"]


@contextlib.contextmanager
def ordinary_mode() -> Iterator[None]:
    """Run a block outside of `torch.inference_mode()`, and without casts that autocast keeps.

    In inference mode new tensors can never be trained, and layers run as other operators than elsewhere. The
    casts of parameters that `torch.autocast` keeps until its block ends have the sizes and values that there
    were before an edit.

    Example:
        >>> with torch.inference_mode(), ordinary_mode():
        ...     torch.ones(1).is_inference(), torch.is_grad_enabled()
        (False, False)
    """
    keeps = torch.is_autocast_cache_enabled()
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))  # which enables gradients, too
            stack.enter_context(torch.no_grad())
        torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(keeps)
