"""Many small networks of one frame as tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.tokens.frame import Frame

__all__ = ["NetworkTensors"]


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkTensors:
    """The tensors of n networks. W is `frame.rows` and W_in `frame.columns`; the last layer is the head.

    Presence, edges and skips are bools, or numbers from 0 to 1 with which values and weights are multiplied,
    so that networks that a decoder is unsure of can be run and derived, too. What stands at places without an
    edge counts for nothing.

    Args:
        frame: The frame.
        operator: The number of each layer's operator in `frame.operators`, `[n, depth + 1]` int64.
        presence: The neurons that are there, `[n, depth + 1, W]`.
        edges: The edges, from the neurons of the layer before that is there, `[n, depth + 1, W, W_in]`.
        weights: Their weights, `[n, depth + 1, W, W_in, kernel]`; that of a head's is the middle one.
        bias: `[n, depth + 1, W]`.
        scale: Of the norms of frames that have them, `[n, depth + 1, W]`; the head has none.
        shift: The same.
        skips: In residual frames, the layers that add what they were given, `[n, depth + 1]`.
        operator_share: Shares of the operators, `[n, depth + 1, operators]`, to run instead of `operator`.

    Raises:
        ValueError: A tensor is missing or of another shape.
    """

    frame: Frame
    operator: Tensor
    presence: Tensor
    edges: Tensor
    weights: Tensor
    bias: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None
    skips: Tensor | None = None
    operator_share: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = _shapes(self.frame, len(self.operator))
        for name, value in self._values():
            if (value is None) != (name not in shapes) and not (name == "operator_share" and value is None):
                raise ValueError(f"{name} is {'missing' if value is None else 'nothing that the frame has'}")
            if value is not None and tuple(value.shape) != shapes[name]:
                raise ValueError(f"{name} is {tuple(value.shape)}, and is to be {shapes[name]}")
        if self.operator.dtype != torch.int64 or not self.weights.is_floating_point():
            raise ValueError(
                "operator is to be int64 and weights floating, "
                f"not {self.operator.dtype} and {self.weights.dtype}"
            )
        known = (self.operator >= 0) & (self.operator < len(self.frame.operators))
        if not known.all():
            wrong = int(self.operator[~known][0])
            raise ValueError(f"operator has {wrong}, and there are {len(self.frame.operators)} operators")

    @classmethod
    def empty(cls, frame: Frame, count: int, dtype: torch.dtype = torch.float32) -> Self:
        """Networks without hidden layers and edges, whose outputs are there."""
        shapes = _shapes(frame, count)
        bools = ("presence", "edges", "skips")
        tensors = {
            name: torch.zeros(shape, dtype=torch.bool if name in bools else dtype)
            for name, shape in shapes.items()
            if name != "operator_share"
        }
        tensors["operator"] = torch.zeros(shapes["operator"], dtype=torch.int64)
        tensors["operator"][:, -1] = frame.head
        tensors["presence"][:, -1, : frame.outputs] = True
        return cls(frame, **tensors)

    def __len__(self) -> int:
        return len(self.operator)

    def __getitem__(self, which: int | slice | Tensor | list[int]) -> Self:
        """Some of the networks, as a batch; a number gives a batch of one."""
        rows = slice(which, which + 1 or None) if isinstance(which, int) else which
        if isinstance(which, int) and not -len(self) <= which < len(self):
            raise IndexError(f"there is no network {which} among {len(self)}")
        return self.replaced(**{name: value[rows] for name, value in self.tensors().items()})

    def replaced(self, **tensors: Tensor) -> Self:
        """The same with some tensors replaced."""
        changed: Any = tensors
        return dataclasses.replace(self, **changed)

    def to(self, *target: Any) -> Self:
        """The same on another device, or with numbers of another type."""
        like = self.weights.to(*target)
        return self.replaced(
            **{
                name: value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
                for name, value in self.tensors().items()
            }
        )

    def shares(self) -> Tensor:
        """The shares of the operators, `[n, depth + 1, operators]`."""
        if self.operator_share is not None:
            return self.operator_share
        return F.one_hot(self.operator, len(self.frame.operators))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, without those that are None."""
        return {name: value for name, value in self._values() if value is not None}

    def _values(self) -> Iterator[tuple[str, Tensor | None]]:
        for field in dataclasses.fields(self)[1:]:
            yield field.name, getattr(self, field.name)


def _shapes(frame: Frame, count: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of so many networks, by name."""
    layers = (count, frame.depth + 1)
    neurons = (*layers, frame.rows)
    shapes: dict[str, tuple[int, ...]] = {
        "operator": layers,
        "presence": neurons,
        "edges": (*neurons, frame.columns),
        "weights": (*neurons, frame.columns, frame.kernel),
        "bias": neurons,
        "operator_share": (*layers, len(frame.operators)),
    }
    if frame.norm:
        shapes |= {"scale": neurons, "shift": neurons}
    if frame.residual:
        shapes["skips"] = layers
    return shapes
