"""Networks of many shapes: pruned and refitted, every one is nearer to what it was."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from tests.reconstruct.test_reconstruct import distance


class Separable(nn.Module):
    """Inverted residual blocks: 1x1, depthwise, 1x1, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(n) for n in (8, 24, 24, 8)])
        self.up, self.deep = (
            nn.Conv2d(8, 24, 1, bias=False),
            nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False),
        )
        self.down, self.head = nn.Conv2d(24, 8, 1, bias=False), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images."""
        one, two, three, four = self.norms
        x = F.relu(one(self.stem(x)))
        y = F.relu6(three(self.deep(F.relu6(two(self.up(x))))))
        x = x + four(self.down(y))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Grouped(nn.Module):
    """A convolution of four groups, and one that doubles each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.three, self.head = nn.Conv2d(16, 32, 3, groups=16), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images."""
        x = F.relu(self.three(F.relu(self.two(F.relu(self.one(x))))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Concatenated(nn.Module):
    """Branches that are concatenated, and go up again by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(20, 10, 2, 2), nn.Conv2d(13, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images to images."""
        one = F.relu(self.one(x))
        both = torch.cat([one, F.relu(self.two(one))], 1)
        return self.out(torch.cat([x, F.relu(self.up(both))], 1))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """A gated unit on two halves of one projection, and a convolution along the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.proj, self.along = nn.Linear(3, 24), nn.Conv1d(12, 12, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images, as sequences of rows, to numbers."""
        x = self.proj(x.flatten(2).transpose(1, 2))
        x = x[..., :12] * torch.sigmoid(x[..., 12:])
        return self.head(F.relu(self.along(x.transpose(1, 2))).mean(2))  # type: ignore[no-any-return]


NETWORKS: list[Callable[[], nn.Module]] = [Separable, Grouped, Concatenated, Gated]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_what_is_left_is_nearer_to_what_it_was(make: Callable[[], nn.Module]) -> None:
    net, x = make().eval(), torch.randn(128, 3, 8, 8)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], macs=0.6)
    before = distance(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x)
    assert edit.refit is not None
    assert not edit.refit.left
    assert edit.refit.count
    assert distance(net, teacher, x) < before
    layers = {name.rpartition(".")[0] for name, parameter in net.named_parameters() if parameter.dim() > 1}
    assert {layer.name for layer in edit.refit.layers} <= layers


class Heads(nn.Module):
    """Attention of two heads, whose last neurons neither ask nor answer."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        with torch.no_grad():
            for layer in (self.q, self.k):
                layer.weight[3::4], layer.bias[3::4] = 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend."""
        q, k, v = (layer(x).unflatten(2, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def test_the_factor_that_makes_up_for_a_heads_scale_is_one_of_the_target() -> None:
    net, x = Heads().double().eval(), torch.randn(64, 5, 8).double()
    teacher = copy.deepcopy(net)
    edit = ng.resize(ng.capture(net, x[:2]), {"q": -2})  # of two heads of four neurons each
    assert edit.change.scalings
    assert distance(net, teacher, x) < 1e-20
    again = ng.reconstruct(net, teacher, x)
    assert again.refit is not None
    assert {layer.name for layer in again.refit.layers} >= {"q", "k", "v"}
    assert all(layer.before < 1e-12 for layer in again.refit.layers)
    assert distance(net, teacher, x) < 1e-20


class Mixer(nn.Module):
    """A layer that goes over places, then over channels, as in MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.places, self.head = nn.Linear(6, 16), nn.Linear(5, 5), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 5, 6) to (batch, 5, 3)."""
        return self.head(self.places(self.one(x).relu().mT).mT.relu())  # type: ignore[no-any-return]


def test_layers_over_places_stay_where_neurons_went_with_the_reason() -> None:
    torch.manual_seed(0)
    net, x = Mixer(), torch.randn(256, 5, 6)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], ratio=0.5)
    before = distance(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x)
    assert edit.refit is not None
    assert {layer.name for layer in edit.refit.layers} == {"one", "head"}
    assert "Not refitted: places, as the places that it goes over are neurons, and some of them went." in str(
        edit
    )
    assert distance(net, teacher, x) < before


class Crossed(nn.Module):
    """Attention to other values: torch's layer takes its queries, keys and values from one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 16), nn.Linear(6, 16)
        self.attend, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 5, 6) to (batch, 5, 3)."""
        other = self.two(x)
        return self.head(self.attend(self.one(x), other, other)[0])  # type: ignore[no-any-return]


def test_parts_of_a_parameter_are_refitted_and_come_back() -> None:
    torch.manual_seed(0)
    net, x = Crossed().eval(), torch.randn(256, 5, 6)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], ratio=0.5)
    pruned, before = copy.deepcopy(net.state_dict()), distance(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x)
    assert "attend.in_proj_weight" in edit.change.refitted
    assert distance(net, teacher, x) < before
    edit.undo()
    assert all(torch.equal(value, pruned[name]) for name, value in net.state_dict().items())
