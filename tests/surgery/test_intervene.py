"""Interventions on the graph and on the network itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from naivegraph.network import capture
from tests.networks.capture import NETWORKS
from tests.networks.plain import ALL, Network

intervene = ng.surgery.intervene


class Net(nn.Module):
    """Layers called twice, functions, and writes in place."""

    def __init__(self, inplace: bool = True, sum_in_place: bool = True) -> None:
        super().__init__()
        self.sum_in_place = sum_in_place
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        y = x.tanh()
        y = self.act(self.b(y))
        if self.sum_in_place:
            y += x
        else:  # as autograd needs what a ReLU gave
            y = y.add(x)
        out: Tensor = self.c(y)
        return out


class ByHand:
    """The same, with the value of one step replaced."""

    def __init__(self, net: Net, at: str, change: Callable[[Tensor], Tensor]) -> None:
        self.net, self.at, self.change = net, at, change

    def _see(self, name: str, value: Tensor) -> Tensor:
        return self.change(value) if name == self.at else value

    def __call__(self, x: Tensor) -> Tensor:
        see, net = self._see, self.net
        x = see("x", x)
        x = see("act", see("a", net.a(x)).relu())
        y = see("tanh", x.tanh())
        y = see("act_1", see("b", net.b(y)).relu())
        y = see(LAST_SUM, y + x)
        return see("c", net.c(y))


LAST_SUM = next(
    v.name for v in capture(Net(), torch.zeros(1, 4)) if v.name.startswith(("add", "iadd", "__iadd"))
)
STEPS = ["x", "a", "act", "tanh", "b", "act_1", LAST_SUM, "c"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("at", STEPS)
def test_each_kind_at_each_vertex_of_graph_and_network(at: str, inplace: bool, training: bool) -> None:
    net, x = Net(inplace).train(training), torch.randn(5, 4)
    graph = capture(net, x)
    plain, before = net(x), x.clone()
    size = graph.sizes[at]
    other = torch.randn(5, size)
    direction = torch.randn(size)
    mask = torch.ones(size)
    mask[[0, 2]] = 0
    mean_gone: Callable[[Tensor], Tensor] = lambda v: torch.where(mask > 0, v, v.mean(0, keepdim=True))  # noqa: E731
    cases: list[tuple[Any, Callable[[Tensor], Tensor]]] = [
        (other, lambda v: other),
        (ng.surgery.replace(other), lambda v: other),
        (lambda v: v.mul_(2), lambda v: 2 * v),
        (ng.surgery.add(direction), lambda v: v + direction),
        (ng.surgery.ablate(), torch.zeros_like),
        (ng.surgery.ablate([0, -size + 2]), lambda v: v * mask),
        (ng.surgery.ablate([0, 2], by=3), lambda v: torch.where(mask > 0, v, torch.tensor(3.0))),
        (ng.surgery.ablate([0, 2], by="mean"), mean_gone),
    ]
    kept = other.clone()
    for given, change in cases:
        expected = ByHand(net, at, change)(x)
        with intervene(graph, {at: given}) as same:
            assert same is graph
            assert torch.equal(graph(x), expected)
            assert torch.equal(net(x), expected)
            assert torch.equal(net(x), expected)  # the calls of a layer are counted anew
            found = graph.run(x, [at, "c"])
            assert torch.equal(found["c"], expected)
            if at != "x":
                later = graph.run({**found, "x": x}, ["c"])  # what is given is left as it is
                assert torch.equal(later["c"], expected)
        assert torch.equal(x, before)
        assert torch.equal(other, kept)
        assert torch.equal(net(x), plain)
        assert torch.equal(graph(x), plain)


@pytest.mark.parametrize("at", [step for step in STEPS if step != LAST_SUM])
def test_gradients_through_an_intervention(at: str) -> None:
    net, x = Net(sum_in_place=False), torch.randn(5, 4)
    graph = capture(net, x)
    direction = torch.zeros(graph.sizes[at], requires_grad=True)

    def gradient(out: Tensor) -> Tensor:
        return torch.autograd.grad(out.square().sum(), direction)[0]

    expected = gradient(ByHand(net, at, lambda v: v + direction)(x))
    for run in (net, graph):
        with intervene(graph, {at: ng.surgery.add(direction)}):
            assert torch.allclose(gradient(run(x)), expected, atol=1e-6)


@pytest.mark.parametrize("network", ALL, ids=str)
def test_own_value_changes_nothing(network: Network) -> None:
    model, inputs = network.make()
    graph = capture(model, inputs, verify=False)
    expected = [leaf for leaf in leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    names = [vertex.name for vertex in graph]
    values = graph.run(tuple(x.clone() for x in inputs), names)
    layers = [vertex.name for vertex in graph if vertex.kind == "layer"]
    for some in (names, layers):
        with intervene(
            graph, {name: ng.surgery.replace(values[name]) for name in some if _gives(values[name])}
        ):
            for run in (model, graph):
                found = [leaf for leaf in leaves(run(*inputs)) if isinstance(leaf, Tensor)]
                assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_own_value_of_networks_with_writes_in_place(name: str) -> None:
    build, shape = NETWORKS[name]
    model, x = build().eval(), torch.randn(shape)
    graph = capture(model, x, verify="recorded")
    expected = [leaf for leaf in leaves(model(x.clone())) if isinstance(leaf, Tensor)]
    names = [vertex.name for vertex in graph]
    values = graph.run(x.clone(), names)
    for name_ in names:
        if _gives(values[name_]):
            with intervene(graph, {name_: ng.surgery.replace(values[name_])}):
                found = [leaf for leaf in leaves(model(x.clone())) if isinstance(leaf, Tensor)]
            assert all(map(torch.equal, found, expected)), name_


def _gives(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in leaves(value))


def test_blocks_nested_in_any_mixture() -> None:
    net, x = Net(), torch.randn(5, 4)
    graph = capture(net, x)
    for names in (("a", "tanh"), ("tanh", "a"), ("a", "b"), ("tanh", LAST_SUM)):
        first, second = names
        with intervene(graph, {first: ng.surgery.add(1.0)}):
            outer = net(x)
            with intervene(graph, {second: lambda v: 2 * v}):
                both = net(x)
                assert torch.equal(graph(x), both)
            assert torch.equal(net(x), outer)
        with intervene(graph, {first: ng.surgery.add(1.0), second: lambda v: 2 * v}):
            assert torch.equal(net(x), both)
    with intervene(graph, {"a": ng.surgery.add(1.0)}), intervene(graph, {"a": lambda v: 2 * v}):
        found = net(x)
        assert torch.equal(graph(x), found)
    assert torch.equal(found, ByHand(net, "a", lambda v: 2 * (v + 1))(x))


@pytest.mark.parametrize("at", ["a", "tanh"])
def test_all_is_as_before_after_an_exception(at: str) -> None:
    net, x = Net(), torch.randn(5, 4)
    graph, expected, before = capture(net, x), net(x), dict(vars(net))
    with pytest.raises(ZeroDivisionError), intervene(graph, {at: lambda v: 1 / 0}):
        net(x)
    assert vars(net).keys() == before.keys()
    assert not net._forward_pre_hooks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.equal(net(x), expected)
    assert torch.equal(graph(x), expected)
    with intervene(graph, {"act_1": ng.surgery.ablate()}):  # calls are counted from the start again
        with pytest.raises(RuntimeError, match="shape"):
            net(torch.randn(5, 3))
        assert torch.equal(net(x), ByHand(net, "act_1", torch.zeros_like)(x))


def test_mean_over_data() -> None:
    net, x = Net(), torch.randn(5, 4)
    graph, data = capture(net, x), torch.randn(150, 4)
    with torch.no_grad():
        mean = net.a(data).relu().double().mean(0).float()
        with intervene(graph, {"act": ng.surgery.ablate(by="mean", data=data)}):
            found = net(x)
        expected = ByHand(net, "act", lambda v: mean.expand_as(v))(x)
    assert torch.allclose(found, expected, atol=1e-6)


def test_channels_are_the_neurons_of_images() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    zeroed = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in zeroed.get_submodule("1").parameters():
            tensor[[1, 4]] = 0
    graph = capture(net, x)
    with intervene(graph, {"1": ng.surgery.ablate([1, 4])}):
        assert torch.equal(net(x), zeroed(x))
    with intervene(net, x, {"1": ng.surgery.ablate([1, 4])}):  # a network with its example
        assert torch.equal(net(x), zeroed(x))


def test_other_lengths_and_batches_of_the_network_itself() -> None:
    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor, double: bool = False) -> Tensor:
            out: Tensor = self.fc(x)
            return 2 * out if double else out

    net = Body()
    graph = capture(net, torch.randn(2, 3))
    with intervene(graph, {"fc": ng.surgery.ablate()}):
        assert net(torch.randn(4, 7, 3), double=True).abs().max() == 0
    with intervene(graph, {"x": ng.surgery.ablate()}), pytest.raises(ng.NaivegraphError, match="'double'"):
        net(torch.randn(2, 3), double=True)


def test_after_an_edit_and_in_copies() -> None:
    net, x = Net(), torch.randn(5, 4)
    graph = capture(net, x)
    ng.remove(graph, "tanh")
    with intervene(graph, {"a": ng.surgery.ablate()}):
        assert not copy.deepcopy(graph).interventions
        inside = graph(x)
        assert torch.equal(copy.deepcopy(graph)(x), pickle.loads(pickle.dumps(graph))(x))
        assert not torch.equal(copy.deepcopy(graph)(x), inside)
    assert torch.equal(inside[0], inside[1])


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, (h, _) = self.lstm(x)
        x[:, 0] = 0.0
        found: Tensor = self.fc(out[:, -1] + h[0]) + x.sum()
        return found


def test_values_of_several_tensors() -> None:
    net, x = TwoOutputs(), torch.randn(2, 5, 3)
    graph = capture(net, x.clone())
    value = graph.run(torch.randn(2, 5, 3), ["lstm"])["lstm"]
    expected = net.fc(value[0][:, -1] + value[1][0][0]) + x[:, 1:].sum()
    with intervene(graph, {"lstm": lambda _: value}):
        assert torch.allclose(net(x.clone()), expected)
    with (
        intervene(graph, {"lstm": lambda v: v[0]}),
        pytest.raises(
            ng.EditError, match="the intervention at 'lstm' gives something else than the vertex: it is"
        ),
    ):
        net(x.clone())
    with (
        pytest.raises(ng.EditError, match="'lstm' gives 3 tensors"),
        intervene(graph, {"lstm": ng.surgery.add(1)}),
    ):
        pass
    changing = next(v.name for v in graph if v.output is None)
    with pytest.raises(ng.EditError, match="gives no tensor, only changes one: intervene at a user"):
        intervene(graph, {changing: torch.zeros(1)}).__enter__()


class Modes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x)
        return out.tanh() if self.training else self.b(out)


@pytest.mark.parametrize("run", ["graph", "network"])
def test_vertex_of_another_mode(run: str) -> None:
    net, x = Modes(), torch.randn(2, 4)
    graph = capture(net.eval(), x)
    called: Any = graph if run == "graph" else net
    with intervene(graph, {"b": ng.surgery.ablate()}):
        assert called(x).abs().max() == 0
        net.train()
        with pytest.raises(ng.NaivegraphError, match="at 'b', which the network does not call in train mode"):
            called(x)


class Inner(nn.Module):
    """A sum that is changed in place in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.relu = nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.a(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("path", "name"), [("1", "1.relu"), ("2", "2.1.relu"), ("2.0", "2.0.relu")])
def test_a_module_that_the_graph_looks_into_is_told_by_what_gives_its_output(path: str, name: str) -> None:
    net, x = nn.Sequential(nn.Linear(4, 4), Inner(), nn.Sequential(Inner(), Inner())), torch.randn(2, 4)
    graph = capture(net, x)
    with pytest.raises(ng.EditError, match=f"'{path}', which is a module .* is the value of '{name}'$"):
        graph[path]
    given: list[Tensor] = []
    net.get_submodule(path).register_forward_hook(lambda *call: given.append(call[-1].clone()))
    net(x)
    assert torch.equal(graph.run(x, [name])[name], given[0])


def test_wrong_interventions() -> None:
    net, x = Net(), torch.randn(5, 4)
    graph = capture(net, x)

    def refused(given: Any, match: str, error: type[Exception] = ng.EditError) -> None:
        with pytest.raises(error, match=match), intervene(graph, given):
            net(x)
        assert not graph.interventions

    refused({"bb": x}, r"the graph has no vertex 'bb'")
    refused({}, "takes a dict of interventions by the names of vertices")
    refused([("a", x)], "takes a dict of interventions by the names of vertices")
    refused({"a": "zero"}, "at 'a' there is a str: give a tensor, a function of the value")
    refused(
        {"a": x}, r"at 'a' gives a tensor of shape \(5, 4\) and torch.float32 in place of one of \(5, 6\)"
    )
    refused({"a": torch.zeros(5, 6).double()}, "torch.float64 in place of one of")
    refused({"a": lambda v: None}, "at 'a' gives None in place of a tensor")
    refused({"a": ng.surgery.ablate(6)}, "'a' has 6 neurons, so there is no neuron 6")
    refused({"a": ng.surgery.ablate(-7)}, "'a' has 6 neurons, so there is no neuron -7")
    refused({"a": ng.surgery.ablate(by="mean", data=[])}, "calibration= gave no batches")
    with pytest.raises(ng.EditError, match="by='median': give 'zero', 'mean' or a number"):
        ng.surgery.ablate(by="median")
    with pytest.raises(ng.EditError, match="data= is for by='mean', not for by='zero'"):
        ng.surgery.ablate(data=x)
    with pytest.raises(ng.EditError, match=r"takes the numbers of neurons, not 1\.5"):
        ng.surgery.ablate([1.5])  # type: ignore[list-item]
    with pytest.raises(ng.EditError, match="was given no neuron; leave neurons= out"):
        ng.surgery.ablate([])
    with pytest.raises(ng.EditError, match="takes a tensor or a number, not 'x'"):
        ng.surgery.add("x")  # type: ignore[arg-type]
