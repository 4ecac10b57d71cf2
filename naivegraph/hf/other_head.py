"""Edits of a network told for another class of its family, which has another head or none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.closing import Closing, ItemsGone
from naivegraph.errors import LoadError
from naivegraph.graph.export.history_text import shared_text
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.hf.description import CONFIG, Description

__all__ = ["changes_for", "shared_part"]


def shared_part(network: Any) -> str:
    """The path of the part that networks of the family with other heads share; "" for all of the network."""
    prefix = getattr(network, "base_model_prefix", "")
    return prefix if prefix and isinstance(getattr(network, prefix, None), nn.Module) else ""


def changes_for(network: Any, description: Description) -> list[Change]:
    """The changes of sizes that a network built from the config before the edits needs.

    Raises:
        LoadError: It has another head than the network that was saved, which would not fit what the edits
            left of the rest.
    """
    if type(network).__name__ == description.kind:
        return description.changes()
    theirs, here = description.prefix, shared_part(network)
    paths = {path for path, _ in modules_of(network, every_path=True)}
    names = {_renamed(path, here, theirs): path for path in paths if _within(path, here)}
    _check_head(network, description, names)
    found = []
    for text in description.edits:
        told = shared_text(text, names)
        if told is not None:
            change = Change.from_json(told)
            found.append(_with_config(change, Change.from_json(text)) if here and theirs else change)
    return found


def _with_config(change: Change, whole: Change) -> Change:
    """A change of the shared part with that of the config of the network around it."""
    attributes = [*change.attributes, *filter(_of_config, whole.attributes)]
    closing = change.closing
    if closing is not None and whole.closing is not None:
        closing = Closing(
            (*closing.attributes, *filter(_of_config, whole.closing.attributes)),
            (*closing.lists, *filter(_of_config, whole.closing.lists)),
        )
    return dataclasses.replace(change, attributes=attributes, closing=closing)


def _of_config(change: AttributeChange | ItemsGone) -> bool:
    return change.path == "" and change.name == CONFIG


def _within(path: str, part: str) -> bool:
    return not part or path == part or path.startswith(f"{part}.")


def _renamed(path: str, here: str, there: str) -> str:
    """The path of a module inside the part at one path, where that part is at another."""
    inner = path.removeprefix(here).removeprefix(".") if here else path
    return ".".join(filter(None, (there, inner)))


def _check_head(network: Any, description: Description, names: dict[str, str]) -> None:
    """Check that no size changed between the shared part and the head that was saved with it.

    Raises:
        LoadError: One did, and the network has a head of its own, which is built for the size before.
    """
    here = shared_part(network)
    own = [p for p, m in modules_of(network) if here and p and not _within(p, here) and m._parameters]
    if not own:
        return
    for text in description.edits:
        data = json.loads(text)
        inside, outside = set[str](), set[str]()
        for tensor, axes in data["tensors"].items():
            (inside if tensor.rpartition(".")[0] in names else outside).update(_keys(axes))
        both = inside & outside
        if both:
            width = data["widths"][min(both)]
            raise LoadError(
                f"the edits changed the size of {width['name']!r}, by which the head of {description.kind} "
                f"reads the rest: {own[0]} of {type(network).__name__} would not fit. Open it as "
                f"{description.kind}, or by AutoModel, and add a head of the new size"
            )


def _keys(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    return [key for item in value for key in _keys(item)] if isinstance(value, list) else []
