"""What new neurons start with: as the layer initialises itself, or as a function of the user's says."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from naivegraph.edits.plan.change import Change

__all__ = ["fresh_tensors", "seeded"]

_CPU = torch.device("cpu")
_TORCH = "torch.nn.modules."
# A tensor as it is, and its shape after the change.
Growing = Mapping[str, tuple[torch.Tensor, tuple[int, ...]]]


def fresh_tensors(change: Change, module: nn.Module, growing: Growing) -> dict[str, torch.Tensor]:
    """For every tensor that gains entries, a tensor of its new shape to take them from.

    A torch layer's are those of a fresh layer of the new size; of any other parameter they are normal with
    the mean and the standard deviation of its present values. Other tensors (buffers of other modules, those
    which are not floating point), and all where neurons are duplicated, are left out: a new entry is then a
    copy of an old one. The numbers depend
    on the change's seed and the tensor's place alone, and torch's own generators stay as they were.
    """
    out: dict[str, torch.Tensor] = {}
    if change.initialise == "duplicate":
        return out
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, (tensor, shape) in growing.items():
        if not tensor.is_floating_point():
            continue
        path, _, own = name.rpartition(".")
        owner = module.get_submodule(path)
        if _resets_itself(owner):
            if path not in layers:
                layers[path] = _fresh_layer(change, owner, path, growing)
            out[name] = layers[path][own]
        elif isinstance(tensor, nn.Parameter):
            with _seeded(change.seed, name, tensor.device):
                deviation, mean = torch.std_mean(tensor.detach().double(), correction=0)
                out[name] = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
                out[name].normal_(float(mean), float(deviation))
    if change.function is not None:
        _filled(change, change.function, out, growing)
    return out


def _filled(
    change: Change,
    function: Callable[[torch.Tensor, str], object],
    out: dict[str, torch.Tensor],
    growing: Growing,
) -> None:
    for name, (tensor, _) in growing.items():
        if name in out and isinstance(tensor, nn.Parameter):
            with _seeded(change.seed, name, tensor.device):
                function(out[name], name)


def _resets_itself(owner: nn.Module) -> bool:
    """Whether the module initialises its parameters by a method of torch's own."""
    method = getattr(type(owner), "reset_parameters", None)
    return str(getattr(method, "__module__", "")).startswith(_TORCH)


def _fresh_layer(change: Change, owner: nn.Module, path: str, growing: Growing) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a layer of the new size, fresh."""
    prefix = f"{path}." if path else ""

    def empty(name: str, tensor: torch.Tensor) -> torch.Tensor:
        shape = growing[prefix + name][1] if prefix + name in growing else tensor.shape
        return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)

    layer = object.__new__(type(owner))
    fields: dict[str, Any] = dict(vars(owner))
    fields["_parameters"] = {
        name: None if p is None else nn.Parameter(empty(name, p), requires_grad=False)
        for name, p in owner._parameters.items()
    }
    fields["_buffers"] = {name: None if b is None else empty(name, b) for name, b in owner._buffers.items()}
    layer.__dict__.update(fields)
    for attribute in change.attributes:
        if attribute.path == path and not attribute.keys:
            layer.__dict__[attribute.name] = attribute.after
    device = next(tensor.device for name, (tensor, _) in growing.items() if name.startswith(prefix))
    with _seeded(change.seed, path, device):
        layer.reset_parameters()  # type: ignore[operator]
    return {
        name: t.detach()
        for name, t in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    }


def _seeded(seed: int, name: str, device: torch.device) -> AbstractContextManager[None]:
    return seeded(zlib.crc32(f"{seed}:{name}".encode()), device)


@contextmanager
def seeded(start: int, device: torch.device = _CPU) -> Iterator[None]:
    """Torch's generators started from a number, and put back afterwards."""
    cards = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.default_generator.manual_seed(start)
        for card in cards:
            torch.cuda.default_generators[card].manual_seed(start)
        yield
