"""Costs by name: those there are, one that a user adds, and what graphs, edits and budgets make of them."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.cli import main
from naivegraph.costs import Cost, Costs, SizeProduct, by_name, cost_named, known_costs, register_cost
from naivegraph.costs.cost_contract import CostContract
from naivegraph.network import graph_api as network
from naivegraph.operators.relation import tensors_in
from naivegraph.widths import Widths
from tests.oracle import counted_macs, counted_params


class Maps(Cost):
    """Numbers in the outputs of all convolutions: no multiple of a cost that is there."""

    name = "maps"
    title = "map elements"
    unit = "numbers in the outputs of all convolutions"
    counted = True

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """One product per convolution."""
        for vertex in widths.graph:
            if isinstance(vertex.target, nn.Conv2d):
                yield SizeProduct(1, tuple(widths.of(tensors_in(vertex.output)[0])))


class Seconds(Maps):
    """A cost with numbers that are not whole, counted where asked for alone."""

    name = "seconds"
    title = "seconds"
    unit = "seconds of one run"
    counted = False

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """Something fixed, and something per element."""
        yield SizeProduct(0.25, ())
        for product in super().products(widths):
            yield SizeProduct(0.001, product.axes)


class TestMacs(CostContract):
    cost: ClassVar[Cost] = cost_named("macs")


class TestParams(CostContract):
    cost: ClassVar[Cost] = cost_named("params")


class TestWeightBytes(CostContract):
    cost: ClassVar[Cost] = cost_named("weight_bytes")


class TestMaps(CostContract):
    cost: ClassVar[Cost] = Maps()


class TestSeconds(CostContract):
    cost: ClassVar[Cost] = Seconds()


class Falling(Cost):
    """A cost that falls as sizes grow."""

    name = "falling"
    title = unit = "falling"

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """A hundred less every parameter."""
        yield SizeProduct(100, ())
        yield from (SizeProduct(-1, tuple(axes)) for axes in widths.parameters().values())


class Forgetful(Maps):
    """A cost that forgets the channels, so that it is right for the network at hand alone."""

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """The present number, whatever the sizes are."""
        yield SizeProduct(self.value_now(widths), ())

    def value_now(self, widths: Widths) -> int | float:
        """What the cost is with the sizes of now."""
        return Maps().value(widths)


@pytest.mark.parametrize(
    ("cost", "test", "message"),
    [
        (Falling(), "test_never_falls_as_a_size_grows", r"convolutions: .* with \[1, 4\], .* with \[2, 4\]"),
        (Falling(), "test_has_no_negative_terms", "convolutions: -1"),
        (Forgetful(), "test_counts_networks_of_other_sizes", r"convolutions with \[\d, \d\]: \d+ told"),
    ],
)
def test_the_contract_finds_what_is_wrong(cost: Cost, test: str, message: str) -> None:
    contract = type("TestWrong", (CostContract,), {"cost": cost})()
    with pytest.raises(AssertionError, match=message):
        getattr(contract, test)()


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> Maps:
    """A cost that is registered while a test runs."""
    monkeypatch.setattr(by_name, "COSTS", dict(known_costs()))
    return register_cost(Maps())


class Small(nn.Module):
    """Two convolutions and a layer behind them."""

    def __init__(self, first: int = 5, second: int = 6) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, first, 3, padding=1)
        self.two = nn.Conv2d(first, second, 3, stride=2)
        self.head = nn.Linear(second, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 2, 8, 8) in, (batch, 3) out."""
        out: Tensor = self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))
        return out


EXAMPLE = torch.ones(1, 2, 8, 8)
WORTH = {"one": np.array([9.0, 1.0, 7.0, 4.0, 2.0]), "two": np.array([3.0, 8.0, 1.5, 6.0, 2.5, 5.0])}


def elements(model: nn.Module) -> int:
    """The numbers that the convolutions of a network give, as hooks see them."""
    seen: list[int] = []
    hooks = [
        module.register_forward_hook(lambda module, args, output: seen.append(output.numel()))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    model(EXAMPLE)
    for hook in hooks:
        hook.remove()
    return sum(seen)


def best(maps_limit: float, params_limit: float) -> float:
    """The most that any two sizes within budgets are worth, by building every network."""
    values = []
    for sizes in itertools.product(range(1, 6), range(1, 7)):
        model = Small(*sizes)
        if elements(model) <= maps_limit and counted_params(model) <= params_limit:
            worth = zip(WORTH.values(), sizes, strict=True)
            values.append(sum(float(np.sort(v)[::-1][:n].sum()) for v, n in worth))
    return max(values)


@pytest.mark.parametrize("fraction", [0.9, 0.7, 0.5, 0.3])
@pytest.mark.parametrize("params", [1.0, 0.6])
def test_a_registered_cost_is_a_budget(maps: Maps, fraction: float, params: float) -> None:
    model = Small()
    now, weights = elements(model), counted_params(model)
    budgets = {"maps": fraction, "params": params}
    edit = ng.prune(model, EXAMPLE, budgets=budgets, utility=WORTH, gap=0.0)
    assert elements(model) == edit.after.maps <= fraction * now == fraction * edit.before.maps
    assert edit.after.params == counted_params(model) <= params * weights
    assert edit.certificate is not None
    assert edit.certificate.value == pytest.approx(best(fraction * now, params * weights), rel=1e-9)
    assert {name: edit.asked[name] for name in budgets} == budgets


def test_a_registered_cost_is_shown_everywhere(maps: Maps, capsys: pytest.CaptureFixture[str]) -> None:
    model = Small()
    graph = ng.capture(model, EXAMPLE)
    now = f"{elements(model):,}"
    assert graph.costs()["maps"] == elements(model)
    assert f"map elements {now}" in " ".join(str(graph.costs()).split())
    assert f"{now} map elements" in str(ng.inspect(model, EXAMPLE))
    edit = ng.resize(graph, {"one": -1})
    assert (edit.before.maps, edit.after.maps) == (elements(Small()), elements(model))
    assert "map elements" in str(edit)
    assert "map elements" in str(ng.insert(graph, nn.ReLU(), after="two"))
    assert main(("prune", "naivegraph.demo:DigitsNet", "--shape", "1,1,8,8", "--budget", "maps=0.7")) == 0
    assert "map elements" in capsys.readouterr().out


def test_a_budget_that_cannot_be_met_says_what_can(maps: Maps) -> None:
    least = elements(Small(1, 1))
    with pytest.raises(ng.InfeasibleError, match=f"at least {least} maps remain .* of {elements(Small())}"):
        ng.prune(Small(), EXAMPLE, budgets={"maps": least - 1})
    model = Small()
    ng.prune(model, EXAMPLE, budgets={"maps": least})
    assert (model.one.out_channels, model.two.out_channels) == (1, 1)


def test_a_cost_by_itself_is_a_budget_too() -> None:
    model = Small()
    before = 0.25 + 0.001 * elements(model)
    edit = ng.prune(model, EXAMPLE, budgets={Seconds(): 0.8})
    assert edit.before["seconds"] == pytest.approx(before)
    assert edit.after["seconds"] == pytest.approx(0.25 + 0.001 * elements(model))
    assert edit.after["seconds"] <= 0.8 * before
    assert "seconds" in str(edit)
    assert "seconds" not in ng.capture(model, EXAMPLE).costs()


def test_short_forms_say_the_same() -> None:
    torch.manual_seed(0)
    one = Small()
    two = Small()
    two.load_state_dict(one.state_dict())
    first = ng.prune(one, EXAMPLE, macs=0.5, params=200)
    second = ng.prune(two, EXAMPLE, budgets={"macs": 0.5, "params": 200})
    assert first.asked == second.asked
    assert str(first) == str(second)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"budgets": {"mac": 0.5}}, "there is no cost 'mac'; did you mean 'macs'"),
        (
            {"budgets": {"xyz": 0.5}},
            r"there is no cost 'xyz'; there are .*macs \(multiply-acc.*params \(param",
        ),
        ({"budgets": {3: 0.5}}, "a cost is found by its name, not by 3"),
        ({"budgets": {"macs": 0.5}, "macs": 0.5}, "two budgets of macs were given, 0.5 and 0.5"),
        ({"budgets": {"macs": 1.5}}, "macs=1.5 is no budget"),
        ({"budgets": {"macs": None}}, "macs=None is no budget"),
        ({"budgets": 0.5}, "budgets is a dict of numbers by the names of costs, not float"),
        ({"budgets": {}}, "say how much to keep"),
        ({"budgets": {"macs": 0.5}, "ratio": 0.5}, r"cannot be met together with a budget \(macs\)"),
        ({"budgets": {Falling(): 0.5}}, "the cost 'falling' counts -1 times a product of sizes"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, object], message: str) -> None:
    model = Small()
    with pytest.raises(ng.EditError, match=message):
        ng.prune(model, EXAMPLE, **asked)  # type: ignore[arg-type]
    assert counted_params(model) == counted_params(Small())


class TestRegistry:
    def test_takes_costs_with_names_of_their_own(self, maps: Maps) -> None:
        with pytest.raises(ng.NaivegraphError, match="there is a cost 'maps' already"):
            register_cost(Maps())
        again = register_cost(Maps(), replace=True)
        assert cost_named("maps") is again

    @pytest.mark.parametrize("name", ["", "two words", "_hidden", "items", "get"])
    def test_refuses_names_that_cannot_be_attributes(self, name: str) -> None:
        cost = Maps()
        cost.name = name
        with pytest.raises(ng.NaivegraphError, match=f"a cost cannot be named '{name}'"):
            register_cost(cost)

    def test_refuses_what_is_no_cost(self) -> None:
        with pytest.raises(ng.NaivegraphError, match="an instance of a subclass of Cost is registered"):
            register_cost(Maps)  # type: ignore[type-var]


class TestCosts:
    def test_is_a_mapping_with_attributes(self) -> None:
        costs = Costs({"macs": 12, "params": 3.5})
        assert dict(costs) == {"macs": 12, "params": 3.5}
        assert (costs.macs, costs["params"], len(costs)) == (12, 3.5, 2)
        assert costs == Costs(costs) == {"macs": 12, "params": 3.5}
        assert hash(costs) == hash(Costs(costs))

    def test_does_not_change(self) -> None:
        numbers = {"macs": 12}
        costs = Costs(numbers)
        numbers["macs"] = 13
        assert costs.macs == 12
        with pytest.raises(AttributeError, match="'macs' cannot be set: costs do not change"):
            costs.macs = 13
        with pytest.raises(TypeError):
            costs["macs"] = 13  # type: ignore[operator]

    def test_tells_what_was_not_counted(self) -> None:
        with pytest.raises(AttributeError, match="no cost 'mac' was counted; did you mean 'macs'"):
            _ = Costs({"macs": 12}).mac
        with pytest.raises(AttributeError, match="no cost 'macs' was counted; counted are none"):
            _ = Costs({}).macs

    def test_can_be_pickled(self) -> None:
        costs = Costs({"macs": 12, "gone": 3})
        copied = pickle.loads(pickle.dumps(costs))
        assert (copied, copied.macs) == (costs, 12)
        assert str(copied).split() == ["MACs", "12", "gone", "3"]


class TestGraph:
    def test_costs_are_those_that_torch_counts(self) -> None:
        graph = ng.capture(Small(), EXAMPLE)
        assert graph.macs == graph.costs()["macs"] == counted_macs(graph.module, (EXAMPLE,))
        assert graph.params == graph.costs()["params"] == counted_params(graph.module)
        ng.resize(graph, {"one": -2})
        assert graph.macs == counted_macs(graph.module, (EXAMPLE,))
        assert graph.params == counted_params(graph.module)

    def test_parameters_are_those_of_the_network(self) -> None:
        graph = ng.capture(Small(), EXAMPLE)
        assert list(map(id, graph.parameters())) == list(map(id, graph.module.parameters()))

    def test_widths_are_those_of_now(self) -> None:
        graph = ng.capture(Small(), EXAMPLE)
        assert [(w.name, w.size) for w in graph.widths] == [("one", 5), ("two", 6)]
        ng.resize(graph, {"one": -2})
        assert [(w.name, w.size) for w in graph.widths] == [("one", 3), ("two", 6)]

    def test_parameters_are_counted_without_relating_axes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        graph = ng.capture(Small(), EXAMPLE)

        def refuse(graph: object) -> Widths:
            raise AssertionError("axes were related")

        monkeypatch.setattr(network, "relate", refuse)
        assert graph.params == len(torch.cat([p.flatten() for p in graph.parameters()]))
        assert graph.costs("params") == {"params": graph.params}
        with pytest.raises(AssertionError, match="axes were related"):
            _ = graph.macs

    def test_names_that_do_not_exist(self) -> None:
        with pytest.raises(ng.EditError, match="there is no cost 'parms'; did you mean 'params'"):
            ng.capture(Small(), EXAMPLE).costs("parms")


class Halves(nn.Module):
    """Two layers in half precision between two in single, one of which is there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.four = nn.Linear(6, 10), nn.Linear(12, 3)
        self.two = nn.Linear(10, 14).bfloat16()
        self.three = nn.Linear(14, 12).bfloat16()
        self.again = self.four

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 6) in, (batch, 3) out."""
        inside: Tensor = self.three(self.two(self.one(x).relu().bfloat16()).relu())
        out: Tensor = self.again(inside.float().relu())
        return out


def test_bytes_of_weights_are_those_of_their_types() -> None:
    model = Halves()

    def stored() -> int:
        """The bytes of all parameters in memory, each once."""
        return sum(memory.nbytes() for memory in {p.untyped_storage() for p in model.parameters()})

    before = stored()
    edit = ng.prune(model, torch.ones(2, 6), weight_bytes=0.6, params=0.7)
    assert edit.before["weight_bytes"] == before
    assert edit.after["weight_bytes"] == stored() <= 0.6 * before
    assert edit.after.params <= 0.7 * edit.before.params
    assert ng.prune(model, torch.ones(2, 6), weight_bytes=300).after["weight_bytes"] == stored() <= 300
