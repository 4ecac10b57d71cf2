"""Backward elimination against brute force, and Gram matrices against unfolded images."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.calibration import Calibration
from naivegraph.utility import Reconstruction, utilities
from naivegraph.utility.elimination import RIDGE, LeastSquares, eliminate, hull_slopes
from naivegraph.utility.gram import grams
from naivegraph.utility.readers import readers
from naivegraph.widths import relate
from tests.utility.data_networks import residual


def least_error(gram: Any, weights: Any, kept: list[int]) -> float:
    """The error of the best weights for some inputs, with the ridge, by the normal equations."""
    ridged = gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    target = weights.T @ ridged @ weights
    if not kept:
        return float(np.trace(target))
    cross = ridged[kept] @ weights
    return float(np.trace(target - cross.T @ np.linalg.solve(ridged[np.ix_(kept, kept)], cross)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("each", [1, 2])
def test_each_step_takes_what_costs_least_by_brute_force(seed: int, each: int) -> None:
    """Five neurons of two readers, beside one input of another width that stays."""
    rng = np.random.default_rng(seed)
    problems, known = [], []
    for _ in range(2):
        rows = rng.normal(size=(40, 5 * each + 1)) @ rng.normal(size=(5 * each + 1, 5 * each + 1))
        blocks = np.arange(5 * each).reshape(5, each)
        gram, weights = rows.T @ rows / 40, rng.normal(size=(5 * each + 1, 3))
        problems.append(LeastSquares.of(gram, weights, np.arange(5), blocks))
        known.append((gram, weights))
    more = rng.random(5)
    order, errors = eliminate(problems, more)
    left = list(range(5))

    def total(kept: list[int]) -> float:
        inputs = [i for neuron in kept for i in range(neuron * each, (neuron + 1) * each)]
        return sum(least_error(gram, weights, [*inputs, 5 * each]) for gram, weights in known)

    for chosen, error in zip(order, errors, strict=True):
        now = total(left)
        costs = {n: total([o for o in left if o != n]) - now + more[n] for n in left}
        assert chosen == min(costs, key=lambda n: costs[n])
        np.testing.assert_allclose(error, costs[int(chosen)], rtol=1e-6, atol=1e-9)
        left.remove(int(chosen))


def test_a_neuron_that_others_make_up_for_goes_at_no_cost() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 4))
    rows[:, 2] = rows[:, 0] - 2 * rows[:, 3]
    problem = LeastSquares.of(
        rows.T @ rows / 100, rng.normal(size=(4, 3)), np.arange(4), np.arange(4)[:, None]
    )
    order, errors = eliminate([problem], np.zeros(4))
    assert order[0] in (0, 2, 3)
    assert errors[0] < 1e-2 * errors[1]


@pytest.mark.parametrize("seed", range(10))
def test_slopes_are_those_of_the_largest_convex_curve_below(seed: int) -> None:
    steps = np.random.default_rng(seed).random(7)
    curve = np.concatenate([[0.0], np.cumsum(steps)])
    hull = np.concatenate([[0.0], np.cumsum(hull_slopes(steps))])
    assert (np.diff(hull, 2) >= -1e-12).all()
    # At each point the least of all chords over it.
    chords = [
        min(
            curve[i] + (curve[j] - curve[i]) * (k - i) / max(j - i, 1)
            for i, j in itertools.product(range(k + 1), range(k, 8))
        )
        for k in range(8)
    ]
    np.testing.assert_allclose(hull, chords, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 3, 3, padding=1),
        nn.Conv2d(4, 3, (3, 2), stride=2, padding=(0, 1), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(4, 3, 1),
    ],
    ids=str,
)
def test_gram_matrices_are_those_of_unfolded_images(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(2, 4, 1), layer)
    x = torch.randn(3, 2, 7, 6)
    graph = ng.capture(net, x[:1])
    widths = relate(graph, free_outputs=True)
    found = readers(widths)
    (gram,) = grams(widths, Calibration(graph, x), found, None, 1000, 100).values()
    columns = F.unfold(net[0](x), layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    rows = columns.detach().movedim(1, -1).flatten(0, 1).double().numpy()
    each = rows.shape[1] // layer.groups
    for group in range(layer.groups):
        mine = rows[:, group * each : (group + 1) * each]
        expected = np.cov(mine.T, bias=True)
        np.testing.assert_allclose(gram.covariance(group), expected, rtol=1e-4, atol=1e-6)
        weight = layer.weight.detach().double().chunk(layer.groups)[group].flatten(1).T
        np.testing.assert_array_equal(gram.weights[group], weight)


def test_the_value_of_a_neuron_is_what_the_loss_grows_by() -> None:
    """A linear reader of few neurons, weighed by the squares of derivatives: by brute force again."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(64, 3)
    target = torch.randn(64, 2)

    def loss(network: Any, batch: Any) -> Tensor:
        out: Tensor = F.mse_loss(network(batch[0]), batch[1])
        return out

    widths = relate(ng.capture(net, x[:1]))
    (found,) = utilities(widths, "reconstruction", calibration=[(x, target)], loss=loss).values()
    read = net[:2](x).detach().double().numpy()
    gram = np.cov(read.T, bias=True)
    # The derivative of one sample's loss, the mean over its two outputs, by output.
    felt = np.square((net(x) - target).detach().double().numpy()).mean(0)
    weights = net[2].weight.detach().double().numpy().T * np.sqrt(felt / 2)
    left, errors, order = [0, 1, 2, 3], [], []
    while left:
        now = least_error(gram, weights, left)
        costs = {n: least_error(gram, weights, [o for o in left if o != n]) - now for n in left}
        order.append(min(costs, key=lambda n: costs[n]))
        errors.append(costs[order[-1]])
        left.remove(order[-1])
    expected = np.zeros(4)
    expected[order] = hull_slopes(np.asarray(errors))
    # All of it scaled to what the loss feels of the neurons together, sample by sample.
    slopes = (net(x) - target).detach().double().numpy()
    changes = slopes @ net[2].weight.detach().double().numpy() * read
    alone = (np.diag(gram) * np.square(weights).sum(1)).sum()
    expected *= np.square(changes).mean(0).sum() / 2 / alone
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize(
    "utility", [Reconstruction(weigh="energy"), Reconstruction(inputs=4), Reconstruction()]
)
@pytest.mark.parametrize("seed", range(3))
def test_every_neuron_has_a_value_from_zero_up_whatever_can_be_taken_apart(utility: Any, seed: int) -> None:
    images = torch.randn(8, 3, 6, 6)
    widths = relate(ng.capture(residual(seed), images[:1]))
    for width, values in utilities(widths, utility, calibration=images).items():
        assert values.shape == (width.size,)
        assert (values >= 0).all()
        assert values.any()


def test_a_copy_of_a_neuron_goes_before_all_others() -> None:
    """Its twin stands in for it: by magnitudes both are worth the same as any other."""
    for seed in range(5):
        torch.manual_seed(seed)
        net: Any = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.LazyLinear(2)
        )
        x = torch.randn(32, 3, 6, 6)
        net(x)
        with torch.no_grad():
            net[0].weight[4], net[0].bias[4] = net[0].weight[1], net[0].bias[1]
        edit = ng.resize(ng.capture(net, x[:1]), {"0": -1}, utility="reconstruction", calibration=x)
        gone = set(range(6)) - {i for part in edit.sizes["0"].kept for i in part}
        assert gone <= {1, 4}
        edit.undo()
