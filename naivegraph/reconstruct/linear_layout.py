"""Calls that are linear in a weight, as products of rows of inputs with matrices, one per group."""

from __future__ import annotations

import abc
import dataclasses
import math

import torch
from torch.nn import functional as F

__all__ = ["ConvolutionLayout", "DenseLayout", "Layout"]


class Layout(abc.ABC):
    """The order of rows, unknowns and outputs in a call.

    A row is one place of the output (of one example): there are as many as the output has numbers in one of
    its channels. The weight is `[groups, unknowns, outputs]`, a channel of the output is
    `group * outputs + output`.
    """

    @abc.abstractmethod
    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as `[groups, unknowns, outputs]`."""

    @abc.abstractmethod
    def weight(self, matrix: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The weight of this shape of a matrix; the inverse of `matrix`."""

    @abc.abstractmethod
    def inputs(self, x: torch.Tensor, output: torch.Size, rows: torch.Tensor) -> torch.Tensor:
        """The inputs of some rows, `[groups, rows, unknowns]`.

        Args:
            x: The input of the call.
            output: The shape of the output.
            rows: Numbers of rows.
        """

    @abc.abstractmethod
    def outputs(self, y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of an output, `[rows, channels]`."""

    @abc.abstractmethod
    def rows_by_example(self, output: torch.Size) -> tuple[int, int]:
        """The number of examples (indices of the first dimension), and that of rows of each."""

    @abc.abstractmethod
    def channel_dim(self, output: torch.Size) -> int:
        """The dimension of the channels in an output."""


@dataclasses.dataclass(frozen=True)
class DenseLayout(Layout):
    """A linear layer, or a product with a matrix from the right.

    Attributes:
        transposed: Whether the weight is `[outputs, inputs]`, as that of `torch.nn.Linear`.
    """

    transposed: bool

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as one group."""
        return (weight.t() if self.transposed else weight)[None]

    def weight(self, matrix: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The weight of a matrix."""
        return matrix[0].t() if self.transposed else matrix[0]

    def inputs(self, x: torch.Tensor, output: torch.Size, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the input as they are."""
        return x.reshape(-1, x.shape[-1])[rows][None]

    def outputs(self, y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the output as they are."""
        return y.reshape(-1, y.shape[-1])[rows]

    def rows_by_example(self, output: torch.Size) -> tuple[int, int]:
        """The first dimension, and the product of the others but the last."""
        return (output[0], math.prod(output[1:-1])) if len(output) > 1 else (1, 1)

    def channel_dim(self, output: torch.Size) -> int:
        """The last dimension."""
        return len(output) - 1


@dataclasses.dataclass(frozen=True)
class ConvolutionLayout(Layout):
    """A convolution of any number of dimensions, grouped and transposed ones too.

    A transposed one is a convolution, with the kernel turned around, of the input with zeros between its
    numbers (Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4).

    Attributes:
        kernel: The sizes of the kernel.
        stride: As in torch.
        padding: The numbers added before and after, by dimension.
        dilation: As in torch.
        groups: As in torch.
        transposed: Whether it is transposed.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight by groups; the unknowns are places of the kernel, and within each the inputs."""
        g, places = self.groups, math.prod(self.kernel)
        if self.transposed:
            turned = weight.flip(tuple(range(2, weight.dim())))
            parts = turned.reshape(g, weight.shape[0] // g, weight.shape[1], places).permute(0, 3, 1, 2)
        else:
            parts = weight.reshape(g, weight.shape[0] // g, weight.shape[1], places).permute(0, 3, 2, 1)
        return parts.reshape(g, -1, parts.shape[-1])

    def weight(self, matrix: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The weight of a matrix."""
        g, places = self.groups, math.prod(self.kernel)
        parts = matrix.reshape(g, places, -1, matrix.shape[-1])
        if self.transposed:
            return parts.permute(0, 2, 3, 1).reshape(shape).flip(tuple(range(2, len(shape))))
        return parts.permute(0, 3, 2, 1).reshape(shape)

    def inputs(self, x: torch.Tensor, output: torch.Size, rows: torch.Tensor) -> torch.Tensor:
        """The patches under the kernel at these places of the output."""
        rank = len(self.kernel)
        x = x if x.dim() == rank + 2 else x[None]
        x = _spread(x, self.stride) if self.transposed else x
        stride = (1,) * rank if self.transposed else self.stride
        x = F.pad(x, [size for pair in reversed(self.padding) for size in pair])
        sizes, channels = x.shape[2:], x.shape[1]
        flat = x.flatten(2).transpose(1, 2).reshape(-1, channels)
        places = torch.zeros(1, dtype=torch.long, device=x.device)
        first = torch.zeros_like(rows)
        example, rest = rows // math.prod(output[-rank:]), rows % math.prod(output[-rank:])
        for d in reversed(range(rank)):
            step = math.prod(sizes[d + 1 :])
            offsets = torch.arange(self.kernel[d], device=x.device) * (self.dilation[d] * step)
            places = (offsets[:, None] + places).reshape(-1)
            first, rest = first + rest % output[d - rank] * (stride[d] * step), rest // output[d - rank]
        index = (example * math.prod(sizes) + first)[:, None] + places
        patches = flat.index_select(0, index.reshape(-1)).reshape(
            len(rows), -1, self.groups, channels // self.groups
        )
        return patches.permute(2, 0, 1, 3).reshape(self.groups, len(rows), -1)

    def outputs(self, y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The channels at these places."""
        rank = len(self.kernel)
        flat = (y if y.dim() == rank + 2 else y[None]).flatten(2)
        return flat[rows // flat.shape[2], :, rows % flat.shape[2]]

    def rows_by_example(self, output: torch.Size) -> tuple[int, int]:
        """The size of the batch, and the number of places."""
        rank = len(self.kernel)
        return (output[0] if len(output) == rank + 2 else 1), math.prod(output[-rank:])

    def channel_dim(self, output: torch.Size) -> int:
        """The dimension before those of places."""
        return len(output) - len(self.kernel) - 1


def _spread(x: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """The input with `stride - 1` zeros between its numbers."""
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)]
    out = x.new_zeros(*x.shape[:2], *sizes)
    steps = [slice(None), slice(None), *(slice(None, None, step) for step in stride)]
    out[tuple(steps)] = x
    return out
