"""Closing the gaps that whole layers left in the lists they were in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.edits.apply.attribute_settings import attribute_settings, present_value, replaced
from naivegraph.edits.plan.closing import Closing, ItemsGone
from naivegraph.errors import EditError
from naivegraph.graph.export.history import note_parts
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.undo import UndoLog

__all__ = ["close_gaps", "take_out"]

_LISTS = (nn.ModuleList, nn.Sequential)


def take_out(closing: Closing, network: nn.Module, undo: UndoLog) -> None:
    """Take layers out of the lists they are in, and let numbers and lists beside them follow.

    The other layers keep their names, until `close_gaps`.

    Args:
        closing: What is taken out.
        network: The network, changed in place.
        undo: The log that puts everything back.

    Raises:
        EditError: The network is not the one it was made for.
    """
    modules = Modules(network)
    settings = attribute_settings(closing.attributes, modules, {})
    lists = [(_list_at(modules, each), each) for each in closing.lists if not each.name]
    for owner, name, value in settings:
        undo.keep_entry(vars(owner), name)
        vars(owner)[name] = value
    shared: dict[Any, Any] = {}
    for each in closing.lists:
        if each.name:
            _shorten(modules, each, shared, undo)
    for home, each in lists:
        undo.keep_mapping(home._modules)
        for place in each.places:
            del home._modules[str(place)]


def close_gaps(closing: Closing, network: nn.Module, undo: UndoLog) -> None:
    """Let the layers that are left in lists have the names from the first on.

    Args:
        closing: What was taken out.
        network: The network, changed in place.
        undo: The log that puts everything back.
    """
    modules = Modules(network)
    lists = [modules[each.path] for each in closing.lists if not each.name]
    note_parts(network, undo)  # by the paths that they have so far
    for home in lists:
        undo.keep_mapping(home._modules)
        kept = list(home._modules.values())
        home._modules.clear()
        home._modules.update({str(place): module for place, module in enumerate(kept)})


def _list_at(modules: Modules, gone: ItemsGone) -> nn.Module:
    try:
        found = modules[gone.path]
    except AttributeError:
        found = None
    lost = [place for place in gone.places if found is None or str(place) not in found._modules]
    if not isinstance(found, _LISTS) or lost:
        raise EditError(
            f"the network has no list of layers {gone.path!r} with the places {sorted(gone.places)}"
        )
    return found


def _shorten(modules: Modules, gone: ItemsGone, shared: dict[Any, Any], undo: UndoLog) -> None:
    """Take items out of a list in an attribute; modules that share what it is in share the copy."""
    try:
        owner = modules[gone.path]
        value = present_value(owner, gone.name)
        key = (id(value), gone.keys, gone.items)
        if key not in shared:
            # The old value is kept with the new one, lest another object gets its id.
            shared[key] = value, replaced(value, gone.keys, functools.partial(_without, gone))
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise EditError(
            f"the network has no list {gone.path}.{gone.name} as in {gone} ({error!r})"
        ) from error
    undo.keep_entry(vars(owner), gone.name)
    vars(owner)[gone.name] = shared[key][1]


def _without(gone: ItemsGone, value: Sequence[Any]) -> Any:
    found = tuple((place, value[place]) for place, _ in gone.items)
    if found != gone.items:
        raise EditError(f"the edit was made for a network with other entries than {value!r}: {gone}")
    kept = [item for place, item in enumerate(value) if place not in gone.places]
    return type(value)(kept) if isinstance(value, (list, tuple)) else kept
