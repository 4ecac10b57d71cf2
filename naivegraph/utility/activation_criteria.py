"""Criteria by the activations that readers take, on calibration data."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from naivegraph.calibration import Calibration
from naivegraph.errors import EditError
from naivegraph.utility.collect import Floats, per_atom, shape_of
from naivegraph.utility.data_criterion import DataCriterion
from naivegraph.utility.effective_weights import state_values
from naivegraph.utility.readers import Reader, ReadingRun, readers
from naivegraph.utility.scores import BoundLoss
from naivegraph.widths import Width, Widths

__all__ = ["Activation", "Fluctuation", "ReaderMoments", "Variance", "reader_moments"]


class ReaderMoments:
    """Running means and variances of columns, in float64, a block of rows at a time.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
    (1979), equation 2.1b: blocks are centred by their own mean, so that nothing cancels.

    Attributes:
        count: The number of rows so far.
        mean: The mean of each column.
        size: The mean absolute value of each column.

    Example:
        >>> moments = ReaderMoments(1)
        >>> for block in ([[1.0], [2.0]], [[6.0]]):
        ...     moments.add(torch.tensor(block))
        >>> moments.count, moments.mean.tolist(), moments.variance.tolist()
        (3, [3.0], [7.0])
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean, self.size, self._squares = (torch.zeros(columns, dtype=torch.float64) for _ in range(3))

    def add(self, rows: torch.Tensor) -> None:
        """Add rows, `[rows, columns]`."""
        block = rows.detach().to(torch.complex128 if rows.is_complex() else torch.float64).cpu()
        new = len(block)
        mean = block.mean(0)
        total = self.count + new
        apart = mean - self.mean
        apart_squared = apart.abs().square() * (self.count * new / total)
        self._squares += (block - mean).abs().square().sum(0) + apart_squared
        self.mean = self.mean + apart * (new / total)
        self.size += (block.abs().mean(0) - self.size) * (new / total)
        self.count = total

    @property
    def variance(self) -> torch.Tensor:
        """The variance of each column, of a sample."""
        return self._squares / max(self.count - 1, 1)


def reader_moments(
    calibration: Calibration, found: list[Reader], samples: int | None
) -> dict[Reader, ReaderMoments]:
    """The moments of the neurons that each reader takes, over samples and positions.

    Memory: three numbers per neuron, and one activation at a time.

    Raises:
        EditError: There is one sample alone, or an activation is not finite.
    """
    moments = {reader: ReaderMoments(reader.axis.length) for reader in found}
    samples_seen = 0

    def note(reader: Reader, tensor: torch.Tensor) -> torch.Tensor:
        """Add what a reader takes."""
        moments[reader].add(tensor.movedim(reader.dim, -1).reshape(-1, tensor.shape[reader.dim]))
        return tensor

    with calibration.evaluating(), torch.no_grad():
        for batch in calibration.first(samples):
            calibration.run(batch, ReadingRun(calibration.graph, found, note))
            samples_seen += batch.samples
    if samples_seen < 2:
        raise EditError("calibration= has one sample alone; two at least are needed to see neurons change")
    for reader, seen in moments.items():
        if not bool(torch.isfinite(seen.size).all()):
            raise EditError(
                f"what {reader.vertex.name!r} takes on the calibration data is not finite, so its neurons "
                "cannot be compared"
            )
    return moments


@dataclasses.dataclass(frozen=True)
class _OfActivations(DataCriterion):
    """Criterion of a statistic of what readers take.

    Each reader's values are divided by their sum, so that every reader counts the same whatever the scale of
    its input, and a width counts for all that read it; as magnitudes do.

    Attributes:
        samples: The most samples that are used; None for all.
    """

    samples: int | None = None

    @abc.abstractmethod
    def statistic(self, moments: ReaderMoments) -> Floats:
        """The statistic of each neuron."""

    def weighted(self, widths: Widths) -> bool:
        """Tell if the statistic is multiplied with the reader's weights, squared."""
        return False

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        calibration, found = self.calibration(), readers(widths)
        moments = reader_moments(calibration, found, self.samples)
        weight = state_values(widths.graph) if self.weighted(widths) else None
        sums = {width.atom: np.zeros(shape_of(widths, width)) for width in widths}
        for reader in found:
            along = self.statistic(moments[reader])
            if weight is not None:
                along = along * _squared_weights(reader, weight)
            total = along.sum()
            if total <= 0:
                continue
            for atom, part in per_atom(reader.axis, along / total, widths.outer).items():
                if atom in reader.atoms:
                    sums[atom] += part
        return {width: sums[width.atom] for width in widths}


def _squared_weights(reader: Reader, weight: Any) -> Floats:
    """The sum of the squares of what a reader multiplies each neuron with; ones where that is no weight."""
    ones = np.ones(reader.axis.length)
    if reader.weight is None:
        return ones
    stub, dim = reader.weight
    values = weight(stub).detach().abs().double()
    found: Floats = values.square().sum([d for d in range(values.dim()) if d != dim]).cpu().numpy()
    if len(found) == len(ones):
        return found
    # A grouped convolution: the same neurons of every group have one entry each, group by group.
    groups = len(ones) // max(len(found), 1)
    if groups * len(found) != len(ones) or dim == 0 or len(values) % groups:
        return ones
    parts = values.reshape(groups, -1, *values.shape[1:]).square()
    grouped: Floats = parts.sum([1, *range(3, parts.dim())]).reshape(-1).cpu().numpy()
    return grouped


@dataclasses.dataclass(frozen=True)
class Activation(_OfActivations):
    """The mean absolute value of a neuron where it is read, over samples and positions.

    Molchanov et al., "Pruning convolutional neural networks for resource efficient inference" (ICLR 2017),
    section 2.2, the criterion "activation", here with absolute values so that it is none of rectified
    neurons alone.
    """

    name = "activation"

    def statistic(self, moments: ReaderMoments) -> Floats:
        """See the class."""
        found: Floats = moments.size.numpy()
        return found


@dataclasses.dataclass(frozen=True)
class Variance(_OfActivations):
    """The variance of a neuron where it is read; without any it is a constant, which a bias can stand for.

    Polyak and Wolf, "Channel-level acceleration of deep face representations" (IEEE Access 2015), section
    III.A, "inbound pruning" by the variance of channels.
    """

    name = "variance"

    def statistic(self, moments: ReaderMoments) -> Floats:
        """See the class."""
        found: Floats = moments.variance.numpy()
        return found


@dataclasses.dataclass(frozen=True)
class Fluctuation(_OfActivations):
    """The variance of a neuron where it is read, times the squares of the weights that read it.

    An et al., "Fluctuation-based adaptive structured pruning for large language models" (AAAI 2024), equation
    4. They standardise the values of each layer by mean and deviation; here they are shares of the reader's,
    as all others, since a neuron below the mean is not better gone.
    """

    name = "fluctuation"

    def statistic(self, moments: ReaderMoments) -> Floats:
        """See the class."""
        found: Floats = moments.variance.numpy()
        return found

    def weighted(self, widths: Widths) -> bool:
        """See the base."""
        return True
