"""Identity of a run: a digest of all in its config that its result depends on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "MACHINE_FIELDS",
    "flat",
    "identity_of",
    "parameter_name",
    "parameter_text",
    "parameter_value",
    "without_machine",
]

# Fields by which the same run differs from machine to machine.
MACHINE_FIELDS = (
    "machine",
    "name",
    "checkpoint_every",
    "trainer/accelerator",
    "trainer/devices",
    "trainer/num_nodes",
    "trainer/default_root_dir",
    "trainer/enable_progress_bar",
    "trainer/enable_model_summary",
    "loader/num_workers",
    "loader/pin_memory",
    "loader/persistent_workers",
    "loader/prefetch_factor",
)

_LONGEST_NAME = 250
_LONGEST_TEXT = 500
_UNNAMEABLE = re.compile(r"[^\w.\- /]")


def identity_of(config: Mapping[str, Any]) -> str:
    """The sha256 of a config without its machine fields, as 64 hexadecimal digits.

    The order of keys does not matter, and 20 is 20.0. Machine fields are `MACHINE_FIELDS` and those that the
    config itself lists under `machine`, such as `data/train/init_args/root`, with all that is below them.

    Example:
        >>> one = identity_of({"model": {"depth": 20}, "trainer": {"max_epochs": 9, "devices": 1}})
        >>> one == identity_of({"trainer": {"devices": 4, "max_epochs": 9}, "model": {"depth": 20.0}})
        True
        >>> one == identity_of({"model": {"depth": 32}, "trainer": {"max_epochs": 9}})
        False
    """
    kept = _canonical(without_machine(config))
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def without_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config without its machine fields."""
    own = config.get("machine") or ()
    return _without(config, {*MACHINE_FIELDS, *own}, "")


def _without(config: Mapping[str, Any], fields: set[str], prefix: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if path in fields:
            continue
        left = _without(value, fields, f"{path}/") if isinstance(value, Mapping) else value
        if left != {}:  # an empty section says nothing
            out[str(key)] = left
    return out


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a nested config by their paths.

    Example:
        >>> flat({"model": {"init_args": {"depth": 20, "widths": [1, 2]}}})
        {'model/init_args/depth': 20, 'model/init_args/widths': [1, 2]}
    """
    return dict(_items(config, ""))


def _items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _items(item, f"{path}/{key}" if path else str(key))
    elif _holds_mappings(value):
        for number, item in enumerate(value):
            yield from _items(item, f"{path}/{number}")
    else:
        yield path, value


def _holds_mappings(value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and any(isinstance(item, Mapping) for item in value)


def parameter_name(path: str) -> str:
    """The name MLflow keeps a value of a config under: it refuses some characters, and long names.

    Example:
        >>> parameter_name("model/init_args/depth"), parameter_name("a/50%/b")
        ('model/init_args/depth', 'a/50:25/b')
    """
    name = _UNNAMEABLE.sub(lambda found: f":{ord(found[0]):x}", path)
    parts = [part if part.strip(".") else f":{part}" for part in name.split("/")]
    name = "/".join(parts)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 18]}: {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def parameter_text(value: Any) -> str:
    """The text MLflow keeps a value as; of a long one its beginning and a digest, as MLflow would cut it.

    Example:
        >>> [parameter_text(value) for value in (20, 20.0, 1e-3, True, None, [1, 2], "resnet")]
        ['20', '20', '0.001', 'true', 'null', '[1, 2]', 'resnet']
    """
    value = _canonical(value)
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= _LONGEST_TEXT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: _LONGEST_TEXT - 80]}... sha256:{digest}"


def parameter_value(text: str) -> Any:
    """The value that a text of `parameter_text` is of.

    Example:
        >>> [parameter_value(text) for text in ("20", "true", "resnet")]
        [20, True, 'resnet']
    """
    try:
        return json.loads(text)
    except ValueError:
        return text
