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

__all__ = ["LeastSquares", "eliminate", "hull_slopes", "ridged_inverse"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

RIDGE = 1e-3  # of the mean diagonal, as in the refit


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """A least-squares problem of one reader, as far as the neurons of one width are concerned.

    What their inputs cost depends on the others' only by the inverse of the whole Gram matrix, and only by
    its part at these inputs; so all that is kept is of their number.

    Attributes:
        inverse: The inverse of the Gram matrix, `[inputs, inputs]`.
        products: The products of the weights of two inputs, summed over outputs, `[inputs, inputs]`.
        neurons: The numbers of the neurons that are inputs here.
        blocks: The inputs of each of these, `[neurons, inputs per neuron]`.
        alone: The errors without each neuron by itself, with no compensation, added up.
    """

    inverse: Floats
    products: Floats
    neurons: Numbers
    blocks: Numbers
    alone: float

    @classmethod
    def of(
        cls, gram: Floats, weights: Floats, neurons: Numbers, blocks: Numbers, inverse: Floats | None = None
    ) -> LeastSquares:
        """The problem of some inputs.

        Args:
            gram: The mean of `x x^T` over rows, `[inputs, inputs]`, of all inputs.
            weights: The weights, `[inputs, outputs]`, scaled by how much each output's error counts.
            neurons: The numbers of the neurons.
            blocks: The inputs of each of these, `[neurons, inputs per neuron]`.
            inverse: The inverse of the Gram matrix with its ridge, if it is there already.
        """
        inputs = blocks.reshape(-1)
        whole = ridged_inverse(gram) if inverse is None else inverse
        mine: Floats = weights[inputs].astype(np.float64)
        errors = weights[blocks] * (gram[blocks[:, :, None], blocks[:, None, :]] @ weights[blocks])
        local = np.arange(len(inputs)).reshape(blocks.shape)
        at = np.ix_(inputs, inputs)
        return cls(whole[at], mine @ mine.T, neurons, local, float(errors.sum()))


def ridged_inverse(gram: Floats) -> Floats:
    """The inverse of a Gram matrix with a ridge, towards the present weights, on its diagonal."""
    diagonal = float(np.trace(gram)) / max(len(gram), 1)
    ridge = RIDGE * diagonal if diagonal > 0 else 1.0
    found: Floats = np.asarray(np.linalg.inv(gram + ridge * np.eye(len(gram))), np.float64)
    return found


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
        >>> problem = LeastSquares.of(rows.T @ rows / 3, weights, three, three[:, None])
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
    """One problem as inputs leave it: inverse and products of the weights after compensation."""

    def __init__(self, problem: LeastSquares) -> None:
        self.inverse, self.products = problem.inverse.copy(), problem.products.copy()
        self.neurons, self.blocks = problem.neurons, problem.blocks

    def costs(self) -> tuple[Numbers, Floats]:
        """The neurons that are left, and what each would add to the error."""
        if self.blocks.shape[1] == 1:
            inputs = self.blocks[:, 0]
            return self.neurons, self.products[inputs, inputs] / self.inverse[inputs, inputs]
        at = self.blocks[:, :, None], self.blocks[:, None, :]
        solved = np.linalg.solve(self.inverse[at], self.products[at])
        return self.neurons, np.trace(solved, axis1=1, axis2=2)

    def remove(self, neuron: int) -> None:
        """Take a neuron's inputs out, and let the others stand in for them."""
        place = np.flatnonzero(self.neurons == neuron)
        if not len(place):
            return
        block = self.blocks[place[0]]
        own = self.inverse[np.ix_(block, block)]
        shares = np.linalg.solve(own, self.inverse[block])  # [inputs of the neuron, inputs]
        moved = self.products[:, block] @ shares
        self.products += shares.T @ (self.products[np.ix_(block, block)] @ shares) - moved - moved.T
        self.inverse -= self.inverse[:, block] @ shares
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
