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


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float64, torch.float16])
@pytest.mark.parametrize("change", [-3, 3])
def test_it_does_with_parameters_of_any_type(dtype: torch.dtype, change: int) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 8, dtype=dtype), torch.nn.Linear(8, 2, dtype=dtype))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    losses = [net(x).abs().sum()]
    losses[0].backward()
    edit = resize(capture(net, x), {"0": change})
    for size in (8 + change, 8):
        net.zero_grad()
        losses.append(net(x).abs().sum())
        losses[-1].backward()
        assert [p.grad is not None and p.grad.shape == p.shape for p in net.parameters()] == [True] * 4
        assert next(net.parameters()).shape == (size, 4)
        if size != 8:
            edit.undo()
