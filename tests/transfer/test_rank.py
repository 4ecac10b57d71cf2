"""The rank of two linear layers in a row goes up and down; the oracle is numpy's decomposition."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError
from tests.machine.state import poisoned_memory
from tests.oracle import snapshot, unchanged


class Pair(nn.Module):
    """A layer, and beside it two of low rank with what is linear between them."""

    def __init__(self, between: Callable[[Tensor], Tensor] = lambda x: x, *, bias: bool = False) -> None:
        super().__init__()
        self.whole, self.drop = nn.Linear(7, 9), nn.Dropout(0.3)
        self.a, self.b, self.between = nn.Linear(7, 6, bias=bias), nn.Linear(6, 9, bias=False), between

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(x) + 2.0 * self.b(self.between(self.a(self.drop(x))))  # type: ignore[no-any-return]


def product(model: Any) -> Tensor:
    first = model.a.weight if model.a.bias is None else torch.cat([model.a.weight, model.a.bias[:, None]], 1)
    return (model.b.weight @ first).detach()  # type: ignore[no-any-return]


def made(**options: Any) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    return Pair(**options).double().eval(), torch.randn(5, 7).double()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_a_lower_rank_is_the_nearest(rank: int, bias: bool) -> None:
    model, x = made(bias=bias)
    before, state, out, other = product(model), snapshot(model), model(x), copy.deepcopy(model)
    with poisoned_memory():
        edit = ng.transfer.rank(model, x, {"a": rank})
    assert model.a.out_features == model.b.in_features == rank
    values = np.linalg.svd(before.numpy(), compute_uv=False)
    least = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
    error = float((product(model) - before).norm() / before.norm())
    assert error == pytest.approx(least, abs=1e-9)
    assert f"differs by {least:.2g} of its size: 6 neurons became {rank}" in edit.notes[-1]
    ng.replay(other, edit.to_json())
    assert torch.allclose(other(x), model(x), rtol=0, atol=1e-12)
    edit.undo()
    unchanged(model, state)
    assert torch.equal(model(x), out)


def test_a_higher_rank_keeps_the_function() -> None:
    model, x = made()
    before = model(x).detach()
    with poisoned_memory():
        edit = ng.transfer.rank(model, x, {"a": 10})
    assert edit.function_kept
    assert torch.allclose(model(x), before, rtol=0, atol=1e-12)
    assert model.a.out_features == 10


def test_what_has_no_effect_yet_can_learn() -> None:
    model, x = made()
    nn.init.zeros_(model.b.weight)
    before = model(x).detach()
    ng.transfer.rank(model, x, {"a": 3})
    assert torch.allclose(model(x), before, rtol=0, atol=1e-12)
    model(x).square().sum().backward()
    assert bool((model.b.weight.grad.norm(dim=0) > 0).all())


def test_convolutions() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 5, 1)).double()
    x = torch.randn(2, 3, 6, 6).double()
    whole = (model[1].weight[:, :, 0, 0] @ model[0].weight.flatten(1)).detach()
    ng.transfer.rank(model, x, {"0": 2})
    values = np.linalg.svd(whole.numpy(), compute_uv=False)
    now = (model[1].weight[:, :, 0, 0] @ model[0].weight.flatten(1)).detach()
    assert float((now - whole).norm()) == pytest.approx(float(np.sqrt((values[2:] ** 2).sum())), abs=1e-9)


@pytest.mark.parametrize(
    ("between", "vertex", "says"),
    [
        (torch.relu, "a", "relu at relu is between them"),
        (lambda x: x + 1.0, "a", "add at add is between them"),
        (lambda x: x.softmax(-1), "a", "enter a softmax at softmax|_softmax at softmax is between them"),
        (lambda x: x * x.sum(-1, keepdim=True), "a", "its neurons are summed over at sum, b"),
        (lambda x: x, "b", "cannot change|summed over at nowhere"),
    ],
)
def test_other_layers_are_refused(between: Callable[[Tensor], Tensor], vertex: str, says: str) -> None:
    model, x = made(between=between)
    state = snapshot(model)
    with pytest.raises(EditError, match=says):
        ng.transfer.rank(model, x, {vertex: 3})
    unchanged(model, state)


def test_nonsense() -> None:
    model, x = made()
    with pytest.raises(EditError, match="the rank of a must be a whole number from 1"):
        ng.transfer.rank(model, x, {"a": 0})


def test_a_network_without_an_example_is_told_how_to_call() -> None:
    with pytest.raises(EditError, match=r"its example, ng\.transfer\.rank\(model, x, \.\.\.\)"):
        ng.transfer.rank(made()[0], {"a": 3})
