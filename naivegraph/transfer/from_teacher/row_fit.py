"""Least squares on rows of all batches: a part of the samples is held out, and judges the solution."""

from __future__ import annotations

import dataclasses
import math

import torch

from naivegraph.reconstruct.linear_layout import Layout
from naivegraph.reconstruct.moments import Moments

__all__ = ["HELD", "RowFit", "Solved", "drop_neurons", "is_held"]

HELD = 8  # every 8th sample is held out
ROWS = 24  # per unknown
_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_UNHELD = 1e-2  # the ridge where no sample is held out
_EXACT = 1e-10
_RIDGE = 1e-2  # in the elimination
_ROUNDS = 8  # at each an eighth of the neurons that have to go goes


@dataclasses.dataclass(frozen=True)
class Solved:
    """A solution.

    Attributes:
        weights: `[unknowns + 1, outputs]`, the shift as last row.
        error: The share of the variance of the targets that it misses, on the samples held out.
    """

    weights: torch.Tensor
    error: float


def is_held(samples: torch.Tensor) -> torch.Tensor:
    """Tell which samples, by their numbers, are held out."""
    return samples % HELD == HELD - 1


class RowFit:
    """The moments of one layer's rows.

    Args:
        unknowns: The number of inputs.
        outputs: The number of outputs.
        samples: The number of samples there are in all.
        device: The device of the rows.
    """

    def __init__(self, unknowns: int, outputs: int, samples: int, device: torch.device) -> None:
        self._unknowns, self._samples = unknowns, samples
        self.fit, self.held = (Moments.none(1, unknowns, outputs, device) for _ in range(2))
        self._random = torch.Generator().manual_seed(0)

    def add(self, layout: Layout, x: torch.Tensor, y: torch.Tensor, first: int, samples: int) -> None:
        """Add a batch.

        Args:
            layout: That of a call on the inputs.
            x: The inputs of the call.
            y: The targets, shaped as its output.
            first: The number of samples before this batch.
            samples: The number of samples in it.
        """
        examples, each = layout.rows_by_example(y.shape)
        rows = self._rows(examples, each, samples).to(y.device)
        held = is_held(first + rows * samples // (examples * each))
        for moments, mine in ((self.fit, rows[~held]), (self.held, rows[held])):
            if len(mine):
                moments.add(layout.inputs(x, y.shape, mine), layout.outputs(y, mine)[None])

    def _rows(self, examples: int, each: int, samples: int) -> torch.Tensor:
        share = ROWS * (self._unknowns + 1) / (examples * each * self._samples / samples)
        count = max(math.ceil(each * share), 1)
        if count >= each:
            return torch.arange(examples * each)
        chosen = torch.randint(each, (examples, count), generator=self._random)
        return (chosen + torch.arange(examples)[:, None] * each).reshape(-1)

    def only(self, inputs: torch.Tensor) -> RowFit:
        """The fit with some of the inputs alone."""
        places = torch.cat([inputs, torch.tensor([self._unknowns], device=inputs.device)])
        found = RowFit(0, 0, self._samples, inputs.device)
        found._unknowns = len(inputs)
        for name in ("fit", "held"):
            whole: Moments = getattr(self, name)
            gram = whole.gram[:, places][:, :, places]
            setattr(found, name, Moments(gram, whole.cross[:, places], whole.energy, whole.rows))
        return found

    def error(self, weights: torch.Tensor) -> float:
        """The share of the variance of the targets that weights miss, on the samples held out."""
        judged = self.held if self.held.rows else self.fit
        return judged.error(weights[None]) / (judged.spread() or 1.0)

    def solve(self, kept: torch.Tensor, *, bias: bool) -> Solved:
        """The solution whose ridge is the best on the samples held out; the kept weights if none is better.

        Args:
            kept: The weights that the penalty is towards, `[unknowns + 1, outputs]`.
            bias: Whether the outputs may be shifted.
        """
        kept = kept.to(self.fit.gram)
        best = Solved(kept, self.error(kept))
        if not (self.fit.finite and self.held.finite) or best.error <= _EXACT:
            return best
        system = _Ridges(self.fit, kept, bias=bias)
        if not self.held.rows:
            return self._better(best, system.solve(_UNHELD))
        middle = len(_RIDGES) // 2
        best = self._better(best, system.solve(_RIDGES[middle]))
        for way in (_RIDGES[middle + 1 :], _RIDGES[:middle][::-1]):
            improved = False
            for ridge in way:  # errors have one minimum in the ridge, or nearly so
                found = self._better(best, system.solve(ridge))
                if found is best:
                    break
                best, improved = found, True
            if improved:
                break
        return best

    def _better(self, best: Solved, weights: torch.Tensor | None) -> Solved:
        """The better of two solutions."""
        error = math.inf if weights is None else self.error(weights)
        return best if weights is None or not error < best.error else Solved(weights, error)

    def statistics(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the outputs without their shift."""
        rows = self.fit.rows
        mean = self.fit.gram[0, -1, :-1] / rows
        covariance = self.fit.gram[0, :-1, :-1] / rows - torch.outer(mean, mean)
        matrix = weights[:-1]
        return mean @ matrix, ((covariance @ matrix) * matrix).sum(0).clamp(min=0)

    def compensated(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The inverse of the covariance of the inputs, with a ridge, and the weights that go with it."""
        rows = self.fit.rows
        mean, target = self.fit.gram[0, -1, :-1] / rows, self.fit.cross[0, -1] / rows
        covariance = self.fit.gram[0, :-1, :-1] / rows - torch.outer(mean, mean)
        cross = self.fit.cross[0, :-1] / rows - torch.outer(mean, target)
        ridge = _RIDGE * max(float(covariance.diagonal().mean()), 1e-30)
        covariance.diagonal().add_(ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        return inverse, inverse @ cross


class _Ridges:
    """Least squares with penalties of several sizes on the distance from some weights."""

    def __init__(self, moments: Moments, kept: torch.Tensor, *, bias: bool) -> None:
        size = len(kept) if bias else len(kept) - 1
        self._kept, self._gram = kept, moments.gram[0, :size, :size]
        self._rest = (moments.cross[0] - moments.gram[0] @ kept)[:size]
        unit = torch.ones(size, dtype=kept.dtype, device=kept.device)
        if bias:
            unit[-1] = 0
        self._penalty, self._least = (
            unit * moments.gram[0].diagonal()[:-1].mean(),
            1e-12 * moments.rows * unit,
        )

    def solve(self, ridge: float) -> torch.Tensor | None:
        """The weights; None if the system has no answer in float64."""
        whole = self._gram + torch.diag_embed(self._penalty * ridge + self._least)
        factor, failed = torch.linalg.cholesky_ex(whole)
        if bool(failed):
            return None
        out = self._kept.clone()
        out[: len(whole)] += torch.cholesky_solve(self._rest, factor)
        return out if bool(torch.isfinite(out).all()) else None


def drop_neurons(
    inverse: torch.Tensor, weights: torch.Tensor, blocks: torch.Tensor, keep: int
) -> torch.Tensor:
    """Take neurons out of a least-squares problem until some number is left, the cheapest first.

    Without the inputs `b` of a neuron the error grows by `W_b^T (H^-1)_bb^-1 W_b` once the others stand in
    (see `naivegraph.utility.elimination`, which takes them one by one). Here several go at a time.

    Args:
        inverse: The inverse of the covariance of the inputs, `[inputs, inputs]`.
        weights: The solution, `[inputs, outputs]`.
        blocks: The inputs of each neuron, `[neurons, inputs each]`.
        keep: The number of neurons to keep.

    Returns:
        The neurons that stay, in order.

    Example:
        >>> x = torch.eye(3, dtype=torch.float64)
        >>> weights, blocks = torch.tensor([[3.0], [1.0], [2.0]]).double(), torch.arange(3)[:, None]
        >>> drop_neurons(x, weights, blocks, 2).tolist()
        [0, 2]
    """
    left = torch.arange(len(blocks), device=blocks.device)
    while len(left) > keep:
        mine = blocks[left]
        own, solved = inverse[mine[:, :, None], mine[:, None, :]], weights[mine]
        costs = (solved * torch.linalg.solve(own, solved)).sum((1, 2))
        count = max(1, (len(left) - keep) // _ROUNDS)
        gone = torch.topk(costs, count, largest=False).indices
        rows = mine[gone].reshape(-1)
        factor = torch.linalg.cholesky(inverse[rows][:, rows])
        weights = weights - inverse[:, rows] @ torch.cholesky_solve(weights[rows], factor)
        halves = torch.linalg.solve_triangular(factor, inverse[rows], upper=False)
        inverse = inverse - halves.T @ halves
        stay = torch.ones(len(left), dtype=torch.bool, device=left.device)
        stay[gone] = False
        left = left[stay]
        index = blocks[left].reshape(-1)
        inverse, weights = inverse[index][:, index], weights[index]
        blocks = torch.full_like(blocks, -1)
        blocks[left] = torch.arange(len(index), device=index.device).reshape(len(left), -1)
    return left
