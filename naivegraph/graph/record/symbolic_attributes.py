"""Integer attributes of modules as symbolic integers, while a run is recorded."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import nn

from naivegraph.graph.record.symbolic_int import SymbolicInt, plain_int
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import is_record, rebuild
from naivegraph.ir.values import Attribute

__all__ = ["SymbolicAttributes", "scrub"]

_DEPTH = 4
_PLAIN = frozenset({float, bool, str, type(None)})  # with no integer in them; most attributes are such
_Key = str | int


class SymbolicAttributes:
    """Context manager that makes the integers in the attributes of all modules of a network symbolic.

    On leaving, the very objects that were there are there again. Values that the forward itself assigned
    stay, with plain integers in them.

    Args:
        root: The network.
    """

    def __init__(self, root: nn.Module) -> None:
        self._before = [(path, vars(module), dict(vars(module))) for path, module in modules_of(root)]
        self._replaced: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._copies: list[tuple[Any, Any, dict[str, Any]]] = []

    def __enter__(self) -> SymbolicAttributes:
        for path, attributes, before in self._before:
            memo: dict[int, Any] = {}
            for name, value in before.items():
                if type(value) in _PLAIN or name in INTERNAL:
                    continue
                new = self._symbolic(value, path, name, (), memo)
                if new is not value:
                    attributes[name] = new
                    self._replaced.append((attributes, name, value, new))
        return self

    def _symbolic(
        self, value: Any, path: str, name: str, keys: tuple[_Key, ...], memo: dict[int, Any]
    ) -> Any:
        """A value with symbolic integers; the value itself if there are none in it."""
        kind = type(value)
        if kind is int:
            return SymbolicInt(value, Attribute(path, name, keys))
        if kind in _PLAIN:
            return value
        if isinstance(value, (tuple, list)):
            if len(keys) >= _DEPTH or (kind not in (tuple, list) and not hasattr(kind, "_make")):
                return value
            items = [self._symbolic(item, path, name, (*keys, i), memo) for i, item in enumerate(value)]
            if [*map(id, items)] == [*map(id, value)]:
                return value
            new = rebuild(value, items)
            if kind is list:
                self._copies.append((value, new, dict(enumerate(items))))  # type: ignore[arg-type]
            return new
        if len(keys) >= _DEPTH or not is_record(value):
            return value
        return self._symbolic_record(value, path, name, keys, memo)

    def _symbolic_record(
        self, value: Any, path: str, name: str, keys: tuple[_Key, ...], memo: dict[int, Any]
    ) -> Any:
        """A copy of a record with symbolic integers; the record itself if there are none in it."""
        if id(value) in memo:
            return memo[id(value)]
        memo[id(value)] = value  # a field that leads back here keeps the object itself
        fields = dict(vars(value))
        changed = False
        for key, item in vars(value).items():
            fields[key] = self._symbolic(item, path, name, (*keys, key), memo)
            changed = changed or fields[key] is not item
        if not changed:
            return value
        copy = object.__new__(type(value))
        copy.__dict__.update(fields)
        self._copies.append((value, copy, fields))
        memo[id(value)] = copy
        return copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for original, copy, fields in self._copies:
            _carry_over(original, copy, fields)
        for attributes, name, value, new in self._replaced:
            if attributes.get(name) is new:
                attributes[name] = value
        for _, attributes, before in self._before:
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


def _carry_over(original: Any, copy: Any, fields: dict[Any, Any]) -> None:
    """Write into the original of a list or config all that the forward wrote into its copy."""
    if isinstance(original, list):
        if len(copy) != len(fields) or any(copy[i] is not item for i, item in fields.items()):
            original[:] = [scrub(item, _DEPTH) for item in copy]
        return
    now = vars(copy)
    for key, value in now.items():
        if key not in fields or fields[key] is not value:
            vars(original)[key] = scrub(value, _DEPTH)
    for key in fields.keys() - now.keys():
        vars(original).pop(key, None)


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
    if kind is list:
        for index, item in enumerate(value):
            clean = scrub(item, depth - 1)
            if clean is not item:
                value[index] = clean
    elif isinstance(value, dict):
        _scrub_dict(value, depth)
    elif is_record(value):
        _scrub_dict(vars(value), depth)
    return value


def _scrub_dict(value: dict[Any, Any], depth: int) -> None:
    clean = {scrub(key, depth - 1): scrub(item, depth - 1) for key, item in value.items()}
    same = all(new is key and clean[new] is value[key] for new, key in zip(clean, list(value), strict=True))
    if not same:
        value.clear()
        value.update(clean)
