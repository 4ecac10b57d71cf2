"""Configs by which transformers alone builds an edited network, where there is one.

That is the network's own config where it followed the edits; or, of families whose code reads the numbers of
each layer from `per_layer_config`, one with numbers for layers of their own. Which numbers these are is found
by trying, and the network built from the config has to be the very same.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from naivegraph.edits.config.rebuild import ConfigPlace, Numbers, numbers_of, quiet
from naivegraph.edits.plan.change import Change
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import buffers_of, modules_of
from naivegraph.hf.description import CONFIG
from naivegraph.hf.edited_config import as_plain
from naivegraph.hf.edited_network import own_buffers

__all__ = ["plain_config"]

_LAYERS = "num_hidden_layers"
_Overrides = dict[int, dict[str, int]]


def plain_config(network: Any, changes: Sequence[Change]) -> Any:
    """A config of the family's own class that builds this network; None if there is none.

    Whole numbers of a network may be left over from before an edit where its forward does not read them. So
    they are compared by what they do: the config followed each edit, which looked at what is read; or the two
    networks give the same for the inputs that the library has for trying.

    Args:
        network: The network.
        changes: Its edits.
    """
    config = as_plain(network.config)
    with quiet():
        built = _built(config, network)
        if built is not None and _alike(built, network):
            return config if _followed(changes) or _same_function(built, network) else None
        config = None if built is None else _with_layers(config, network, built)
        built = None if config is None else _built(config, network)
        same = built is not None and _alike(built, network) and _same_function(built, network)
        return config if same else None


def _followed(changes: Sequence[Change]) -> bool:
    """Tell whether the config of the whole network followed each edit of its widths."""
    return all(
        any(a.path == "" and a.name == CONFIG for a in change.attributes)
        for change in changes
        if change.widths
    )


def _alike(built: Any, network: Any) -> bool:
    """Tell whether two networks have the same modules, sizes, fractions and buffers that are not saved."""
    kinds = [[(path, type(module)) for path, module in modules_of(each)] for each in (network, built)]
    numbers = [
        {place: value for place, value in numbers_of(each, CONFIG).items() if place[0] == "size" or value % 1}
        for each in (network, built)
    ]
    mine, other = buffers_of(network), buffers_of(built)
    return (
        kinds[0] == kinds[1]
        and numbers[0] == numbers[1]
        and all(_equal(mine[name], other.get(name)) for name in unsaved_buffers(network))
    )


def _same_function(built: Any, network: Any) -> bool:
    """Tell whether a network without weights gives what another one gives, once it has its weights."""
    try:
        built.load_state_dict(network.state_dict(), assign=True)
        built.train(network.training)
        with torch.no_grad():
            mine, other = (tree_leaves(dict(each(**network.dummy_inputs))) for each in (network, built))
    except Exception:  # It has no such inputs, or takes others.
        return False
    pairs = [pair for pair in zip(mine, other, strict=False) if isinstance(pair[0], torch.Tensor)]
    return bool(pairs) and all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def _built(config: Any, network: Any) -> Any:
    """The network of a config as it will be read, without weights but with buffers; None if there is none."""
    try:
        if hasattr(config, "validate"):
            config.validate()
        with torch.device("meta"):
            built = type(network)(type(config).from_dict(json.loads(config.to_json_string())))
        own_buffers(built)
    except Exception:  # Any exception of a constructor: there is no network of such a config.
        return None
    return built


def _equal(mine: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and mine.shape == other.shape and torch.equal(mine.cpu(), other.to(mine.dtype))


def _with_layers(config: Any, network: Any, built: Any) -> Any:
    """The config with numbers of their own for layers that differ; None if none are found."""
    layers = _layers(config, network)
    if layers is None or not hasattr(type(config), "per_layer_config"):
        return None
    now, wanted = numbers_of(built, CONFIG), numbers_of(network, CONFIG)
    moved = _moved(config, network, layers, now, wanted)
    found: _Overrides = {}
    for place, size in wanted.items():
        layer, inside = _inside(place, layers)
        if place[0] != "size" or layer < 0 or now.get(place) == size:
            continue
        fields = [field for field, places in moved.items() if inside in places]
        if len(fields) != 1 or place not in now:
            return None
        value, rest = divmod(vars(config)[fields[0]] * int(size), int(now[place]))
        if rest or found.setdefault(layer, {}).setdefault(fields[0], value) != value:
            return None
    return _overridden(config, found) if found else None


def _layers(config: Any, network: Any) -> str | None:
    """The path of the list of the network's layers."""
    count = vars(config).get(_LAYERS)
    for path, module in modules_of(network):
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return path
    return None


def _moved(
    config: Any, network: Any, layers: str, now: Numbers, wanted: Numbers
) -> dict[str, set[ConfigPlace]]:
    """The places inside the first layer that change with each of its numbers, which nothing else may do."""
    changed = {now[place] for place, size in wanted.items() if place in now and now[place] != size}
    out: dict[str, set[ConfigPlace]] = {}
    for field, value in vars(config).items():
        if type(value) is not int or value < 1 or not any(c % value == 0 or value % c == 0 for c in changed):
            continue
        other = _overridden(config, {0: {field: 2 * value}})
        built = None if other is None else _built(other, network)
        if built is None:
            continue
        numbers = numbers_of(built, CONFIG)
        places = [place for place, size in now.items() if place[0] == "size" and numbers.get(place) != size]
        if places and all(_inside(place, layers)[0] == 0 for place in places):
            out[field] = {_inside(place, layers)[1] for place in places}
    return out


def _inside(place: ConfigPlace, layers: str) -> tuple[int, ConfigPlace]:
    """The layer of a place in the network, and the place inside it; -1 for one in none."""
    prefix = f"{layers}."
    if not str(place[1]).startswith(prefix):
        return -1, place
    number, _, name = str(place[1]).removeprefix(prefix).partition(".")
    return int(number), (place[0], name, *place[2:])


def _overridden(config: Any, numbers: _Overrides) -> Any:
    """A copy of the config with numbers of their own for layers; None if it does not take them."""
    out = copy.deepcopy(config)
    known = out.to_dict().get("per_layer_config") or {}
    merged = {int(layer): dict(values) for layer, values in known.items()}
    for layer, values in numbers.items():
        merged.setdefault(layer, {}).update(values)
    try:
        out.per_layer_config = merged
    except (TypeError, ValueError):
        return None
    return out
