"""Data that small networks learn: given, or made by random functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from naivegraph.tokens.frame import Frame

__all__ = ["LearningTask", "made_tasks"]

_SIZE = 8  # pixels along each side of an image that is made


@dataclasses.dataclass(frozen=True, eq=False)
class LearningTask:
    """A data set that networks learn.

    Args:
        name: Any name.
        inputs: `[samples, inputs]`, or images, `[samples, inputs, height, width]`; kept in float32, as
            numbers of targets are.
        targets: Numbers `[samples, outputs]`, or classes `[samples]`, int64.

    Raises:
        ValueError: The tensors do not fit each other, or hold numbers that are not finite, or all
            targets are alike.
    """

    name: str
    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if self.inputs.dim() not in (2, 4) or len(self.inputs) != len(self.targets) or not len(self.inputs):
            raise ValueError(
                f"task {self.name!r} has inputs {tuple(self.inputs.shape)} and targets "
                f"{tuple(self.targets.shape)}, where as many samples are needed in both"
            )
        if not self.classes and (self.targets.dim() != 2 or not self.targets.is_floating_point()):
            raise ValueError(
                f"task {self.name!r} has targets {tuple(self.targets.shape)} of {self.targets.dtype}: give "
                "numbers as [samples, outputs] or classes as [samples] of int64"
            )
        for what, values in (("inputs", self.inputs), ("targets", self.targets)):
            if values.is_complex():
                raise ValueError(f"the {what} of task {self.name!r} are of {values.dtype}: give real numbers")
            if not values.isfinite().all():
                raise ValueError(f"the {what} of task {self.name!r} hold numbers that are not finite")
        if not bool((self.targets != self.targets[:1]).any()):
            raise ValueError(f"the targets of task {self.name!r} are all alike: there is nothing to learn")
        object.__setattr__(self, "inputs", self.inputs.float())
        if not self.classes:
            object.__setattr__(self, "targets", self.targets.float())

    @property
    def classes(self) -> bool:
        """True if the targets are classes."""
        return self.targets.dim() == 1 and self.targets.dtype == torch.int64


def made_tasks(
    frame: Frame, count: int, seed: int, *, samples: int = 128, classes: bool = False
) -> list[LearningTask]:
    """Make tasks, each of a random function of a random family, with inputs correlated in its own way.

    The families, in turn: linear, quadratic, sums of waves, distances to points, and random networks of tanh.
    Images are waves, whose direction, length and strength the functions take.

    Args:
        frame: The frame, which has the sizes.
        count: The number of tasks.
        seed: The seed.
        samples: The samples of each.
        classes: Classes, the largest of the outputs, as targets, instead of the outputs themselves.

    Raises:
        ValueError: Classes are asked for in a frame of one output, or the numbers are below 1.

    Example:
        >>> tasks = made_tasks(Frame("dense", 3, 1, depth=1, width=2), count=6, seed=0)
        >>> [task.name for task in tasks]
        ['linear 0', 'quadratic 1', 'waves 2', 'distances 3', 'network 4', 'linear 5']
        >>> tasks[0].inputs.shape, tasks[0].targets.shape
        (torch.Size([128, 3]), torch.Size([128, 1]))
    """
    if count < 1 or samples < 2:
        raise ValueError(f"count={count} is to be at least 1, and samples={samples} at least 2")
    if classes and frame.outputs < 2:
        raise ValueError("classes=True needs a frame with an output for each class, two at least")
    random = torch.Generator().manual_seed(seed)
    names, made = list(_FAMILIES), []
    for number in range(count):
        family = names[number % len(names)]
        inputs, causes = (_images if frame.images else _vectors)(frame.inputs, samples, random)
        targets = _FAMILIES[family](causes, frame.outputs, random)
        targets = (targets - targets.mean(0)) / targets.std(0).clamp_min(1e-6)
        if classes:
            targets = targets.argmax(-1)
        made.append(LearningTask(f"{family} {number}", inputs, targets))
    return made


def _vectors(size: int, samples: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Vectors with correlations and skewness of their own, twice."""
    mixed = torch.randn(samples, size, generator=random) @ (
        torch.eye(size) + torch.rand(1, generator=random) * torch.randn(size, size, generator=random)
    )
    bend = torch.rand(1, generator=random)
    values = (1 - bend) * mixed + bend * mixed.sign() * mixed.square()
    values = (values - values.mean(0)) / values.std(0).clamp_min(1e-6)
    return values, values


def _images(channels: int, samples: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Images of waves, and the direction, length and strength of these."""
    causes = torch.rand(samples, 3, generator=random)
    angle, pace = math.pi * causes[:, 0], 0.6 + 1.2 * causes[:, 1]
    tint = torch.randn(channels, generator=random)
    y, x = torch.meshgrid(torch.arange(_SIZE), torch.arange(_SIZE), indexing="ij")
    along = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y
    phase = 2 * math.pi * torch.rand(samples, 1, 1, generator=random)
    waves = (0.3 + causes[:, 2, None, None]) * torch.sin(pace[:, None, None] * along + phase)
    noise = 0.1 * torch.randn(samples, channels, _SIZE, _SIZE, generator=random)
    return tint[:, None, None] * waves[:, None] + noise, 4 * causes - 2


def _linear(x: Tensor, outputs: int, random: Generator) -> Tensor:
    return x @ torch.randn(x.shape[1], outputs, generator=random)


def _quadratic(x: Tensor, outputs: int, random: Generator) -> Tensor:
    form = torch.randn(outputs, x.shape[1], x.shape[1], generator=random)
    return torch.einsum("si,oij,sj->so", x, form, x) + _linear(x, outputs, random)


def _waves(x: Tensor, outputs: int, random: Generator) -> Tensor:
    return torch.sin(1.5 * _linear(x, outputs, random) + torch.randn(outputs, generator=random))


def _distances(x: Tensor, outputs: int, random: Generator) -> Tensor:
    return torch.cdist(x, torch.randn(outputs, x.shape[1], generator=random))


def _network(x: Tensor, outputs: int, random: Generator) -> Tensor:
    return _linear(torch.tanh(_linear(x, 16, random)), outputs, random)


_FAMILIES: Mapping[str, Callable[[Tensor, int, Generator], Tensor]] = {
    "linear": _linear,
    "quadratic": _quadratic,
    "waves": _waves,
    "distances": _distances,
    "network": _network,
}
