"""Parameters that a block writes into are put back only where a forward is known to write into them."""

from __future__ import annotations

import torch
from torch import nn

from naivegraph.graph.torch_utils.preserve_state import preserved


class Halved(nn.Linear):
    """A layer that writes into its weight."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Halve and apply."""
        with torch.no_grad():
            self.weight.mul_(0.5)
        return super().forward(input)


def _watched(net: nn.Module, x: torch.Tensor) -> None:
    with preserved(net, watch=True):
        net(x)


def test_a_block_that_is_not_watched_restores_what_a_watched_one_saw_written() -> None:
    layer, x = Halved(3, 3), torch.randn(2, 3)
    before = layer.weight.clone()
    _watched(nn.Sequential(layer, nn.ReLU()), x)
    deeper = nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 2))
    with preserved(deeper):
        deeper(x)
    assert torch.equal(layer.weight, before)


def test_parameters_of_the_same_name_in_modules_of_other_classes_are_left_alone() -> None:
    _watched(nn.Sequential(Halved(3, 3), nn.Sequential(Halved(3, 3))), torch.randn(2, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3)))
    with preserved(net), torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.0)
    assert all(not parameter.any() for parameter in net.parameters())


def test_spared_parameters_keep_what_the_block_gives_them() -> None:
    layer = Halved(3, 3)
    net = nn.Sequential(layer)
    _watched(net, torch.randn(2, 3))
    with preserved(net, spared=[layer.weight]), torch.no_grad():
        layer.weight.zero_()
    assert not layer.weight.any()
