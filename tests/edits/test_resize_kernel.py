"""Kernels of convolutions change size: the function is kept, or is that with the removed entries at zero."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.change import Change


def _net(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.Tanh()).double().eval()


def _image(layer: nn.Module, rank: int) -> Tensor:
    channels = int(layer.in_channels)  # type: ignore[arg-type]
    return torch.randn(2, channels, *(11, 9, 8)[:rank], dtype=torch.float64)


# A layer, the rank of its images, a larger kernel and a smaller one.
LAYERS: dict[str, tuple[Callable[[], nn.Module], int, Any, Any]] = {
    "line": (lambda: nn.Conv1d(3, 4, 3, padding=1), 1, 7, 1),
    "plain": (lambda: nn.Conv2d(3, 4, 3, padding=1), 2, 5, 1),
    "no padding": (lambda: nn.Conv2d(3, 4, 3), 2, (5, 3), 3),
    "uneven": (lambda: nn.Conv2d(3, 4, (5, 4), padding=(1, 2)), 2, (7, 6), (3, 2)),
    "volume": (lambda: nn.Conv3d(2, 3, 3, padding=1), 3, (5, 3, 7), (1, 3, 1)),
    "stride": (lambda: nn.Conv2d(3, 4, 5, stride=2, padding=2), 2, 7, 3),
    "dilation": (lambda: nn.Conv2d(3, 4, 3, dilation=(2, 3), padding=(2, 5)), 2, 5, 1),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), 2, 5, 1),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), 2, 5, 1),
    "reflect": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 2, 5, 1),
    "circular": (lambda: nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular"), 2, 7, 3),
    "same": (lambda: nn.Conv2d(3, 4, 3, padding="same"), 2, (5, 4), (1, 2)),
    "same, reflect": (lambda: nn.Conv2d(3, 4, 4, padding="same", padding_mode="reflect"), 2, 5, 3),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, padding=1), 2, 5, 1),
    "upsampling": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), 2, 5, 1),
    "odd upsampling": (lambda: nn.ConvTranspose1d(3, 4, 4, stride=2, padding=1), 1, 5, 3),
    "grouped transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2, padding=2, groups=2), 2, 5, (1, 3),
    ),
}  # fmt: skip


EVEN_SAME = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


def _conv(net: nn.Module) -> nn.Conv2d:
    """The convolution of `_net`, of whatever dimension."""
    return net.get_submodule("0")  # type: ignore[return-value]


@EVEN_SAME
@pytest.mark.parametrize("name", LAYERS)
def test_growing_keeps_the_function_and_undo_restores(name: str) -> None:
    make, rank, larger, _ = LAYERS[name]
    torch.manual_seed(0)
    layer = make()
    net, image = _net(layer), _image(layer, rank)
    before, state, attributes = net(image), copy.deepcopy(net.state_dict()), dict(vars(layer))
    graph = ng.capture(net, image)
    edit = ng.resize_kernel(graph, {"0": larger})
    size = larger if isinstance(larger, tuple) else (larger,) * rank
    assert isinstance(layer.weight, Tensor)
    assert layer.weight.shape[2:] == layer.kernel_size == size
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-12)
    torch.testing.assert_close(graph(image), before, rtol=0, atol=1e-12)
    assert edit.after.params > edit.before.params
    edit.undo()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert vars(layer) == attributes
    assert torch.equal(net(image), before)
    assert torch.equal(graph(image), before)


def _zeroed(net: nn.Sequential, small: nn.Sequential) -> Tensor:
    """The weight with zeros where the smaller kernel, found by its numbers in the larger, is not."""
    whole, part = _conv(net).weight.detach(), _conv(small).weight.detach()
    spare = [range(a - b + 1) for a, b in zip(whole.shape[2:], part.shape[2:], strict=True)]
    for start in itertools.product(*spare):
        window: Any = (..., *(slice(s, s + n) for s, n in zip(start, part.shape[2:], strict=True)))
        if torch.equal(whole[window], part):
            out = torch.zeros_like(whole)
            out[window] = part
            return out
    raise AssertionError("the kernel is no part of what it was")


@EVEN_SAME
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("utility", [None, "magnitude"])
def test_shrinking_is_zeroing(name: str, utility: str | None) -> None:
    make, rank, _, smaller = LAYERS[name]
    torch.manual_seed(1)
    layer = make()
    net, image = _net(layer), _image(layer, rank)
    original = copy.deepcopy(net)
    graph = ng.capture(net, image)
    edit = ng.resize_kernel(graph, {"0": smaller}, utility=utility)
    _conv(original).weight.data = _zeroed(original, net)
    torch.testing.assert_close(net(image), original(image), rtol=0, atol=1e-12)
    torch.testing.assert_close(graph(image), net(image), rtol=0, atol=1e-12)
    assert bool(edit) == (layer.kernel_size != _conv(original).kernel_size)


@pytest.mark.parametrize("name", ["plain", "uneven", "stride", "dilation", "reflect", "no padding", "volume"])
def test_by_utility_every_size_is_possible(name: str) -> None:
    make, rank, _, _ = LAYERS[name]
    torch.manual_seed(2)
    for size in range(1, 5):
        layer = make()
        net, image = _net(layer), _image(layer, rank)
        if name == "reflect" and size > 3:
            continue
        original, before = copy.deepcopy(net), layer.kernel_size
        ng.resize_kernel(ng.capture(net, image), {"0": size}, utility="magnitude")
        if all(size <= old for old in before):  # type: ignore[union-attr]
            _conv(original).weight.data = _zeroed(original, net)
        if all(size <= old for old in before) or all(size >= old for old in before):  # type: ignore[union-attr]
            torch.testing.assert_close(net(image), original(image), rtol=0, atol=1e-12)


def test_the_part_worth_most_stays() -> None:
    layer = nn.Conv1d(1, 1, 5, padding=2, bias=False)
    layer.weight.data = torch.tensor([[[1.0, 2.0, 3.0, -9.0, 4.0]]])
    net = _net(layer)
    image = torch.randn(1, 1, 8, dtype=torch.float64)
    graph = ng.capture(net, image)
    edit = ng.resize_kernel(graph, {"0": 2}, utility="magnitude")
    assert layer.weight.flatten().tolist() == [-9.0, 4.0]
    edit.undo()
    ng.resize_kernel(graph, {"0": 2}, utility={"0": layer.weight})
    assert layer.weight.flatten().tolist() == [2.0, 3.0]


def test_equal_ends_go_evenly() -> None:
    layer = nn.Conv1d(1, 1, 5, padding=2)
    layer.weight.data.fill_(1)
    net = _net(layer)
    ng.resize_kernel(ng.capture(net, _image(layer, 1)), {"0": 3}, utility="magnitude")
    assert (layer.padding, layer.padding_mode) == ((1,), "zeros")


def test_json_replays_and_saves(tmp_path: Any) -> None:
    def build() -> nn.Sequential:
        torch.manual_seed(3)
        return _net(nn.Conv2d(3, 4, 3, padding=1))

    net, image = build(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    graph = ng.capture(net, image)
    first = ng.resize_kernel(graph, {"0": (5, 3)})
    second = ng.resize_kernel(graph, {"0": (2, 3)}, utility="magnitude")
    other = build()
    for edit in (first, second):
        apply(Change.from_json(edit.to_json()), other)
    assert torch.equal(other(image), net(image))
    assert Change.from_json(first.to_json()).to_json() == first.to_json()
    ng.save(net, tmp_path / "net.safetensors")
    loaded = ng.load(build(), tmp_path / "net.safetensors")
    assert torch.equal(loaded(image), net(image))
    assert repr(_conv(loaded)) == repr(_conv(net))


def test_damaged_json_is_refused() -> None:
    net = _net(nn.Conv1d(2, 2, 3, padding=1))
    text = ng.resize_kernel(ng.capture(net, _image(_conv(net), 1)), {"0": 5}).to_json()
    with pytest.raises(ValueError, match="does not have each of 5 neurons once"):
        Change.from_json(text.replace('"order":[[4,5],[0,4]]', '"order":[[4,5],[1,5]]'))
    with pytest.raises(ValueError, match="no value of an attribute"):
        Change.from_json(text.replace('["0","kernel_size",[0],3,5]', '["0","kernel_size",[0],3,[5]]'))


def test_optimizer_and_average_follow_and_training_goes_on() -> None:
    torch.manual_seed(4)
    net = _net(nn.Conv2d(3, 4, 3, padding=1))
    image = _image(_conv(net), 2)
    average = AveragedModel(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    net(image).square().sum().backward()
    optimizer.step()
    momentum = optimizer.state[_conv(net).weight]["exp_avg"].clone()
    grad = _conv(net).weight.grad.clone()  # type: ignore[union-attr]
    before = average(image)
    edit = ng.resize_kernel(ng.capture(net, image), {"0": 5}, optimizer=[optimizer, average])
    assert torch.equal(optimizer.state[_conv(net).weight]["exp_avg"], F.pad(momentum, (1, 1, 1, 1)))
    assert torch.equal(_conv(net).weight.grad, F.pad(grad, (1, 1, 1, 1)))  # type: ignore[arg-type]
    torch.testing.assert_close(average(image), before, rtol=0, atol=1e-12)
    net(image).square().sum().backward()
    optimizer.step()
    assert _conv(net).weight[:, :, 0].abs().min() > 0
    edit.undo()
    assert torch.equal(optimizer.state[_conv(net).weight]["exp_avg"], momentum)


def test_sizes_and_kernels_take_turns() -> None:
    torch.manual_seed(5)
    net = (
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1)).double().eval()
    )
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    before, graph = net(image), ng.capture(net, image)
    edits = [
        ng.resize_kernel(graph, {"0": 5, "2": (3, 5)}),
        ng.resize(graph, {"0": +2}),
        ng.resize_kernel(graph, {"2": 4}, utility="magnitude"),
    ]
    assert net[2].weight.shape == (2, 8, 4, 4)
    assert not edits[0].change.outgoing[0].rows
    for edit in reversed(edits):
        edit.undo()
    assert torch.equal(net(image), before)


class Twice(nn.Module):
    """One layer called twice, and another layer with its weight but other dilation."""

    def __init__(self, together: bool = True) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
        if together:
            self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(torch.relu(self.one(x))))
        return out


def test_shared_layers_and_weights_follow() -> None:
    net, image = Twice().double().eval(), torch.randn(1, 3, 9, 9, dtype=torch.float64)
    before, graph = net(image), ng.capture(net, image)
    ng.resize_kernel(graph, {"one": 5})
    assert (net.one.padding, net.two.padding, net.two.kernel_size) == ((2, 2), (4, 4), (5, 5))
    assert net.two.weight is net.one.weight
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-12)
    with pytest.raises(
        ng.EditError, match=r"'one' and 'two' have the same weight, and \(7, 7\) and \(3, 3\)"
    ):
        ng.resize_kernel(graph, {"one": 7, "two": 3})


class Thin(nn.Conv2d):
    """A class of its own that runs as torch's does."""


def test_a_thin_subclass_changes_and_pads_both_sides_alike() -> None:
    net = _net(Thin(3, 4, 3, padding=1))
    image = _image(_conv(net), 2)
    before, graph = net(image), ng.capture(net, image)
    ng.resize_kernel(graph, {"0.conv2d": 5}, utility="magnitude")
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-12)
    torch.testing.assert_close(graph(image), before, rtol=0, atol=1e-12)
    with pytest.raises(ng.EditError, match=r"1 in front and 2 behind, which this Thin cannot.*: 3 and 5"):
        ng.resize_kernel(graph, {"0.conv2d": 4}, utility="magnitude")


class Wrapped(nn.Module):
    """A convolution `conv` used by a function of the network."""

    def __init__(self, call: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.conv, x)


class Own(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)


def _normed() -> nn.Module:
    made: nn.Module = parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))
    return made


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, Any, str]] = {
    "odd": (lambda: nn.Conv2d(3, 3, 3, padding=1), "0", 4, r"1 in front and 2 behind.*: 3 and 5"),
    "negative": (lambda: nn.Conv2d(3, 3, 5, padding=1), "0", (5, 1), r"of -1 in front .*utility=.*: 3$"),
    "valid": (
        lambda: nn.Conv2d(3, 3, 3, padding="valid"), "0", 5, r"padding='valid' is not; make it numbers.*: 3$",
    ),
    "same, dilated": (
        lambda: nn.Conv2d(3, 3, 3, padding="same", dilation=2), "0", 4, r"padding='same' is not.*: 3 and 5",
    ),
    "transposed": (lambda: nn.ConvTranspose2d(3, 3, 3), "0", 1, r"of -1 .* this ConvTranspose2d cannot have"),
    "reflect": (
        lambda: nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "0", 25, "would not run as before",
    ),
    "pool": (lambda: nn.MaxPool2d(3), "0", 5, "'0' is no convolution"),
    "size": (lambda: nn.Conv2d(3, 3, 3), "0", 0, "0 is no size for the kernel"),
    "rank": (lambda: nn.Conv2d(3, 3, 3), "0", (3, 3, 3), "give a number from 1, or 2 of them"),
    "own": (lambda: Own(3, 3, 3), "0.conv2d", 5, "a Own with a forward of its own"),
    "normed": (_normed, "0.conv2d", 5, "works its weight out from other parameters"),
    "function": (
        lambda: Wrapped(lambda conv, x: F.conv2d(x, conv.weight, padding=1)), "0.conv2d", 5,
        "the network's own code calls with its own padding",
    ),
    "weight": (
        lambda: Wrapped(lambda conv, x: conv(x) * conv.weight.mean()), "0.conv", 5,
        "the weight of '0.conv' is also used at '0.mean'",
    ),
    "elsewhere": (
        lambda: Wrapped(lambda conv, x: conv(F.conv2d(x, conv.weight, padding=1))), "0.conv", 5,
        "'0.conv2d' is a convolution that the network's own code calls",
    ),
    "padding": (
        lambda: Wrapped(lambda conv, x: conv(x)[..., conv.padding[0] :]), "0.conv", 5,
        r"code uses 0.conv.padding at '0.getitem'",
    ),
    "shape": (
        lambda: Wrapped(lambda conv, x: F.pad(conv(x), [conv.weight.shape[2], 0])), "0.conv", 5,
        r"code uses 0.conv.weight.shape\[2\] at '0.pad'",
    ),
    "scale": (
        lambda: Wrapped(lambda conv, x: conv(x) * (1 / conv.kernel_size[0])), "0.conv", 5,
        r"code uses 0.conv.kernel_size at .*test_resize_kernel.py",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_left_alone(name: str) -> None:
    make, vertex, size, message = REFUSED[name]
    net = nn.Sequential(make(), nn.Tanh()).eval()
    image = torch.randn(1, 3, 9, 9)
    before, graph = net(image), ng.capture(net, image)
    with pytest.raises(ng.EditError, match=message):
        ng.resize_kernel(graph, {vertex: size})
    assert torch.equal(net(image), before)
    assert torch.equal(graph(image), before)


def test_padding_set_by_hand_counts() -> None:
    net = _net(nn.Conv2d(3, 4, 3, padding=1))
    _conv(net).padding = (2, 2)
    image = _image(_conv(net), 2)
    before = net(image)
    ng.resize_kernel(ng.capture(net, image), {"0": (5, 4)}, utility="magnitude")
    assert str(_conv(net).padding_mode) == "constant"
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-12)


def test_nonsense_utility() -> None:
    net = _net(nn.Conv1d(2, 2, 5, padding=2))
    graph = ng.capture(net, _image(_conv(net), 1))
    with pytest.raises(ng.EditError, match=r"utility of 0 has shape \(5,\), not \(2, 2, 5\)"):
        ng.resize_kernel(graph, {"0": 3}, utility=lambda vertex: torch.ones(5))
    (width,) = ng.inspect(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), torch.ones(1, 2)).widths
    with pytest.raises(ng.EditError, match="the width '0': give the values of kernels' entries by vertex"):
        ng.resize_kernel(graph, {"0": 3}, utility={width: 1.0})
    with pytest.raises(ng.EditError, match="no utility 'l3'"):
        ng.resize_kernel(graph, {"0": 3}, utility="l3")


def test_nothing_asked_is_falsy() -> None:
    net = _net(nn.Conv1d(2, 2, 5, padding=2))
    edit = ng.resize_kernel(ng.capture(net, _image(_conv(net), 1)), {"0": 5})
    assert not edit
    edit.undo()
