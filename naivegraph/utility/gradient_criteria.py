"""Criteria by derivatives of a loss, sample by sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.utility.collect import Floats
from naivegraph.utility.data_criterion import DataCriterion, batch_loss, loss_of, takes_batch
from naivegraph.utility.derivatives import derivatives, first_order
from naivegraph.utility.readers import readers
from naivegraph.utility.scores import BoundLoss, Score, restored_buffers
from naivegraph.utility.sensitivity import sensitivity, signed_sums
from naivegraph.widths import Width, Widths

__all__ = ["Fisher", "Taylor"]

Gradients = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Fisher(DataCriterion):
    """Half the mean over samples of the square of what the loss changes by, to first order, without a neuron.

    The change is the sum, over all readers of the neuron and all positions, of its value times the derivative
    of the loss (Liu et al., "Group Fisher pruning for practical network compression", ICML 2021, section 3.1;
    Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018, equation 9, for the
    half). Without a loss it is that of the outputs' squared error, which needs no labels (see `batch_loss`).
    Widths that nothing outside of a layer reads are valued by their weights, as by "taylor".

    The values of all layers are in units of the loss, squared; so none is scaled.

    Attributes:
        samples: The most samples that are used; None for all.
    """

    samples: int | None = None
    name = "fisher"
    squared_change = 0.5

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        self.calibration()
        assert self.data is not None
        found = sensitivity(widths, self.data, readers(widths), self.samples).widths
        return {width: 0.5 * values for width, values in found.items()}


@dataclasses.dataclass(frozen=True)
class Taylor(DataCriterion):
    """The mean over samples of the square of a sum: weight times derivative, over all of a neuron's weights.

    Molchanov et al., "Importance estimation for neural network pruning" (CVPR 2019), equation 8, for the
    group of all weights that go with the neuron: those that make it, those of its norm, those that read it.
    With `calibration=`, samples are taken one by one, and `loss=` is a function of the network and a batch;
    with `loss=` alone, a function of the network, whatever it runs is one sample.

    The values of all layers are in units of the loss, squared; so none is scaled.

    Attributes:
        samples: The most samples that are used of calibration data; None for all.
    """

    samples: int | None = 256
    name = "taylor"
    squared_change = 1.0

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        return self._neurons(widths, loss, once=False)

    def neurons_once(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the base."""
        return self._neurons(widths, loss, once=True)

    def elements(self, module: nn.Module, loss: BoundLoss | None) -> Score:
        """The mean squares of weight times derivative, element by element."""
        total: Gradients = {}
        count = 0
        for scores in self._scores(module, loss):
            count += 1
            for name, score in scores.items():
                total[name] = total[name] + score.square() if name in total else score.square()
        return lambda name: total[name] / count if name in total else None

    def _neurons(self, widths: Widths, loss: BoundLoss | None, *, once: bool) -> dict[Width, Floats]:
        total: dict[Width, Floats] = {}
        count = 0
        for scores in self._scores(widths.graph.module, loss):
            count += 1
            for atom, sums in signed_sums(widths, scores, once=once).items():
                if not np.isfinite(sums).all():
                    raise EditError(
                        "the derivatives of the loss are not finite, so neurons cannot be compared"
                    )
                width = widths.by_atom[atom]
                total[width] = total.get(width, 0.0) + sums**2
        return {width: sums / count for width, sums in total.items()}

    def _scores(self, module: nn.Module, loss: BoundLoss | None) -> Iterator[Gradients]:
        """Weight times derivative of every parameter, sample by sample."""
        data = self.data
        if data is None or data.calibration is None or (data.loss is not None and not takes_batch(data.loss)):
            if loss is None:
                raise EditError(
                    'utility="taylor" needs loss=, which takes the network and returns its loss, or '
                    "calibration=, batches of example inputs"
                )
            with restored_buffers(module), torch.enable_grad():
                scores = _derived(module, loss_of(loss()))
            yield scores
            return
        calibration, signs = data.calibration, torch.Generator().manual_seed(0)

        def run() -> Interpreter:
            """Make what runs the graph."""
            return Interpreter(calibration.graph)

        for batch in calibration.first(self.samples):
            for start in range(batch.samples):
                sample = batch.part(start, start + 1)
                with calibration.evaluating(), torch.enable_grad():
                    value = batch_loss(
                        data, calibration, sample, lambda: Interpreter(calibration.graph), signs
                    )
                    scores = _derived(module, value)
                yield scores


def _derived(module: nn.Module, loss: torch.Tensor) -> Gradients:
    """Weight times derivative of every parameter that is trained."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise EditError('utility="taylor" needs parameters with requires_grad, and the network has none')
    grads = derivatives(module, loss, list(trained.values()))
    if all(g is None for g in grads):
        raise EditError("the loss does not depend on the network's parameters, so they cannot be valued")
    return {
        name: first_order(p, g) for (name, p), g in zip(trained.items(), grads, strict=True) if g is not None
    }
