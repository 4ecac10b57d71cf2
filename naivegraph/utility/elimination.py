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
import torch

__all__ = ["LeastSquares", "eliminate", "hull_slopes", "ridged_inverse"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

RIDGE = 1e-3  # of the mean diagonal, as in the refit
_DELAYED = 128


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
    factor = torch.linalg.cholesky(torch.from_numpy(gram + ridge * np.eye(len(gram))))
    found: Floats = torch.cholesky_inverse(factor).numpy()
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
    """One problem as inputs leave it: inverse and products of the weights after compensation.

    What a neuron that goes changes in both matrices is of low rank. It is kept as factors, `inverse - V^T V`
    and `products - T^T S - S^T T`, and multiplied out once there are `_DELAYED` rows of them, for the inputs
    that are left by then: products of large matrices cost less than many thin ones. The blocks on both
    diagonals, of which costs are made, follow at once.
    """

    def __init__(self, problem: LeastSquares) -> None:
        self._inverse, self._products = problem.inverse, problem.products
        self.neurons, self._blocks = problem.neurons, problem.blocks
        self._factors = np.empty((3, _DELAYED + self._blocks.shape[1], len(self._inverse)))  # V, S, T
        self._rows = 0
        at = self._blocks[:, :, None], self._blocks[:, None, :]
        self._own_inverse, self._own_products = self._inverse[at], self._products[at]

    def costs(self) -> tuple[Numbers, Floats]:
        """The neurons that are left, and what each would add to the error."""
        if self._blocks.shape[1] == 1:
            return self.neurons, self._own_products[:, 0, 0] / self._own_inverse[:, 0, 0]
        solved = np.linalg.solve(self._own_inverse, self._own_products)
        return self.neurons, np.trace(solved, axis1=1, axis2=2)

    def remove(self, neuron: int) -> None:
        """Take a neuron's inputs out, and let the others stand in for them."""
        found = np.flatnonzero(self.neurons == neuron)
        if not len(found):
            return
        place, block = found[0], self._blocks[found[0]]
        first, last = self._rows, self._rows + len(block)
        v, s, t = self._factors[:, :first]
        inverse = self._inverse[block] - v[:, block].T @ v
        products = self._products[block] - t[:, block].T @ s - s[:, block].T @ t
        own = inverse[:, block]
        shares = np.linalg.solve(own, inverse)
        self._factors[0, first:last] = np.linalg.solve(np.linalg.cholesky(own), inverse)
        self._factors[1, first:last] = shares
        self._factors[2, first:last] = products - 0.5 * products[:, block] @ shares
        self._rows = last
        self.neurons, self._blocks = np.delete(self.neurons, place), np.delete(self._blocks, place, 0)
        self._own_inverse = np.delete(self._own_inverse, place, 0)
        self._own_products = np.delete(self._own_products, place, 0)
        vs, ss, ts = self._factors[:, first:last, self._blocks].swapaxes(1, 2)
        self._own_inverse -= vs.swapaxes(1, 2) @ vs
        cross = ts.swapaxes(1, 2) @ ss
        self._own_products -= cross + cross.swapaxes(1, 2)
        if last >= _DELAYED:
            self._multiply_out()

    def _multiply_out(self) -> None:
        """Work out both matrices for the inputs that are left."""
        left = self._blocks.reshape(-1)
        v, s, t = self._factors[:, : self._rows, left]
        at = np.ix_(left, left)
        cross = t.T @ s
        self._inverse = self._inverse[at] - v.T @ v
        self._products = self._products[at] - cross - cross.T
        self._blocks = np.arange(len(left)).reshape(self._blocks.shape)
        self._factors = np.empty((3, self._factors.shape[1], len(left)))
        self._rows = 0


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
