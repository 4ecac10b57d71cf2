"""The layer of a stitch: from hidden values of one shape to hidden values of another."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.errors import EditError
from naivegraph.surgery.stitch_fits import LinearMap

__all__ = ["HiddenShape", "Resize", "linear_layers", "set_weights", "shape_between", "stitch_layer"]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclasses.dataclass(frozen=True)
class HiddenShape:
    """The shape of what a vertex gives.

    Attributes:
        shape: With the batch first.
        dim: The dimension of its neurons.
    """

    shape: tuple[int, ...]
    dim: int

    @property
    def neurons(self) -> int:
        """The number of neurons."""
        return self.shape[self.dim]

    @property
    def rest(self) -> tuple[int, ...]:
        """The sizes of all but batch and neurons: height and width, say."""
        return tuple(size for dim, size in enumerate(self.shape) if dim not in (0, self.dim))

    @property
    def last(self) -> bool:
        """Tell whether the neurons are in the last dimension."""
        return self.dim == len(self.shape) - 1

    def rows(self, value: torch.Tensor) -> torch.Tensor:
        """Such a value as rows `[samples and places, neurons]`."""
        return value.movedim(self.dim, -1).flatten(0, -2)


class Resize(nn.Module):
    """Layer that brings maps to another height and width, bilinearly (or lengths and volumes likewise).

    Args:
        sizes: The sizes after it.
        last: Whether the neurons are in the last dimension, instead of in dimension 1.
    """

    def __init__(self, sizes: tuple[int, ...], last: bool = False) -> None:
        super().__init__()
        self.sizes, self.last = sizes, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps of the new sizes."""
        first = x.movedim(-1, 1) if self.last else x
        out = F.interpolate(first, size=list(self.sizes), mode=_MODES[len(self.sizes)], align_corners=False)
        return out.movedim(1, -1) if self.last else out


def shape_between(one: HiddenShape, other: HiddenShape, names: tuple[str, str]) -> Resize | None:
    """The layer that brings what one vertex gives to the sizes that another one gives; None if they agree.

    Args:
        one: What the first gives.
        other: What the second gives.
        names: Their names.

    Raises:
        EditError: They cannot be joined.
    """
    shapes = f"{names[0]!r} gives {one.shape}, {names[1]!r} {other.shape}"
    if len(one.shape) < 2 or len(other.shape) < 2 or 0 in (one.dim, other.dim):
        raise EditError(f"{shapes}: only values of samples can be joined, with neurons in another dimension")
    if len(one.shape) != len(other.shape) or one.dim != other.dim:
        what = "maps, tokens and vectors can each be joined with their like alone"
        raise EditError(f"{shapes}, with neurons in dimension {one.dim} and {other.dim}: {what}")
    if one.rest == other.rest:
        return None
    if one.last and len(one.rest) == 1:
        raise EditError(f"{shapes}: sequences of different length cannot be joined; give one length")
    if len(one.rest) not in _MODES:
        raise EditError(f"{shapes}: maps of {len(one.rest)} dimensions cannot be brought to other sizes")
    return Resize(other.rest, one.last)


def stitch_layer(one: HiddenShape, other: HiddenShape, resize: Resize | None, rank: int | None) -> nn.Module:
    """A stitch with random weights: a linear layer of the neurons, after a change of sizes if need be.

    Args:
        one: What it takes.
        other: What it gives.
        resize: The change of sizes.
        rank: The rank, if that is to be low: then it is made of two linear layers.
    """
    sizes = [one.neurons, other.neurons] if rank is None else [one.neurons, rank, other.neurons]
    layers: list[nn.Module] = []
    for place, (taken, given) in enumerate(itertools.pairwise(sizes)):
        bias = place == len(sizes) - 2
        if one.last:
            layers.append(nn.Linear(taken, given, bias=bias))
        else:
            layers.append(_CONVOLUTIONS[len(one.rest)](taken, given, 1, bias=bias))
    names = ["linear"] if rank is None else ["reduce", "expand"]
    named = [("resize", resize), *zip(names, layers, strict=True)]
    parts = collections.OrderedDict((name, layer) for name, layer in named if layer is not None)
    return layers[0] if len(parts) == 1 else nn.Sequential(parts)


def linear_layers(stitch: nn.Module) -> list[nn.Module]:
    """The linear layers that a stitch is made of, in order."""
    found = [stitch, *stitch.children()]
    return [layer for layer in found if isinstance(getattr(layer, "weight", None), nn.Parameter)]


def set_weights(stitch: nn.Module, fitted: LinearMap) -> None:
    """Give a stitch the weights of a linear map; its parameters stay the same objects.

    Raises:
        EditError: It has other sizes.
    """
    layers = linear_layers(stitch)
    wanted = [tuple(reversed(factor.shape)) for factor in fitted.factors]
    sizes = [tuple(layer.get_parameter("weight").shape[:2]) for layer in layers]
    if sizes != wanted:
        raise EditError(
            f"the stitch has layers of {_listed(sizes)} neurons, and what is fitted needs {_listed(wanted)}: "
            "make a new stitch"
        )
    with torch.no_grad():
        for layer, factor in zip(layers, fitted.factors, strict=True):
            weight = layer.get_parameter("weight")
            weight.copy_(factor.T.reshape(weight.shape))
        layers[-1].get_parameter("bias").copy_(fitted.bias)


def _listed(sizes: list[tuple[int, ...]]) -> str:
    return " and ".join(f"{taken} to {given}" for given, taken in sizes) or "no"
