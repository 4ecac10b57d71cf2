"""Folders that plain transformers opens, as the config alone says the sizes."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, TEXT, Family, outputs

LLAMA = FAMILIES["Llama"]


def test_a_config_that_followed_is_written_with_the_edits_beside(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    model = LLAMA.build()
    config = model.config
    edit = ng.prune(model, (), TEXT, ratio=0.5)
    hf.save_pretrained(model, tmp_path, edit=edit)
    assert model.config is not config  # which the edit replaced
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["model_type"] == "llama"
    assert told["naivegraph"]["config"]["hidden_size"] == 32
    assert len(told["naivegraph"]["edits"]) == 1
    opened = library.LlamaForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))
    assert "import naivegraph.hf" not in (tmp_path / "README.md").read_text()
    ng.resize(opened, (), {"model.layers.1.mlp.gate_proj": -4}, kwargs=TEXT)
    hf.save_pretrained(opened, tmp_path / "again")
    assert torch.equal(outputs(LLAMA.open(tmp_path / "again"), TEXT), outputs(opened, TEXT))


def test_numbers_for_layers_of_their_own_where_the_family_reads_them(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    name = "transformers.models.step3p7.modeling_step3p7"
    if importlib.util.find_spec("transformers.models.step3p7") is None:
        pytest.skip("this version of transformers has no such family")
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 48, "vocab_size": 90, "head_dim": 8, "sliding_window": 16,
    }  # fmt: skip
    kind = importlib.import_module(name).Step3p7TextModel
    config = importlib.import_module(name.replace("modeling", "configuration")).Step3p7TextConfig
    torch.manual_seed(0)
    model = kind(config(**sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ng.resize(model, (), {"layers.1.self_attn.q_proj": ng.heads(2)}, kwargs=TEXT)
    hf.save_pretrained(model, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["per_layer_config"]["1"]["num_attention_heads"] == 2
    opened = kind.from_pretrained(tmp_path)
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))
    assert library.AutoConfig.from_pretrained(tmp_path).model_type == model.config.model_type


@pytest.mark.parametrize(
    ("name", "layer"),
    [("Llama", "model.layers.0.mlp.gate_proj"), ("GPT-2", "transformer.h.0.mlp.c_fc.addmm")],
)
def test_no_other_family_takes_them(name: str, layer: str, tmp_path: Path) -> None:
    family: Family = FAMILIES[name]
    model = family.build()
    ng.resize(model, (), {layer: -20}, kwargs=family.example)
    hf.save_pretrained(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "naivegraph"
    assert torch.equal(outputs(family.open(tmp_path), family.example), outputs(model, family.example))
