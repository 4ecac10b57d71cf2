"""Sizes of one neuron grow again, behind every layer: one neuron is a width like any other."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import naivegraph as ng

FULL = 4
Make = Callable[[int], nn.Module]


class Between(nn.Module):
    """A layer, the layer to try, and a layer that reads it."""

    def __init__(self, first: nn.Module, middle: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.middle, self.last = first, middle, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call one after the other."""
        found: torch.Tensor = self.last(self.middle(self.first(x)))
        return found


class Recurrent(nn.Module):
    """A recurrent layer and a layer that reads all its steps."""

    def __init__(self, layer: nn.Module, outputs: int) -> None:
        super().__init__()
        self.first, self.last = layer, nn.Linear(outputs, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read the outputs, not the states."""
        found: torch.Tensor = self.last(self.first(x)[0])
        return found


class Cells(nn.Module):
    """A recurrent cell, called step by step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.first, self.last = cell, nn.Linear(FULL, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read the last state."""
        state = None
        for step in x.unbind(1):
            state = self.first(step, state)
        found: torch.Tensor = self.last(state[0] if isinstance(state, tuple) else state)
        return found


class Flattened(nn.Module):
    """Channels and places flattened into one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, FULL, 1), nn.Linear(FULL * 36, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten."""
        found: torch.Tensor = self.last(self.first(x).flatten(1))
        return found


class Pair(nn.Module):
    """Two vectors multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other = nn.Linear(3, FULL), nn.Linear(3, FULL)
        self.both, self.last = nn.Bilinear(FULL, FULL, 3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply both, which is linear in each."""
        found: torch.Tensor = self.last(self.both(self.first(x), self.other(x)))
        return found


class Gate(nn.Module):
    """Channels multiplied by what is worked out from their means."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(size, 2, 1), nn.Conv2d(2, size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Squeeze and excite."""
        found: torch.Tensor = x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return found


class Scale(nn.Module):
    """Each channel times a number of its own, or each divided by the root mean square of all."""

    def __init__(self, size: int, *, normed: bool = False) -> None:
        super().__init__()
        self.gain, self.normed = nn.Parameter(torch.rand(size)), normed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale along the last dimension."""
        if self.normed:
            x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x * self.gain


def images(middle: Make) -> nn.Module:
    """The layer between two convolutions of images."""
    return Between(nn.Conv2d(3, FULL, 3, padding=1), middle(FULL), nn.Conv2d(FULL, 2, 3, padding=1))


def signals(middle: Make) -> nn.Module:
    """The layer between two convolutions of signals."""
    return Between(nn.Conv1d(3, FULL, 3, padding=1), middle(FULL), nn.Conv1d(FULL, 2, 3, padding=1))


def vectors(middle: Make) -> nn.Module:
    """The layer between two linear layers."""
    return Between(nn.Linear(3, FULL), middle(FULL), nn.Linear(FULL, 2))


IMAGE, SIGNAL, VECTOR, STEPS = (2, 3, 6, 6), (2, 3, 8), (5, 3), (2, 5, 3)
KEPT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "BatchNorm2d": (lambda: images(nn.BatchNorm2d), IMAGE),
    "InstanceNorm2d": (lambda: images(nn.InstanceNorm2d), IMAGE),
    "InstanceNorm2d, affine": (lambda: images(lambda n: nn.InstanceNorm2d(n, affine=True)), IMAGE),
    "InstanceNorm2d, running": (
        lambda: images(lambda n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True)),
        IMAGE,
    ),
    "InstanceNorm1d": (lambda: signals(lambda n: nn.InstanceNorm1d(n, affine=True)), SIGNAL),
    "PReLU": (lambda: images(nn.PReLU), IMAGE),
    "PReLU, shared": (lambda: images(lambda n: nn.PReLU()), IMAGE),
    "PReLU of vectors": (lambda: vectors(nn.PReLU), VECTOR),
    "PReLU of signals": (lambda: signals(nn.PReLU), SIGNAL),
    "ConvTranspose2d": (lambda: images(lambda n: nn.ConvTranspose2d(n, n, 1)), IMAGE),
    "depthwise": (lambda: images(lambda n: nn.Conv2d(n, n, 3, padding=1, groups=n)), IMAGE),
    "MaxPool2d": (lambda: images(lambda n: nn.MaxPool2d(2)), IMAGE),
    "squeeze and excitation": (lambda: images(Gate), IMAGE),
    "scale": (lambda: vectors(Scale), VECTOR),
    "BatchNorm1d": (lambda: vectors(nn.BatchNorm1d), VECTOR),
    "flattened": (Flattened, IMAGE),
    "Bilinear": (Pair, VECTOR),
    "LSTM": (lambda: Recurrent(nn.LSTM(3, FULL, batch_first=True), FULL), STEPS),
    "GRU": (lambda: Recurrent(nn.GRU(3, FULL, batch_first=True), FULL), STEPS),
    "RNN": (lambda: Recurrent(nn.RNN(3, FULL, batch_first=True), FULL), STEPS),
    "LSTM, two layers": (lambda: Recurrent(nn.LSTM(3, FULL, 2, batch_first=True), FULL), STEPS),
    "GRU, two layers": (lambda: Recurrent(nn.GRU(3, FULL, 2, batch_first=True), FULL), STEPS),
    "RNN, no bias": (lambda: Recurrent(nn.RNN(3, FULL, bias=False, batch_first=True), FULL), STEPS),
    "LSTM, projected": (lambda: Recurrent(nn.LSTM(3, 6, proj_size=FULL, batch_first=True), FULL), STEPS),
    "LSTMCell": (lambda: Cells(nn.LSTMCell(3, FULL)), STEPS),
    "GRUCell": (lambda: Cells(nn.GRUCell(3, FULL)), STEPS),
    "RNNCell": (lambda: Cells(nn.RNNCell(3, FULL)), STEPS),
}
NORMED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "RMSNorm": (lambda: vectors(nn.RMSNorm), VECTOR),
    "RMSNorm of steps": (lambda: vectors(nn.RMSNorm), STEPS),
    "written by hand": (lambda: vectors(lambda n: Scale(n, normed=True)), STEPS),
    "LayerNorm": (lambda: vectors(nn.LayerNorm), VECTOR),
    "GroupNorm": (lambda: images(lambda n: nn.GroupNorm(1, n)), IMAGE),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("batch", ["one sample", "several"])
@pytest.mark.parametrize("name", [*KEPT, *NORMED])
def test_a_size_of_one_grows_again_behind_every_layer(name: str, batch: str) -> None:
    """The network runs at every size, and computes what it did unless a norm says that it cannot."""
    make, shape = {**KEPT, **NORMED}[name]
    x = torch.randn(shape)[: 1 if batch == "one sample" else None]
    net = make().eval()
    graph = ng.capture(net, x)
    ng.resize(graph, {"first": ng.size(1)})
    assert graph.sizes["first"] == 1
    before = net(x)
    edit = ng.resize(graph, {"first": ng.size(FULL)})
    assert graph.sizes["first"] == FULL
    if name in KEPT or edit.function_kept:
        torch.testing.assert_close(net(x), before)
        assert edit.notes == ()
    else:  # an eps that the code itself writes does not follow, and no start suits a group norm of images
        reasons = ("adds a number that is written in the code", "it enters a group norm")
        assert edit.notes
        assert all(any(reason in note for reason in reasons) for note in edit.notes)
    torch.testing.assert_close(net(torch.cat([x, x])), torch.cat([net(x), net(x)]))


@pytest.mark.parametrize("sizes", [{}, {"num_layers": 2}])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_unit_in_each_direction_grows_again(
    kind: Callable[..., nn.Module], sizes: dict[str, int]
) -> None:
    """Both directions have one size."""
    layer = kind(3, FULL, batch_first=True, bidirectional=True, **sizes)
    net, x = Recurrent(layer, 2 * FULL).eval(), torch.randn(STEPS)
    graph = ng.capture(net, x)
    ng.resize(graph, {"first": ng.size(2)})
    before = net(x)
    ng.resize(graph, {"first": ng.size(2 * FULL)})
    torch.testing.assert_close(net(x), before)
    assert net.first.hidden_size == FULL


def test_a_layer_built_with_one_unit_grows() -> None:
    """There is no earlier size to remember."""
    net, x = Recurrent(nn.GRU(3, 1, batch_first=True), 1).eval(), torch.randn(STEPS)
    before, other = net(x), copy.deepcopy(net)
    ng.resize(ng.capture(net, x), {"first": +2})
    torch.testing.assert_close(net(x), before)
    edit = ng.resize(ng.capture(other, x), {"first": +2})
    edit.undo()
    torch.testing.assert_close(other(x), before, rtol=0, atol=0)


def test_one_neuron_that_the_code_adds_to_an_input_stays_one() -> None:
    """More of them would be repeated over the input's one channel, which nobody asked for."""

    class Residual(nn.Module):
        """An input of one channel plus what is made of it."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Add."""
            out: torch.Tensor = x + self.conv(x)
            return out

    graph = ng.capture(Residual(), torch.randn(2, 1, 5, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ng.InfeasibleError, match="an input of the network"):
            ng.resize(graph, {"conv": +1}, strategy=ng.strategy.Solve())


@pytest.mark.parametrize("pooled", [1, 2])
def test_one_channel_grows_through_pooling_and_flatten(pooled: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 1, 1), nn.AdaptiveAvgPool2d(pooled), nn.Flatten(), nn.Linear(pooled**2, 3)]
    net, x = nn.Sequential(*layers).eval(), torch.randn(2, 2, 4, 4)
    expected = net(x)
    ng.resize(net, x, {"0": +3})
    assert net[3].in_features == 4 * pooled**2
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("join", [torch.stack, torch.cat])
def test_one_neuron_is_not_repeated_to_stand_beside_more(join: Callable[..., torch.Tensor]) -> None:
    """A sum would repeat the mean; what stands beside the sum would not be as wide."""

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 1), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = self.b(x).mean(-1, keepdim=True)
            out: torch.Tensor = join([mean + self.a(x), mean], 0)
            return out

    graph = ng.capture(Beside(), torch.randn(2, 3))
    with pytest.raises(ng.InfeasibleError, match="a"):
        ng.resize(graph, {"a": +1}, strategy=ng.strategy.Solve())
