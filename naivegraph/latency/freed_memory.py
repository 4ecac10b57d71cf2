"""The state of the system's memory in which networks are timed."""

from __future__ import annotations

import torch

__all__ = ["keep_freed_memory"]

_BYTES = 32 * 1024 * 1024 - 4096  # just below the most that glibc's threshold follows


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, as it does in a process that has loaded weights.

    glibc gives freed blocks back to the system if they are above a threshold, which rises to the largest of
    them that was freed so far (mallopt(3), M_MMAP_THRESHOLD). Below it every run pays for fresh pages, so the
    same network takes longer in a process that has freed nothing yet; and what is timed first, or in another
    process, would be compared with something else. Elsewhere this does nothing, nor where a
    variable such as MALLOC_TRIM_THRESHOLD_ holds the threshold (dask sets it for its workers): that counts
    for the network in use, too.

    Example:
        >>> keep_freed_memory()
    """
    torch.empty(_BYTES, dtype=torch.uint8)
