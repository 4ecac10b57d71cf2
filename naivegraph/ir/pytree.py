"""Pytrees: nested containers, dataclasses and objects with tensors, as networks take and return them.

Leaves are everything that is no container. Unlike `torch.utils._pytree`, which takes containers it does not
know for leaves, this descends into records, objects of ordinary classes, where a tensor is in them.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from naivegraph.ir.values import Attribute, Compound, ConstantTensor, DimSize, State, Stub, Training

__all__ = [
    "ValueRef",
    "contains_stub",
    "fields_of",
    "flat",
    "has_tensor",
    "is_record",
    "leaf_class",
    "leaves",
    "map_leaves",
    "pairs",
    "rebuild",
    "stubs_in",
    "with_fields",
    "with_tensors",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class ValueRef:
    """A reference to the value of this index, in a pytree that serves as a template."""

    index: int


_PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, type, nn.Module)
_ATOMS = (
    *_PLAIN,
    torch.Tensor,
    Stub,
    State,
    ConstantTensor,
    Training,
    DimSize,
    Attribute,
    Compound,
    ValueRef,
)


_LEAF_KINDS = frozenset(  # classes of most leaves, found faster than by `isinstance`
    {int, float, bool, str, type(None), Stub, State, DimSize, torch.dtype, torch.device, torch.Tensor}
)
_LEAF_CLASSES: set[type] = set()
_Kind = TypeVar("_Kind", bound=type)


def leaf_class(kind: _Kind) -> _Kind:
    """Let the objects of a class be leaves, whatever is in them; a decorator."""
    _LEAF_CLASSES.add(kind)
    return kind


def is_record(value: object) -> bool:
    """Tell whether `value` is an object whose fields can be copied one by one.

    True for namespaces, and for instances of ordinary classes and dataclasses, whose state is all in
    `__dict__` and slots.
    """
    if isinstance(value, (*_ATOMS, enum.Enum)) or callable(value) or type(value) in _LEAF_CLASSES:
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    kind: Any = type(value)
    return (hasattr(value, "__dict__") or bool(_slot_names(kind))) and _in_python(kind)


@functools.cache
def _in_python(kind: Any) -> bool:
    """Tell whether a class and all it is derived from are written in Python, apart from `object`."""
    return all(base is object or bool(base.__flags__ & (1 << 9)) for base in kind.__mro__)


def fields_of(value: object) -> dict[Any, Any] | None:
    """The items of a dict by their keys, or those of a record by the names of its fields; None of others.

    Example:
        >>> fields_of(types.SimpleNamespace(width=16)), fields_of({"width": 16}), fields_of(16)
        ({'width': 16}, {'width': 16}, None)
    """
    if isinstance(value, dict):
        return dict(dict.items(value))
    if isinstance(value, types.MappingProxyType):
        return dict(value)
    if not is_record(value):
        return None
    kind: Any = type(value)
    names = _slot_names(kind)
    return {
        **getattr(value, "__dict__", {}),
        **{name: getattr(value, name) for name in names if hasattr(value, name)},
    }


@functools.cache
def _slot_names(kind: Any) -> tuple[str, ...]:
    """The slots of a class written in Python, by the names they have inside; none of any other class."""
    found: list[str] = []
    for base in kind.__mro__:
        if base is object:
            continue
        if not base.__flags__ & (1 << 9):
            return ()
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            if name not in ("__dict__", "__weakref__"):
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return tuple(found)


def with_fields(value: Any, changed: Mapping[Any, Any]) -> Any:
    """A copy of a value that has `fields_of`, with other values for some of them.

    Example:
        >>> with_fields({"width": 16, "depth": 2}, {"width": 8})
        {'width': 8, 'depth': 2}
    """
    kind: Any = type(value)
    if isinstance(value, types.MappingProxyType):
        return kind({**value, **changed})
    if isinstance(value, dict):
        if kind is dict:
            return {**value, **changed}
        try:
            out = copy.copy(value)
        except Exception:  # whose __getattr__ looks its methods up among its keys
            out = kind.__new__(kind)
            dict.update(out, value)
        if getattr(value, "__dict__", None) is value:  # each key is an attribute, too
            object.__setattr__(out, "__dict__", out)
        for key, item in changed.items():
            dict.__setitem__(out, key, item)
        return out
    out = kind.__new__(kind) if isinstance(value, types.SimpleNamespace) else object.__new__(kind)
    if hasattr(value, "__dict__"):
        vars(out).update(vars(value))
    _set_fields(out, {**{n: getattr(value, n) for n in _slot_names(kind) if hasattr(value, n)}, **changed})
    return out


def _set_fields(record: Any, fields: Mapping[Any, Any]) -> None:
    """Set fields past any `__setattr__`, which may be frozen or write through to shared state."""
    for name, item in fields.items():
        object.__setattr__(record, name, item)


def rebuild(sequence: Any, items: list[Any]) -> Any:
    """A list, tuple, named tuple, deque or `torch.return_types` as `sequence` with other items."""
    kind = type(sequence)
    if kind is list or isinstance(sequence, list):
        return items
    if isinstance(sequence, collections.deque):
        return kind(items, sequence.maxlen)
    if isinstance(sequence, torch.Size) or kind is tuple:
        return tuple(items)
    make = getattr(kind, "_make", None)
    return make(items) if make is not None else kind(items)


def map_leaves(value: Any, change: Callable[[Any], Any], memo: dict[int, Any] | None = None) -> Any:
    """A copy of the pytree `value` with `change` applied to each leaf.

    Dicts of any class keep their class (also dataclasses that are dicts). Records are copied field by field
    if a tensor is in them, and are leaves otherwise.

    Args:
        value: The pytree.
        change: The function of a leaf.
        memo: Copies made so far, by the id of the original, so that what occurs twice is copied once.

    Example:
        >>> map_leaves({"a": (1, [2, 3])}, lambda leaf: -leaf)
        {'a': (-1, [-2, -3])}
    """
    if type(value) in _LEAF_KINDS or isinstance(value, _ATOMS):
        return change(value)
    memo = {} if memo is None else memo
    if id(value) in memo:
        return memo[id(value)]
    result: Any
    if isinstance(value, (tuple, list)):
        result = rebuild(value, [map_leaves(item, change, memo) for item in value])
    elif isinstance(value, dict):
        result = _map_dict(value, change, memo)
    elif isinstance(value, slice):
        result = slice(change(value.start), change(value.stop), change(value.step))
    elif isinstance(value, collections.deque):
        result = rebuild(value, [map_leaves(item, change, memo) for item in value])
    elif is_record(value) and _holds_tensor(value):
        result = memo[id(value)] = with_fields(value, {})
        _set_fields(
            result, {k: map_leaves(item, change, memo) for k, item in (fields_of(value) or {}).items()}
        )
    else:
        return change(value)
    memo[id(value)] = result
    return result


def _map_dict(value: dict[Any, Any], change: Callable[[Any], Any], memo: dict[int, Any]) -> dict[Any, Any]:
    if type(value) is dict:
        return {key: map_leaves(item, change, memo) for key, item in value.items()}
    result: dict[Any, Any] = type(value).__new__(type(value))
    if isinstance(value, collections.defaultdict) and isinstance(result, collections.defaultdict):
        result.default_factory = value.default_factory
    memo[id(value)] = result
    base = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
    for key, item in value.items():
        base.__setitem__(result, key, map_leaves(item, change, memo))
    for key, item in getattr(value, "__dict__", {}).items():
        result.__dict__[key] = map_leaves(item, change, memo)
    return result


def _holds_tensor(value: Any) -> bool:
    return any(
        isinstance(item, (torch.Tensor, Stub, State, ConstantTensor, ValueRef)) for item in leaves(value)
    )


def leaves(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """The leaves of the pytree `value`, in order; a container that occurs twice counts once.

    Example:
        >>> list(leaves({"a": (1, [2, 3]), "b": slice(None, 4)}))
        [1, 2, 3, None, 4, None]
    """
    found: list[Any] = []
    _gather(value, found, set() if seen is None else seen)
    return iter(found)


def _gather(value: Any, found: list[Any], seen: set[int]) -> None:
    """Append the leaves of `value`; a list is several times faster here than a generator per container."""
    kind = type(value)
    if kind in _LEAF_KINDS:
        found.append(value)
        return
    plain = kind is tuple or kind is list or kind is dict
    if not plain and isinstance(value, _ATOMS):
        found.append(value)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if plain or isinstance(value, (tuple, list, dict, collections.deque)):
        items = value.values() if isinstance(value, dict) else value
        for item in items if plain or not isinstance(value, dict) else (*items, *_beside_entries(value)):
            if type(item) in _LEAF_KINDS:
                found.append(item)
            else:
                _gather(item, found, seen)
    elif isinstance(value, slice):
        found += (value.start, value.stop, value.step)
    elif is_record(value):
        for item in (fields_of(value) or {}).values():
            _gather(item, found, seen)
    else:
        found.append(value)


def _beside_entries(value: dict[Any, Any]) -> list[Any]:
    """The attributes of a dict of a class of its own that are not among its entries as well."""
    attributes = getattr(value, "__dict__", None)
    if not attributes or attributes is value:
        return []
    entries = {id(item) for item in value.values()}
    return [item for item in attributes.values() if id(item) not in entries]


def stubs_in(value: Any) -> list[Stub]:
    """The stubs in the pytree `value`, in order."""
    found: list[Any] = []
    _gather(value, found, set())
    return [leaf for leaf in found if type(leaf) is Stub]


def contains_stub(value: Any, stub: Stub) -> bool:
    """Tell whether a stub of this number is in the pytree `value`."""
    return any(isinstance(leaf, Stub) and leaf.id == stub.id for leaf in leaves(value))


def has_tensor(value: Any) -> bool:
    """Tell whether a tensor is in nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return True
    if isinstance(value, (tuple, list)):
        return any(has_tensor(item) for item in value)
    return isinstance(value, dict) and any(has_tensor(item) for item in value.values())


def flat(value: Any) -> Iterator[Any]:
    """The items of nested tuples and lists, at any depth."""
    for item in value:
        if isinstance(item, (tuple, list)):
            yield from flat(item)
        else:
            yield item


def with_tensors(value: Any, stubs: Mapping[int, Stub]) -> Any:
    """A copy of the pytree `value` with other stubs for those numbered in `stubs`, in expressions too."""

    def change(leaf: Any) -> Any:
        """Return the leaf with other stubs."""
        if isinstance(leaf, Stub):
            return stubs.get(leaf.id, leaf)
        if isinstance(leaf, DimSize) and isinstance(leaf.tensor, int):
            new = stubs.get(leaf.tensor)
            return leaf if new is None or new.id == leaf.tensor else DimSize(new.id, leaf.dim)
        if isinstance(leaf, Compound):
            return Compound(leaf.operator, change(leaf.left), change(leaf.right))
        return leaf

    return map_leaves(value, change)


def pairs(template: Any, value: Any, at: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Each leaf of `template`, what `value` has in its place, and the place as text.

    Raises:
        ValueError: The two have different structures.

    Example:
        >>> list(pairs({"a": (1, 2)}, {"a": (3, [4])}))
        [(1, 3, "['a'][0]"), (2, [4], "['a'][1]")]
    """
    if isinstance(template, _ATOMS):
        yield template, value, at
        return
    if isinstance(template, (tuple, list, collections.deque)):
        if not isinstance(value, (tuple, list, collections.deque)) or len(value) != len(template):
            raise ValueError(f"{at or 'it'} is {_describe(value)}, not {_describe(template)}")
        for index, (one, two) in enumerate(zip(template, value, strict=True)):
            yield from pairs(one, two, f"{at}[{index}]")
    elif isinstance(template, dict):
        if not isinstance(value, dict) or list(value) != list(template):
            raise ValueError(f"{at or 'it'} is {_describe(value)}, not {_describe(template)}")
        for key, one in template.items():
            yield from pairs(one, value[key], f"{at}[{key!r}]")
    elif type(template) is type(value) and is_record(template):
        fields, others = fields_of(template) or {}, fields_of(value) or {}
        if fields.keys() != others.keys():
            raise ValueError(f"{at or 'it'} has the fields {list(others)}, not {list(fields)}")
        for key, one in fields.items():
            yield from pairs(one, others[key], f"{at}.{key}")
    else:
        yield template, value, at


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"a {type(value).__name__} with {list(value)}"
    if isinstance(value, (tuple, list, collections.deque)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
