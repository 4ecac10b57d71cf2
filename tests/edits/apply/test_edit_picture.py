"""The picture of an edit."""

import copy
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import nn

import naivegraph as ng


def texts(picture: object) -> list[str]:
    root = ElementTree.fromstring(str(picture))
    return ["".join(each.itertext()) for each in root.iter() if each.tag.endswith(("}text", "}title"))]


def test_sizes_and_errors_are_shown(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(64, 4)
    edit = ng.prune(net, x[:1], macs=0.5, calibration=x)
    picture = edit.plot()
    found = texts(picture)
    assert "0: 8 before, 4 after" in found
    assert edit.refit is not None
    (layer,) = [each for each in edit.refit.layers if each.name == "2"]
    assert f"2: {layer.before:.1%} before, {layer.after:.1%} after" in found
    picture.save(tmp_path / "edit.svg")
    assert (tmp_path / "edit.svg").read_text(encoding="utf-8") == str(picture)


def test_without_a_refit_there_are_sizes_alone_and_of_many_those_that_change_most() -> None:
    layers = [nn.Linear(4, 4) for _ in range(100)]
    edit = ng.prune(nn.Sequential(*layers), torch.ones(1, 4), macs=0.7)
    found = texts(edit.plot())
    assert not any("error" in each for each in found)
    assert sum(" before, " in each for each in found) == 2 * min(len(edit.change.widths), 80)


def test_nothing_changed_is_said() -> None:
    net, x = nn.Linear(4, 2), torch.randn(64, 4)
    edit = ng.reconstruct(net, copy.deepcopy(net), x)
    assert texts(edit.plot()) == ["Nothing changed in size."]
