"""The text of an edit, told by the names of another network with the same parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["shared_text", "whole_text"]


def whole_text(text: str, path: str) -> str:
    """An edit of the part at a path as one of the whole.

    Example:
        >>> whole_text('{"widths":{},"tensors":{"0.bias":[]},"attributes":[]}', "trunk")
        '{"widths":{},"tensors":{"trunk.0.bias":[]},"attributes":[]}'
    """
    return _renamed(text, lambda name: f"{path}.{name}" if name else path)


def shared_text(text: str, paths: Mapping[str, str]) -> str | None:
    """An edit of one network as one of another that has modules in common with it.

    Args:
        text: The edit.
        paths: The paths of the common modules in the one, with their paths in the other.

    Returns:
        The edit of what they have in common; None if it does not change that.
    """
    data = json.loads(text)
    tensors = {name: axes for name, axes in data["tensors"].items() if name.rpartition(".")[0] in paths}
    attributes = [each for each in data["attributes"] if each[0] in paths]
    modules = [each for each in data.get("modules", ()) if each[0].rpartition(".")[0] in paths]
    numbers, lists = data.get("closing", ((), ()))
    closing = [[each for each in part if each[0] in paths] for part in (numbers, lists)]
    if not (tensors or attributes or modules or any(closing)):
        return None
    outgoing = [each for each in data.get("outgoing", ()) if each[0] in tensors]
    scalings = [each for each in data.get("scalings", ()) if each[0] in tensors]
    used = _words([tensors, [each[2] for each in outgoing]])
    data.update(
        widths={key: width for key, width in data["widths"].items() if key in used},
        tensors=tensors, attributes=attributes, outgoing=outgoing, scalings=scalings,
    )  # fmt: skip
    data.pop("structure", None)
    for key, value in (("modules", modules), ("closing", closing)):
        if key in data:
            data[key] = value

    def renamed(name: str) -> str:
        """Return the name in the other network; of a width whose layer it has not, the same."""
        if name in paths:
            return paths[name]
        path, _, own = name.rpartition(".")
        return f"{paths[path]}.{own}".removeprefix(".") if path in paths else name

    return _renamed(json.dumps(data), renamed)


def _words(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {word for item in items for word in _words(item)}


def _renamed(text: str, name: Callable[[str], str]) -> str:
    """The text with another name for every tensor, module and width; new numbers stay drawn by the old."""
    data = json.loads(text)
    tensors, paths, widths = dict[str, Any](), dict[str, str](), dict[str, str]()
    for tensor, axes in data["tensors"].items():
        tensors[name(tensor)] = axes
        path, here = tensor.rpartition(".")[0], name(tensor).rpartition(".")[0]
        paths[here] = data.get("seed_paths", {}).get(path, path)
    for key, width in data["widths"].items():
        widths[key] = data.get("seed_widths", {}).get(key, width["name"])
        width["name"] = name(width["name"])
    data["tensors"] = tensors
    data["attributes"] = [[name(path), *rest] for path, *rest in data["attributes"]]
    if "closing" in data:
        data["closing"] = [[[name(path), *rest] for path, *rest in part] for part in data["closing"]]
    for key in ("outgoing", "scalings", "modules"):
        if key in data:
            data[key] = [[name(tensor), *rest] for tensor, *rest in data[key]]
    if any(width["new"] for width in data["widths"].values()):
        data.update(seed_paths=paths, seed_widths=widths)
    return json.dumps(data, separators=(",", ":"))
