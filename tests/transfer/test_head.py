"""Other classes for a pretrained network, against indices of its outputs."""

from __future__ import annotations

import copy
import random
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged


class Scaled(nn.Module):
    """A classifier with a norm and a temperature per class behind its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.temperature = nn.Parameter(torch.rand(5) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 8, 8) to (batch, 5)."""
        hidden = torch.relu(self.stem(x)).mean((2, 3))
        out: Tensor = self.norm(self.fc(hidden)) * self.temperature
        return out


def network(seed: int = 0) -> tuple[Scaled, Tensor]:
    torch.manual_seed(seed)
    net = Scaled()
    x = torch.randn(4, 3, 8, 8)
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))
    return net.eval(), x


def close(found: Tensor, expected: Tensor) -> None:
    """Compare sums that a product of matrices of other sizes may add up in another order."""
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_classes_are_kept_in_another_order_and_new_ones_are_the_mean() -> None:
    net, x = network()
    before, state = net(x), {name: value.clone() for name, value in net.state_dict().items()}
    edit = ng.transfer.head(net, x, "fc", classes={0: 3, 1: "new", 2: 0})
    after = net(x)
    close(after[:, [0, 2]], before[:, [3, 0]])
    assert net.fc.out_features == net.norm.num_features == 3
    for name in ("fc.weight", "fc.bias", "temperature", "norm.running_mean"):
        torch.testing.assert_close(net.state_dict()[name][1], state[name].mean(0))
    assert "2 of 5 classes were kept and 1 are new, which start as the mean" in " ".join(edit.notes)
    assert re.search(
        r"outputs of kept classes differ by at most (0.0e\+00|\d.\de-0[78])", " ".join(edit.notes)
    )


@pytest.mark.parametrize("seed", range(8))
def test_any_mapping_keeps_outputs_bit_for_bit_and_is_undone_replayed_saved(seed: int, tmp_path: Any) -> None:
    rng = random.Random(seed)
    net, x = network(seed)
    kept = rng.sample(range(5), rng.randint(0, 5))
    classes: list[Any] = kept + ["new"] * rng.randint(0 if kept else 1, 3)
    rng.shuffle(classes)
    before, twin, fresh, old = net(x), copy.deepcopy(net), copy.deepcopy(net), snapshot(net)
    edit = ng.transfer.head(net, x, "fc", classes=classes, new=rng.choice(["mean", "zero"]))
    places = [place for place, each in enumerate(classes) if each != "new"]
    close(net(x)[:, places], before[:, [classes[place] for place in places]])
    ng.replay(twin, [edit])
    assert torch.equal(twin(x), net(x))
    ng.save(net, tmp_path / "net.safetensors")
    assert torch.equal(ng.load(fresh, tmp_path / "net.safetensors")(x), net(x))
    if edit:
        edit.undo()
    unchanged(net, old)


def test_nearest_takes_the_class_that_the_network_finds_in_the_examples() -> None:
    net, x = network()
    before = net(x)
    nearest = int(before[:2].softmax(1).mean(0).argmax())
    ng.transfer.head(net, x, "fc", classes=[1, "new"], new="nearest", examples={1: x[:2]})
    close(net(x)[:, 1], before[:, nearest])


def test_the_state_of_an_optimizer_follows_the_classes() -> None:
    net, x = network()
    optimizer = torch.optim.Adam(net.parameters())
    torch.autograd.backward(net(x).square().sum())
    optimizer.step()
    moment = optimizer.state[net.fc.weight]["exp_avg"].clone()
    ng.transfer.head(net, x, "fc", classes=[4, "new", 1], optimizer=optimizer)
    assert torch.equal(
        optimizer.state[net.fc.weight]["exp_avg"], torch.stack([moment[4], torch.zeros(6), moment[1]])
    )
    torch.autograd.backward(net(x).square().sum())
    optimizer.step()


@pytest.mark.parametrize(
    ("classes", "more", "message"),
    [
        ([1, 1, "new"], {}, "names the old class 1 more than once, for the new ones 0, 1"),
        ([5], {}, "an old class of 'fc' must be a whole number from 0 up to 4, not 5"),
        ([-1], {}, "must be a whole number from 0"),
        ({0: 1, 2: 3}, {}, "which are to be 0 to 1: 1 is not among them"),
        (["old"], {}, "says 'old': give the number of an old class, or \"new\""),
        ([], {}, "has no class"),
        (0, {}, "a number of classes must be a whole number from 1"),
        (2, {"new": "random"}, "new='random': give 'mean', 'nearest', 'zero'"),
        (2, {"new": "nearest"}, "takes examples= of each new class: none of 0, 1"),
        (2, {"examples": {0: 1}}, 'examples= are for new="nearest"'),
    ],
)
def test_what_is_no_mapping_is_refused_before_anything_changes(classes: Any, more: Any, message: str) -> None:
    net, x = network()
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.head(net, x, "fc", classes=classes, **more)
    unchanged(net, old)


class Viewed(nn.Module):
    """A head whose code says how many classes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 4) to (batch, 2, 3)."""
        out: Tensor = self.fc(x).view(-1, 2, 3)
        return out


def test_a_head_whose_size_the_code_says_is_refused() -> None:
    net, x = Viewed(), torch.randn(2, 4)
    with pytest.raises(ng.EditError, match="the neurons of 'fc'"):
        ng.transfer.head(net, x, "fc", classes=[1, 2])


def test_a_head_behind_a_pool_of_channels_that_come_last_in_memory() -> None:
    # On such tensors torch 2.13's AdaptiveAvgPool2d(1) changes the strides of its result in place.
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    before = net(x)
    ng.transfer.head(net, x, "3", classes=[4, "new", 0])
    close(net(x)[:, [0, 2]], before[:, [4, 0]])


class Counted(nn.Module):
    """A network that keeps the labels of its classes in a config, and their number."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.num_labels = len(config.id2label)
        self.body = nn.Linear(4, config.hidden)
        self.classifier = nn.Linear(config.hidden, self.num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 4) to (batch, labels)."""
        out: Tensor = self.classifier(self.body(x).relu())
        return out


def test_labels_in_a_config_follow_their_classes(tmp_path: Any) -> None:
    names = ["ant", "bee", "cat"]
    config = SimpleNamespace(
        hidden=6,
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
    )
    net, x = Counted(config), torch.randn(2, 4)
    twin = copy.deepcopy(net)
    edit = ng.transfer.head(net, x, "classifier", classes=[2, "new", 0, "new"], names={1: "dog"})
    assert net.config.id2label == {0: "cat", 1: "dog", 2: "ant", 3: "LABEL_3"}
    assert net.config.label2id == {"cat": 0, "dog": 1, "ant": 2, "LABEL_3": 3}
    assert net.num_labels == 4
    assert not any("config" in note for note in edit.notes)
    assert Counted(net.config)(x).shape == net(x).shape
    ng.replay(twin, [edit.to_json()])
    assert vars(twin.config) == vars(net.config)
    assert config.id2label == dict(enumerate(names))  # others may share the config
    edit.undo()
    assert net.config is config
    assert net.num_labels == 3
