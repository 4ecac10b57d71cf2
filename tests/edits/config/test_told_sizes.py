"""Sizes that a network tells of itself: channels beside names of modules, features of a classifier."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng

X = torch.zeros(1, 3, 8, 8)


class Info:
    """Records of features, with those that are returned, as timm keeps them."""

    def __init__(self, info: list[dict[str, Any]], out: tuple[int, ...]) -> None:
        self.info, self.out = info, out

    def channels(self) -> list[int]:
        """The numbers of channels of what is returned."""
        return [self.info[place]["num_chs"] for place in self.out]


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, 2, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Head(nn.Module):
    """A classifier that makes itself anew, behind a hidden layer."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.in_features, self.hidden_size = features, hidden
        self.hidden, self.fc = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def reset(self, classes: int) -> None:
        """Make another layer."""
        self.fc = nn.Linear(self.hidden_size, classes)

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.hidden(x.mean((2, 3))).relu()
        return x if pre_logits else self.fc(x)


class Classifier(nn.Module):
    """A network with the attributes and methods that those of timm have."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.stem, self.stages = _stage(3, 8), nn.Sequential(_stage(8, 12), _stage(12, 16))
        self.head = Head(16, hidden, 10)
        self.num_classes, self.num_features, self.head_hidden_size = 10, 16, hidden
        self.feature_info = [
            {"num_chs": 8, "reduction": 2, "module": "stem"},
            {"num_chs": 12, "reduction": 4, "module": "stages.0"},
            {"num_chs": 12, "reduction": 4, "module": "stages.1.0", "hook_type": "forward_pre"},
            {"num_chs": 16, "reduction": 8, "module": "stages.1"},
        ]

    def reset_classifier(self, num_classes: int) -> None:
        """Give it other classes."""
        self.num_classes = num_classes
        self.head.reset(num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map of features."""
        return self.stages(self.stem(x))  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.forward_features(x))  # type: ignore[no-any-return]


class Features(nn.ModuleDict):
    """A network of the stages of another one, by names without dots, that returns two of its maps."""

    def __init__(self) -> None:
        super().__init__()
        base = Classifier()
        self.feature_info = Info([dict(one) for one in base.feature_info], (1, 3))
        self.update({"stem": base.stem, "stages_0": base.stages[0], "stages_1": base.stages[1]})

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = self["stages_0"](self["stem"](x))
        return [first, self["stages_1"](first)]


def _channels(net: Classifier, x: torch.Tensor = X) -> list[int]:
    """The channels of the maps that are told of, as hooks see them."""
    seen: list[int] = []

    def after(module: nn.Module, given: Any, out: torch.Tensor) -> None:
        """Note the channels that come out."""
        seen.append(out.shape[1])

    def before(module: nn.Module, given: Any) -> None:
        """Note the channels that go in."""
        seen.append(given[0].shape[1])

    stages: Any = net.stages
    hooks = [
        net.stem.register_forward_hook(after),
        stages[0].register_forward_hook(after),
        stages[1][0].register_forward_pre_hook(before),
        stages[1].register_forward_hook(after),
    ]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def _told(net: Any) -> tuple[Any, ...]:
    records = [dict(one) for one in net.feature_info]
    return net.num_features, net.head_hidden_size, net.head.in_features, net.head.hidden_size, records


def test_channels_and_features_follow_a_prune_and_come_back() -> None:
    torch.manual_seed(0)
    net: Any = Classifier().eval()
    before, fresh, pretrained = _told(net), copy.deepcopy(net), {"num_classes": 10}
    net.pretrained_cfg = pretrained
    edit = ng.prune(net, X, ratio=0.5)
    assert edit.notes == ()
    assert [one["num_chs"] for one in net.feature_info] == _channels(net) == [4, 6, 6, 8]
    assert [one["reduction"] for one in net.feature_info] == [2, 4, 4, 8]
    features = net.forward_features(X)
    assert (net.num_features, net.head.in_features) == (features.shape[1], features.shape[1])
    assert net.head_hidden_size == net.head(features, pre_logits=True).shape[1] == 12
    assert net.pretrained_cfg is pretrained
    assert pretrained == {"num_classes": 10}
    ng.replay(fresh, edit.to_json())
    assert _told(fresh) == _told(net)
    fresh.reset_classifier(5)
    assert fresh(X).shape == (1, 5)
    edit.undo()
    assert _told(net) == before


def test_growth_and_the_features_that_a_network_returns_are_told() -> None:
    torch.manual_seed(1)
    net = Features().eval()
    info, graph = net.feature_info, ng.capture(net, X)
    edit = ng.resize(graph, {"stages_0.0": 20, "stages_1.0": -9})
    assert net.feature_info.channels() == [out.shape[1] for out in net(X)] == [32, 7]
    assert info.channels() == [12, 16]  # which others may share
    edit.undo()
    assert net.feature_info is info


def test_a_part_of_a_network_tells_its_sizes() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), Classifier()).eval()
    ng.prune(net, X, ratio=0.5)
    part: Any = net[1]
    part.reset_classifier(4)
    assert net(X).shape == (1, 4)
    x = net[0](X)
    assert [one["num_chs"] for one in part.feature_info] == _channels(part, x)
    assert part.num_features == part.forward_features(x).shape[1] == 8


def test_two_entries_that_may_be_channels_are_left_with_a_note() -> None:
    net = Classifier().eval()
    net.feature_info = [{"num_chs": 12, "reduction": 12, "module": "stages.0"}]
    edit = ng.prune(net, X, ratio=0.5)
    assert net.feature_info == [{"num_chs": 12, "reduction": 12, "module": "stages.0"}]
    (note,) = edit.notes
    assert "feature_info does not follow, as 'num_chs' and 'reduction' are each the channels" in note


def test_records_that_tell_another_size_are_left_with_a_note() -> None:
    net = Classifier().eval()
    net.feature_info[3]["num_chs"] = 99
    (note,) = ng.prune(net, X, ratio=0.5).notes
    assert "feature_info does not follow, as it does not tell the channels of every module" in note
    assert [one["num_chs"] for one in net.feature_info] == [8, 12, 12, 99]


def test_lists_of_other_dicts_are_no_matter() -> None:
    net: Any = Classifier().eval()
    plan = [{"module": "stem", "epochs": 3}, {"module": "stages.0", "epochs": 5}]
    net.freezing = plan
    assert ng.prune(net, X, ratio=0.5).notes == ()
    assert net.freezing is plan


class Written(Classifier):
    """A network whose new classifier has a number of features that is written in the code."""

    def reset_classifier(self, num_classes: int) -> None:
        """Give it other classes."""
        self.head.fc = nn.Linear(24, num_classes)


class Mean(Classifier):
    """A network whose map of features comes from no module."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map of features."""
        return self.stages(self.stem(x)) * 2  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Written, "reset_classifier would not build head.fc.weight for the 12 features that there are now"),
        (Mean, "num_features stays as it is: it is not known which size it tells"),
    ],
)
def test_numbers_that_cannot_follow_are_in_a_note(kind: type[Classifier], message: str) -> None:
    (note,) = ng.prune(kind().eval(), X, ratio=0.5).notes
    assert message in note


def test_there_is_no_note_on_a_number_that_no_changed_size_has() -> None:
    assert ng.resize(ng.capture(Mean().eval(), X), {"stem.0": 6}).notes == ()


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "efficientnet_lite0"]
)
def test_networks_of_timm_tell_their_sizes(name: str) -> None:
    pytest.importorskip("timm")
    create, x = importlib.import_module("timm").create_model, torch.randn(1, 3, 64, 64)
    net = create(name).eval()
    ng.prune(net, x, ratio=0.5)
    with torch.no_grad():
        features = net.forward_features(x)
        assert net.num_features == features.shape[1]
        assert net.head_hidden_size == net.forward_head(features, pre_logits=True).shape[1]
        net.reset_classifier(7)
        assert net(x).shape == (1, 7)
        net = create(name, features_only=True).eval()
        graph = ng.capture(net, x)
        last = graph.vertices[-1].name
        ng.resize(graph, {last: 8})
        assert net.feature_info.channels() == [out.shape[1] for out in net(x)]
