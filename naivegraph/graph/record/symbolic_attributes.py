"""Integer attributes of modules as symbolic integers, while a run is recorded."""

from __future__ import annotations

import collections
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.graph.record.symbolic_int import SymbolicInt, plain_int
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, rebuild, with_fields
from naivegraph.ir.values import Attribute

__all__ = ["SymbolicAttributes", "scrub"]

_DEPTH = 4
_MANY = 64  # entries of a dict; larger ones are tables (of labels, of words), in which no size is kept
_ABSENT = object()
_PLAIN = frozenset({float, bool, str, type(None)})  # with no integer in them; most attributes are such
_Key = str | int


class SymbolicAttributes:
    """Context manager that makes the integers in the attributes of all modules of a network symbolic.

    Those of the users' classes count as attributes of their instances. Lists, tuples, dicts, namespaces and
    objects are looked into.

    On leaving, the very objects that were there are there again. Values that the forward itself assigned
    stay, with plain integers in them.

    Args:
        root: The network.
    """

    def __init__(self, root: nn.Module) -> None:
        self._before = [(path, m, vars(m), dict(vars(m))) for path, m in modules_of(root)]
        self._classes: dict[type, dict[str, Any]] = {}
        self._replaced: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._copies: list[tuple[Any, Any, dict[str, Any]]] = []

    def __enter__(self) -> SymbolicAttributes:
        for path, module, attributes, before in self._before:
            for name, value in (*self._of_class(type(module), before), *before.items()):
                if type(value) in _PLAIN or name in INTERNAL:
                    continue
                new = self._symbolic(value, path, name, (), {})
                if new is not value:
                    self._replaced.append((attributes, name, before.get(name, _ABSENT), new))
                    attributes[name] = new
        return self

    def _of_class(self, kind: type[nn.Module], own: dict[str, Any]) -> list[tuple[str, Any]]:
        """The attributes of the user's own classes that may hold sizes, unless the module has them itself."""
        if kind not in self._classes:
            found: dict[str, Any] = {}
            for base in reversed(kind.__mro__):
                if base is not object and not base.__module__.startswith("torch."):
                    found.update(
                        (name, value) for name, value in vars(base).items() if _may_hold(name, value)
                    )
            self._classes[kind] = found
        return [(name, value) for name, value in self._classes[kind].items() if name not in own]

    def _symbolic(
        self, value: Any, path: str, name: str, keys: tuple[_Key, ...], memo: dict[int, Any]
    ) -> Any:
        """A value with symbolic integers; the value itself if there are none in it."""
        kind = type(value)
        if kind is int or isinstance(value, np.integer):
            return SymbolicInt(int(value), Attribute(path, name, keys))
        if kind in _PLAIN or len(keys) >= _DEPTH:
            return value
        if isinstance(value, (tuple, list, collections.deque)):
            if kind not in (tuple, list, torch.Size, collections.deque) and not hasattr(kind, "_make"):
                return value
            items = [self._symbolic(item, path, name, (*keys, i), memo) for i, item in enumerate(value)]
            if [*map(id, items)] == [*map(id, value)]:
                return value
            new = torch.Size(items) if kind is torch.Size else rebuild(value, items)
            if kind in (list, collections.deque):
                self._copies.append((value, new, dict(enumerate(items))))  # type: ignore[arg-type]
            return new
        fields = None if isinstance(value, dict) and len(value) > _MANY else fields_of(value)
        if fields is None:
            return value
        return self._symbolic_fields(value, fields, path, name, keys, memo)

    def _symbolic_fields(
        self,
        value: Any,
        fields: dict[Any, Any],
        path: str,
        name: str,
        keys: tuple[_Key, ...],
        memo: dict[int, Any],
    ) -> Any:
        """A copy of a dict or object with symbolic integers; the same object if there are none in it."""
        if id(value) in memo:
            return memo[id(value)]
        memo[id(value)] = value  # a field that leads back here keeps the object itself
        changed: dict[Any, Any] = {}
        for key, item in fields.items():
            if type(key) is str or type(key) is int:
                new = self._symbolic(item, path, name, (*keys, key), memo)
                if new is not item:
                    changed[key] = new
        if not changed:
            return value
        made = with_fields(value, changed)
        self._copies.append((value, made, {**fields, **changed}))
        memo[id(value)] = made
        return made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for original, made, fields in self._copies:
            _carry_over(original, made, fields)
        for attributes, name, value, new in self._replaced:
            if attributes.get(name) is new and value is _ABSENT:
                del attributes[name]
            elif attributes.get(name) is new:
                attributes[name] = value
        for _, _, attributes, before in self._before:
            for name, value in list(attributes.items()):
                kind = type(value)
                if kind is int or kind in _PLAIN or name in INTERNAL:
                    continue
                same = before.get(name) is value
                if same and kind is tuple and all(type(item) is int for item in value):
                    continue
                clean = scrub(value, _DEPTH)
                if clean is not value and not same:
                    attributes[name] = clean


def _may_hold(name: str, value: Any) -> bool:
    """Tell whether an attribute of a class may be one of the user's with a size in it."""
    if name.startswith("__") or hasattr(nn.Module, name) or isinstance(value, bool):
        return False
    return (
        isinstance(value, (int, np.integer, tuple, list, collections.deque)) or fields_of(value) is not None
    )


def _carry_over(original: Any, made: Any, fields: dict[Any, Any]) -> None:
    """Write into the original of a list, dict or object all that the forward wrote into its copy."""
    if isinstance(original, (list, collections.deque)):
        if len(made) != len(fields) or any(made[i] is not item for i, item in fields.items()):
            original.clear()
            original.extend(scrub(item, _DEPTH) for item in made)
        return
    now = fields_of(made) or {}
    for key, value in now.items():
        if key not in fields or fields[key] is not value:
            _write(original, key, scrub(value, _DEPTH))
    for key in fields.keys() - now.keys():
        if isinstance(original, dict):
            original.pop(key, None)
        elif key in vars(original):
            del vars(original)[key]


def _write(owner: Any, key: Any, value: Any) -> None:
    """Set an entry of a dict, or a field of an object past its `__setattr__`."""
    if isinstance(owner, dict):
        owner[key] = value
    else:
        object.__setattr__(owner, key, value)


def scrub(value: Any, depth: int) -> Any:
    """Replace symbolic integers by plain ones; in lists, dicts and records in place.

    Args:
        value: Anything.
        depth: Number of levels of nested containers to look into.
    """
    kind = type(value)
    if kind is SymbolicInt:
        return plain_int(value)
    if depth == 0:
        return value
    if isinstance(value, tuple):
        items = [scrub(item, depth - 1) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return rebuild(value, items) if kind in (tuple, list) or hasattr(kind, "_make") else kind(items)
    if kind in (list, collections.deque):
        for index, item in enumerate(value):
            clean = scrub(item, depth - 1)
            if clean is not item:
                value[index] = clean
    elif isinstance(value, dict):
        _scrub_dict(value, depth)
    elif (fields := fields_of(value)) is not None:
        for name, item in fields.items():
            clean = scrub(item, depth - 1)
            if clean is not item:
                _write(value, name, clean)
    return value


def _scrub_dict(value: dict[Any, Any], depth: int) -> None:
    clean = {scrub(key, depth - 1): scrub(item, depth - 1) for key, item in value.items()}
    same = all(new is key and clean[new] is value[key] for new, key in zip(clean, list(value), strict=True))
    if not same:
        value.clear()
        value.update(clean)
