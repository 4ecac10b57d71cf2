"""Networks whose weights are made by others: against the same network with these weights in parameters."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.weights import Hypernetwork, hyper
from naivegraph.weights.example_weights import ExampleWeights
from naivegraph.weights.generator import WeightGenerator
from naivegraph.weights.hyper_plan import generator_plans


class _Convs(nn.Module):
    """Convolutions of two sizes, norms and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.convs = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)])
        self.wide = nn.Conv2d(8, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        for conv in self.convs:
            x = x + F.relu(conv(x))
        out: torch.Tensor = self.head(F.relu(self.norm(self.wide(x))).mean((2, 3)))
        return out


class _Recurrent(nn.Module):
    """A layer that is called at each time step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.Linear(16, 12), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), self.cell.out_features)
        for step in x.unbind(1):
            state = torch.tanh(self.cell(torch.cat([step, state], 1)))
        out: torch.Tensor = self.head(state)
        return out


def _x(batch: int = 5) -> torch.Tensor:
    return torch.randn(batch, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def _made(kind: str, z: int = 16, layers: Any = ("convs.*", "wide")) -> tuple[_Convs, Hypernetwork]:
    torch.manual_seed(0)
    net = _Convs()
    return net, hyper(net, _x(), layers=layers, z=z, kind=kind)


def _disturbed(h: Hypernetwork) -> Hypernetwork:
    """The same with other parameters, shifts by examples among them."""
    with torch.no_grad():
        for each in h.parameters():
            each.add_(0.1 * torch.randn_like(each))
    return h


@pytest.mark.parametrize("kind", ["static", "nested"])
def test_it_computes_what_a_network_with_these_weights_does(kind: str) -> None:
    net, h = _made(kind)
    _disturbed(h).eval()
    own = dict(h.body.named_parameters())
    expected = functional_call(net.eval(), {**own, **h.weights()}, (_x(),))
    torch.testing.assert_close(h(_x()), expected)
    plain = h.network()
    assert type(plain) is _Convs
    assert list(plain.state_dict()) == list(net.state_dict())
    torch.testing.assert_close(plain(_x()), expected)


@pytest.mark.parametrize("kind", ["static", "dual", "nested"])
def test_weights_start_with_the_variance_that_they_had(kind: str) -> None:
    net, h = _made(kind)
    assert set(h.weights()) == {"convs.0.weight", "convs.1.weight", "convs.2.weight", "wide.weight"}
    for name, weight in h.weights().items():
        before = net.get_parameter(name)
        assert weight.shape == before.shape
        torch.testing.assert_close(weight.std(correction=0), before.std(correction=0))


@pytest.mark.parametrize("kind", ["static", "dual", "nested"])
def test_half_of_the_weights_are_left_as_parameters(kind: str) -> None:
    net, h = _made(kind)
    made = sum(net.get_parameter(name).numel() for name in h.weights())
    plain = sum(each.numel() for each in net.parameters())
    rest = plain - made
    here = sum(each.numel() for each in h.parameters())
    assert 0.35 * made <= here - rest <= 0.5 * made
    assert h.parameters_saved == pytest.approx(1 - here / plain)


@pytest.mark.parametrize("kind", ["static", "dual", "nested"])
def test_all_parameters_are_trained(kind: str) -> None:
    _, h = _made(kind)
    optimizer = torch.optim.Adam(h.parameters(), lr=3e-3)
    target = torch.tensor([0, 1, 2, 0, 1])
    before = [each.detach().clone() for each in h.parameters()]
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(h(_x()), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert not any(torch.equal(a, b) for a, b in zip(before, h.parameters(), strict=True))


def test_dual_weights_are_those_of_each_example() -> None:
    _, h = _made("dual")
    _disturbed(h).eval()
    together = h(_x())
    for i in range(5):
        one = _x()[i : i + 1]
        torch.testing.assert_close(h(one), together[i : i + 1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(h.network(one)(one), together[i : i + 1], rtol=1e-4, atol=1e-5)
    first, second = h.network(_x()[:1]), h.network(_x()[1:2])
    assert not torch.allclose(first.get_parameter("wide.weight"), second.get_parameter("wide.weight"))
    assert type(first) is _Convs


def test_dual_weights_are_those_of_each_time_step() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4)
    h = hyper(_Recurrent(), x, layers="cell", z=4, kind="dual", share=1.0)
    _disturbed(h)
    assert h(x).shape == (3, 2)
    torch.testing.assert_close(h(x)[1:2], h(x[1:2]))
    layer = h.body.get_submodule("cell")
    assert isinstance(layer, ExampleWeights)
    layer.kept = []
    h(x)
    first, second = layer.kept[0]["weight"], layer.kept[1]["weight"]
    layer.kept = None
    assert first.shape[0] == 3
    assert not torch.allclose(first, second)
    with pytest.raises(ng.EditError, match="'cell' had 5 calls of 1 examples"):
        h.network(x[:1])


def test_the_network_stays_as_it_is() -> None:
    torch.manual_seed(0)
    net = _Convs()
    before = copy.deepcopy(net.state_dict())
    _disturbed(hyper(net, _x(), layers="convs.*", z=8))(_x())
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())


@pytest.mark.parametrize("kind", ["static", "dual", "nested"])
def test_it_is_copied_saved_and_moved(kind: str) -> None:
    _, h = _made(kind)
    _disturbed(h).eval()
    expected = h(_x())
    for other in (copy.deepcopy(h), pickle.loads(pickle.dumps(h))):
        torch.testing.assert_close(other(_x()), expected)
        _disturbed(other)
    torch.testing.assert_close(h(_x()), expected)
    _, fresh = _made(kind)
    fresh.load_state_dict(h.state_dict())
    torch.testing.assert_close(fresh.eval()(_x()), expected)
    torch.testing.assert_close(h.double()(_x().double()).float(), expected, rtol=1e-3, atol=1e-4)


def test_layers_are_named_by_vertices_and_after_edits() -> None:
    net = _Convs()
    graph = ng.capture(net, _x())
    ng.resize(graph, {"wide": 8})
    ng.remove(graph, "norm")
    h = hyper(graph, layers=["wide", "convs.?"], z=8)
    assert h.weights()["wide.weight"].shape == (24, 8, 3, 3)
    assert h(_x()).shape == (5, 3)
    assert h.network()(_x()).shape == (5, 3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5),
    st.sampled_from([(), (3, 3)]),
    st.floats(0.3, 1.0),
)
def test_generators_take_no_more_than_their_share(
    multiples: list[tuple[int, int]], kernel: tuple[int, ...], share: float
) -> None:
    shapes = {f"w{i}": (12 * a, 12 * b, *kernel) for i, (a, b) in enumerate(multiples)}
    net = nn.ParameterDict({name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()})
    for plan in generator_plans(shapes, 2, "static", share):
        weights = sum(net[name].numel() for name in plan.shapes)
        generator = WeightGenerator(plan, {name: net[name] for name in plan.shapes})
        count = sum(each.numel() for each in generator.parameters())
        assert count == plan.parameters()
        assert count <= share * weights < count + plan.z + 1 + plan.row
        made = generator()
        assert {name: tuple(each.shape) for name, each in made.items()} == {
            name: shapes[name] for name in plan.shapes
        }


def test_blocks_are_joined_in_rows_and_columns() -> None:
    plans = generator_plans({"a": (2, 2), "b": (4, 6)}, 1, "static", 1.0)
    weights = {"a": torch.randn(2, 2), "b": torch.randn(4, 6)}
    generator = WeightGenerator(plans[0], weights)
    blocks = torch.arange(6.0)[:, None, None].expand(6, 2, 2)
    expected = torch.tensor([[0.0, 0, 1, 1, 2, 2]] * 2 + [[3.0, 3, 4, 4, 5, 5]] * 2)
    assert torch.equal(generator._joined("b", blocks), expected)


def _tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net[2].weight = net[0].weight
    return net


def _zeros() -> nn.Module:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    nn.init.zeros_(net.get_parameter("2.weight"))
    return net


_PLAIN = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (_PLAIN, {"layers": "3"}, "layers= names '3', and no module or parameter has that name"),
        (_PLAIN, {"layers": "1"}, "layers='1' names nothing with weights: only biases, norms"),
        (_PLAIN, {"layers": 3.5}, "layers= takes names or patterns, not 3.5"),
        (_PLAIN, {"layers": "*", "kind": "statc"}, "there is no such kind; did you mean 'static'"),
        (_PLAIN, {"layers": "*", "z": 0}, "z must be a whole number from 1 up, not 0"),
        (_PLAIN, {"layers": "*", "share": 1.5}, "share= is above 0 and at most 1, not 1.5"),
        (_PLAIN, {"layers": "*"}, r"z=64 .* '0.weight', '2.weight': .*take a smaller z, a larger share"),
        (_tied(), {"layers": "*"}, "'0.weight' and '2.weight' are one parameter: a weight that is shared"),
        (_zeros(), {"layers": "2"}, "all numbers of '2.weight' are equal"),
    ],
)
def test_what_is_refused(net: nn.Module, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        hyper(net, torch.zeros(2, 8), **options)


def test_dual_is_refused_where_no_layer_is_called() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.w

    assert hyper(Raw(), torch.zeros(2, 8), layers="w", z=1)(torch.zeros(2, 8)).shape == (2, 8)
    with pytest.raises(ng.EditError, match="'w' is no weight of a layer that the example reaches"):
        hyper(Raw(), torch.zeros(2, 8), layers="w", z=1, kind="dual")


def test_networks_of_one_example() -> None:
    _, h = _made("dual")
    with pytest.raises(ng.EditError, match="depend on the example"):
        h.network()
    with pytest.raises(ng.EditError, match=r"'convs.0' had 1 calls of 5 examples"):
        h.network(_x())
    _, h = _made("static")
    with pytest.raises(ng.EditError, match="depend on no example"):
        h.network(_x())


class _Sequence(nn.Module):
    """A recurrent layer that reads sequences, with states or without, and a layer after it."""

    def __init__(self, layer: nn.RNNBase, states: bool = False) -> None:
        super().__init__()
        self.layer, self.head, self.states = layer, nn.Linear(layer.hidden_size, 8), states

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = x.new_zeros(self.layer.num_layers, len(x), self.layer.hidden_size)
        given = x if self.layer.batch_first else x.transpose(0, 1)
        if self.states:
            out, state = self.layer(given, start)
        else:
            out, state = self.layer(given)
        last = out if self.layer.batch_first else out.transpose(0, 1)
        ends = state[0] if isinstance(state, tuple) else state
        found: torch.Tensor = self.head(last[:, -1] + ends[-1])
        return found


@pytest.mark.parametrize(
    ("layer", "states"),
    [
        (lambda: nn.LSTM(8, 8, batch_first=True), False),
        (lambda: nn.LSTM(8, 8), False),
        (lambda: nn.GRU(8, 8, num_layers=2), True),
    ],
)
def test_recurrent_layers_have_weights_for_each_example(
    layer: Callable[[], nn.RNNBase], states: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8)
    h = hyper(_Sequence(layer(), states), x, layers="layer", z=2, kind="dual")
    for generator in h.generators:
        nn.init.normal_(generator.get_parameter("spread.weight"))  # so that weights do depend on the example
    together = h(x)
    for number in range(3):
        one = x[number : number + 1]
        torch.testing.assert_close(h(one)[0], together[number])
        plain = h.network(one)
        torch.testing.assert_close(plain(one)[0], together[number])
    other = h.network(x[:1]).get_parameter("layer.weight_ih_l0") - plain.get_parameter("layer.weight_ih_l0")
    assert float(other.detach().abs().max()) > 1e-3


def test_layers_that_torch_cannot_call_with_weights_for_each_example() -> None:
    h = hyper(
        nn.Sequential(nn.Conv2d(8, 8, 3)), torch.ones(2, 8, 5, 5), layers="0", z=1, kind="dual", share=0.9
    )
    with pytest.raises(ng.EditError, match=r"'0' cannot be called with weights for each .*static"):
        h(torch.ones(2, 8, 1, 1))


def test_dual_is_refused_where_the_network_is_the_layer() -> None:
    with pytest.raises(
        ng.EditError, match=r"'weight_ih_l0' is no weight .* needs one around it, as of nn.Seq"
    ):
        hyper(nn.LSTM(8, 8), torch.zeros(5, 2, 8), layers="*", z=2, kind="dual")


def test_weights_that_are_no_numbers_are_refused() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    nn.init.constant_(net.get_parameter("0.weight"), torch.nan)
    with pytest.raises(ng.EditError, match=r"'0.weight' holds values that are no finite numbers"):
        hyper(net, torch.zeros(2, 8), layers="*", z=1)
