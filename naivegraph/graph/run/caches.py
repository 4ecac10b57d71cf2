"""Caches: objects that a network returns and takes again, such as one of keys and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

from naivegraph.graph.run.blocks import Uses, has_parameters
from naivegraph.ir.pytree import fields_of, is_record, rebuild, stubs_in, with_fields
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.operators.relation import returned

__all__ = [
    "Keys",
    "cached",
    "caches_at",
    "gone_with",
    "held",
    "item_at",
    "without_caches",
    "without_tensors",
]

# Keys of dicts, indices of lists and names of fields that lead to an item.
Keys = tuple[Any, ...]


def held(graph: Recording) -> set[int]:
    """The numbers of the tensors that the network's run is for: what it returns and leaves behind.

    What is in caches is not among them: it goes back into the network, which makes as much of it as it needs.
    """
    return {stub.id for stub in returned(graph.output)}.union(graph.left_behind)


def cached(graph: Recording) -> set[int]:
    """The numbers of the tensors that the network returns in caches alone."""
    return {stub.id for stub in stubs_in(graph.output)} - held(graph)


def caches_at(graph: Recording) -> list[Keys]:
    """The places of the caches in the network's output.

    Example:
        >>> import torch, types
        >>> from naivegraph.network import capture
        >>> class Net(torch.nn.Module):
        ...     def forward(self, x, past=None):
        ...         return {"out": x + 1, "past": types.SimpleNamespace(x=x * 2)}
        >>> caches_at(capture(Net(), torch.ones(1, 2)))
        [('past',)]
    """
    return list(_records(graph.output, (), cached(graph)))


def _records(value: Any, at: Keys, numbers: Collection[int]) -> Iterator[Keys]:
    """The places of the outermost objects all of whose tensors have these numbers."""
    if isinstance(value, Stub):
        return
    plain = isinstance(value, (list, tuple, dict)) or dataclasses.is_dataclass(value)
    if is_record(value) and not plain:
        inside = {stub.id for stub in stubs_in(value)}
        if inside and inside <= set(numbers):
            yield at
        return
    items = enumerate(value) if isinstance(value, (list, tuple)) else (fields_of(value) or {}).items()
    for key, item in items:
        yield from _records(item, (*at, key), numbers)


def item_at(value: Any, keys: Keys) -> Any:
    """The item of a value that keys lead to."""
    for key in keys:
        value = value[key] if isinstance(value, (list, tuple)) else (fields_of(value) or {})[key]
    return value


def without_caches(value: Any, places: Collection[Keys]) -> Any:
    """A network's output with None in the places of its caches."""
    for keys in places:
        value = _put(value, keys)
    return value


def _put(value: Any, keys: Keys) -> Any:
    """A copy of a value with None where keys lead to."""
    if not keys:
        return None
    key, rest = keys[0], keys[1:]
    if isinstance(value, (list, tuple)):
        return rebuild(value, [_put(item, rest) if i == key else item for i, item in enumerate(value)])
    return _with_items(value, {key: _put((fields_of(value) or {})[key], rest)})


def gone_with(graph: Recording, gone: Collection[int]) -> set[int]:
    """The numbers of tensors that go from caches with others: constants in the same item of a list.

    Such as the length of a window in the layer of a cache, whose keys and values go.
    """
    uses = Uses(graph)

    def constant(number: int) -> bool:
        """Tell whether a tensor is computed from nothing."""
        makers = [maker for maker, stub in uses.returned() if stub.id == number]
        above = uses.reach(makers, uses.place, upwards=True)
        return not any(
            id(vertex) in above and (vertex.kind == "input" or has_parameters(vertex))
            for vertex in graph.vertices
        )

    found = set(gone)
    for keys in caches_at(graph):
        for item in _items(item_at(graph.output, keys)):
            inside = {stub.id for stub in stubs_in(item)}
            if inside & found and all(map(constant, inside - found)):
                found |= inside
    return found


def _items(value: Any) -> Iterator[Any]:
    """The items of all lists in a value."""
    if isinstance(value, Stub):
        return
    plain = isinstance(value, (list, tuple))
    for item in value if plain else (fields_of(value) or {}).values():
        if plain:
            yield item
        yield from _items(item)


def without_tensors(value: Any, gone: Collection[int]) -> Any:
    """A network's output without tensors of these numbers, which are in caches.

    Of a list the items go of which no tensor is left, such as the layers of a cache; elsewhere None is in the
    place of a tensor.
    """
    if isinstance(value, Stub):
        return None if value.id in gone else value
    found = {stub.id for stub in stubs_in(value)}
    if not found & set(gone):
        return value
    if isinstance(value, (list, tuple)):
        kept = [item for item in value if not _lost(item, gone)]
        return rebuild(value, [without_tensors(item, gone) for item in kept])
    return _with_items(
        value, {key: without_tensors(item, gone) for key, item in (fields_of(value) or {}).items()}
    )


def _with_items(value: Any, changed: dict[Any, Any]) -> Any:
    """A copy of a dict or record with other items; those of a dict may be its attributes, too."""
    out = with_fields(value, changed)
    own = getattr(out, "__dict__", None)
    if isinstance(out, dict) and own is not None and own is not out:
        own.update({key: item for key, item in changed.items() if key in own})
    return out


def _lost(value: Any, gone: Collection[int]) -> bool:
    """Tell whether all tensors in a value are gone, of which there were some."""
    found = {stub.id for stub in stubs_in(value)}
    return bool(found) and found <= set(gone)
