"""Parameters and buffers that share memory without being one tensor; an edit would part them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from naivegraph.ir.recording import Recording
from naivegraph.operators.relation import Relation

__all__ = ["fix_shared_memory", "overlapping"]


def fix_shared_memory(relation: Relation, graph: Recording, overlaps: Iterable[tuple[str, str]]) -> None:
    """Fix the sizes of tensors that overlap in memory: an edit would make copies, which change apart.

    One tensor under several names is no such case, nor are parts of one memory that do not overlap, such as
    the weights of an LSTM on a GPU.
    """
    for one, other in overlaps:
        for name, mate in ((one, other), (other, one)):
            if name in graph.state:
                for axis in relation.of(graph.state[name]):
                    relation.algebra.pin(axis, f"{name} shares its memory with {mate}")


def overlapping(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of names of different tensors with elements in common."""
    ranges: dict[int, list[tuple[int, int, str]]] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = (
            type(tensor) is nn.Parameter or type(tensor) is torch.Tensor or type(tensor.data) is torch.Tensor
        )
        plain = own and tensor.layout == torch.strided and not tensor.is_meta
        if plain and tensor.numel() and id(tensor) not in seen:
            seen.add(id(tensor))
            start = tensor.data_ptr()
            last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            found = ranges.setdefault(tensor.untyped_storage().data_ptr(), [])
            found.append((start, start + (last + 1) * tensor.element_size(), name))
    for found in ranges.values():
        for number, (start, end, name) in enumerate(found):
            for low, high, other in found[number + 1 :]:
                if start < high and low < end:
                    yield name, other
