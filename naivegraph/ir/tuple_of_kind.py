"""Named tuples of stubs in pickles, whose class may look at its items as if they were tensors."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.ir.pytree import rebuild

__all__ = ["TupleOfKind", "with_kinds", "without_kinds"]


@dataclasses.dataclass(frozen=True, slots=True)
class TupleOfKind:
    """A named tuple in a pickle.

    Attributes:
        kind: Its class.
        items: Its items.
    """

    kind: Any
    items: tuple[Any, ...]


def without_kinds(value: Any) -> Any:
    """Nested plain containers with a `TupleOfKind` for each named tuple; as they are if there is none."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return TupleOfKind(type(value), tuple([without_kinds(item) for item in value]))
    return _items_changed(value, without_kinds)


def with_kinds(value: Any) -> Any:
    """The containers that `without_kinds` was given."""
    if isinstance(value, TupleOfKind):
        return value.kind._make([with_kinds(item) for item in value.items])
    return _items_changed(value, with_kinds)


def _items_changed(value: Any, change: Any) -> Any:
    """A plain container with other items; the same one if none is another."""
    kind = type(value)
    items: list[Any] = list(value.values() if kind is dict else value if kind in (tuple, list) else ())
    made = [change(item) for item in items]
    if all(one is two for one, two in zip(items, made, strict=True)):
        return value
    return dict(zip(value, made, strict=True)) if kind is dict else rebuild(value, made)
