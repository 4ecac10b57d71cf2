"""Students whose branches end in more than a layer: layer scales, mixers, weights that lie the other way."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng


class Scaled(nn.Module):
    """A feed-forward branch, multiplied by a number for each channel."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
        )
        self.gamma = nn.Parameter(0.5 + torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gamma * self.down(F.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class ScaledConv(nn.Module):
    """A block of ConvNeXt: a depthwise convolution, two layers on channels that come last, a scale."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
        )
        self.gamma = nn.Parameter(0.5 + torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(F.gelu(self.up(self.norm(self.mix(x).permute(0, 2, 3, 1))))) * self.gamma
        return x + y.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """A block of MLP-Mixer: layers along tokens, then along channels."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(5, hidden), nn.Linear(hidden, 5)
        self.up2, self.down2 = nn.Linear(width, hidden + 2), nn.Linear(hidden + 2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.down(F.gelu(self.up(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        return x + self.down2(F.gelu(self.up2(self.norm2(x))))  # type: ignore[no-any-return]


class Turned(nn.Module):
    """A layer whose weight has its inputs first, as the Conv1D of GPT-2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = (
            nn.Parameter(0.3 * torch.randn(inputs, outputs)),
            nn.Parameter(torch.randn(outputs)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


class TurnedBlock(nn.Module):
    """A feed-forward branch of such layers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), Turned(width, hidden), Turned(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Blocks between a stem and a head."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(x))
        return self.head(x.mean((2, 3)) if x.dim() == 4 else x)  # type: ignore[no-any-return]


@dataclasses.dataclass
class Kind:
    """A kind of networks: its block, its stem, and the inputs it takes."""

    block: Callable[[int, int], nn.Module]
    stem: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def net(self, depth: int, hidden: int) -> Any:
        """A network of so many blocks, in eval mode."""
        return Stack(self.stem(), [self.block(8, hidden) for _ in range(depth)]).eval()


def _linear() -> nn.Module:
    return nn.Linear(6, 8)


KINDS = {
    "layer scale": Kind(Scaled, _linear, (128, 6)),
    "convolutions with layer scale": Kind(ScaledConv, lambda: nn.Conv2d(3, 8, 2, 2), (64, 3, 8, 8)),
    "mixer": Kind(Mixer, _linear, (64, 5, 6)),
    "inputs first": Kind(TurnedBlock, _linear, (64, 5, 6)),
}


@torch.no_grad()
def _padded(kind: Kind, small: Any, idle: tuple[int, ...], hidden: int) -> Any:
    """A network with idle blocks at some places and dead neurons, which computes what a smaller one does."""
    big, own = kind.net(len(small.blocks) + len(idle), hidden), iter(small.blocks)
    big.stem.load_state_dict(small.stem.state_dict())
    big.head.load_state_dict(small.head.state_dict())
    for place, block in enumerate(big.blocks):
        state = {} if place in idle else next(own).state_dict()
        for name, tensor in block.state_dict().items():
            if name.startswith("down"):
                tensor.zero_()
            if name in state:
                tensor[tuple(slice(0, size) for size in state[name].shape)] = state[name]
    return big


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("idle", [(1, 3), (0, 2), (0, 3)])
@pytest.mark.parametrize("depth", ["merge", "choose"])
def test_idle_blocks_and_dead_neurons_are_left_out_of(name: str, idle: tuple[int, ...], depth: str) -> None:
    torch.manual_seed(0)
    kind = KINDS[name]
    small, student, x = kind.net(2, 6), kind.net(2, 6), torch.randn(kind.shape)
    big = _padded(kind, small, idle, 9)
    before, teacher = copy.deepcopy(student.state_dict()), copy.deepcopy(big.state_dict())
    report = ng.transfer.student(student, big, x[:2], calibration=x, depth=depth)
    with torch.no_grad():
        assert float((big(x) - small(x)).norm() / small(x).norm()) < 1e-6  # so was it made
        assert float((student(x) - small(x)).norm() / small(x).norm()) < 1e-5
    stays = [f"blocks.{place}" for place in range(4) if place not in idle]
    assert [block.blocks for block in report.blocks if block.name.startswith("blocks")] == [
        (s,) for s in stays
    ]
    assert all(torch.equal(tensor, teacher[key]) for key, tensor in big.state_dict().items())
    report.undo()
    assert all(torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items())


@pytest.mark.parametrize("name", KINDS)
def test_blocks_that_all_do_something_are_no_worse_than_copies_of(name: str) -> None:
    torch.manual_seed(1)
    kind = KINDS[name]
    big, student, x = kind.net(4, 6), kind.net(2, 6), torch.randn(kind.shape)
    report = ng.transfer.student(student, big, x[:2], calibration=x)
    assert report.agreement is not None
    assert report.agreement >= report.steps[0].agreement


class ScaledLinear(nn.Module):
    """A linear branch of some rank, multiplied by a number for each channel."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 4), nn.Linear(4, 6)
        self.gamma = nn.Parameter(torch.randn(1, 6))
        with torch.no_grad():
            self.down.weight[:, rank:] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.up(x)) * self.gamma  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(4))
def test_scaled_linear_branches_merge_into_one_of_the_sum_of_their_ranks(seed: int) -> None:
    torch.manual_seed(seed)
    big = nn.Sequential(*[ScaledLinear(2) for _ in range(4)], nn.Linear(6, 3)).double()
    small = nn.Sequential(*[ScaledLinear(4) for _ in range(2)], nn.Linear(6, 3)).double()
    x = torch.randn(256, 6, dtype=torch.float64)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    assert [block.way for block in report.blocks[:2]] == ["merged", "merged"]
    with torch.no_grad():
        assert float((small(x) - big(x)).norm() / big(x).norm()) < 1e-3


def test_channels_that_a_scale_hides_are_not_solved_for() -> None:
    torch.manual_seed(4)
    big = nn.Sequential(*[ScaledLinear(2) for _ in range(4)], nn.Linear(6, 3)).double()
    small = nn.Sequential(*[ScaledLinear(4) for _ in range(2)], nn.Linear(6, 3)).double()
    blocks: list[Any] = list(big.children())[:-1]
    with torch.no_grad():
        for block in blocks:
            block.gamma[:, 2] = 0
    x = torch.randn(256, 6, dtype=torch.float64)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    assert {block.way for block in report.blocks[:2]} == {"copied"}
    assert all(bool(tensor.isfinite().all()) for tensor in small.state_dict().values())


@pytest.mark.parametrize("idle", [(1, 3), (0, 2)])
def test_layers_of_gpt_2_that_do_nothing_are_left_out(idle: tuple[int, ...]) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(2)
    sizes = {
        "n_embd": 16,
        "n_head": 2,
        "vocab_size": 40,
        "n_positions": 12,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    small, student, big = (
        transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=depth, **sizes)).eval()
        for depth in (2, 2, 4)
    )
    big.load_state_dict(
        {**big.state_dict(), **{k: v for k, v in small.state_dict().items() if ".h." not in k}}
    )
    own = iter(small.transformer.h)
    with torch.no_grad():
        for place, layer in enumerate(big.transformer.h):
            if place in idle:
                for part in (layer.attn.c_proj, layer.mlp.c_proj):
                    part.weight.zero_()
                    part.bias.zero_()
            else:
                layer.load_state_dict(next(own).state_dict())
    ids = torch.randint(0, 40, (64, 10))
    ng.transfer.student(
        student, big, kwargs={"input_ids": ids[:2], "use_cache": False}, calibration={"input_ids": ids}
    )
    with torch.no_grad():
        torch.testing.assert_close(student(ids).logits, small(ids).logits, rtol=1e-5, atol=1e-5)
