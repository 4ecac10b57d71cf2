"""Numbers of heads are asked for as such, whatever the size of a head is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError


class Attention(nn.Module):
    """Queries that share keys and values, by torch's function or by hand."""

    def __init__(self, heads: int, shared: int, size: int, *, by_hand: bool) -> None:
        super().__init__()
        self.size, self.by_hand, self.times = size, by_hand, heads // shared
        self.q, self.k = nn.Linear(6, heads * size), nn.Linear(6, shared * size)
        self.v, self.out = nn.Linear(6, shared * size), nn.Linear(heads * size, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        if self.times > 1:
            k, v = k.repeat_interleave(self.times, 1), v.repeat_interleave(self.times, 1)
        if self.by_hand:
            mixed = (q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def made(heads: int, shared: int, *, by_hand: bool) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Attention(heads, shared, 3, by_hand=by_hand).double(), torch.randn(2, 5, 6).double()


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(("heads", "after"), [(2, 4), (4, 1), (3, 7)])
def test_heads_of_one_size(heads: int, after: int, by_hand: bool) -> None:
    model, x = made(heads, heads, by_hand=by_hand)
    before = model(x)
    edit = ng.resize(model, x, {"q": ng.heads(after)})
    sizes = [model.get_submodule(name).out_features for name in "qkv"]
    assert sizes == [3 * after] * 3
    assert edit.asked == {"q": (ng.heads(after),)}
    if after > heads:
        assert edit.function_kept
        assert torch.allclose(model(x), before, rtol=0, atol=1e-12)
    edit.undo()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("by_hand", [False, True])
def test_heads_that_share_keys(by_hand: bool) -> None:
    model, x = made(4, 2, by_hand=by_hand)
    before = model(x)
    edit = ng.resize(model, x, {"k": ng.heads(3)})
    sizes: list[Any] = [model.get_submodule(name).out_features for name in "qkv"]
    assert sizes == [18, 9, 9]
    assert torch.allclose(model(x), before, rtol=0, atol=1e-12)
    edit.undo()
    ng.resize(model, x, {"q": ng.heads(2)})
    assert [model.get_submodule(name).out_features for name in "qkv"] == [6, 3, 3]


@pytest.mark.parametrize(
    ("vertex", "asked", "says"),
    [
        ("out", ng.heads(2), "out has no heads whose number may change: its size 6 is"),
        ("q", ng.heads(0), "a number of heads must be a whole number from 1 up"),
    ],
)
def test_nonsense(vertex: str, asked: Any, says: str) -> None:
    model, x = made(2, 2, by_hand=False)
    before = model(x)
    with pytest.raises(EditError, match=says):
        ng.resize(model, x, {vertex: asked})
    assert torch.equal(model(x), before)
