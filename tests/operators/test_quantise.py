"""Networks prepared for quantisation-aware training lose neurons with the numbers of these."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import naivegraph as ng


class Net(nn.Module):
    """Two convolutions and a head, between the marks of what is quantised."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = quantization.QuantStub(), quantization.DeQuantStub()
        self.one, self.two, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.two(torch.relu(self.one(self.enter(x)))))
        found: Tensor = self.leave(self.head(x.mean((2, 3))))
        return found


@pytest.mark.filterwarnings("ignore")
def test_dead_neurons_go_with_their_steps_and_ranges() -> None:
    torch.manual_seed(0)
    net, image = Net().train(), torch.randn(2, 3, 8, 8)
    aware: Any = quantization  # which has no types
    net.qconfig = aware.get_default_qat_qconfig("fbgemm")
    aware.prepare_qat(net, inplace=True)
    dead = torch.arange(16) % 2 == 1
    with torch.no_grad():
        net.one.weight[dead] = 0
        net.one.bias[dead] = 0  # type: ignore[index]
    for _ in range(3):
        net(image)
    net.apply(aware.disable_observer)
    net.eval()
    before = net(image)
    edit = ng.resize(net, image, {"one.conv2d": -8})
    assert edit
    quantised: Any = net.one.weight_fake_quant
    assert net.one.out_channels == 8
    assert {tuple(each.shape) for each in (quantised.scale, quantised.zero_point)} == {(8,)}
    torch.testing.assert_close(net(image), before)
    edit.undo()
    torch.testing.assert_close(net(image), before)
