"""Least squares for one layer: rows are sampled, moments summed up, and a ridge chosen on held-out rows."""

from __future__ import annotations

import math

import torch

from naivegraph.edits.apply.refit_report import LayerRefit
from naivegraph.reconstruct.linear_call import LinearCall
from naivegraph.reconstruct.moments import Moments
from naivegraph.reconstruct.ridge import RIDGES, least_squares

__all__ = ["LayerFit"]

ROWS = 48  # per unknown; more change little, and cost as much as the network itself
HELD = 8  # every 8th sample is held out
_UNHELD = 1e-2  # the ridge where no sample is held out
_EXACT = 1e-10  # a share of the target's variance that is rounding


class LayerFit:
    """The moments of one layer.

    Args:
        call: The call in the edited network.
        channels: The channel of the teacher's output for each of the call's.
        factors: The factor of each.
        samples: The number of samples there are in all.
        bias: Whether the outputs may be shifted.
    """

    def __init__(
        self, call: LinearCall, channels: torch.Tensor, factors: torch.Tensor, samples: int, *, bias: bool
    ) -> None:
        device = call.weight.device
        self._channels, self._factors = channels.to(device), factors.to(device)
        self._samples, self._bias = samples, bias
        matrix = call.layout.matrix(call.weight.detach()).double()
        self._shape = groups, unknowns, outputs = matrix.shape
        shift = torch.zeros(groups, 1, outputs, dtype=torch.float64, device=device)
        if call.bias is not None:
            shift = call.bias.detach().double().reshape(shift.shape)
        self.kept = torch.cat([matrix, shift], 1)
        self._fit, self._held = (Moments.none(groups, unknowns, outputs, device) for _ in range(2))
        self._random = torch.Generator().manual_seed(0)

    def add(
        self,
        teacher: LinearCall,
        student: LinearCall,
        first: int,
        samples: int,
        correction: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            teacher: The call in the network before the edit, with its output.
            student: The call in the edited network.
            first: The number of samples before this batch.
            samples: The number of samples in it.
            correction: What the target misses: a tensor like the teacher's output, one like the student's,
                and a factor for each channel of their difference.
        """
        y = teacher.output
        assert y is not None
        layout = student.layout
        sizes = list(y.shape)
        sizes[layout.channel_dim(y.shape)] = len(self._channels)
        rows = self._rows(*layout.rows_by_example(y.shape), samples).to(y.device)
        inputs = layout.inputs(student.x, torch.Size(sizes), rows)
        targets = teacher.layout.outputs(y, rows)[:, self._channels] * self._factors
        if correction is not None:
            before, after, factor = correction
            missing = teacher.layout.outputs(before, rows)[:, self._channels] - layout.outputs(after, rows)
            targets = targets + missing * factor
        groups, _, outputs = self._shape
        targets = targets.reshape(len(rows), groups, outputs).transpose(0, 1)
        total = math.prod(layout.rows_by_example(y.shape))
        held = (first + rows * samples // total) % HELD == HELD - 1
        self._fit.add(inputs[:, ~held], targets[:, ~held])
        self._held.add(inputs[:, held], targets[:, held])

    def _rows(self, examples: int, each: int, samples: int) -> torch.Tensor:
        """The rows to take: as many of every example."""
        share = ROWS * (self._shape[1] + 1) / (examples * each * self._samples / samples)
        count = max(math.ceil(each * share), 1)
        if share >= 0.5 or count >= each:
            return torch.arange(examples * each)
        chosen = torch.randint(each, (examples, count), generator=self._random)
        return (chosen + torch.arange(examples)[:, None] * each).reshape(-1)

    def solve(self, name: str) -> tuple[torch.Tensor | None, LayerRefit]:
        """The new weights, the shift as last row, and the report; None for the weights if the old ones stay.

        The ridge is the one of least error on the samples held out, and the weights are then solved for with
        all samples.
        """
        judged = self._held if self._held.rows else self._fit
        spread, rows = judged.spread(), self._fit.rows + self._held.rows
        before = judged.error(self.kept)
        groups, unknowns, outputs = self._shape

        def told(after: float, ridge: float | None) -> LayerRefit:
            """Return the report."""
            unit = spread or 1.0
            return LayerRefit(name, groups * outputs, unknowns, rows, before / unit, after / unit, ridge)

        if not (self._fit.finite and self._held.finite) or before <= _EXACT * spread:
            return None, told(before, None)
        best, chosen = before, None
        for ridge in RIDGES if self._held.rows else (_UNHELD,):
            weights = least_squares(self._fit, self.kept, ridge, bias=self._bias)
            error = math.inf if weights is None else judged.error(weights)
            if error < best:
                best, chosen = error, ridge
        if chosen is None:
            return None, told(before, None)
        return least_squares(self._fit + self._held, self.kept, chosen, bias=self._bias), told(best, chosen)
