"""The branches that are found in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError
from naivegraph.prune.branches import chosen_branches, find_branches

X = torch.ones(1, 3, 8, 8)


class Residual(nn.Module):
    """`relu(shortcut(x) + branch(x))`; a stride makes the shortcut a layer, too."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)
        self.last = nn.Conv2d(outputs, outputs, 3, 1, 1)
        plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if plain else nn.Conv2d(inputs, outputs, 1, stride)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.last(F.relu(self.norm(self.first(x))))
        out: Tensor = self.shortcut(x) + self.drop(branch)
        return F.relu(out)


class Scale(nn.Module):
    """Layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Scaled(nn.Module):
    """A block of a vision transformer, with layer scale and a dropped path."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 16), nn.Linear(16, width)
        self.scale = Scale(width)
        self.path = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.path(self.attend(h, h, h, need_weights=False)[0])
        out: Tensor = x + self.path(self.scale(self.down(F.gelu(self.up(self.norm2(x))))))
        return out


class UsedElsewhere(nn.Module):
    """A block of whose branch something else is returned, too."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.one(x)
        return x + self.two(h).relu(), h


class TwoInputs(nn.Module):
    """A sum of what comes of one input and what comes of another: neither is to be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.one(x) + self.two(y)
        return out


class Measured(nn.Module):
    """A block of whose branch the code takes a size for what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        out: Tensor = (x + h.relu()).reshape(h.shape[0], -1)
        return out


class Multiplied(nn.Module):
    """A sum that multiplies its second summand: without the first it would be another function."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.one(x), x, alpha=2)


class Masked(nn.Module):
    """A branch into which a mask comes besides, made of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(10, 8), nn.Linear(8, 8)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x: Tensor = self.embed(tokens)
        bias = (1.0 - mask[:, None, :].float()) * -100.0
        scores = (x @ x.transpose(1, 2) + bias).softmax(-1)
        out: Tensor = x + self.mix(scores @ x)
        return out


def found(make: Callable[[], nn.Module], *args: Any) -> list[tuple[str, int]]:
    graph = ng.capture(make().eval(), args)
    return [(branch.total, branch.place) for branch in find_branches(graph.widths)]


def test_branches_of_residual_blocks() -> None:
    def make() -> nn.Module:
        return nn.Sequential(Residual(3, 4, 2), Residual(4, 4), Residual(4, 6, 2))

    # Both sides where the shortcut is a layer; the identity is none.
    assert found(make, X) == [("0.add", 0), ("0.add", 1), ("1.add", 1), ("2.add", 0), ("2.add", 1)]


def test_attention_and_layers_behind_scales() -> None:
    names = found(lambda: nn.Sequential(Scaled(), Scaled()), torch.ones(2, 3, 8))
    assert names == [("0.add", 1), ("0.add_1", 1), ("1.add", 1), ("1.add_1", 1)]


def test_a_mask_may_come_in_besides() -> None:
    tokens = torch.ones(1, 5, dtype=torch.long)
    assert found(Masked, tokens, tokens) == [("add_1", 1)]


@pytest.mark.parametrize("make", [UsedElsewhere, TwoInputs, Measured, Multiplied])
def test_what_others_need_stays(make: Callable[[], nn.Module]) -> None:
    x = torch.ones(2, 4)
    assert found(make, *([x, x] if make is TwoInputs else [x])) == []


def test_plain_networks_have_none() -> None:
    assert found(lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(1, 4)) == []


def test_those_that_are_named() -> None:
    net = nn.Sequential(Residual(3, 4, 2), Residual(4, 4), Residual(4, 4)).eval()
    widths = ng.capture(net, X).widths

    def names(depth: Any, keep: Any = ()) -> list[str]:
        return [branch.total for branch in chosen_branches(find_branches(widths), widths, depth, keep)]

    assert names(True) == ["0.add", "0.add", "1.add", "2.add"]
    assert names(["1", net[2]]) == ["1.add", "2.add"]
    assert names("[12]") == ["1.add", "2.add"]
    assert names("0.shortcut") == ["0.add"]
    assert names(True, keep="1.*") == ["0.add", "0.add", "2.add"]
    with pytest.raises(EditError, match=r"depth names '1.first', inside of which is no whole branch"):
        names("1.first")
    with pytest.raises(EditError, match="depth names 'nowhere', and no module"):
        names(["nowhere"])


def test_nothing_to_leave_out() -> None:
    widths = ng.capture(nn.Linear(4, 4), torch.ones(1, 4)).widths
    with pytest.raises(EditError, match="depth= finds nothing to leave out"):
        chosen_branches(find_branches(widths), widths, True, ())
