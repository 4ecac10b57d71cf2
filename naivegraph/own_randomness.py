"""Random numbers and threads of a block of code, apart from those of the process."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["own_randomness"]


@contextlib.contextmanager
def own_randomness(seed: int, *, threads: int | None = 1) -> Iterator[None]:
    """Give a block threads and random numbers of its own; those of this process are then as they were.

    Args:
        seed: The seed of Python's, numpy's and torch's random numbers.
        threads: The number of torch's threads; as many as there are if None.
    """
    torch: Any = sys.modules.get("torch")  # what has no use for torch does not wait for it
    python, legacy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch is not None:
        before, numbers = torch.get_num_threads(), torch.get_rng_state()
        torch.set_num_threads(threads or before)
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        if torch is not None:
            torch.set_num_threads(before)
            torch.set_rng_state(numbers)
