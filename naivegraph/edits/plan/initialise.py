"""Initial values of new neurons: by the layer's own initialisation, or by a function of the user's."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from naivegraph.edits.plan.change import Change
from naivegraph.errors import EditError

__all__ = ["fresh_tensors", "seeded"]

_CPU = torch.device("cpu")
_TORCH = "torch.nn.modules."
# A tensor as it is, and its shape after the change.
Growing = Mapping[str, tuple[torch.Tensor, tuple[int, ...]]]


def fresh_tensors(change: Change, module: nn.Module, growing: Growing) -> dict[str, torch.Tensor]:
    """A tensor of the new shape for every tensor that gains entries, to take these from.

    What a torch layer initialises by itself is that of a fresh layer of the new size; any other parameter is
    normal with the mean and the standard deviation of its present values. A mask of `torch.nn.utils.prune`
    lets new entries through. Other tensors (other buffers, those which are not floating point), and all where
    neurons are duplicated, are left out: a new entry is then a copy of an old one. The numbers depend on the
    change's seed and the tensor's place in the network that the edit was made through alone, and torch's own
    generators stay as they were.
    """
    out: dict[str, torch.Tensor] = {}
    if change.initialise == "duplicate":
        return out
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, (tensor, shape) in growing.items():
        path, _, own = name.rpartition(".")
        owner = module.get_submodule(path)
        if own in _prune_masks(owner):
            out[name] = tensor.new_ones(shape)
        if name in out or not tensor.is_floating_point():
            continue
        if path not in layers:
            layers[path] = _fresh_layer(change, owner, path, growing) if _resets_itself(owner) else {}
        if own in layers[path]:
            out[name] = layers[path][own]
        elif isinstance(tensor, nn.Parameter):
            with _seeded(change.seed, change.seed_of(name), tensor.device):
                deviation, mean = torch.std_mean(tensor.detach().double(), correction=0)
                out[name] = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
                out[name].normal_(float(mean), float(deviation))
    if change.function is not None:
        _filled(change, change.function, out, growing)
    return out


def _prune_masks(owner: nn.Module) -> set[str]:
    """The names of the masks by which `torch.nn.utils.prune` hides weights of a layer."""
    hooks = owner._forward_pre_hooks.values()
    return {f"{hook._tensor_name}_mask" for hook in hooks if isinstance(hook, prune.BasePruningMethod)}


def _filled(
    change: Change,
    function: Callable[[torch.Tensor, str], object],
    out: dict[str, torch.Tensor],
    growing: Growing,
) -> None:
    for name, (tensor, _) in growing.items():
        if name in out and isinstance(tensor, nn.Parameter):
            with _seeded(change.seed, change.seed_of(name), tensor.device):
                function(out[name], name)


def _resets_itself(owner: nn.Module) -> bool:
    """Check whether the module initialises its parameters by a method of torch's own."""
    method = getattr(type(owner), "reset_parameters", None)
    return str(getattr(method, "__module__", "")).startswith(_TORCH)


def _fresh_layer(change: Change, owner: nn.Module, path: str, growing: Growing) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a layer of the new size that its class initialises."""
    prefix = f"{path}." if path else ""

    def empty(name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the new shape whose entries are no numbers until they are set."""
        shape = growing[prefix + name][1] if prefix + name in growing else tensor.shape
        value = math.nan if tensor.is_floating_point() else 0
        return torch.full(shape, value, dtype=tensor.dtype, device=tensor.device)

    try:
        layer = _without_tensors(owner)
    except EditError:  # a parametrization that was rewired runs in its graph alone
        return {}
    vars(layer)["_parameters"] = {
        name: None if p is None else nn.Parameter(empty(name, p), requires_grad=False)
        for name, p in owner._parameters.items()
    }
    vars(layer)["_buffers"] = {
        name: None if b is None else empty(name, b) for name, b in owner._buffers.items()
    }
    for attribute in change.attributes:
        if attribute.path == path and not attribute.keys:
            vars(layer)[attribute.name] = attribute.after
    device = next(tensor.device for name, (tensor, _) in growing.items() if name.startswith(prefix))
    start = change.seed_paths.get(path, path)
    with _seeded(change.seed, start, device), contextlib.suppress(AttributeError, TypeError, ValueError):
        layer.reset_parameters()  # which need not suit a subclass that keeps its weights in another way
    named = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    return {name: t.detach() for name, t in named if t.is_meta or not bool(t.isnan().any())}


def _without_tensors(owner: nn.Module) -> Any:
    """A layer of the same class and attributes, in which nothing is shared that initialising writes into."""
    kind = parametrize.type_before_parametrizations(owner)
    layer: nn.Module = object.__new__(kind)
    fields = {
        name: value.detach().clone() if isinstance(value, torch.Tensor) else value
        for name, value in vars(owner).items()
    }
    if kind is not type(owner):
        for name in owner.parametrizations:  # type: ignore[union-attr]
            fields[name] = getattr(owner, name).detach().clone()
    layer.__dict__.update(fields, _modules={})
    return layer


def _seeded(seed: int, name: str, device: torch.device) -> AbstractContextManager[None]:
    return seeded(zlib.crc32(f"{seed}:{name}".encode()), device)


@contextmanager
def seeded(start: int, device: torch.device = _CPU) -> Iterator[None]:
    """Seed torch's generators during a block, and restore them after it."""
    cards = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.default_generator.manual_seed(start)
        for card in cards:
            torch.cuda.default_generators[card].manual_seed(start)
        yield
