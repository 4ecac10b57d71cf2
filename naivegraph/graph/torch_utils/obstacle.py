"""Reasons for which a network cannot be edited as it is: wrappers and tensors that hold more than numbers."""

from __future__ import annotations

import gc
import sys
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from naivegraph.graph.torch_utils.module_paths import modules_of

__all__ = ["obstacle", "still_wrapped"]

_QUANTISED = "prune and resize first, and quantise the network that results"


def obstacle(network: nn.Module) -> str:
    """The reason why a network cannot be edited as it is, and what to do instead; empty if there is none.

    Example:
        >>> obstacle(nn.Linear(2, 3))
        ''
    """
    sharded = _loaded("torch.distributed.fsdp", "FullyShardedDataParallel", "FSDPModule")
    spread = _loaded("torch.distributed.tensor", "DTensor")
    for path, module in modules_of(network):
        found = _of_module(f"the part at {path!r}" if path else "the network", module, sharded)
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if not found and tensor is not None:
                    found = _of_tensor(f"{path}.{name}" if path else name, tensor, spread)
        if found:
            return found
    return ""


def _of_module(where: str, module: nn.Module, sharded: tuple[type, ...]) -> str:
    if isinstance(module, DistributedDataParallel):
        return (
            f"{where} is a DistributedDataParallel, which reduces gradients in the shapes that parameters "
            "had when it was made: edit the network inside, its .module, and wrap that again"
        )
    if isinstance(module, sharded):
        return (
            f"{where} is sharded ({type(module).__name__}), and each process has a part of every parameter: "
            "edit the network before it is sharded, in each process alike, and shard what results"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return ""
    packed = [name for name, value in vars(module).items() if isinstance(value, torch.ScriptObject)]
    if packed:
        return (
            f"{where} is a {type(module).__name__} that keeps its weights packed in {packed[0]!r}, where "
            f"they cannot be cut: {_QUANTISED}"
        )
    return ""


def _loaded(module: str, *names: str) -> tuple[type, ...]:
    """Classes of a module that is slow to load, and loaded once one of them was used."""
    found = sys.modules.get(module)
    return tuple(getattr(found, name) for name in names if hasattr(found, name))


def _of_tensor(name: str, tensor: torch.Tensor, spread: tuple[type, ...]) -> str:
    kind = type(tensor).__name__
    if is_lazy(tensor):
        return f"{name} has no shape yet: call the network once on an example before"
    if isinstance(tensor, spread):
        return (
            f"{name} is a {kind}, of which each process has a part: edit the network before it is "
            "distributed, in each process alike, and distribute what results"
        )
    if tensor.is_quantized or is_traceable_wrapper_subclass(tensor):
        return (
            f"{name} is a {kind}, which stands for numbers it keeps in another form, so that no neurons can "
            f"be cut out of it: {_QUANTISED}"
        )
    if tensor.is_inference():
        return (
            f"{name} was made in torch.inference_mode(), where tensors cannot be changed later: make the "
            "network outside of that block, or give it copies, such as copy.deepcopy(network) there"
        )
    return ""


def still_wrapped(network: nn.Module) -> tuple[str, ...]:
    """A sentence for those who edit a network that a DistributedDataParallel still trains; else none."""
    distributed: Any = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return ()
    own = {id(parameter) for parameter in network.parameters()}
    for wrapper in _wrappers():
        if any(id(parameter) in own for parameter in wrapper.parameters()):
            return (
                "A DistributedDataParallel was made of this network before the edit, and reduces gradients "
                "in the shapes of then: wrap the network again.",
            )
    return ()


def _wrappers() -> list[DistributedDataParallel]:
    return [each for each in gc.get_objects() if issubclass(type(each), DistributedDataParallel)]
