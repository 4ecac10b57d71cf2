"""Norms and activations of a schema node, by their words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.errors import SchemaError, nearest
from naivegraph.search.schema.feature_shape import KnownShape

__all__ = [
    "ActivationWord",
    "GatedHalf",
    "NormWord",
    "activation_of",
    "channel_dropout",
    "group_norm",
    "norm_of",
]

_BATCH = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE = (None, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclasses.dataclass(frozen=True)
class NormWord:
    """A norm.

    Attributes:
        word: The word for it.
        make: Makes the layer for a shape.
        divisor: A number that divides the channels.
    """

    word: str
    make: Callable[[KnownShape], nn.Module]
    divisor: int = 1


@dataclasses.dataclass(frozen=True)
class ActivationWord:
    """An activation.

    Attributes:
        word: The word for it.
        make: Makes the layer for a shape.
        gated: Whether it takes twice as many channels as it gives.
    """

    word: str
    make: Callable[[KnownShape], nn.Module]
    gated: bool = False


class GatedHalf(nn.Module):
    """Layer that multiplies one half of the channels by a function of the other.

    Args:
        kind: "glu", "swiglu" or "geglu".
        dim: The dimension of the channels.
    """

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        self.kind, self.dim = kind, dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve the channels."""
        value, gate = x.chunk(2, self.dim)
        return value * (F.silu(gate) if self.kind == "swiglu" else F.gelu(gate))

    def extra_repr(self) -> str:
        """The kind."""
        return f"{self.kind!r}, dim={self.dim}"


def channel_dropout(chance: float, shape: KnownShape) -> nn.Module:
    """Dropout of whole channels.

    Raises:
        SchemaError: The shape is none of maps.
    """
    if shape.tokens or not shape.spatial:
        raise SchemaError("channel_dropout takes maps; vectors and tokens have dropout=")
    return (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)[len(shape.spatial) - 1](chance)


def _dim(shape: KnownShape) -> int:
    return -1 if shape.tokens else 1


def _batch(shape: KnownShape) -> nn.Module:
    if shape.tokens:
        raise SchemaError("batch norm takes maps or vectors; tokens have norm='layer' or 'rms'")
    return _BATCH[len(shape.spatial)](shape.channels)


def _instance(shape: KnownShape) -> nn.Module:
    kind = None if shape.tokens else _INSTANCE[len(shape.spatial)]
    if kind is None:
        raise SchemaError("instance norm takes maps")
    return kind(shape.channels, affine=True)


def _layer(shape: KnownShape) -> nn.Module:
    if shape.spatial and not shape.tokens:
        return nn.GroupNorm(1, shape.channels)  # over all of a map
    return nn.LayerNorm(shape.channels)


def _rms(shape: KnownShape) -> nn.Module:
    if shape.spatial and not shape.tokens:
        raise SchemaError("rms norm takes tokens or vectors; maps have norm='batch', 'layer' or 'instance'")
    return nn.RMSNorm(shape.channels)


_NORMS = {
    "batch": NormWord("batch norm", _batch),
    "instance": NormWord("instance norm", _instance),
    "layer": NormWord("layer norm", _layer),
    "rms": NormWord("rms norm", _rms),
}
_ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}
_GATED = ("glu", "swiglu", "geglu")


def group_norm(groups: int) -> NormWord:
    """A group norm, whose groups divide the channels; goes to `norm=`."""
    if not isinstance(groups, int) or groups < 1:
        raise SchemaError(f"groups is a whole number from 1 up, not {groups!r}")
    return NormWord(f"group norm of {groups}", lambda shape: nn.GroupNorm(groups, shape.channels), groups)


def norm_of(norm: str | NormWord | Callable[[int], nn.Module] | None, node: str) -> NormWord | None:
    """A norm by its word, or one that the user makes of a number of channels.

    Raises:
        SchemaError: There is none of that name.
    """
    if norm is None or isinstance(norm, NormWord):
        return norm
    if callable(norm):
        own = norm
        return NormWord("norm", lambda shape: own(shape.channels))
    if norm not in _NORMS:
        raise SchemaError(
            f"{node}: there is no norm {norm!r}{nearest(str(norm), _NORMS)} (or search.group_norm(8))"
        )
    return _NORMS[norm]


def activation_of(
    activation: str | ActivationWord | Callable[[], nn.Module] | None, node: str
) -> ActivationWord | None:
    """An activation by its word, or one that the user makes.

    Raises:
        SchemaError: There is none of that name.
    """
    if activation is None or isinstance(activation, ActivationWord):
        return activation
    if callable(activation):
        own = activation
        return ActivationWord("activation", lambda shape: own())
    if activation == "softmax":
        return ActivationWord("softmax", lambda shape: nn.Softmax(_dim(shape)))
    if activation == "glu":
        return ActivationWord("glu", lambda shape: nn.GLU(_dim(shape)), True)
    if activation in _GATED:
        kind = activation
        return ActivationWord(kind, lambda shape: GatedHalf(kind, _dim(shape)), True)
    if activation not in _ACTIVATIONS:
        known = [*_ACTIVATIONS, *_GATED, "softmax"]
        raise SchemaError(f"{node}: there is no activation {activation!r}{nearest(str(activation), known)}")
    make = _ACTIVATIONS[activation]
    return ActivationWord(activation, lambda shape: make())
