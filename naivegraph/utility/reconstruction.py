"""The criterion of errors after compensation: what the readers of a width cannot make up for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from naivegraph.utility.collect import Floats, shape_of
from naivegraph.utility.data_criterion import DataCriterion
from naivegraph.utility.elimination import LeastSquares, eliminate, hull_slopes
from naivegraph.utility.gram import Gram, grams
from naivegraph.utility.readers import neuron_numbers, readers
from naivegraph.utility.scores import BoundLoss
from naivegraph.utility.sensitivity import sensitivity
from naivegraph.widths import Width, Widths

__all__ = ["Reconstruction"]


@dataclasses.dataclass(frozen=True)
class Reconstruction(DataCriterion):
    """Growth of the error of a width's readers as neurons go one by one, the others standing in.

    For each width neurons are taken out backwards, always the one that costs least once the weights of its
    readers are fitted anew to the inputs that are left (see `elimination`). What each adds to the error, in
    this order, is its value; the program keeps sums of values, which it needs concave, so the curve of errors
    is replaced by its lower convex hull (the values of neighbours in order by their mean).

    An error counts half the mean square of the derivative of the loss by the output it is on, summed over
    positions (the Fisher information of the output; Theis et al., "Faster gaze prediction with dense networks
    and Fisher pruning", 2018, equation 9). So all layers are in units of the loss. Readers without weights,
    or with too many inputs, add what "fisher" says of them, which is in the same units. Errors at single
    positions, and of single readers, are not independent as this takes them to be; so the values of a width
    are scaled as a whole, by what "fisher" says of all its neurons over what the errors without compensation
    add up to.

    Attributes:
        samples: The most samples that are used; None for all.
        inputs: The most inputs of a reader, neurons times places of its kernel, that are taken apart.
        rows: The positions looked at per sample, drawn at random.
        weigh: "fisher", or "energy": errors relative to the variance of the reader's output.
    """

    samples: int | None = None
    inputs: int = 1152
    rows: int = 16
    weigh: Literal["fisher", "energy"] = "fisher"
    name = "reconstruction"

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        calibration = self.calibration()
        assert self.data is not None
        found = readers(widths)
        sensed = sensitivity(widths, self.data, found, self.samples)
        matrices = grams(widths, calibration, found, self.samples, self.inputs, self.rows)
        out: dict[Width, Floats] = {}
        for width in widths:
            size = int(np.prod(shape_of(widths, width)))
            problems: list[LeastSquares] = []
            more = np.zeros(size)
            for reader in found:
                numbers = neuron_numbers(reader.axis, widths.outer).get(width.atom)
                if width.atom not in reader.atoms or numbers is None:
                    continue
                mine = self._problems(matrices.get(reader), numbers, sensed.outputs.get(reader))
                problems += mine
                if not mine:
                    more += 0.5 * sensed.readers[reader][width].reshape(-1)
            if not problems and not more.any():
                more = 0.5 * sensed.widths[width].reshape(-1)
            values = _values(problems, more)
            if self.weigh == "fisher":
                alone = sum(problem.alone for problem in problems) + float(more.sum())
                values *= 0.5 * float(sensed.widths[width].sum()) / alone if alone > 0 else 1.0
            out[width] = values.reshape(shape_of(widths, width))
        return out

    def _problems(self, gram: Gram | None, numbers: Any, felt: Floats | None) -> list[LeastSquares]:
        """The least-squares problems of one reader; none where its errors cannot be weighed."""
        if gram is None or (self.weigh == "fisher" and felt is None):
            return []
        outputs = sum(matrix.shape[1] for matrix in gram.weights)
        groups = len(gram.weights)
        each = len(numbers) // groups
        out: list[LeastSquares] = []
        covariances = [gram.covariance(group) for group in range(groups)]
        for group, (matrix, covariance) in enumerate(zip(gram.weights, covariances, strict=True)):
            scale: Floats | None
            if self.weigh == "energy":
                scale = np.full(matrix.shape[1], 1.0 / max(gram.energy, 1e-30))
            else:
                assert felt is not None
                scale = _per_output(felt, outputs, group, matrix.shape[1])
                if scale is None:
                    return []
            mine = numbers[group * each : (group + 1) * each]
            there = np.flatnonzero(mine >= 0)
            order = there[np.argsort(mine[there], kind="stable")]
            neurons = np.unique(mine[there])
            if not len(neurons):
                continue
            places = order.reshape(len(neurons), -1)
            blocks = (places[:, :, None] * gram.places + np.arange(gram.places)).reshape(len(neurons), -1)
            weights = matrix * np.sqrt(scale)
            out.append(LeastSquares.of(covariance, weights, neurons, blocks, gram.inverse(group)))
        return out


def _per_output(felt: Floats, outputs: int, group: int, columns: int) -> Floats | None:
    """The weight in the loss of an error of each column of a group's weights."""
    if outputs % max(len(felt), 1) or not len(felt):
        return None
    repeat = outputs // len(felt)  # places of a kernel that are taken for outputs of their own
    whole = np.repeat(0.5 * felt, repeat)
    found: Floats = whole[group * columns : (group + 1) * columns]
    return found


def _values(problems: list[LeastSquares], more: Floats) -> Floats:
    """The values of neurons by the errors they add; equal ones differ by next to nothing, in their order."""
    order, errors = eliminate(problems, more)
    slopes = hull_slopes(errors)
    values = np.zeros(len(more))
    values[order] = slopes * (1 + 1e-9 * np.arange(len(order)))
    return values
