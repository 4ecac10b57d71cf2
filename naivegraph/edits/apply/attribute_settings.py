"""New values of the attributes of modules that an edit changes."""

from __future__ import annotations

import collections
import copy
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from naivegraph.edits.plan.attribute_change import AttributeChange
from naivegraph.edits.plan.labels import Labels, relabelled
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import field_of
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.ir.pytree import rebuild, with_fields

__all__ = ["attribute_settings", "present_value", "replaced"]


def attribute_settings(
    changes: Sequence[AttributeChange | Labels], modules: Modules, widths: Mapping[str, WidthChange]
) -> list[tuple[nn.Module, str, Any]]:
    """The new values of attributes; containers are copied, never changed, as others may share them.

    Modules that shared a container, with the same changes in it, share the copy.

    Args:
        changes: What changes.
        modules: The modules of the network.
        widths: The changes of widths, by the keys that labels name.

    Raises:
        EditError: The network has no such attribute, or one of another value.
    """
    by_attribute: dict[tuple[str, str], list[AttributeChange | Labels]] = {}
    for a in changes:
        by_attribute.setdefault((a.path, a.name), []).append(a)
    made: dict[Any, Any] = {}
    out = []
    for (path, name), mine in by_attribute.items():
        try:
            owner = modules[path]
            value = present_value(owner, name)
            key = (id(value), frozenset(_without_place(a) for a in mine))
            if key not in made:
                made[key] = value
                for a in mine:
                    made[key] = replaced(made[key], a.keys, functools.partial(_changed, widths, a))
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise EditError(f"the network has no attribute to change as in {mine[0]} ({error!r})") from error
        out.append((owner, name, made[key]))
    return out


def present_value(owner: nn.Module, name: str) -> Any:
    """The value of an attribute of a module, or of its class; a change is set on the module alone.

    Raises:
        AttributeError: It has none.
    """
    if name not in vars(owner) and callable(getattr(type(owner), name, None)):
        raise AttributeError(f"no attribute {name!r}")
    return vars(owner)[name] if name in vars(owner) else getattr(type(owner), name)


def _without_place(a: AttributeChange | Labels) -> Any:
    return (a.keys, a.width, a.new) if isinstance(a, Labels) else (a.keys, a.before, a.after)


def _changed(widths: Mapping[str, WidthChange], a: AttributeChange | Labels, value: Any) -> Any:
    if isinstance(a, Labels):
        return relabelled(value, widths[a.width], a.new)
    if value != a.before:
        raise EditError(f"the edit was made for a network with another value than {value!r}: {a}")
    return type(value)(a.after) if isinstance(value, np.integer) else a.after


def replaced(value: Any, keys: tuple[int | str, ...], change: Callable[[Any], Any]) -> Any:
    """A copy of `value` with `change` applied to the item at these indices and fields."""
    if not keys:
        return change(value)
    key, rest = keys[0], keys[1:]
    if isinstance(value, (dict, types.MappingProxyType)):
        return with_fields(value, {key: replaced(value[key], rest, change)})
    if isinstance(key, int):
        items = list(value)
        items[key] = replaced(items[key], rest, change)
        if hasattr(value, "_make") or isinstance(value, collections.deque):
            return rebuild(value, items)
        return type(value)(items)
    out = copy.copy(value)
    # Written past any __setattr__, which may be frozen or write through to shared state.
    object.__setattr__(out, key, replaced(field_of(value, key), rest, change))
    return out
