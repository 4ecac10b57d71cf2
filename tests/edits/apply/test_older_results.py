"""Results of before an edit that are still alive do not get in the way of training after it."""

import pytest
import torch

from naivegraph.edits.resize import resize
from naivegraph.network import capture


@pytest.mark.parametrize("change", [-3, 3])
def test_training_goes_on_while_an_older_loss_is_alive(change: int) -> None:
    first, last = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)
    net = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    losses = [net(x).square().mean()]
    losses[0].backward()
    edit = resize(capture(net, x), {"0": change})
    net.zero_grad()
    losses.append(net(x).square().mean())
    losses[1].backward()
    assert first.weight.grad is not None
    assert first.weight.grad.shape == (8 + change, 4)
    assert first.weight.grad.abs().sum() > 0
    edit.undo()
    net.zero_grad()
    losses.append(net(x).square().mean())
    losses[2].backward()
    assert last.weight.grad is not None
    assert last.weight.grad.shape == (2, 8)
    assert torch.equal(losses[2], losses[0])
