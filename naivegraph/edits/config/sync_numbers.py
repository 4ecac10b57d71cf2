"""Fractions in the config of a network, such as the `eps` of norms, that follow attributes made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from naivegraph.edits.config.rebuild import Field, Rebuilt, quiet
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["with_config_numbers"]

_DEPTH = 3


def with_config_numbers(
    module: nn.Module, changes: Sequence[AttributeChange]
) -> tuple[list[AttributeChange], tuple[str, ...]]:
    """The changes of a network's config by which it says the numbers that attributes change to.

    Args:
        module: The network, as it is before.
        changes: The changes of attributes.

    Returns:
        The changes of the config, and a sentence if it cannot say the numbers.
    """
    name = config_name(module)
    if name is None or not changes:
        return [], ()
    built = Rebuilt(module, name)
    before, after = changes[0].before, changes[0].after
    alike = all((each.before, each.after) == (before, after) for each in changes)
    for field in _fields(built.config, ()) if alike else ():
        if _value(built.config, field) != before:
            continue
        with quiet():
            now, then = built.numbers({}), built.numbers({field: after})  # type: ignore[dict-item]
        if now is None or then is None:
            continue
        moved = {place for place, value in then.items() if now.get(place) != value}
        if moved == {("number", each.path, each.name, ()) for each in changes}:
            return [
                AttributeChange(path, name, field, before, after)
                for path, owner in modules_of(module)
                if vars(owner).get(name) is built.config
            ], ()
    return [], (
        f"the network's {name} cannot say that {changes[0].path}.{changes[0].name} is {after:.3g} instead of "
        f"{before:.3g}: use ng.save and ng.load rather than save_pretrained or the like",
    )


def _fields(value: Any, at: Field) -> Iterator[Field]:
    """The places of fractions in a config."""
    if type(value) is float:
        yield at
    elif len(at) < _DEPTH and is_record(value):
        for key, item in (fields_of(value) or {}).items():
            yield from _fields(item, (*at, key))


def _value(config: Any, field: Field) -> Any:
    for key in field:
        config = (fields_of(config) or {})[key]
    return config
