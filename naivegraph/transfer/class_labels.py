"""Labels and numbers of classes that a network keeps beside its head, and which follow the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.labels import Labels
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["with_class_labels"]

# What torchvision, timm and transformers call the number of classes of a network.
_COUNTS = ("num_classes", "num_labels")


def with_class_labels(
    change: Change, module: nn.Module, key: str, names: Mapping[int, str], *, whole: bool
) -> Change:
    """Let labels by class in configs follow, and with `whole` the attributes that count classes.

    Labels are a dict with the classes as keys, or as values, in an object that a module keeps.

    Args:
        change: The change of the head.
        module: The network.
        key: The key of the width of classes.
        names: The names of new classes, by their number.
        whole: Whether they are the classes of the whole network, which attributes count.
    """
    width = change.widths[key]
    order = np.arange(width.after) if width.order is None else width.order
    places = [int(place) for place in np.argsort(order)[width.stay :]]
    found = list(_tables(module, width.before))
    taken = {str(label) for *_, table in found for label in (*table, *table.values())}
    new = tuple(names[place] if place in names else _unused(place, taken) for place in places)
    labels = tuple(Labels(path, name, keys, key, new) for path, name, keys, _ in found)
    counts = [
        AttributeChange(path, name, (), width.before, width.after)
        for path, owner in (modules_of(module) if whole and width.after != width.before else ())
        for name in _COUNTS
        if vars(owner).get(name) == width.before
    ]
    known = {(a.path, a.name, a.keys) for a in change.attributes}
    more = [a for a in counts if (a.path, a.name, a.keys) not in known]
    return dataclasses.replace(change, labels=labels, attributes=[*change.attributes, *more])


def _unused(place: int, taken: set[str]) -> str:
    label = f"LABEL_{place}"
    while label in taken:
        label += "_new"
    taken.add(label)
    return label


def _tables(
    module: nn.Module, size: int
) -> Iterator[tuple[str, str, tuple[int | str, ...], Mapping[Any, Any]]]:
    """The dicts of labels of so many classes: path of the module, attribute, fields, and the dict."""
    places = list(range(size))
    for path, owner in modules_of(module):
        for name, value in vars(owner).items():
            if name not in INTERNAL and is_record(value) and not isinstance(value, nn.Module):
                for field, table in (fields_of(value) or {}).items():
                    if isinstance(table, dict) and len(table) == size and _counts(table, places):
                        yield path, name, (field,), table


def _counts(table: Mapping[Any, Any], places: Sequence[int]) -> bool:
    """Tell whether the classes are the keys of a dict whose values are words, or the other way round."""
    keys, values = list(table), list(table.values())
    for numbers, words in ((keys, values), (values, keys)):
        if all(type(each) is int for each in numbers) and all(isinstance(each, str) for each in words):
            return sorted(numbers) == list(places)
    return False
