"""Pruning to sizes that a config can say: the folders open without this package."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import naivegraph as ng
from tests.hf.families import FAMILIES, outputs
from tests.hf.fresh_process import opened_elsewhere


def test_plain_transformers_opens_them_and_gets_the_same_outputs(tmp_path: Path) -> None:
    expected, folders = {}, {}
    for name in ("Qwen2", "BERT", "GPT-2", "ViT"):
        family = FAMILIES[name]
        model = family.build()
        edit = ng.prune(model, (), family.example, params=0.5, uniform=True)
        assert edit.after.params <= 0.5 * edit.before.params
        folders[name] = str(tmp_path / name)
        model.save_pretrained(folders[name])
        expected[name] = outputs(model, family.example)
    for name, told in opened_elsewhere(folders, naivegraph=False).items():
        assert isinstance(told, list), told
        kind, values = told
        assert kind == FAMILIES[name].kind
        assert torch.allclose(torch.tensor(values), expected[name], rtol=0, atol=1e-6)


def test_widths_that_the_config_cannot_say_alone_shrink_together_and_notes_say_so() -> None:
    family = FAMILIES["ViT"]
    model = family.build(intermediate_size=256)
    edit = ng.prune(model, (), family.example, params=0.4, uniform=True)
    assert 0.39 * edit.before.params < edit.after.params <= 0.4 * edit.before.params
    hidden, heads = model.config.hidden_size, model.config.num_attention_heads
    assert hidden == 8 * heads <= 32
    assert any("q_proj (4) keep the same share of their sizes" in note for note in edit.notes)


def test_an_error_names_the_rule_of_the_config() -> None:
    # Gemma multiplies its embeddings by the root of their size.
    family = FAMILIES["Gemma"]
    model = family.build(vocab_size=900)
    with pytest.raises(
        ng.InfeasibleError, match=r"hidden_size would have to be 16 for .* and 32 for .*scale"
    ):
        ng.prune(model, (), family.example, params=0.2, uniform=True)
    assert model.config.hidden_size == 32


def test_a_config_is_not_given_numbers_that_its_own_check_refuses() -> None:
    family = FAMILIES["ViT"]

    def refuse(config: Any) -> None:
        if config.intermediate_size % 16:
            raise ValueError(f"intermediate_size is {config.intermediate_size}, no multiple of 16")

    model = family.build()
    kind = type(model.config)
    own = {"validate": refuse, "__module__": kind.__module__}
    model.config.__class__ = type(kind.__name__, (kind,), own)
    edit = ng.prune(model, (), family.example, ratio={"vit.layers.*.mlp.fc1": 0.5})
    assert "intermediate_size is 24, no multiple of 16" in " ".join(edit.notes), edit
    assert model.config.intermediate_size == 48


def test_buffers_of_other_values_are_seen() -> None:
    class Angles(torch.nn.Module):
        """A layer with a buffer whose values depend on a number of the config, and its shape does not."""

        def __init__(self, config: Any) -> None:
            super().__init__()
            self.config = config
            self.up = torch.nn.Linear(4, config.hidden)
            self.down = torch.nn.Linear(config.hidden, 4)
            self.register_buffer("angles", torch.arange(4) / config.hidden, persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Return a tensor of the same shape."""
            out: torch.Tensor = self.down(self.up(x).relu()) * self.angles
            return out

    @dataclasses.dataclass
    class Sizes:
        hidden: int = 16

    model = Angles(Sizes()).eval()
    edit = ng.prune(model, torch.ones(1, 4), macs=0.5)
    assert any("angles, which is worked out from it, would have other values" in note for note in edit.notes)
    assert model.config.hidden == 16
