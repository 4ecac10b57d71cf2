"""The memory that searches for fixed points take, checked before they begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from naivegraph.errors import EditError

__all__ = ["check_matrices", "check_products"]

_SOME = 4  # codes by which the memory of one is measured
_RUNS = 3  # kept at once for products with the Jacobian: its run, the run back, and that of the latter


def check_matrices(weights: int) -> None:
    """The matrix of derivatives, its square and factor fit into half of the free memory.

    Raises:
        EditError: They do not.
    """
    needed, free = 4 * 8 * weights**2, _free_memory()
    if free is not None and needed > free / 2:
        raise EditError(
            f"the matrices of {weights:,} weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free: solve(dense=False) does without them"
        )


def check_products(body: Callable[[Tensor, Tensor], Tensor], weights: Tensor, sizes: Sequence[int]) -> None:
    """Runs on all codes of these sizes, as products need them, fit into half of the free memory.

    Raises:
        EditError: They do not.
    """
    codes = torch.randn(2 * _SOME, *sizes, dtype=weights.dtype)
    few, more = (_kept(body, weights, codes[:count]) for count in (_SOME, 2 * _SOME))
    of_one = _RUNS * (more - few) // _SOME + codes[0].nbytes
    needed, free = of_one * len(weights), _free_memory()
    if free is not None and needed > free / 2:
        raise EditError(
            f"a run on the addresses of all {len(weights):,} weights takes {needed / 1e9:.1f} GB even "
            f"without matrices, and {free / 1e9:.1f} GB are free: take a smaller network, or train it on "
            "mini-batches of addresses, as `naivegraph weights train` does"
        )


def _kept(body: Callable[[Tensor, Tensor], Tensor], weights: Tensor, codes: Tensor) -> int:
    """The bytes that a run keeps to be differentiated."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        """Count a tensor's memory once."""
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = body(weights.clone().requires_grad_(), codes)
    return sum(found.values()) + out.nbytes


def _free_memory() -> int | None:
    """The bytes of memory that are free, where the system tells."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
