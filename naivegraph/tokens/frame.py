"""A frame: the places for layers and neurons that all networks of a data set share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "HEAD", "NONE", "Frame", "Kind", "LayerActivation"]

Kind = Literal["dense", "convolutional", "residual"]

NONE = "none"
HEAD = "head"


@dataclasses.dataclass(frozen=True)
class LayerActivation:
    """A function that layers end with, number by number.

    Attributes:
        module: Its class in torch.
        odd: Whether f(-x) = -f(x).
        homogeneous: Whether f(c x) = c f(x) for every c > 0.
    """

    module: type[nn.Module]
    odd: bool = False
    homogeneous: bool = False


ACTIVATIONS: Mapping[str, LayerActivation] = {
    "relu": LayerActivation(nn.ReLU, homogeneous=True),
    "tanh": LayerActivation(nn.Tanh, odd=True),
    "gelu": LayerActivation(nn.GELU),
    "silu": LayerActivation(nn.SiLU),
    "elu": LayerActivation(nn.ELU),
    "sigmoid": LayerActivation(nn.Sigmoid),
    "leaky_relu": LayerActivation(nn.LeakyReLU, homogeneous=True),
    "softsign": LayerActivation(nn.Softsign, odd=True),
}
"""The activations that a frame may have, by name."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The places for the largest network of a data set; each network fills some of them.

    There are `depth` hidden layers of up to `width` neurons, and a head that is always there. A
    network's layers fill the places from the front. A layer is linear or a convolution, then, if the
    frame has norms, a norm over its neurons with a scale and shift for each (`nn.GroupNorm` with one
    group, which needs no batch), and an activation. In residual networks a layer may add what it was
    given to what it gives. The head is linear; on images it takes the mean over all pixels.

    Args:
        kind: "dense", "convolutional", or "residual", on vectors or, with `kernel` above 1, on images.
        inputs: The numbers of an input, or its channels.
        outputs: The numbers of an output.
        depth: The most hidden layers.
        width: The most neurons, or channels, of one.
        activations: The names of those that layers may have.
        kernel: The pixels of a kernel, 1 for vectors, or an odd number squared.
        norm: Whether layers have norms.

    Raises:
        ValueError: There is no such frame.

    Example:
        >>> frame = Frame("dense", inputs=2, outputs=1, depth=2, width=3)
        >>> frame.operators, tuple(frame.places.shape)
        (('none', 'relu', 'tanh', 'gelu', 'head'), (7, 2))
        >>> {name: part.stop - part.start for name, part in frame.features.items()}
        {'operator': 5, 'presence': 1, 'bias': 1, 'edges': 3, 'weights': 3}
    """

    kind: Kind
    inputs: int
    outputs: int
    depth: int
    width: int
    activations: tuple[str, ...] = ("relu", "tanh", "gelu")
    kernel: int = 1
    norm: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is none of {', '.join(map(repr, get_args(Kind)))}")
        for name in ("inputs", "outputs", "depth", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} is to be a whole number of at least 1")
        object.__setattr__(self, "activations", tuple(self.activations))
        unknown = [name for name in self.activations if name not in ACTIVATIONS]
        if unknown or not self.activations or len({*self.activations}) < len(self.activations):
            raise ValueError(
                f"activations={self.activations!r} is to name some of {', '.join(ACTIVATIONS)}, each once"
            )
        side = math.isqrt(self.kernel) if isinstance(self.kernel, int) and self.kernel > 0 else 0
        if side % 2 == 0 or side**2 != self.kernel:
            raise ValueError(f"kernel={self.kernel!r} is to be 1, 9, 25 or another odd number squared")
        if (self.kind == "dense" and side > 1) or (self.kind == "convolutional" and side == 1):
            raise ValueError(f"kernel={self.kernel} does not go with kind={self.kind!r}")

    @property
    def images(self) -> bool:
        """True if inputs are images, `[batch, inputs, height, width]`, not vectors, `[batch, inputs]`."""
        return self.kernel > 1

    @property
    def side(self) -> int:
        """The height and width of a kernel."""
        return math.isqrt(self.kernel)

    @property
    def residual(self) -> bool:
        """True if layers may add what they were given to what they give."""
        return self.kind == "residual"

    @property
    def operators(self) -> tuple[str, ...]:
        """The names that a layer may have: "none" for no layer, the activations, and "head" for the head."""
        return (NONE, *self.activations, HEAD)

    @property
    def head(self) -> int:
        """The number of the operator of heads."""
        return len(self.activations) + 1

    @property
    def rows(self) -> int:
        """The places for neurons in a layer's tensors, W: those of the widest layer, head included."""
        return max(self.width, self.outputs)

    @property
    def columns(self) -> int:
        """The places for what goes into a layer, W_in."""
        return max(self.width, self.inputs)

    @property
    def places(self) -> Tensor:
        """The layer and neuron of each token, `[tokens, 2]`; the head is layer `depth`."""
        sizes = [self.width] * self.depth + [self.outputs]
        return torch.tensor([(layer, neuron) for layer, size in enumerate(sizes) for neuron in range(size)])

    @property
    def features(self) -> Mapping[str, slice]:
        """The places of a token's features, by name.

        "operator" (one-hot) and "skip" (residual frames) are of the layer; "presence", "bias", "scale"
        and "shift" (frames with norms) of the neuron; "edges" tells from where it has edges, and
        "weights" what they weigh, `[W_in, kernel]` in a row.
        """
        sizes = {"operator": len(self.operators), "presence": 1, "bias": 1}
        if self.norm:
            sizes |= {"scale": 1, "shift": 1}
        if self.residual:
            sizes["skip"] = 1
        sizes |= {"edges": self.columns, "weights": self.columns * self.kernel}
        found, start = {}, 0
        for name, size in sizes.items():
            found[name] = slice(start, start + size)
            start += size
        return found

    @property
    def size(self) -> int:
        """The number of features of a token."""
        size: int = self.features["weights"].stop
        return size
