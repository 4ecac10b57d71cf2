"""Blocks that are doubled: the function, weights of their own, undo, replay, save; and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.edits.structure.residual_networks import Gain, encoder, resnet
from tests.machine.structures import check, everything

IMAGE = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TEXT = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("path", ["layer1.0", "layer1.1", "layer2.1"])
def test_a_copy_comes_behind_its_block(path: str, inplace: bool, tmp_path: Any) -> None:
    net, reference = resnet(inplace=inplace), resnet(inplace=inplace)
    parent, _, name = path.rpartition(".")
    block = reference.get_submodule(path)
    reference.get_submodule(parent)._modules[name] = nn.Sequential(block, copy.deepcopy(block))
    graph = ng.capture(net, IMAGE[:2])
    before, old = everything(graph), graph(IMAGE)
    edit = ng.duplicate(graph, path)
    torch.testing.assert_close(check(graph), reference(IMAGE))
    assert edit.after.params == sum(p.numel() for p in reference.parameters())
    again = ng.replay(ng.capture(resnet(inplace=inplace), IMAGE[:2]), edit.to_json())
    assert again.graph is not None
    assert torch.equal(again.graph(IMAGE), graph(IMAGE))
    ng.save(graph, tmp_path / "net.safetensors")
    assert torch.equal(ng.load(resnet(inplace=inplace), tmp_path / "net.safetensors")(IMAGE), graph(IMAGE))
    edit.undo()
    assert everything(graph) == before
    assert torch.equal(graph(IMAGE), old)


@pytest.mark.parametrize("norm_first", [True])
def test_a_copy_may_start_as_the_identity(norm_first: bool) -> None:
    graph = ng.capture(encoder(norm_first=norm_first), TEXT[:2])
    old = graph(TEXT)
    ng.duplicate(graph, "1.layers.1", identity=True)
    torch.testing.assert_close(check(graph), old)
    images = ng.capture(resnet(), IMAGE[:2])
    old = images(IMAGE)
    ng.duplicate(images, "layer1.0", identity=True)
    torch.testing.assert_close(check(images), old)


def test_raw_weights_are_copied_and_the_copys_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), Gain(6), nn.Linear(6, 2)).eval()
    reference = copy.deepcopy(net)
    graph = ng.capture(net, TEXT[0])
    ng.duplicate(graph, "1")
    torch.testing.assert_close(
        graph(TEXT[1]), reference[2](reference[1](reference[1](reference[0](TEXT[1]))))
    )
    assert graph.tensor("1.gain") is not graph.tensor("1_2.gain")


def test_a_layer_that_takes_other_numbers_than_it_gives_cannot_be_doubled() -> None:
    net = nn.Sequential(nn.EmbeddingBag(5, 2), nn.Linear(2, 3))
    graph = ng.capture(net, torch.tensor([[0, 1], [2, 3]]))
    with pytest.raises(ng.EditError, match=r"'0' takes torch.int64 and gives torch.float32"):
        ng.duplicate(graph, "0")


def test_what_cannot_be_doubled_is_told() -> None:
    graph = ng.capture(resnet(), IMAGE[:2])
    before = everything(graph)
    for what, message in [
        ("layer2.0", "so a copy cannot come behind it"),
        ("layer[12].1", "are 2 blocks apart from each other"),
        ("layer9", "no vertex 'layer9'"),
    ]:
        with pytest.raises(ng.EditError, match=message):
            ng.duplicate(graph, what)
    with pytest.raises(ng.EditError, match="it is no residual block"):
        ng.duplicate(graph, "relu", identity=True)
    assert everything(graph) == before


class Nested(nn.Module):
    """x + (x + f(x)): two shortcuts, so that it gives 2 x where f gives zero."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + (x + self.f(x))
        return out


class Behind(Nested):
    """A layer, then a residual branch, then a function that changes what it takes twice."""

    def __init__(self, before: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        out: Tensor = self.after(x + self.f(x))
        return out


@pytest.mark.parametrize(
    "block",
    [Nested, lambda: Behind(nn.Linear(4, 4), nn.Identity()), lambda: Behind(nn.Identity(), nn.GELU())],
    ids=["two shortcuts", "a layer before the branch", "an activation that is not idempotent"],
)
def test_what_would_be_no_identity_is_not_said_to_be_one(block: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), block(), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3)
    graph = ng.capture(net, x)
    before = everything(graph)
    with pytest.raises(ng.EditError, match="'1_2' cannot start as the identity"):
        ng.duplicate(graph, "1", identity=True)
    assert everything(graph) == before
    assert ng.duplicate(graph, "1")


def test_an_identity_behind_an_activation_keeps_the_function() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), Behind(nn.Identity(), nn.ReLU()), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3)
    expected = net(x)
    graph = ng.capture(net, x)
    ng.duplicate(graph, "1", identity=True)
    assert torch.equal(graph(x), expected)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, 0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_gets_the_copys_parameters_without_a_state(name: str) -> None:
    net = resnet()
    graph = ng.capture(net, IMAGE[:2])
    optimizer = OPTIMIZERS[name](net.parameters())
    graph(IMAGE).square().mean().backward()
    optimizer.step()
    old = list(net.parameters())
    states = {id(p): {k: torch.as_tensor(v).clone() for k, v in optimizer.state[p].items()} for p in old}
    edit = ng.duplicate(graph, "layer1.1", optimizer=optimizer)
    copied = list(net.get_submodule("layer1.1_2").parameters())
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in (*old, *copied)}
    assert not any(p in optimizer.state for p in copied)
    values = [p.detach().clone() for p in copied]
    optimizer.zero_grad()
    graph(IMAGE).square().mean().backward()
    optimizer.step()  # by which the copy is trained from now on
    assert any(not torch.equal(p, value) for p, value in zip(copied, values, strict=True))
    edit.undo()
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in old]
    for p in old:
        assert all(torch.equal(torch.as_tensor(v), states[id(p)][k]) for k, v in optimizer.state[p].items())


def test_what_is_nearly_the_identity_is_none() -> None:
    class Scattered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.select_scatter(x[0] * 2, 0, 1)
            out: torch.Tensor = x + self.branch(x)
            return out

    net = nn.Sequential(nn.Linear(4, 4), Scattered(), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in net[1].parameters():
            parameter.mul_(1e-4)  # done twice, the rest is the identity but for this
    graph = ng.capture(net, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    before = [v.name for v in graph]
    with pytest.raises(
        ng.EditError, match="'1_2' cannot start as the identity: with branches that give zero"
    ):
        ng.duplicate(graph, "1", identity=True)
    assert [v.name for v in graph] == before


class NormFunction(nn.BatchNorm2d):
    """A norm that calls torch's function, as libraries with an activation behind it do."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias)


class ScaledConv(nn.Module):
    """A residual block that ends with functions."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm: nn.Module = NormFunction(4) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.conv2d(self.first(x).relu(), self.last.weight, self.last.bias)
        out: Tensor = x + self.norm(y)
        return out


@pytest.mark.parametrize("norm", [False, True])
def test_branches_that_end_with_functions_may_start_as_the_identity(norm: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), ScaledConv(norm), nn.Conv2d(4, 2, 1)).eval()
    graph = ng.capture(net, IMAGE[:2])
    before = graph(IMAGE)
    ng.duplicate(graph, "1", identity=True)
    torch.testing.assert_close(graph(IMAGE), before)
    assert graph.module.get_submodule("1").last.weight.abs().sum() > 0  # type: ignore[operator, union-attr]
