"""Derivatives of a loss by the neurons that readers take, sample by sample, in one backward pass per batch.

Each reader's neurons are multiplied with ones. The derivative by these, summed over positions, is the sum of
value times derivative: what the loss would change by, to first order, if the reader lost the neuron.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from naivegraph.algebra.axis import Atom
from naivegraph.calibration import Calibration, CalibrationBatch
from naivegraph.errors import EditError
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.ir.pytree import stubs_in
from naivegraph.utility.collect import Floats, per_atom, shape_of
from naivegraph.utility.criteria import CriterionData
from naivegraph.utility.data_criterion import batch_loss
from naivegraph.utility.derivatives import derivatives, first_order
from naivegraph.utility.readers import Reader, ReadingRun, neuron_numbers
from naivegraph.widths import Width, Widths

__all__ = ["Sensitivity", "sensitivity", "signed_sums"]


@dataclasses.dataclass
class Sensitivity:
    """Mean squares over samples of the derivatives of a loss.

    Attributes:
        widths: By width: the square of the sum over all its readers, and where it has none, over its weights.
        readers: The same of each reader by itself, by width.
        outputs: By reader: the squares of the derivatives by each neuron of its output, summed over
            positions; missing where its vertex gives something else than it.
        samples: The number of samples.
    """

    widths: dict[Width, Floats]
    readers: dict[Reader, dict[Width, Floats]]
    outputs: dict[Reader, Floats]
    samples: int


class _OneByOne(EditError):
    """The samples of a batch cannot be told apart in some tensor."""


def sensitivity(
    widths: Widths, data: CriterionData, found: list[Reader], samples: int | None = None
) -> Sensitivity:
    """Go through the calibration data once.

    Batches run as they come where all readers' tensors have the samples along their first dimension, which is
    seen from its having grown with the batch, and all widths have readers; else sample by sample.

    Args:
        widths: The widths of the graph.
        data: Calibration data, and the loss, if any.
        found: The readers in it.
        samples: The most samples; None for all.

    Raises:
        EditError: The loss cannot be derived, or is not finite.
    """
    try:
        return _Pass(widths, data, found, samples, together=True).go()
    except _OneByOne:
        return _Pass(widths, data, found, samples, together=False).go()


class _Pass:
    """One pass over the calibration data."""

    def __init__(
        self,
        widths: Widths,
        data: CriterionData,
        found: list[Reader],
        samples: int | None,
        *,
        together: bool,
    ) -> None:
        assert data.calibration is not None
        self.widths, self.data, self.limit, self.together = widths, data, samples, together
        self.calibration: Calibration = data.calibration
        self.readers = found
        self.numbers = {reader: self._numbers_of(reader) for reader in self.readers}
        read = {width for numbers in self.numbers.values() for width in numbers}
        self.unread = [width for width in widths if width not in read]
        if together and self.unread:
            raise _OneByOne
        graph = self.calibration.graph
        self.example = next((s.shape[0] for v in graph.inputs for s in stubs_in(v.output) if s.shape), 1)
        self.dims = neuron_dimensions(graph)
        zeros = {width: torch.zeros(shape_of(widths, width), dtype=torch.float64) for width in widths}
        self.squares = zeros
        self.apart = {
            reader: {width: torch.zeros_like(zeros[width]) for width in self.numbers[reader]}
            for reader in self.readers
        }
        self.outputs: dict[Reader, torch.Tensor] = {}
        self.signs = torch.Generator().manual_seed(0)

    def _numbers_of(self, reader: Reader) -> dict[Width, torch.Tensor]:
        found = neuron_numbers(reader.axis, self.widths.outer)
        return {
            self.widths.by_atom[atom]: torch.from_numpy(numbers)
            for atom, numbers in found.items()
            if atom in reader.atoms
        }

    def go(self) -> Sensitivity:
        """Go through all batches."""
        count = 0
        with self.calibration.evaluating(), torch.enable_grad():
            for batch in self.calibration.first(self.limit):
                for part in self._parts(batch):
                    self._batch(part)
                    count += part.samples

        def mean(total: torch.Tensor) -> Floats:
            """Return the mean over samples."""
            found: Floats = (total / count).cpu().numpy()
            return found

        return Sensitivity(
            {width: mean(total) for width, total in self.squares.items()},
            {r: {width: mean(total) for width, total in found.items()} for r, found in self.apart.items()},
            {reader: mean(total) for reader, total in self.outputs.items()},
            count,
        )

    def _parts(self, batch: CalibrationBatch) -> Iterator[CalibrationBatch]:
        """A batch cut so that its size tells which dimensions have samples along them."""
        if not self.together:
            for start in range(batch.samples):
                yield batch.part(start, start + 1)
        elif batch.samples == self.example and batch.samples > 1:
            yield batch.part(0, batch.samples - 1)
            yield batch.part(batch.samples - 1, batch.samples)
        else:
            yield batch

    def _batch(self, batch: CalibrationBatch) -> None:
        """Add the squares of one batch."""
        gates: dict[Reader, torch.Tensor] = {}

        def gate(reader: Reader, tensor: torch.Tensor) -> torch.Tensor:
            """Multiply a reader's neurons with ones."""
            shape = [1] * tensor.dim()
            shape[reader.dim] = tensor.shape[reader.dim]
            if batch.samples > 1:
                shape[self._samples_dim(reader, tensor, batch.samples)] = batch.samples
            gates[reader] = torch.ones(shape, dtype=tensor.dtype, device=tensor.device, requires_grad=True)
            return tensor.clone() * gates[reader]  # a clone, as the tensor may be changed in place later

        run = _Running(self.calibration.graph, self.readers, gate, self._watch_output)
        loss = batch_loss(self.data, self.calibration, batch, run, self.signs)
        if not bool(loss.isfinite()):
            raise EditError(f"the loss of batch {batch.number} of calibration= is not finite")
        self._derive(loss, batch, gates)

    def _samples_dim(self, reader: Reader, tensor: torch.Tensor, samples: int) -> int:
        """The dimension of the samples: the one that grew from those of the example to those of the batch."""
        sizes = enumerate(zip(reader.stub.shape, tensor.shape, strict=True))
        grown = [d for d, pair in sizes if pair == (self.example, samples)]
        if len(grown) != 1 or grown[0] == reader.dim:
            raise _OneByOne
        return grown[0]

    def _derive(self, loss: torch.Tensor, batch: CalibrationBatch, gates: dict[Reader, torch.Tensor]) -> None:
        """Derive the loss of one batch, and add the squares."""
        parameters = dict(self.widths.graph.module.named_parameters()) if self.unread else {}
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        wanted = [*gates.values(), *trained.values()]
        if not self.squares:
            return
        if not loss.requires_grad:
            raise EditError("the loss does not depend on the network's neurons, so they cannot be valued")
        grads = derivatives(self.widths.graph.module, loss, wanted)
        sums = {width: self._zeros(width, batch.samples) for width in self.widths}
        for (reader, one), grad in zip(gates.items(), grads, strict=False):
            if grad is None:
                continue
            grad = grad.real if grad.is_complex() else grad  # gates are real
            along = grad.movedim(reader.dim, -1).reshape(-1, one.shape[reader.dim]).double().cpu()
            for width, numbers in self.numbers[reader].items():
                mine = self._zeros(width, batch.samples)
                there = numbers >= 0
                mine.index_add_(1, numbers[there], along[:, there])
                self.apart[reader][width] += mine.square().sum(0).view(self.apart[reader][width].shape)
                sums[width] += mine
        if self.unread:
            scores = dict(zip(trained, grads[len(gates) :], strict=True))
            found = signed_sums(
                self.widths, {n: first_order(trained[n], g) for n, g in scores.items() if g is not None}
            )
            for width in self.unread:
                sums[width] += torch.from_numpy(found[width.atom]).reshape(1, -1)
        for width, total in sums.items():
            self.squares[width] += total.square().sum(0).view(self.squares[width].shape)

    def _zeros(self, width: Width, samples: int) -> torch.Tensor:
        return torch.zeros((samples, self.squares[width].numel()), dtype=torch.float64)

    def _watch_output(self, reader: Reader, tensor: torch.Tensor) -> None:
        """Have the squares of an output's derivatives added up, as the backward pass comes by."""
        stub = next(iter(stubs_in(reader.vertex.output)), None)
        if stub is None or not tensor.requires_grad or not stub.shape:
            return
        dim = self.dims[tensor_key(stub)]

        def add(grad: torch.Tensor) -> None:
            """Add up squares along all dimensions but that of the neurons."""
            others = [d for d in range(grad.dim()) if d != dim]
            grad = grad.abs() if grad.is_complex() else grad
            squares = (grad.float().square().sum(others) if others else grad.square()).double().cpu()
            self.outputs[reader] = self.outputs.get(reader, torch.zeros_like(squares)) + squares

        tensor.register_hook(add)  # type: ignore[no-untyped-call]


class _Running:
    """Makes runs in which readers are watched."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __call__(self) -> ReadingRun:
        """Make one."""
        return ReadingRun(*self._arguments)


def signed_sums(widths: Widths, scores: dict[str, torch.Tensor], *, once: bool = False) -> dict[Atom, Floats]:
    """The sums of scores of single weights over all that each neuron has, with their signs.

    Args:
        widths: The widths.
        scores: A score per element, by the parameter's name.
        once: Value rows of a product without the neurons inside; see `collect`.
    """
    out = {width.atom: np.zeros(shape_of(widths, width)) for width in widths}
    for name, values in scores.items():
        axes = widths.parameters().get(name, [])
        for dim, axis in enumerate(axes):
            if axis.fixed:
                continue
            others = [d for d in range(values.dim()) if d != dim]
            along = (values.double().sum(others) if others else values.double()).cpu().numpy()
            for atom, part in per_atom(axis, along, widths.outer, once=once).items():
                if atom in out:
                    out[atom] += part
    return out
