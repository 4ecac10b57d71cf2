"""Freezing: what is left free trains, all else is as it was, also after an exception."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Net(nn.Module):
    """A norm with a running mean of its own, torch's norms, and a raw weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.own = Centre()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 6, 6) to (batch, 4, 4, 4)."""
        out: Tensor = self.head(self.own(self.body(x))) * self.scale
        return out


class Centre(nn.Module):
    """A layer that keeps a running mean in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.mean: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Take the mean away."""
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x - self.mean


def train_step(net: nn.Module) -> None:
    """One step of SGD on all that needs a gradient, in train mode."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    net.train()
    net(torch.randn(8, 3, 6, 6)).square().mean().backward()
    optimizer.step()


def flags(net: nn.Module) -> list[bool]:
    """Every flag of the network: modes, then gradients."""
    return [*(m.training for m in net.modules()), *(p.requires_grad for p in net.parameters())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("as_graph", [True, False])
def test_what_is_left_free_trains_alone(as_graph: bool, training: bool) -> None:
    net = Net().train(training)
    net.body[0].bias.requires_grad_(False)
    before, values = flags(net), {name: value.clone() for name, value in net.state_dict().items()}
    model = ng.capture(net, torch.randn(2, 3, 6, 6)) if as_graph else net
    with ng.surgery.frozen(model, except_="head"):
        assert [name for name, p in net.named_parameters() if p.requires_grad] == [
            name for name, _ in net.named_parameters() if name.startswith("head.")
        ]
        train_step(net)
        assert net.training
        assert not net.body[1].training
        assert net.head[1].training
    assert flags(net) == before
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, values[n])}
    assert changed >= {"head.1.running_mean", "head.1.running_var", "head.1.bias"}
    assert all(name.startswith("head.") for name in changed)
    assert "train" not in vars(net.body[1])


def test_an_exception_changes_nothing() -> None:
    net = Net()
    before, values = flags(net), {name: value.clone() for name, value in net.state_dict().items()}

    def fail() -> None:
        with ng.surgery.frozen(net):
            net.requires_grad_(True).train()(torch.randn(4, 3, 6, 6))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert flags(net) == before
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())


def test_blocks_within_blocks_give_back_what_each_took() -> None:
    net = Net()
    before = flags(net)
    with ng.surgery.frozen(net, except_=["head", "scale"]):
        inner = flags(net)
        with ng.surgery.frozen(net, except_="scale"):
            assert [n for n, p in net.named_parameters() if p.requires_grad] == ["scale"]
        assert flags(net) == inner
        assert not net.train().body[1].training
    assert flags(net) == before
    assert net.train().body[1].training


@pytest.mark.parametrize("except_", ["head.0.weight", "head.?.weight", ["head.0", "head.1"], "mul"])
def test_parameters_patterns_and_vertices_are_named(except_: str | list[str]) -> None:
    net = Net()
    expected = {
        "head.0.weight": ["head.0.weight"],
        "head.?.weight": ["head.0.weight", "head.1.weight"],
        "mul": ["scale"],
    }
    graph = ng.capture(net, torch.randn(2, 3, 6, 6))
    with ng.surgery.frozen(graph, except_=except_):
        free = [name for name, p in net.named_parameters() if p.requires_grad]
    whole = ["head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"]
    assert sorted(free) == sorted(expected.get(except_, whole) if isinstance(except_, str) else whole)


def test_a_shared_parameter_is_free_by_any_of_its_names() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    with ng.surgery.frozen(net, except_="1"):
        assert [name for name, p in net.named_parameters() if p.requires_grad] == ["0.weight", "1.bias"]


def test_what_is_not_there_is_told() -> None:
    net = Net()
    with (
        pytest.raises(ng.EditError, match=r"except_= names 'haed', .* did you mean 'head'"),
        ng.surgery.frozen(net, except_="haed"),
    ):
        pass
    with pytest.raises(ng.EditError, match="except_= takes names or patterns, not 3"):
        ng.surgery.frozen(net, except_=[3]).__enter__()  # type: ignore[list-item]
    with pytest.raises(ng.EditError, match=r"surgery\.frozen takes a graph"):
        ng.surgery.frozen("net").__enter__()  # type: ignore[arg-type]
    assert all(flags(net))
