"""What holds of every network and of every request that was met."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from naivegraph.graph import Vertex
from naivegraph.ir.pytree import leaves
from naivegraph.ir.values import Stub


def met(what: str, value: Any, old: int, new: int) -> bool:
    """Whether a size that was `old` and is `new` is as asked."""
    if what == "relaxed":
        return not value or new != old  # in the other direction where the other requests leave no choice
    if what == "between":
        return bool(value[0] <= new <= value[1])
    if what == "multiple":
        return bool(new % value == 0)
    return bool(new == {"change": old + value, "size": value, "frozen": old}[what])


def first(vertex: Vertex) -> Stub:
    """The first tensor a vertex gives."""
    return next(leaf for leaf in leaves(vertex.output) if isinstance(leaf, Stub))


def consistent(module: nn.Module) -> None:
    """The shapes of a layer's parameters are those its attributes say; parametrised ones run on their own."""
    if parametrize.is_parametrized(module) or not hasattr(module, "weight"):
        return  # taken out, as nothing uses it
    if isinstance(module, nn.Linear):
        assert module.weight.shape == (module.out_features, module.in_features)
    elif isinstance(module, nn.Conv2d):
        shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        assert module.weight.shape == shape
    elif isinstance(module, nn.ConvTranspose2d):
        assert module.weight.shape[:2] == (module.in_channels, module.out_channels // module.groups)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        held = [each for each in (module.weight, module.running_mean) if each is not None]
        assert all(each.shape == (module.num_features,) for each in held)
    elif isinstance(module, nn.LayerNorm):
        assert tuple(module.weight.shape) == tuple(module.normalized_shape)
    elif isinstance(module, nn.GroupNorm):
        assert module.weight.shape == (module.num_channels,)


def tensors(value: Any) -> list[Tensor]:
    """The tensors a network returned."""
    if isinstance(value, Tensor):
        return [value]
    return [t for each in value for t in tensors(each)] if isinstance(value, (tuple, list)) else []


def total(value: Any) -> Tensor:
    """A scalar of all of them."""
    return sum((t.abs().square().sum() for t in tensors(value)), torch.zeros(()))


def same_tensors(one: Any, two: Any) -> None:
    assert len(tensors(one)) == len(tensors(two))
    for left, right in zip(tensors(one), tensors(two), strict=True):
        assert torch.equal(left, right)
