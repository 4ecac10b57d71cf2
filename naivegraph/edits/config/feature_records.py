"""Lists in which a network names modules with their numbers of channels, as timm's `feature_info`.

A list of dicts that each name a module is such a list. The number of channels is the entry that is, in every
dict, the number of neurons of what its module gives (or takes, where a dict says "forward_pre", torch's word
for hooks before a module): no name of an entry is looked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.algebra.axis import Axis
from naivegraph.edits.config.sizes_after import SizesAfter, Told
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.graph.run.module_tensors import tensors_into, tensors_out_of
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["feature_records"]

_BEFORE = "forward_pre"


@dataclasses.dataclass(frozen=True)
class _Records:
    """A list of dicts that name modules.

    Attributes:
        path: The module that keeps it.
        name: The attribute.
        keys: The keys that lead to the list in it.
        items: The dicts, by their place in the list, each with the path of the module it names.
    """

    path: str
    name: str
    keys: tuple[int | str, ...]
    items: Mapping[int, tuple[Mapping[Any, Any], str]]

    def __str__(self) -> str:
        return f"{self.path}.{self.name}" if self.path else self.name


def feature_records(sizes: SizesAfter) -> Told:
    """The numbers in lists of records that follow a change, and sentences on lists that do not.

    Args:
        sizes: The change.
    """
    told = Told()
    for records in _lists(sizes.widths.graph.module):
        counts = _counts(sizes, records)
        whole = [key for key, axes in counts.items() if None not in axes.values()]
        changed = [
            axis
            for axes in counts.values()
            for axis in axes.values()
            if axis and sizes.of(axis) != axis.length
        ]
        if not changed:
            continue
        if len(whole) != 1:
            why = (
                f"{' and '.join(map(repr, whole))} are each the channels of every module that it names"
                if whole
                else "it does not tell the channels of every module that it names"
            )
            told.notes.append(f"{records} does not follow, as {why}: set it from what edit.sizes tells")
            continue
        for place, axis in counts[whole[0]].items():
            before, after = (axis.length, sizes.of(axis)) if axis else (0, 0)
            if before != after:
                keys = (*records.keys, place, whole[0])
                told.attributes.append(AttributeChange(records.path, records.name, keys, before, after))
    return told


def _counts(sizes: SizesAfter, records: _Records) -> dict[Any, dict[int, Axis | None]]:
    """The entries that are a number of neurons in some dict: for each the axis in each dict, if it is one.

    Dicts of modules that the network does not run are left out.
    """
    graph, found = sizes.widths.graph, dict[Any, dict[int, Axis | None]]()
    for place, (item, path) in records.items.items():
        stubs = tensors_into(graph, path) if _BEFORE in item.values() else tensors_out_of(graph, path)
        for key, value in item.items() if stubs else ():
            if type(value) is int:
                found.setdefault(key, {})[place] = sizes.common_axis(stubs, value)
    return {key: axes for key, axes in found.items() if any(axis is not None for axis in axes.values())}


def _lists(root: nn.Module) -> Iterator[_Records]:
    """The lists of dicts that name modules, in attributes and in objects there; each in every place."""
    modules: list[str] | None = None
    for path, owner in modules_of(root):
        for name, value in vars(owner).items():
            if name in INTERNAL or isinstance(value, nn.Module):
                continue
            for keys, items in _of_dicts(value):
                modules = modules or [other for other, _ in modules_of(root)]
                named = {place: (item, _named(item, path, modules)) for place, item in enumerate(items)}
                whole = {place: (item, other) for place, (item, other) in named.items() if other is not None}
                if whole:
                    yield _Records(path, name, keys, whole)


def _of_dicts(value: Any) -> Iterator[tuple[tuple[int | str, ...], Sequence[Mapping[Any, Any]]]]:
    """The lists of dicts in the value of an attribute, or in a field of an object there."""
    fields = fields_of(value) if is_record(value) else None
    for keys, one in (((), value), *(((key,), field) for key, field in (fields or {}).items())):
        if type(one) in (list, tuple) and one and all(type(item) is dict for item in one):
            yield keys, one


def _named(item: Mapping[Any, Any], path: str, modules: Sequence[str]) -> str | None:
    """The path of the module that a dict names; None if there is not one alone.

    A name is a path from the module that keeps the dict, or from one within it. In an `nn.ModuleDict`, whose
    names have no dots, it has underscores in their place.
    """
    prefix = f"{path}." if path else ""
    inside = [other for other in modules if other.startswith(prefix) and other != path]
    for name in (value for value in item.values() if isinstance(value, str) and value):
        flat = name.replace(".", "_")
        for fits in (
            [other for other in inside if other == prefix + name],
            [other for other in inside if other[len(prefix) :].replace(".", "_") == flat],
            [other for other in inside if other.endswith(f".{name}")],
        ):
            if len(fits) == 1:
                return fits[0]
    return None
