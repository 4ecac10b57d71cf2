"""Search for inputs on which a network written by hand runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.errors import CaptureError
from naivegraph.graph.build.nodes import Node
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import leaves

__all__ = ["find_examples"]

_SPATIAL: tuple[tuple[int, ...], ...] = ((), (16, 16), (16,), (8, 8, 8))
_LENGTH = 7
_LARGER: tuple[tuple[int, ...], ...] = ((64, 64), (224, 224), (256,))
_MOST = 64


def find_examples(module: nn.Module, inputs: list[Node]) -> tuple[torch.Tensor, ...]:
    """An example of every input: its own, or one of the first shapes on which the network runs.

    Shapes are `(2, size)`, `(2, size, 16, 16)`, `(2, size, 16)`, `(2, size, 8, 8, 8)`, `(2, 7, size)`, larger
    maps, and integers below `size` of shape `(2, 7)` and `(2,)`. The batch is 2, or larger where an input has
    that size, and the same for all. One where every sample of the batch has an
    output of its own is preferred: many layers take `(2, size)` for one sample without a batch.

    Raises:
        CaptureError: The network runs on none; the message lists the shapes tried and their errors.
    """
    open_inputs = [node for node in inputs if node.example is None]
    tried: list[str] = []
    fallback: tuple[torch.Tensor, ...] | None = None
    batch = _batch(inputs)
    for kinds in _combinations(len(open_inputs)):
        chosen = iter([make(node.size or 1, batch) for make, node in zip(kinds, open_inputs, strict=True)])
        values = tuple(next(chosen) if n.example is None else n.example for n in inputs)
        error = _error(module, values)
        if error is None and (not open_inputs or _separate(module, values)):
            return values
        if error is None:
            fallback = fallback or values
        else:
            tried.append(f"{', '.join(str(tuple(value.shape)) for value in values)}: {error}")
    if fallback is not None:
        return fallback
    message = "\n  ".join(tried)
    raise CaptureError(
        "the network runs on no example that was tried; give one to its input (shape= or example=). Tried\n"
        f"  {message}"
    )


_Make = Callable[[int, int], torch.Tensor]


def _batch(inputs: list[Node]) -> int:
    """The size of the batch, the same for all inputs: that of examples, else one that no size is equal to."""
    given = {int(n.example.shape[0]) for n in inputs if n.example is not None and n.example.dim()}
    if len(given) == 1:
        return given.pop()
    return next(size for size in itertools.count(2) if all(node.size != size for node in inputs))


def _combinations(count: int) -> Iterator[tuple[_Make, ...]]:
    """Factories for `count` inputs: all of one kind first, then mixed."""
    ways = list(_ways())
    same = [(way,) * count for way in ways] if count else [()]
    mixed = itertools.islice(itertools.product(ways[:5], repeat=count), _MOST) if count > 1 else ()
    yield from same
    yield from (kinds for kinds in mixed if len(set(kinds)) > 1)


def _ways() -> Iterator[_Make]:
    """Factories of one input of a given size and batch, in the order to try them."""

    def map_of(spatial: tuple[int, ...]) -> _Make:
        """Return a factory of batches of maps."""
        return lambda size, batch: _random(batch, size, *spatial)

    yield from map(map_of, _SPATIAL)
    yield lambda size, batch: _random(batch, _LENGTH, size)
    yield from map(map_of, _LARGER)
    yield lambda size, batch: torch.arange(batch * _LENGTH).reshape(batch, _LENGTH) % size
    yield lambda size, batch: torch.arange(batch) % size


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _run(module: nn.Module, values: tuple[torch.Tensor, ...]) -> Any:
    with restored(module), preserved(module, watch=True), torch.no_grad():
        return copy_tensors(module(*copy_tensors(values)))


def _error(module: nn.Module, values: tuple[torch.Tensor, ...]) -> str | None:
    """The first line of the error that the network raises on these inputs, if any."""
    try:
        _run(module, values)
    except Exception as error:
        # Layers raise any exception on shapes they do not take.
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"
    return None


def _separate(module: nn.Module, values: tuple[torch.Tensor, ...]) -> bool:
    """Tell whether the last sample has the same output alone as in the batch."""
    whole = [leaf for leaf in leaves(_run(module, values)) if isinstance(leaf, torch.Tensor)]
    last = tuple(value[-1:] for value in values)
    if _error(module, last) is not None:
        return False
    alone = [leaf for leaf in leaves(_run(module, last)) if isinstance(leaf, torch.Tensor)]
    return len(whole) == len(alone) and all(
        one.dim() > 0 and one[-1:].shape == two.shape and torch.allclose(one[-1:], two, rtol=1e-3, atol=1e-4)
        for one, two in zip(whole, alone, strict=True)
    )
