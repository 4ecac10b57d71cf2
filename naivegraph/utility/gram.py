"""Gram matrices of what readers take, from which errors after compensation are worked out."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.calibration import Calibration
from naivegraph.ir.values import Stub
from naivegraph.operators import record_of
from naivegraph.operators.operator_record import Role
from naivegraph.operators.relation import arguments
from naivegraph.utility.effective_weights import state_values
from naivegraph.utility.elimination import ridged_inverse
from naivegraph.utility.readers import Reader, ReadingRun
from naivegraph.widths import Widths

__all__ = ["Gram", "grams"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


class Gram:
    """The mean and the Gram matrix of the inputs of a reader, in groups that share no outputs.

    Attributes:
        weights: Of each group, `[inputs, outputs]`; an input is a neuron at one place of a kernel.
        places: The number of places of the kernel.
    """

    def __init__(self, weights: list[Floats], places: int, rows: Callable[[torch.Tensor], torch.Tensor]):
        self.weights, self.places = weights, places
        self._rows = rows
        inputs = len(weights[0])
        self._covariances: dict[int, Floats] = {}
        self._inverses: dict[int, Floats] = {}
        self._count = 0
        self._sum = np.zeros((len(weights), inputs))
        self._products = np.zeros((len(weights), inputs, inputs))

    def add(self, tensor: torch.Tensor) -> None:
        """Add what a reader takes."""
        rows = self._rows(tensor).double().cpu().numpy()
        groups = rows.reshape(len(rows), len(self.weights), -1)
        self._count += len(rows)
        for number in range(len(self.weights)):
            mine = groups[:, number]
            self._sum[number] += mine.sum(0)
            self._products[number] += mine.T @ mine

    def covariance(self, group: int) -> Floats:
        """The Gram matrix of a group's inputs, less their means: a bias, or a norm, stands for these."""
        if group in self._covariances:
            return self._covariances[group]
        mean = self._sum[group] / self._count
        found: Floats = self._products[group] / self._count - np.outer(mean, mean)
        self._covariances[group] = found
        return found

    @functools.cached_property
    def energy(self) -> float:
        """The variance of all outputs, added up."""
        return sum(
            float(np.sum(matrix * (self.covariance(group) @ matrix)))
            for group, matrix in enumerate(self.weights)
        )

    def inverse(self, group: int) -> Floats:
        """The inverse of the matrix of a group, with a ridge."""
        if group not in self._inverses:
            self._inverses[group] = ridged_inverse(self.covariance(group))
        return self._inverses[group]


def grams(
    widths: Widths,
    calibration: Calibration,
    found: Sequence[Reader],
    samples: int | None,
    inputs: int,
    rows: int,
) -> dict[Reader, Gram]:
    """The Gram matrices of the readers that have weights and not too many inputs.

    Memory: three square matrices of at most `inputs` numbers a side per reader.

    Args:
        widths: The widths.
        calibration: The calibration data.
        found: The readers.
        samples: The most samples; None for all.
        inputs: The most inputs of a group; where a kernel has more, its places are taken for one another's
            equals, and where neurons alone are more, there is no matrix.
        rows: The positions looked at per sample, drawn at random.
    """
    value = state_values(widths.graph)
    out: dict[Reader, Gram] = {}
    for reader in found:
        made = _gram(reader, value, inputs, rows)
        if made is not None:
            out[reader] = made

    def note(reader: Reader, tensor: torch.Tensor) -> torch.Tensor:
        """Add what a reader takes."""
        out[reader].add(tensor)
        return tensor

    with calibration.evaluating(), torch.no_grad():
        for batch in calibration.first(samples):
            calibration.run(batch, ReadingRun(calibration.graph, list(out), note))
    return out


def _gram(reader: Reader, value: Callable[[Stub], torch.Tensor], inputs: int, rows: int) -> Gram | None:
    """The empty Gram matrix of a reader; None if it has no weights that errors can be worked out with."""
    if reader.weight is None:
        return None
    stub, dim = reader.weight
    if value(stub).is_complex():
        return None
    weight = value(stub).detach().double().cpu()
    drawn = _Positions(reader, rows)
    if record_of(reader.operation.func).role is not Role.CONVOLUTION:
        if weight.dim() != 2 or weight.shape[dim] != reader.axis.length or len(weight) > inputs:
            return None
        return Gram([weight.movedim(dim, 0).numpy()], 1, drawn.plain)
    given = arguments(reader.operation)
    groups, neurons = int(given["groups"]), int(weight.shape[1])
    direct = reader.factor.id == reader.stub.id and len(reader.stub.shape) == weight.dim()
    if given.get("transposed", False) or groups * neurons != reader.axis.length or neurons > inputs:
        return None
    split = weight.reshape(
        groups, -1, neurons, math.prod(weight.shape[2:])
    )  # [groups, outputs, neurons, places]
    places = split.shape[-1]
    if direct and neurons * places <= inputs and places > 1:
        matrices = [part.reshape(len(part), -1).T.contiguous().numpy() for part in split]
        return Gram(matrices, places, drawn.patches(tuple(weight.shape[2:]), given))
    matrices = [part.movedim(1, 0).reshape(neurons, -1).numpy() for part in split]
    return Gram(matrices, 1, drawn.plain)


class _Positions:
    """Rows of inputs at positions drawn at random, the same ones each time."""

    def __init__(self, reader: Reader, rows: int) -> None:
        self._dim, self._rows = reader.dim, rows
        self._rng = np.random.default_rng(0)

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        """The neurons at some positions, `[rows, neurons]`."""
        found = tensor.movedim(self._dim, -1).reshape(-1, tensor.shape[self._dim])
        most = self._rows * len(tensor)
        if len(found) <= most:
            return found
        return found[torch.from_numpy(self._rng.choice(len(found), most, replace=False)).to(found.device)]

    def patches(
        self, kernel: tuple[int, ...], given: dict[str, object]
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function of the input to what a kernel covers at some positions, `[rows, neurons * places]`."""
        stride, padding, dilation = (
            _numbers(given.get(name), len(kernel)) for name in ("stride", "padding", "dilation")
        )

        def rows(tensor: torch.Tensor) -> torch.Tensor:
            """Cut patches out."""
            space = tensor.shape[2:]
            ends = [
                (size + 2 * pad - far * (k - 1) - 1) // step + 1
                for size, pad, far, k, step in zip(space, padding, dilation, kernel, stride, strict=True)
            ]
            sample, chosen = self._drawn(len(tensor), ends)
            count = len(sample)
            flat, valid = np.zeros((count, 1), np.int64), np.ones((count, 1), bool)
            sides = zip(space, padding, dilation, kernel, stride, chosen, strict=True)
            for size, pad, far, k, step, place in sides:
                at = place[:, None] * step - pad + np.arange(k) * far
                flat = (flat[:, :, None] * size + at.clip(0, size - 1)[:, None]).reshape(count, -1)
                valid = (valid[:, :, None] & ((at >= 0) & (at < size))[:, None]).reshape(count, -1)
            device = tensor.device
            numbers = torch.from_numpy(sample).to(device)[:, None], torch.from_numpy(flat).to(device)
            patches = tensor.flatten(2)[numbers[0], :, numbers[1]]  # [rows, places, neurons]
            patches = patches * torch.from_numpy(valid).to(device, patches.dtype)[..., None]
            return patches.movedim(2, 1).reshape(count, -1)

        return rows

    def _drawn(self, samples: int, ends: list[int]) -> tuple[Numbers, list[Numbers]]:
        """The samples and the places of some positions; all of them where these are few."""
        if self._rows >= math.prod(ends):
            every = np.indices((samples, *ends)).reshape(1 + len(ends), -1)
            return every[0], list(every[1:])
        count = self._rows * samples
        sample = self._rng.integers(0, samples, count)
        return sample, [self._rng.integers(0, end, count) for end in ends]


def _numbers(value: object, count: int) -> list[int]:
    """The numbers of a convolution's argument, one per dimension."""
    found = [int(number) for number in value] if isinstance(value, (list, tuple)) else [int(str(value))]
    return list(itertools.islice(itertools.cycle(found), count))
