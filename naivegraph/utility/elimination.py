"""Backward elimination of inputs from least-squares problems: which go first, and what each costs.

For outputs `Y = X W` the error of a set of inputs is the least `|Y - X_S V|^2` over all weights `V`. Without
one more input `i` it grows by `w_i^T w_i / [H^-1]_ii`, where `H` is the Gram matrix of the inputs that are
left and `w_i` the weights of `i` after compensation (Hassibi and Stork, "Second order derivatives for network
pruning: optimal brain surgeon", NIPS 1992, equation 5; in blocks as Frantar and Alistarh, "Optimal brain
compression", NeurIPS 2022, section 5). Of several inputs that go together it takes the block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["LeastSquares", "eliminate", "hull_slopes"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

RIDGE = 1e-3  # of the mean diagonal, as in the refit


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """A least-squares problem of one reader.

    Attributes:
        gram: The mean of `x x^T` over rows, `[inputs, inputs]`.
        weights: The weights, `[inputs, outputs]`, scaled by how much each output's error counts.
        neurons: The numbers of the neurons that are inputs here.
        blocks: The inputs of each of these, `[neurons, inputs per neuron]`.
    """

    gram: Floats
    weights: Floats
    neurons: Numbers
    blocks: Numbers

    def alone(self) -> float:
        """The errors without each neuron by itself, with no compensation, added up."""
        own = self.gram[self.blocks[:, :, None], self.blocks[:, None, :]]
        mine = self.weights[self.blocks]
        return float((mine * (own @ mine)).sum())


def eliminate(problems: Sequence[LeastSquares], more: Floats) -> tuple[Numbers, Floats]:
    """Take neurons out one by one, always the one that costs least after compensation.

    Args:
        problems: The problems that the neurons are inputs of.
        more: What each neuron costs besides, without compensation.

    Returns:
        The neurons in the order in which they go, and what each adds to the error.

    Example:
        >>> one, two = np.array([1.0, 0, 1]), np.array([0.0, 1, 1])
        >>> rows = np.stack([one, two, one + two], 1)  # the third is the sum of the others
        >>> weights, three = np.array([[1.0], [1.0], [0.1]]), np.arange(3)
        >>> problem = LeastSquares(rows.T @ rows / 3, weights, three, three[:, None])
        >>> order, errors = eliminate([problem], np.zeros(3))
        >>> int(order[0]), bool(errors[0] < 0.01)
        (2, True)
    """
    count = len(more)
    states = [_State(problem) for problem in problems]
    left = np.ones(count, bool)
    order, errors = np.zeros(count, np.int64), np.zeros(count)
    for step in range(count):
        costs = more.copy()
        for state in states:
            np.add.at(costs, *state.costs())
        costs[~left] = np.inf
        chosen = int(np.argmin(costs))
        order[step], errors[step] = chosen, max(costs[chosen], 0.0)
        left[chosen] = False
        for state in states:
            state.remove(chosen)
    return order, errors


class _State:
    """One problem as inputs leave it: the inverse of the Gram matrix and the weights after compensation."""

    def __init__(self, problem: LeastSquares) -> None:
        gram = problem.gram
        diagonal = float(np.trace(gram)) / max(len(gram), 1)
        ridge = RIDGE * diagonal if diagonal > 0 else 1.0
        # Ridge towards the present weights: what is lost without an input is counted as before.
        self.inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        self.weights = problem.weights.astype(np.float64, copy=True)
        self.neurons, self.blocks = problem.neurons, problem.blocks

    def costs(self) -> tuple[Numbers, Floats]:
        """The neurons that are left, and what each would add to the error."""
        own = self.inverse[self.blocks[:, :, None], self.blocks[:, None, :]]
        mine = self.weights[self.blocks]
        if self.blocks.shape[1] == 1:
            return self.neurons, np.square(mine[:, 0]).sum(1) / own[:, 0, 0]
        return self.neurons, (mine * np.linalg.solve(own, mine)).sum((1, 2))

    def remove(self, neuron: int) -> None:
        """Take a neuron's inputs out, and let the others stand in for them."""
        place = np.flatnonzero(self.neurons == neuron)
        if not len(place):
            return
        block = self.blocks[place[0]]
        own = self.inverse[np.ix_(block, block)]
        columns = np.linalg.solve(own, self.inverse[block])  # [inputs of the neuron, inputs]
        self.weights -= columns.T @ self.weights[block]
        self.inverse -= self.inverse[:, block] @ columns
        self.neurons, self.blocks = np.delete(self.neurons, place[0]), np.delete(self.blocks, place[0], 0)


def hull_slopes(errors: Floats) -> Floats:
    """The slopes of the lower convex hull of a curve, given by its increments; they never fall.

    Example:
        >>> hull_slopes(np.array([1.0, 3.0, 1.0, 4.0])).tolist()
        [1.0, 2.0, 2.0, 4.0]
    """
    means: list[float] = []
    counts: list[int] = []
    for error in errors.tolist():
        mean, count = float(error), 1
        while means and means[-1] > mean:
            last, many = means.pop(), counts.pop()
            mean, count = (last * many + mean * count) / (many + count), many + count
        means.append(mean)
        counts.append(count)
    return np.repeat(np.asarray(means, np.float64), counts)
