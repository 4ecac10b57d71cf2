"""Least squares for one layer: rows are sampled, moments summed up, and a ridge chosen on held-out rows."""

from __future__ import annotations

import dataclasses
import math

import torch

from naivegraph.edits.apply.refit_report import LayerRefit
from naivegraph.reconstruct.linear_call import LinearCall
from naivegraph.reconstruct.moments import Moments
from naivegraph.reconstruct.ridge import RIDGES, RidgeSystem, least_squares
from naivegraph.reconstruct.saturated_rows import SaturatedRows
from naivegraph.reconstruct.surroundings import Behind

__all__ = ["HELD", "LayerFit", "Summands"]

Summands = tuple[torch.Tensor, torch.Tensor]  # what is added to a layer's output, before and after an edit

ROWS = 48  # per unknown; more cost as much as the network itself
LEAST_ROWS = 24576  # cheap with few unknowns, and most rows before an activation say little
_NUMBERS = 1 << 24  # of inputs, beyond which rows are no more than they have to be
HELD = 8  # every 8th sample is held out
_UNHELD = 1e-2  # the ridge where no sample is held out
_MOVES = 4  # of targets to where answers are as good; more bring little
_EXACT = 1e-10  # a share of the target's variance that is rounding


class LayerFit:
    """The moments of one layer.

    Args:
        call: The call in the edited network.
        channels: The channel of the teacher's output for each of the call's.
        factors: The factor of each.
        samples: The number of samples there are in all.
        behind: What the output goes through.
        bias: Whether the outputs may be shifted.
    """

    def __init__(
        self,
        call: LinearCall,
        channels: torch.Tensor,
        factors: torch.Tensor,
        samples: int,
        behind: Behind,
        *,
        bias: bool,
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
        self._behind = behind
        scale, self._shift = (
            each.to(device).expand(groups * outputs) for each in (behind.scale(), behind.shift())
        )
        self._back = torch.where(scale == 0, 0.0, 1 / torch.where(scale == 0, 1.0, scale))
        self._wanted = max(ROWS * (unknowns + 1), min(LEAST_ROWS, _NUMBERS // (groups * unknowns)))
        self._saturated = SaturatedRows(self._wanted, groups * unknowns) if behind.saturation else None
        self._random = torch.Generator().manual_seed(0)

    def add(
        self,
        teacher: LinearCall,
        student: LinearCall,
        first: int,
        samples: int,
        summands: Summands | None = None,
    ) -> None:
        """Add a batch.

        Args:
            teacher: The call in the network before the edit, with its output.
            student: The call in the edited network.
            first: The number of samples before this batch.
            samples: The number of samples in it.
            summands: What is added to the teacher's output, and to the student's, behind the layer.
        """
        y = teacher.output
        assert y is not None
        layout = student.layout
        sizes = list(y.shape)
        sizes[layout.channel_dim(y.shape)] = len(self._channels)
        rows = self._rows(*layout.rows_by_example(y.shape), samples).to(y.device)
        inputs = layout.inputs(student.x, torch.Size(sizes), rows)
        targets = teacher.layout.outputs(y, rows)[:, self._channels] * self._factors
        added = None
        if summands is not None:
            added = layout.outputs(summands[1], rows)
            missing = teacher.layout.outputs(summands[0], rows)[:, self._channels] - added
            targets = targets + missing * self._back
        groups, _, outputs = self._shape
        targets = targets.reshape(len(rows), groups, outputs).transpose(0, 1)
        total = math.prod(layout.rows_by_example(y.shape))
        held = (first + rows * samples // total) % HELD == HELD - 1
        self._fit.add(inputs[:, ~held], targets[:, ~held])
        self._held.add(inputs[:, held], targets[:, held])
        if self._saturated is not None and (summands is None) == (self._behind.summand is None):
            low, high = self._bounds(added)
            self._saturated.add(inputs, targets, low, high, held)

    def _bounds(self, added: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """The numbers beyond which the activation takes all for one, as outputs of the layer."""
        inside = self._shift if added is None else self._shift + added
        saturation, (groups, _, outputs) = self._behind.saturation, self._shape
        one, two = ((bound - inside) * self._back for bound in (saturation.low, saturation.high))
        low = torch.where(self._back < 0, two, one).where(self._back != 0, -math.inf)
        high = torch.where(self._back < 0, one, two).where(self._back != 0, math.inf)
        return tuple(end.reshape(-1, groups, outputs).transpose(0, 1) for end in (low, high))

    def _rows(self, examples: int, each: int, samples: int) -> torch.Tensor:
        """The rows to take: as many of every example."""
        total = examples * each * self._samples / samples
        share = self._wanted / total
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

        def told(before: float, after: float, ridge: float | None) -> LayerRefit:
            """Return the report."""
            unit = spread or 1.0
            return LayerRefit(name, groups * outputs, unknowns, rows, before / unit, after / unit, ridge)

        if not (self._fit.finite and self._held.finite) or before <= _EXACT * spread:
            return None, told(before, before, None)
        best, chosen, found = before, None, None
        for ridge in RIDGES if self._held.rows else (_UNHELD,):
            weights = least_squares(self._fit, self.kept, ridge, bias=self._bias)
            error = math.inf if weights is None else judged.error(weights)
            if error < best:
                best, chosen, found = error, ridge, weights
        if chosen is None or found is None:
            return None, told(before, before, None)
        moments = self._fit + self._held
        if self._saturated:
            before, best, found = self._past_saturation(self._saturated, found, chosen)
            if best >= before:
                return None, told(before, before, None)
            moved = self._saturated.moved(found, False) + self._saturated.moved(found, True)
            moments = dataclasses.replace(moments, cross=moments.cross + moved)
        return least_squares(moments, self.kept, chosen, bias=self._bias), told(before, best, chosen)

    def _past_saturation(
        self, rows: SaturatedRows, weights: torch.Tensor, ridge: float
    ) -> tuple[float, float, torch.Tensor]:
        """The errors behind the activation of the weights kept and of the best found, and these.

        The steps are those of an accelerated proximal gradient method (Beck and Teboulle, "A fast iterative
        shrinkage-thresholding algorithm", SIAM J. Imaging Sciences 2009), in the metric of the moments.
        """
        held = bool(self._held.rows)
        before, best = rows.error(self.kept, held), rows.error(weights, held)
        if before < best:
            best, weights = before, self.kept
        system = RidgeSystem(self._fit, ridge, bias=self._bias)
        last = ahead = weights
        for step in range(_MOVES):
            now = system.solve(self._fit.cross + rows.moved(ahead, False), self.kept)
            if now is None:
                break
            error = rows.error(now, held)
            if error < best:
                best, weights = error, now
            ahead, last = now + step / (step + 3) * (now - last), now
        return before, best, weights
