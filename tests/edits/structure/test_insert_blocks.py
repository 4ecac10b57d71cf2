"""Several layers that are put in at once, and in front of some of the users alone."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.machine.structures import batch, check, everything, lively, residual

nothing = contextlib.nullcontext


def test_several_layers_come_one_after_the_other_and_start_as_the_identity() -> None:
    graph = residual()
    before, x = everything(graph), batch(graph)
    old = graph(x)
    made: list[Any] = [lambda n: nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d, lambda n: nn.Conv2d(n, n, 1)]
    edit = ng.insert(graph, made, after="one", name="more", identity=True)
    torch.testing.assert_close(check(graph), old, rtol=1e-4, atol=1e-4)
    assert [type(layer) for layer in graph.module.get_submodule("more").children()] == [
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.Conv2d,
    ]
    edit.undo()
    assert everything(graph) == before


def test_some_of_the_users_take_what_is_put_in() -> None:
    graph = residual()
    before = everything(graph)
    edit = ng.insert(graph, nn.BatchNorm2d, after="stem", users=["one"], name="extra")
    assert [vertex.name for vertex in graph.inputs_of("one")] == ["extra"]
    assert [vertex.name for vertex in graph.inputs_of("add")] == ["stem", "two"]
    check(graph)
    edit.undo()
    assert everything(graph) == before
    with pytest.raises(ng.EditError, match="'head' does not take anything from 'stem'"):
        ng.insert(graph, nn.BatchNorm2d, after="stem", users=["head"])
    with pytest.raises(ng.EditError, match="give some of the vertices that use what after= names"):
        ng.insert(graph, nn.BatchNorm2d, before="one", users=["one"])
    assert everything(graph) == before


class Overwritten(nn.Module):
    """A copy is read, partly overwritten by code that gives nothing, and read again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.early, self.late = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).clone()
        early = self.early(x)
        x[0] = 3.0 * x[1]
        return self.late(x) + early.detach()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "place",
    [
        {"after": "clone", "users": ["late"]},
        {"before": "late"},
        {"edge": ("clone", "late")},
        {"before": "early"},
    ],
)
def test_a_user_takes_what_was_overwritten_before_it(place: dict[str, Any]) -> None:
    net, x = Overwritten(), torch.randn(3, 4)
    expected, graph = net(x), ng.capture(net, x)
    edit = ng.insert(graph, lambda n: nn.Linear(n, n), name="more", identity=True, **place)
    torch.testing.assert_close(graph(x), expected)
    torch.testing.assert_close(graph.to_module()(x), expected)
    edit.undo()
    assert torch.equal(net(x), expected)


def test_users_before_and_after_what_is_overwritten_are_not_taken_together() -> None:
    net, x = Overwritten(), torch.randn(3, 4)
    graph = ng.capture(net, x)
    before = everything(graph)
    with pytest.raises(ng.EditError, match="'setitem' changes what 'clone' gives in place, after 'early'"):
        ng.insert(graph, nn.LayerNorm, after="clone", users=["early", "late"])
    assert everything(graph) == before


class Block(nn.Module):
    """A residual block of one's own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.one, self.norm, self.two = (
            nn.Conv2d(size, 7, 3, padding=1),
            nn.BatchNorm2d(7),
            nn.Conv2d(7, size, 1),
        )
        self.gain = nn.Parameter(torch.full((size, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        batch, size = x.shape[:2]
        y = self.two(torch.relu(self.norm(self.one(x)))) * self.gain
        out: Tensor = x + y.reshape(batch, size, *x.shape[2:])
        return out


def sequence(size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(size, 5, 1), nn.Sequential(nn.BatchNorm2d(5), nn.ReLU()), nn.Conv2d(5, size, 1)
    )


@pytest.mark.parametrize("make", [Block, sequence])
@pytest.mark.parametrize("where", [{"after": "stem"}, {"before": "one"}, {"edge": ("stem", "add")}])
def test_a_module_of_several_layers_becomes_several_vertices(make: Any, where: Any, tmp_path: Path) -> None:
    graph = residual()
    before, x = everything(graph), batch(graph)
    new = lively(make(4)).eval()
    net: Any = copy.deepcopy(graph.module)
    optimizer = torch.optim.SGD(graph.module.parameters(), 0.1)
    edit = ng.insert(graph, new, name="new", optimizer=optimizer, **where)
    stem = net.stem(x)
    one = stem if "edge" in where else new(stem)
    two = stem if "before" in where else new(stem)
    torch.testing.assert_close(
        check(graph), net.head((two + net.two(net.act(net.norm(net.one(one))))).mean((2, 3)))
    )
    inner = "new.one" if make is Block else "new.0"
    assert graph["new.two" if make is Block else "new.2"].kind == "layer"
    assert {id(p) for p in new.parameters()} <= {id(p) for p in optimizer.param_groups[0]["params"]}
    old = graph(x)
    resized = ng.resize(graph, {inner: +2})  # which is a vertex, and keeps the function as it grows
    assert graph.module.get_submodule(inner).out_channels == graph.sizes[inner]
    torch.testing.assert_close(graph(x), old)
    told = pytest.warns(UserWarning, match="ng.load will need layers=.*'new'") if make is Block else nothing()
    with told:
        ng.save(graph, tmp_path / "net.safetensors")
    layers: Any = {"new": Block} if make is Block else None  # what is torch's is made from the file alone
    loaded: Any = ng.load(residual(), tmp_path / "net.safetensors", layers=layers)
    assert torch.equal(loaded(x), graph(x))
    resized.undo()
    edit.undo()
    assert everything(graph) == before


def test_a_module_put_in_is_taken_out_by_its_name() -> None:
    graph = residual()
    x = batch(graph)
    old = graph(x)
    ng.insert(graph, Block, after="stem", name="new")
    assert not torch.equal(graph(x), old)
    ng.remove(graph, "new")
    assert torch.equal(check(graph), old)
    before = everything(graph)
    wrong = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    with pytest.raises(ng.EditError, match="works in place, and others"):
        ng.insert(graph, wrong, edge=("stem", "one"), name="wrong")
    assert everything(graph) == before


def test_a_module_that_does_not_fit_is_refused_and_all_is_as_it_was() -> None:
    graph = residual()
    before = everything(graph)
    for wrong, message in [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), "does not take what 'stem' gives"),
        (nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU()), "gives 6 neurons, and"),
    ]:
        with pytest.raises(ng.EditError, match=message):
            ng.insert(graph, wrong, after="stem", name="new")
        assert everything(graph) == before


def test_an_activation_before_what_works_in_place_can_be_trained() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            x.mul_(2)
            out: torch.Tensor = self.b(x)
            return out

    net, x = InPlace(), torch.randn(3, 4)
    graph = ng.capture(net, x)
    ng.insert(graph, nn.Sigmoid(), after="a", name="act")
    torch.testing.assert_close(graph(x), net.b(torch.sigmoid(net.a(x)) * 2))
    torch.autograd.backward(graph(x).sum())
    expected = torch.autograd.grad(net.b(torch.sigmoid(net.a(x)) * 2).sum(), net.a.weight)[0]
    torch.testing.assert_close(net.a.weight.grad, expected)


class Overwriting(nn.Module):
    """A row of its tensor is computed from another and written over."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.a(x).clone()
        y[0] = y[1] * 2
        return y


def test_a_norm_of_what_is_written_over_later_can_be_trained() -> None:
    net, x = Overwriting(), torch.randn(3, 4)
    graph = ng.capture(net, x)
    ng.insert(graph, nn.LayerNorm(6), before="mul", name="norm")
    y = net.a(x)
    expected = torch.cat([(torch.layer_norm(y[1], (6,)) * 2)[None], y[1:]])
    torch.testing.assert_close(graph(x), expected)
    torch.autograd.backward(graph(x).square().sum())
    torch.testing.assert_close(
        net.a.weight.grad, torch.autograd.grad(expected.square().sum(), net.a.weight)[0]
    )


class FirstIntoSecond(nn.Module):
    """Writes the first row over the second."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (3, 4) to (3, 6)."""
        y: Tensor = self.a(x).clone()
        y[1] = y[0]
        return y


def test_a_layer_between_two_rows_of_one_tensor_can_be_trained() -> None:
    net, x = FirstIntoSecond(), torch.randn(3, 4)
    graph = ng.capture(net, x)
    layer = nn.Linear(6, 6)
    ng.insert(graph, layer, edge=("getitem", "setitem"), name="layer")
    y = net.a(x)
    expected = torch.stack([y[0], layer(y[0]), y[2]])
    torch.testing.assert_close(graph(x), expected)
    torch.autograd.backward(graph(x).square().sum())
    for weight in (net.a.weight, layer.weight):
        wanted = torch.autograd.grad(expected.square().sum(), weight, retain_graph=True)[0]
        torch.testing.assert_close(weight.grad, wanted)


def test_what_writes_into_a_concatenation_made_for_it_stays_when_the_edit_is_replayed() -> None:
    net, x = Overwriting(), torch.randn(3, 4)
    again = ng.capture(copy.deepcopy(net), x)
    graph = ng.capture(net, x)
    edit = ng.connect(graph, "x", "clone", merge="concat")
    ng.replay(again, [edit])
    assert [vertex.name for vertex in again] == [vertex.name for vertex in graph]
    torch.testing.assert_close(again(x), graph(x))
    assert torch.equal(graph(x)[0], graph(x)[1] * 2)


def test_what_is_written_into_a_copy_is_written_into_the_original_once_the_copy_is_removed() -> None:
    net, x = Overwriting(), torch.randn(3, 4)
    graph, before = ng.capture(net, x), net(x)
    ng.remove(graph, "clone")
    torch.testing.assert_close(graph(x), before)
    assert [vertex.name for vertex in graph] == ["x", "a", "getitem", "mul", "setitem"]
