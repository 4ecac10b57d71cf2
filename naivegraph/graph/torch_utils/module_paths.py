"""The modules of a network by their paths, and its parameters and buffers.

The results are those of `nn.Module.named_modules` and the like, which are slower: they pass each result
through one generator per level.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["INTERNAL", "Modules", "buffers_of", "common_path", "modules_of", "parameters_of", "tensors_of"]

INTERNAL = frozenset(vars(nn.Module()))  # the attributes that every module has


def common_path(paths: Iterable[str]) -> str:
    """The path of the innermost module around all of these paths; "" for the network itself.

    Example:
        >>> common_path(["layer1.0.conv1", "layer1.0.bn1"]), common_path(["layer1.0", "layer10"])
        ('layer1.0', '')
    """
    common: list[str] = []
    for parts in zip(*[path.split(".") for path in paths], strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)


def modules_of(root: nn.Module, *, every_path: bool = False) -> list[tuple[str, nn.Module]]:
    """Every module of a network with its path, parents first.

    Args:
        root: The network.
        every_path: List a module once for each path that leads to it, instead of by its first path alone.

    Example:
        >>> shared = nn.ReLU()
        >>> [path for path, _ in modules_of(nn.Sequential(shared, nn.Sequential(shared)))]
        ['', '0', '1']
    """
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        path, module = waiting.pop()
        if not every_path:
            if id(module) in seen:
                continue
            seen.add(id(module))
        found.append((path, module))
        if module._modules:
            prefix = f"{path}." if path else ""
            inside = [(prefix + name, child) for name, child in module._modules.items() if child is not None]
            waiting += inside[::-1]
    return found


def parameters_of(root: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of a network by every name it has."""
    return {
        f"{path}.{name}" if path else name: parameter
        for path, module in modules_of(root, every_path=True)
        for name, parameter in module._parameters.items()
        if parameter is not None
    }


def buffers_of(root: nn.Module) -> dict[str, torch.Tensor]:
    """Every buffer of a network by every name it has."""
    return {
        f"{path}.{name}" if path else name: buffer
        for path, module in modules_of(root, every_path=True)
        for name, buffer in module._buffers.items()
        if buffer is not None
    }


def tensors_of(root: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter of a network by every name it has, and then every buffer, in one walk.

    Example:
        >>> list(tensors_of(nn.BatchNorm1d(2)))
        ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    parameters: dict[str, torch.Tensor] = {}
    buffers: dict[str, torch.Tensor] = {}
    for path, module in modules_of(root, every_path=True):
        prefix = f"{path}." if path else ""
        for found, own in ((parameters, module._parameters), (buffers, module._buffers)):
            for name, tensor in own.items():
                if tensor is not None:
                    found[prefix + name] = tensor
    return {**parameters, **buffers}


class Modules(dict[str, nn.Module]):
    """The modules of a network by path, each looked up once; valid while none is moved.

    Raises:
        AttributeError: The network has no module at a path.

    Example:
        >>> Modules(nn.Sequential(nn.ReLU()))["0"]
        ReLU()
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__({"": root})

    def __missing__(self, path: str) -> nn.Module:
        parent, _, own = path.rpartition(".")
        found = getattr(self[parent], own)
        if not isinstance(found, nn.Module):
            raise AttributeError(f"{path} is a {type(found).__name__}, no module")
        self[path] = found
        return found
