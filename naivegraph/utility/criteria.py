"""Criteria, which value all neurons of a network at once, by name or as objects."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.calibration import Calibration
from naivegraph.costs import SizeProduct, cost_named
from naivegraph.errors import EditError, nearest
from naivegraph.utility.collect import Collected, shape_of
from naivegraph.utility.scores import BoundLoss, Score, batch_norm_scale, weights
from naivegraph.widths import Width, Widths

__all__ = [
    "CRITERIA",
    "Criterion",
    "CriterionData",
    "OfWidths",
    "Random",
    "WeightScore",
    "criterion",
    "register_criterion",
]


@dataclasses.dataclass(frozen=True)
class CriterionData:
    """Data that criteria may learn from.

    Attributes:
        calibration: The batches of example inputs; None without `calibration=`.
        loss: The user's loss as it was given; None without `loss=`.
    """

    calibration: Calibration | None = None
    loss: Callable[..., Any] | None = None


class Criterion(abc.ABC):
    """Criterion that values all neurons of a network at once.

    Attributes:
        squared_change: If values are estimates of the squared change of the outputs (of the loss, where there
            is one) without a neuron, the mean over samples: the number that this is multiplied by. None if
            they are in another unit.
    """

    squared_change: ClassVar[float | None] = None

    def with_data(self, data: CriterionData) -> Criterion:
        """The criterion with data to learn from; itself where it needs none.

        Args:
            data: What verbs were given as `calibration=` and `loss=`.
        """
        return self

    @abc.abstractmethod
    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Any, Any]:
        """Values of neurons, by width or its name.

        Args:
            widths: The widths of the network, which is `widths.graph.module`.
            loss: The function that runs the network and returns its loss; None without `loss=`.

        Returns:
            For a width one value per neuron, an array `[rows, neurons]` where each row of a product keeps its
            own (`widths.outer`), or one number for all neurons. A width that is missing or None has the
            values of the default.
        """

    def neurons_once(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Any, Any]:
        """Values as those of `neurons`, where a product's rows do not count the neurons inside once more.

        A criterion that sums up weights leaves them to the neurons inside; others need not tell them apart.
        """
        return self.neurons(widths, loss)

    def elements(self, module: nn.Module, loss: BoundLoss | None) -> Score:
        """Values of single elements of parameters, for kernels; a criterion need not have them.

        Args:
            module: The network.
            loss: As for `neurons`.

        Raises:
            EditError: The criterion values neurons alone.
        """
        raise EditError(f"{self} values neurons alone, not the entries of kernels")


@dataclasses.dataclass(frozen=True)
class OfWidths(Criterion):
    """A function of all widths as a criterion.

    Attributes:
        function: A function from the widths to values by width or its name; see `Criterion.neurons`.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> later = ng.OfWidths(lambda widths: {width: range(width.size) for width in widths})
        >>> edit = ng.prune(net, torch.ones(1, 4), ratio=0.5, utility=later)
        >>> edit.sizes["0"].kept
        (range(4, 8),)
    """

    function: Callable[[Widths], Mapping[Any, Any]]

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Any, Any]:
        """See the class."""
        return self.function(widths)


@dataclasses.dataclass(frozen=True)
class Random(Criterion):
    """Criterion of chance, a baseline for others: each neuron's cost times a number between 0 and 1.

    A neuron is kept for its value by its cost, so a value that did not grow with the cost would have the
    dear ones go first, which is no chance. The cost is the multiply-accumulates that go with the neuron
    alone, relative to the dearest one's.

    Attributes:
        seed: The seed, by which the numbers are the same each time.
        cost: The cost, by its name.
    """

    seed: int = 0
    cost: str = "macs"

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        generator = np.random.default_rng(self.seed)
        shapes = {width: shape_of(widths, width) for width in widths}
        costs = _costs_of_one(widths, self.cost)
        dearest = max(costs.values(), default=0.0) or 1.0
        return {
            width: generator.random(shape) * (costs[width] or dearest) / (dearest * math.prod(shape[:-1]))
            for width, shape in shapes.items()
        }

    def elements(self, module: nn.Module, loss: BoundLoss | None) -> Score:
        """See the class."""
        generator = np.random.default_rng(self.seed)
        parameters = weights(module)

        def score(name: str) -> torch.Tensor | None:
            """Return random numbers of a parameter's shape."""
            parameter = parameters(name)
            return None if parameter is None else torch.from_numpy(generator.random(tuple(parameter.shape)))

        return score


def _costs_of_one(widths: Widths, name: str) -> dict[Width, float]:
    """The cost that goes with one neuron of each width."""
    products: dict[Atom, list[SizeProduct]] = {width.atom: [] for width in widths}
    for product in cost_named(name).products(widths):
        for atom in {atom for axis in product.axes for atom in axis.atoms()}:
            if atom in products:
                products[atom].append(product)

    def cost(width: Width, count: int) -> float:
        """Return the cost of all products with a width, of some number of its neurons."""
        size = {width.atom: count}
        return sum(
            float(product.coefficient)
            * math.prod(axis.size(lambda a: size.get(a, a.length)) for axis in product.axes)
            for product in products[width.atom]
        )

    return {width: cost(width, width.size) - cost(width, width.size - 1) for width in widths}


@dataclasses.dataclass(frozen=True)
class WeightScore(Criterion):
    """Criterion that sums up a score of single weights for each neuron, over all parameters that have it.

    Attributes:
        score: The function from a network to its score.
        power: 1 to sum absolute values of the score, 2 to sum squares.
        how: The way the scores of a neuron become one number; see `Collected`.
        in_effect: Whether weights that masks, weight norms or parametrizations make of parameters count
            instead of these, by their own values; right for scores that are the parameters themselves.
    """

    score: Callable[[nn.Module, BoundLoss | None], Score]
    power: Literal[1, 2] = 1
    how: Literal["share", "sum", "mean"] = "share"
    in_effect: bool = False

    def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the class."""
        return dict(self.collected(widths, loss, once=False))

    def neurons_once(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Width, Any]:
        """See the base."""
        return dict(self.collected(widths, loss, once=True))

    def collected(self, widths: Widths, loss: BoundLoss | None, *, once: bool) -> Collected:
        """The values, each worked out when it is asked for; see `neurons` and `neurons_once`."""
        score = self.score(widths.graph.module, loss)
        return Collected(widths, score, power=self.power, how=self.how, in_effect=self.in_effect, once=once)

    def elements(self, module: nn.Module, loss: BoundLoss | None) -> Score:
        """See the class."""
        scored = self.score(module, loss)

        def score(name: str) -> torch.Tensor | None:
            """Return the magnitudes of the score."""
            values = scored(name)
            return None if values is None else values.detach().abs().double() ** self.power

        return score


CRITERIA: dict[str, Criterion] = {
    "l2": WeightScore(weights, power=2, in_effect=True),
    "l1": WeightScore(weights, in_effect=True),
    "magnitude": WeightScore(weights, how="mean", in_effect=True),
    "bn_scale": WeightScore(batch_norm_scale),
    "random": Random(),
}


def register_criterion(name: str, criterion: Criterion, *, replace: bool = False) -> None:
    """Let a criterion be called by a name, in `utility=` of every verb.

    Args:
        name: The name, which no other criterion has.
        criterion: The criterion; `naivegraph.extend.CriterionContract` tests one.
        replace: Take it in place of another of that name.

    Raises:
        EditError: `criterion` is none or `name` no name, or another criterion has it.

    Example:
        >>> register_criterion("l2", Random(seed=1))
        Traceback (most recent call last):
            ...
        naivegraph.errors.EditError: there is a criterion 'l2' already; replace=True takes this one instead
    """
    if not isinstance(criterion, Criterion):
        made = " (the class; make one of it)" if isinstance(criterion, type) else ""
        raise EditError(
            f"register_criterion takes a Criterion, such as WeightScore(score), not {criterion!r}{made}"
        )
    if not isinstance(name, str) or not name:
        raise EditError(f"the name of a criterion is a string that is not empty, not {name!r}")
    if CRITERIA.get(name, criterion) is not criterion and not replace:
        raise EditError(f"there is a criterion {name!r} already; replace=True takes this one instead")
    CRITERIA[name] = criterion


def criterion(name: str) -> Criterion:
    """The criterion of this name.

    Raises:
        EditError: There is none; the message lists those there are.
    """
    if name not in CRITERIA:
        raise EditError(f"there is no utility {name!r} among {', '.join(CRITERIA)}{nearest(name, CRITERIA)}")
    return CRITERIA[name]
