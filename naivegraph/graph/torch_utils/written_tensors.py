"""A dispatch mode that notices which tensors a forward writes into, and knows what they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from naivegraph.graph.torch_utils.torch_functions import mutated_arguments

__all__ = ["WrittenTensors"]


class WrittenTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode that copies tensors before an operator first writes into them, whatever views it goes by.

    Forwards that clamp or normalise their weights, under `no_grad` or by `.data`, and tables of embeddings
    with a `max_norm` write into parameters. Nothing is copied before a first write, so that large networks
    take no more memory.

    Args:
        tensors: The tensors to watch. Those that are made of others (quantised ones) are left out.

    Attributes:
        values: The tensors that were written into, and copies of what they were.
    """

    supports_higher_order_operators = True

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._in: dict[int | None, list[Tensor]] = {}
        self._memory: list[tuple[Tensor, Tensor]] = []
        for tensor in tensors:
            storage = _storage(tensor)
            if storage is not None:
                self._in.setdefault(storage, []).append(tensor)
                self._memory.append((tensor, tensor.detach()))
        self.values: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, torch._ops.OpOverload):
            for written in mutated_arguments(func, args, kwargs):
                for tensor in self._in.pop(_storage(written), ()):
                    self.values.append((tensor, tensor.detach().clone()))
        return func(*args, **kwargs)

    def give_memory_back(self) -> None:
        """Give tensors their memory back that got other memory (`tensor.data = values`)."""
        for tensor, before in self._memory:
            if _storage(tensor) != _storage(before):
                tensor.data = before
                self.values.append((tensor, before))


def _storage(tensor: Tensor) -> int | None:
    """The memory of a tensor, or None if it has none of its own (sparse, lazy, made of others)."""
    if is_traceable_wrapper_subclass(tensor) or is_lazy(tensor):
        return None
    try:
        return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]
    except (NotImplementedError, RuntimeError):
        return None
