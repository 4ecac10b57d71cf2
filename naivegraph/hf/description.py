"""An edited network as config.json says it: the config before the edits, and the edits."""

from __future__ import annotations

import base64
import binascii
import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from naivegraph.edits.apply.attribute_settings import replaced
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.closing import ItemsGone
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import LoadError
from naivegraph.hf.library import MODEL_TYPE

__all__ = ["CONFIG", "KEY", "Description", "base_config"]

# The key of config.json with all that is ours; the attribute in which every such network keeps its config.
KEY = "naivegraph"
CONFIG = "config"
_FORMAT = 1
# A class or config of one family takes config.json for its own and would build a network of its default size,
# of billions of weights. All of them read numbers here and stop, with this text in the message.
_HINT = {
    "this folder has a network edited by naivegraph: import naivegraph.hf, and open it by an Auto class such "
    "as AutoModel.from_pretrained, which gives a network of the family's own class": ""
}


@dataclasses.dataclass(frozen=True)
class Description:
    """An edited network without its weights and the config.

    Attributes:
        edits: The edits as JSON, oldest first.
        kind: The name of the network's class.
        prefix: The path of the part that networks of the family with other heads share; "" for all of it.
        buffers: Buffers that are not saved with the weights and have other values than the library gives
            them, as safetensors in base64.
        casts: Such buffers of the library's values in another dtype, that of the network, by name.
        reports: The costs and certificates of edits, as far as they are known.
        base: The repository that the network was loaded from before its first edit; "" if there was none.
        parameters: The number of its parameters then.
    """

    edits: tuple[str, ...]
    kind: str
    prefix: str = ""
    buffers: str = ""
    casts: tuple[tuple[str, str], ...] = ()
    reports: tuple[Mapping[str, Any], ...] = ()
    base: str = ""
    parameters: int = 0

    def changes(self) -> list[Change]:
        """The edits as changes.

        Raises:
            LoadError: They are damaged, or of another kind than sizes.
        """
        try:
            found = [Change.from_json(text) for text in self.edits]
        except (ValueError, IndexError) as error:
            raise LoadError(f"the edits in config.json are damaged ({error})") from error
        if any(change.structure for change in found):
            raise LoadError(
                "the edits in config.json change the structure of a graph, which no class can open"
            )
        return found

    def values(self) -> dict[str, torch.Tensor]:
        """The buffers by name.

        Raises:
            LoadError: They are damaged.
        """
        try:
            return load(base64.b64decode(self.buffers, validate=True)) if self.buffers else {}
        except (SafetensorError, binascii.Error, ValueError) as error:
            raise LoadError(f"the buffers in config.json are damaged ({error})") from error

    def dtypes(self) -> dict[str, torch.dtype]:
        """The dtypes of `casts`.

        Raises:
            LoadError: They are damaged.
        """
        found = {name: vars(torch).get(str(word)) for name, word in self.casts}
        out = {name: dtype for name, dtype in found.items() if isinstance(dtype, torch.dtype)}
        if out.keys() != found.keys():
            wrong = dict(self.casts)[min(found.keys() - out.keys())]
            raise LoadError(f"torch has no dtype {wrong!r}: config.json is damaged")
        return out

    def with_buffers(
        self, values: Mapping[str, torch.Tensor], dtypes: Mapping[str, torch.dtype]
    ) -> Description:
        """The same with buffers, by their values or by their dtypes alone."""
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in values.items()}
        text = base64.b64encode(save(plain)).decode() if plain else ""
        casts = tuple((name, str(dtype).removeprefix("torch.")) for name, dtype in dtypes.items())
        return dataclasses.replace(self, buffers=text, casts=casts)

    def to_data(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The content of config.json.

        Args:
            config: What it would say of the network before the edits.
        """
        return {
            "architectures": [self.kind],
            "model_type": MODEL_TYPE,
            "id2label": _HINT,
            "transformers_version": config.get("transformers_version"),
            KEY: {
                "format": _FORMAT,
                "class": self.kind,
                "prefix": self.prefix,
                "config": dict(config),
                "edits": list(self.edits),
                **({"buffers": self.buffers} if self.buffers else {}),
                **({"casts": dict(self.casts)} if self.casts else {}),
                **({"reports": list(self.reports)} if self.reports else {}),
                **({"base_model": self.base} if self.base else {}),
                "parameters": self.parameters,
            },
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> tuple[Description, dict[str, Any]]:
        """The description in config.json, and the config of the network before the edits as data.

        Raises:
            LoadError: It is no such file, damaged, or of another format.
        """
        told = data.get(KEY)
        if not isinstance(told, dict):
            raise LoadError(f"config.json names the type {MODEL_TYPE!r} and has no {KEY!r}: it is damaged")
        if told.get("format") != _FORMAT:
            raise LoadError(
                f"config.json has format {told.get('format')!r} of edits; this version reads {_FORMAT}"
            )
        config, edits = told.get("config"), told.get("edits")
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise LoadError("the config before the edits in config.json is damaged: it has no model_type")
        if not isinstance(edits, list) or not all(isinstance(text, str) for text in edits):
            raise LoadError("the edits in config.json are damaged: they are no list of texts")
        words = {name: told.get(name, "") for name in ("class", "prefix", "buffers", "base_model")}
        if not all(isinstance(word, str) for word in words.values()) or not words["class"]:
            raise LoadError("the edits in config.json are damaged: the class of the network is no name")
        reports, casts = told.get("reports", []), told.get("casts", {})
        count = told.get("parameters", 0)
        if not isinstance(casts, dict) or not isinstance(reports, list) or type(count) is not int:
            raise LoadError("the edits in config.json are damaged: a part has the wrong type")
        found = cls(
            tuple(edits), words["class"], words["prefix"], words["buffers"], tuple(casts.items()),
            tuple(each for each in reports if isinstance(each, dict)), words["base_model"], count,
        )  # fmt: skip
        found.changes()
        found.values()
        found.dtypes()
        return found, copy.deepcopy(config)


def base_config(config: Any, edits: Sequence[str]) -> Any:
    """A copy of a network's config with the numbers that it had before the edits.

    Args:
        config: The config of the whole network as it is now.
        edits: The edits as JSON, oldest first.
    """
    out = copy.deepcopy(config)
    for change in map(Change.from_json, reversed(edits)):
        closing = change.closing
        for gone in () if closing is None else closing.lists:
            if gone.path == "" and gone.name == CONFIG:
                out = replaced(out, gone.keys, functools.partial(_filled, gone))
        for a in reversed([*change.attributes, *(() if closing is None else closing.attributes)]):
            if a.path == "" and a.name == CONFIG and a.keys:
                out = replaced(out, a.keys, functools.partial(_instead, a.before))
        for each in change.labels:
            if each.path == "" and each.name == CONFIG:
                out = replaced(out, each.keys, functools.partial(_before, change.widths[each.width]))
    return out


def _instead(value: float | str, _: object) -> float | str:
    return value


def _filled(gone: ItemsGone, value: Any) -> Any:
    """A list with the items that left it."""
    items = list(value)
    for place, item in sorted(gone.items):
        items.insert(place, item)
    return type(value)(items)


def _before(width: WidthChange, labels: Any) -> Any:
    """The dict of labels before a change of the neurons they are of; those that went have others.

    Example:
        >>> import numpy as np
        >>> width = WidthChange("fc", 3, np.array([0, 2]), 1, np.array([1, 2, 0]))
        >>> _before(width, {0: "cat", 1: "dog", 2: "ant"})
        {0: 'ant', 1: 'removed 1', 2: 'cat'}
    """
    inverse = not all(str(key).isdigit() for key in labels)
    after = sorted(labels, key=labels.__getitem__) if inverse else [labels[key] for key in sorted(labels)]
    order = range(width.after) if width.order is None else width.order
    found = dict(zip(map(int, order), after, strict=True))
    old = {place: f"removed {place}" for place in range(width.before)}
    old.update({int(place): found[index] for index, place in enumerate(width.kept)})
    return {label: place for place, label in old.items()} if inverse else old
