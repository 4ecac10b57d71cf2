"""What neurons are worth, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.network import capture
from naivegraph.utility import OfWidths, Random, utilities
from naivegraph.utility.collect import Floats
from naivegraph.widths import Width, Widths, relate
from tests.networks.plain import ALL, Network, by_name
from tests.oracle import mask_of, snapshot, unchanged


def small() -> tuple[Any, Widths]:
    """Two inputs, three neurons, one output; weights [[1, 2], [-3, 0], [0, 1]] and [1, -2, 4]."""
    net: Any = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.0], [0.0, 1.0]]))
        net[0].bias.copy_(torch.tensor([5.0, 6.0, 7.0]))
        net[2].weight.copy_(torch.tensor([[1.0, -2.0, 4.0]]))
        net[2].bias.zero_()
    return net, relate(capture(net, torch.ones(1, 2)))


def only(values: dict[Width, Floats]) -> Floats:
    (found,) = values.values()
    return found


def test_l1_is_the_share_of_the_absolute_weights() -> None:
    _, widths = small()
    expected = np.array([3, 3, 1]) / 7 + np.array([1, 2, 4]) / 7
    np.testing.assert_allclose(only(utilities(widths, "l1")), expected)


def test_l2_is_the_share_of_the_squared_weights() -> None:
    _, widths = small()
    expected = np.array([5, 9, 1]) / 15 + np.array([1, 4, 16]) / 21
    np.testing.assert_allclose(only(utilities(widths, "l2")), expected)
    np.testing.assert_allclose(only(utilities(widths)), expected)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_magnitudes_do_not_depend_on_the_scale_of_a_layer(name: str) -> None:
    net, widths = small()
    before = only(utilities(widths, name))
    with torch.no_grad():
        net[0].weight *= 1e-6
        net[2].weight *= 1e4
    np.testing.assert_allclose(only(utilities(widths, name)), before, rtol=1e-5)


def test_biases_count_only_where_there_are_no_weights() -> None:
    net, widths = small()
    before = only(utilities(widths, "l2"))
    with torch.no_grad():
        net[0].bias *= 100
    np.testing.assert_allclose(only(utilities(widths, "l2")), before)
    with torch.no_grad():
        net[0].weight.zero_()
        net[2].weight.zero_()
        net[0].bias.copy_(torch.tensor([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(only(utilities(widths, "l1")), np.array([1, 2, 5]) / 8)


def test_batch_norm_scale_is_the_scale_alone() -> None:
    net: Any = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)
    ).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -2.0, 5.0]))
        net[1].bias.fill_(9.0)
    widths = relate(capture(net, torch.ones(2, 2)))
    values = {width.name: v for width, v in utilities(widths, "bn_scale").items()}
    np.testing.assert_allclose(values["0"], np.array([1, 2, 5]) / 8)
    np.testing.assert_allclose(values["2"], np.zeros(4))


def test_taylor_is_the_square_of_the_sum_of_weight_times_gradient() -> None:
    _, widths = small()
    x = torch.tensor([[1.0, 2.0]])

    def loss(model: nn.Module) -> Tensor:
        result: Tensor = model(x).sum()
        return result

    # The hidden units before the ReLU are 1+4+5=10, -3+6=3 and 2+7=9, all alive, so d loss / d w[j, i] is
    # v[j]*x[i], d loss / d b[j] is v[j] and d loss / d v[j] is the unit itself.
    v, hidden = np.array([1, -2, 4.0]), np.array([10, 3, 9.0])
    weights = np.array([[1, 2], [-3, 0], [0, 1.0]]) * v[:, None] * np.array([[1.0, 2.0]])
    expected = (weights.sum(1) + v * np.array([5, 6, 7]) + v * hidden) ** 2
    np.testing.assert_allclose(only(utilities(widths, "taylor", loss=loss)), expected, rtol=1e-6)


def test_taylor_leaves_gradients_statistics_and_flags_alone() -> None:
    model, inputs = by_name("Residual").make()
    model(*inputs).sum().backward()
    next(model.parameters()).requires_grad_(False)
    model.train()
    before = snapshot(model)
    widths = relate(capture(model, inputs))
    flags: list[bool] = []

    def loss(net: nn.Module) -> Tensor:
        flags.append(net.training)
        result: Tensor = net(*inputs).square().mean()
        return result

    with torch.no_grad():
        values = utilities(widths, "taylor", loss=loss)
    assert unchanged(model, before)
    assert model.training
    assert len(flags) == 1
    assert all((v > 0).any() for v in values.values())


def test_taylor_restores_statistics_when_the_loss_fails() -> None:
    model, inputs = by_name("Residual").make()
    widths = relate(capture(model, inputs))
    model.train()
    before = snapshot(model)

    def loss(net: nn.Module) -> Tensor:
        net(*inputs)
        raise OverflowError("too much")

    with pytest.raises(OverflowError, match="too much"):
        utilities(widths, "taylor", loss=loss)
    assert unchanged(model, before)


def test_random_depends_on_the_seed_alone() -> None:
    widths = relate(capture(*by_name("Residual").make()))
    torch.manual_seed(1)
    first = utilities(widths, Random(1))
    torch.manual_seed(2)
    again, other = utilities(widths, Random(1)), utilities(widths, Random(2))
    for width in widths.widths:
        np.testing.assert_array_equal(first[width], again[width])
        assert not np.array_equal(first[width], other[width])
        assert ((first[width] >= 0) & (first[width] <= 1)).all()


def test_a_function_is_given_the_widths() -> None:
    _, widths = small()
    seen: list[Widths] = []

    def utility(given: Widths) -> dict[str, list[float]]:
        seen.append(given)
        return {width.name: [3, -1, 2] for width in given.widths}

    np.testing.assert_array_equal(only(utilities(widths, OfWidths(utility))), [3.0, -1.0, 2.0])
    assert seen == [widths]


@pytest.mark.parametrize("network", ALL, ids=str)
def test_a_neuron_collects_every_element_that_lives_on_it(network: Network) -> None:
    model, inputs = network.make()
    widths = relate(capture(model, inputs, verify="recorded"))

    def loss(net: nn.Module) -> Tensor:
        # Its gradient is 1 everywhere, so that a weight's score is its value.
        return sum((p.sum() for p in net.parameters()), torch.zeros(()))

    parameters = dict(model.named_parameters())
    for width, values in utilities(widths, "taylor", loss=loss).items():
        outer = widths.outer.get(width.atom)
        expected = np.zeros(width.size if outer is None else (outer.length, width.size))
        for neuron in np.ndindex(expected.shape):
            mask = np.zeros(expected.shape, bool)
            mask[neuron] = True
            for name, axes in widths.parameters().items():
                for dim, axis in enumerate(axes):
                    if width.atom in set(axis.atoms()):
                        others = torch.from_numpy(mask_of(axis, {width.atom: ~mask}))
                        rows = parameters[name].detach().movedim(dim, 0)
                        expected[neuron] += float(rows[~others].double().sum())
        np.testing.assert_allclose(values, expected**2, rtol=1e-3, atol=1e-6, err_msg=width.name)


def chain() -> ng.Graph:
    torch.manual_seed(0)
    layers = [nn.Linear(n, m) for n, m in [(4, 8), (8, 6), (6, 2)]]
    return ng.capture(nn.Sequential(*layers), torch.ones(1, 4))


@pytest.mark.parametrize("key", ["0", "1"])
def test_a_width_is_known_where_a_vertex_is_taken_out(key: str) -> None:
    """The widths on both sides of it are no longer those of the graph, and may have other names."""
    (width,) = [width for width in ng.inspect(chain()).widths if width.name == key]
    values = torch.arange(width.size).flip(0)
    kept = []
    for where in (key, width):
        graph = chain()
        edit = ng.remove(graph, "1", utility={where: values, "1" if key == "0" else "0": 0})
        kept.append((edit.to_json(), graph.sizes))
    assert kept[0] == kept[1]


def test_a_width_of_another_size_is_told() -> None:
    graph = chain()
    (width,) = [width for width in ng.inspect(graph).widths if width.name == "0"]
    ng.resize(graph, {"0": -1})
    with pytest.raises(ng.EditError, match="utility= names the width '0', which is no width of the network"):
        ng.resize(graph, {"0": -1}, utility={width: 1.0})


def test_the_loss_of_a_graph_is_that_of_what_it_computes() -> None:
    """The network's own forward does not know of a layer that was put in."""
    graph = chain()
    ng.insert(graph, nn.Tanh(), after="0", name="tanh")
    seen: list[Any] = []

    def loss(model: Any) -> Tensor:
        seen.append(model)
        out: Tensor = model(torch.ones(1, 4)).square().sum()
        return out

    assert ng.resize(graph, {"0": -2}, utility="taylor", loss=loss)
    assert seen == [graph]
