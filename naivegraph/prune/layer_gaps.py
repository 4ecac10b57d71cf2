"""The gaps that whole layers leave in a network, and the numbers of layers that follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.edits.config.config_layers import ConfigLayers, layer_lists
from naivegraph.edits.config.sync_config import FewerLayers, config_name
from naivegraph.edits.plan.attribute_change import AttributeChange
from naivegraph.edits.plan.closing import Closing
from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.caches import Keys, caches_at, without_caches
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.verify.verify import difference
from naivegraph.ir.bypass_module import Bypass
from naivegraph.prune.captured import Captured

__all__ = ["OwnRun", "config_layers", "fewer_layers", "marked", "moved_up", "whole_layers"]


class OwnRun:
    """Runs of a network's own forward on the example, in eval mode, without the caches it gives.

    Args:
        found: The network.
    """

    def __init__(self, found: Captured) -> None:
        self._found = found
        self.caches: list[Keys] = caches_at(found.graph)

    def __call__(self) -> Any:
        """Run it."""
        network = self._found.graph.module
        args, kwargs = copy_tensors((self._found.args, self._found.kwargs))
        with torch.no_grad(), restored(network), preserved(network, training=False):
            return copy_tensors(self.seen(network(*args, **kwargs)))

    def seen(self, output: Any) -> Any:
        """An output without caches."""
        return without_caches(output, self.caches)


def config_layers(found: Captured) -> ConfigLayers:
    """The search for what the config of a network says of its layers."""
    return ConfigLayers(found.graph.module, OwnRun(found), lambda one, two: not difference(one, two))


def whole_layers(network: nn.Module, changes: Sequence[ModuleChange]) -> dict[str, tuple[int, ...]]:
    """The places of the layers of which nothing with parameters is left, by the path of the list they are in.

    Lists inside of such a layer are not told.
    """
    emptied = [change.path for change in changes if not change.kept]
    gone = dict[str, tuple[int, ...]]()
    for home, count in layer_lists(network).items():
        if any(_under(home, f"{other}.{place}") for other, places in gone.items() for place in places):
            continue
        layers = enumerate(network.get_submodule(home).children())
        found = tuple(
            place
            for place, layer in layers
            if (names := [f"{home}.{place}.{name}" for name, _ in layer.named_parameters()])
            and all(any(_under(name, path) for path in emptied) for name in names)
        )
        if found and len(found) < count:
            gone[home] = found
    return gone


def _under(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


def fewer_layers(layers: ConfigLayers, gone: Mapping[str, Sequence[int]]) -> tuple[FewerLayers | None, str]:
    """The network without those layers that its config can do without, and why not without others."""
    closing, reason = layers.closing(gone), ""
    if isinstance(closing, str):
        reason = closing
        gone = {
            home: places
            for home, places in gone.items()
            if not isinstance(layers.closing({home: places}), str)
        }
        closing = layers.closing(gone) if gone else closing
    if isinstance(closing, str):
        return None, reason
    return FewerLayers(closing, layers.config_after(gone, closing)), reason


def moved_up(network: nn.Module, closing: Closing | None, changes: Sequence[ModuleChange]) -> Closing | None:
    """A closing by which layers have other numbers where parts of the same kind before them are left out.

    A cache has a place for each layer, by its number, and the first place says how long it is: one that is
    never filled misleads the network. So the parts that are left of those which know their number get the
    places from the first on.

    Returns:
        The closing; None if no part that is left out knows a number.
    """
    modules = dict(modules_of(network, every_path=True))
    left_out = {change.path for change in changes}
    found = dict[tuple[str, str], AttributeChange]()
    for home, count in layer_lists(network).items():
        for rest in {
            p.removeprefix(f"{home}.").partition(".")[2] for p in left_out if p.startswith(f"{home}.")
        }:
            if not rest:
                continue
            parts = {n: modules.get(f"{home}.{n}.{rest}") for n in range(count)}
            for name in _numbers(parts):
                place = 0
                for number, part in parts.items():
                    path = f"{home}.{number}.{rest}"
                    gone = closing is not None and closing.after(path) is None
                    if part is None or gone or path in left_out:
                        continue
                    if vars(part)[name] != place:
                        found[path, name] = AttributeChange(path, name, (), vars(part)[name], place)
                    place += 1
    if not found:
        return None
    others = [] if closing is None else [a for a in closing.attributes if (a.path, a.name) not in found]
    return Closing((*others, *found.values()), () if closing is None else closing.lists)


def _numbers(parts: Mapping[int, nn.Module | None]) -> list[str]:
    """The attributes of parts of layers that are the number of the layer."""
    some = [(number, part) for number, part in parts.items() if part is not None]
    if len(some) < 2:
        return []
    return [
        name
        for name, value in vars(some[0][1]).items()
        if type(value) is int
        and all(type(vars(p).get(name)) is int and vars(p)[name] - n == value - some[0][0] for n, p in some)
    ]


def marked(network: nn.Module, changes: Sequence[ModuleChange]) -> list[ModuleChange]:
    """The changes of modules, which are marked if the network is built from a config.

    Such a network may be saved by a library that knows nothing of them. What is missing from a file, it may
    start with random numbers; what has another shape it refuses.
    """
    if config_name(network) is None:
        return list(changes)
    out = []
    for change in changes:
        names = [
            name
            for name, parameter in network.get_submodule(change.path).named_parameters()
            if parameter.numel() > 1 and not hasattr(Bypass, name.partition(".")[0])
            if not any(name.startswith(f"{path}.") for path in change.kept)
        ]
        out.append(dataclasses.replace(change, mark=names[0]) if names else change)
    return out
