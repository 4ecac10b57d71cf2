"""Networks on the meta device, which have shapes but no values."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.widths import Widths


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.Flatten(), nn.Linear(192, 4)
    ).eval()


def later_is_better(widths: Widths) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return {width.name: np.arange(1.0, width.size + 1) for width in widths}


def test_shapes_follow_given_utilities_as_with_values() -> None:
    net, image = build(), torch.randn(2, 3, 8, 8)
    empty = copy.deepcopy(net).to("meta")
    edit = ng.prune(empty, image.to("meta"), macs=0.5, utility=ng.OfWidths(later_is_better))
    ng.prune(net, image, macs=0.5, utility=ng.OfWidths(later_is_better))
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    assert {name: value.shape for name, value in empty.state_dict().items()} == shapes
    assert shapes["0.weight"][0] < 8
    assert empty(image.to("meta")).shape == (2, 4)
    edit.undo()
    assert dict(empty.named_parameters())["0.weight"].shape == (8, 3, 3, 3)


def test_magnitudes_need_values() -> None:
    with pytest.raises(ng.EditError, match=r"meta device.*or give utility="):
        ng.prune(build().to("meta"), torch.empty(2, 3, 8, 8, device="meta"), macs=0.5)
