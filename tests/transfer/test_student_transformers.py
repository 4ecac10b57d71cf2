"""Students that are transformers, and chains without residual sums."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.transfer.student_transformers import Decoder, Encoder


def _idle(model: Any) -> None:
    """Let every second layer do nothing."""
    for layer in list(model.layers)[1::2]:
        for part in (layer.out, layer.down):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)


def _relative(small: nn.Module, big: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((small(x) - big(x)).norm() / big(x).norm())


def _inputs(decoder: bool) -> torch.Tensor:
    return torch.randint(0, 20, (64, 7)) if decoder else torch.randn(64, 5, 6)


@pytest.mark.parametrize("decoder", [False, True])
def test_layers_that_do_nothing_are_merged_or_left_out_exactly(decoder: bool) -> None:
    torch.manual_seed(0)
    kind: Any = Decoder if decoder else Encoder
    small, big, x = kind(2).eval(), kind(4).eval(), _inputs(decoder)
    _idle(big)
    depth = {"layers.0": ["layers.0"], "layers.1": ["layers.2"]}
    ng.transfer.student(small, big, x[:2], depth=depth)
    assert _relative(small, big, x) < 1e-6
    for way in ("merge", "choose"):
        report = ng.transfer.student(small, big, x[:2], calibration=x, depth=way)
        assert _relative(small, big, x) < 2e-2
        assert report.agreement is not None
        assert report.agreement > 0.999


def test_merged_heads_are_taken_whole_from_the_layers() -> None:
    torch.manual_seed(1)
    small, big, x = Encoder(1).eval(), Encoder(2).eval(), _inputs(False)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    (heads,) = [found for block in report.blocks for found in block.chosen if found.branch.endswith("out")]
    layers: Any = big.layers
    mine: Any = small.layers[0]
    for name in ("query", "key", "value"):
        wanted = torch.cat(
            [
                getattr(layers[number], name).weight[4 * neuron : 4 * neuron + 4]
                for number, neuron in zip(heads.blocks, heads.neurons, strict=True)
            ]
        )
        assert torch.equal(getattr(mine, name).weight, wanted)


@pytest.mark.parametrize("post", [False, True])
def test_fewer_heads_and_channels_agree_better_after_the_refit(post: bool) -> None:
    torch.manual_seed(2)
    small = Encoder(2, width=8, heads=2, hidden=10, post=post).eval()
    big, x = Encoder(2, post=post).eval(), _inputs(False)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    chosen, refitted = report.steps[:2]
    assert refitted.agreement > chosen.agreement
    assert {width.of for width in report.widths} == {12, 16}


def _chain(sizes: list[tuple[int, bool]]) -> nn.Sequential:
    """Convolutions with batch norms, pools behind some of them, and a layer of 5 outputs."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, pool in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 4 * inputs, 5)).eval()


def test_a_chain_loses_neurons_and_layers() -> None:
    torch.manual_seed(3)
    x = torch.randn(64, 3, 16, 16)
    big = _chain([(8, False), (8, True), (12, False), (12, True)])
    equal = _chain([(8, False), (8, True), (12, False), (12, True)])
    ng.transfer.student(equal, big, x[:2])
    assert _relative(equal, big, x) == 0
    report = ng.transfer.student(_chain([(8, True), (12, True)]), big, x[:2], calibration=x)
    assert report.agreement is not None
    assert report.agreement == max(step.agreement for step in report.steps)
    narrow = _chain([(6, False), (6, True), (8, False), (8, True)])
    report = ng.transfer.student(narrow, big, x[:2], calibration=x)
    assert report.steps[1].agreement >= report.steps[0].agreement


def test_a_llama_with_grouped_queries_loses_idle_layers_exactly() -> None:
    transformers = pytest.importorskip("transformers")

    def llama(depth: int) -> Any:
        """Make one with two heads to each group of keys and values."""
        sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": depth}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "use_cache": False}
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).eval()

    torch.manual_seed(4)
    small, big, ids = llama(1), llama(2), torch.randint(0, 30, (64, 6))
    idle = big.model.layers[1]
    nn.init.zeros_(idle.self_attn.o_proj.weight)
    nn.init.zeros_(idle.mlp.down_proj.weight)
    report = ng.transfer.student(small, big, kwargs={"input_ids": ids[:2]}, calibration={"input_ids": ids})
    with torch.no_grad():
        mine, theirs = small(input_ids=ids).logits, big(input_ids=ids).logits
    assert float((mine - theirs).norm() / theirs.norm()) < 2e-2
    assert [block.upto for block in report.blocks[:1]] == [("model.layers.0", "model.layers.1")]


def test_blocks_without_layers_to_solve_for_are_copied_with_a_note() -> None:
    class Scaled(nn.Module):
        """A residual block whose branch ends in a scale."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 4), nn.Parameter(torch.randn(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + torch.tanh(self.layer(x)) * self.scale).tanh()

    torch.manual_seed(5)
    small, big = (nn.ModuleList([Scaled() for _ in range(depth)]) for depth in (2, 4))
    first, second = nn.Sequential(*small), nn.Sequential(*big)
    x = torch.randn(64, 4)
    report = ng.transfer.student(first, second, x[:2], calibration=x, depth="choose")
    assert report.agreement is not None
    assert report.agreement == max(step.agreement for step in report.steps)
