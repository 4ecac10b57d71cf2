"""Another number of input channels, against the network on images that repeat channels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged


class Net(nn.Module):
    """Two layers that read the image, of which one is grouped by channel, and the image in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.skip = nn.Conv2d(3, 6, 1, bias=False)
        self.head = nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, 3, 8, 8) to (batch, 4)."""
        hidden = torch.relu(self.stem(image)) + self.skip(image)
        out: Tensor = self.head(hidden.mean((2, 3)))
        return out


def network() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net().double().eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)


def test_new_channels_of_zero_change_nothing_whatever_they_are_fed() -> None:
    net, image = network()
    before = net(image)
    edit = ng.transfer.inputs(net, image, "image", channels=4)
    assert torch.equal(net(torch.cat([image, torch.full((2, 1, 8, 8), 9.0).double()], 1)), before)
    assert net.stem.in_channels == net.skip.in_channels == 4
    assert "computes what it did whatever they are fed" in " ".join(edit.notes)
    assert edit.function_kept
    assert edit.difference == 0


@pytest.mark.parametrize("channels", [4, 5, 6, 7, 9])
def test_channels_that_repeat_others_share_their_weights(channels: int) -> None:
    net, image = network()
    before, old = net(image), snapshot(net)
    twin = copy.deepcopy(net)
    edit = ng.transfer.inputs(net, image, "image", channels=channels, new="repeat")
    repeated = image[:, torch.arange(channels) % 3]
    torch.testing.assert_close(net(repeated), before, rtol=0, atol=1e-12)
    assert bool((net.stem.weight.abs() > 0).all())
    ng.replay(twin, [edit])
    torch.testing.assert_close(twin(repeated), net(repeated), rtol=0, atol=0)
    edit.undo()
    unchanged(net, old)


@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_stand_for_several(channels: int, tmp_path: Any) -> None:
    net, _ = network()
    image = torch.randn(2, channels, 8, 8, dtype=torch.float64)
    before, fresh = net(image[:, torch.arange(3) % channels]), copy.deepcopy(net)
    edit = ng.transfer.inputs(net, torch.randn(2, 3, 8, 8).double(), "image", channels=channels)
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-12)
    assert edit.graph is not None
    assert edit.graph(image).shape == (2, 4)
    ng.save(net, tmp_path / "net.safetensors")
    assert torch.equal(ng.load(fresh, tmp_path / "net.safetensors")(image), net(image))


def test_the_mean_of_the_weights_is_taken() -> None:
    net, image = network()
    mean = net.stem.weight.detach().mean(1)
    before = net(image)
    edit = ng.transfer.inputs(net, image, "image", channels=5, new="mean")
    torch.testing.assert_close(net.stem.weight[:, 3].detach(), mean, rtol=0, atol=1e-15)
    torch.testing.assert_close(net(torch.cat([image, torch.zeros(2, 2, 8, 8).double()], 1)), before)
    assert "only where they are fed zeros" in " ".join(edit.notes)
    assert edit.function_kept is None


def test_channels_normalised_first_take_the_same_statistics() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))
    net(torch.randn(8, 3, 6, 6) * 3 + 1)
    net.eval()
    image = torch.randn(2, 3, 6, 6)
    before = net(image)
    ng.transfer.inputs(net, image, "input", channels=6, new="repeat")
    torch.testing.assert_close(net(image.repeat(1, 2, 1, 1)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("vertex", "more", "message"),
    [
        ("stem", {"channels": 4}, "'stem' is no input of the network: its inputs are image"),
        ("image", {"channels": 0}, "channels must be a whole number from 1"),
        ("image", {"channels": 4, "new": "noise"}, "new='noise': give 'zero', 'mean', 'repeat'"),
        ("picture", {"channels": 4}, "picture"),
    ],
)
def test_what_cannot_be_is_refused(vertex: str, more: Any, message: str) -> None:
    net, image = network()
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.inputs(net, image, vertex, **more)
    unchanged(net, old)


class Directions(nn.Module):
    """Vectors are made of length one, so that a new channel has an effect without any weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Look at directions."""
        return self.layer(nn.functional.normalize(x, dim=-1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("channels", "new"), [(5, "zero"), (6, "repeat")])
def test_notes_tell_where_a_channel_has_an_effect_without_weights(channels: int, new: str) -> None:
    net, x = Directions(), torch.randn(6, 3)
    edit = ng.transfer.inputs(net, x, "x", channels=channels, new=new)
    assert edit.difference is not None
    if new == "zero":
        assert edit.function_kept is False
    assert any("computes something else now, even" in note for note in edit.notes)
