"""Edited networks of many families, saved and opened again: the outputs are those from before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, outputs
from tests.hf.fresh_process import opened_elsewhere


@pytest.mark.parametrize("name", FAMILIES)
def test_the_network_is_the_same_after_a_round_trip(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = family.build()
    edit = ng.prune(model, (), family.example, params=0.65)
    before = outputs(model, family.example)
    hf.save_pretrained(model, tmp_path, edit=edit)
    opened = family.open(tmp_path)
    assert type(opened) is type(model)
    assert not opened.training
    assert torch.equal(outputs(opened, family.example), before)
    assert sum(p.numel() for p in opened.parameters()) <= 0.65 * edit.before.params
    assert not list(tmp_path.glob("*.bin"))
    assert not list(tmp_path.glob("*.py"))


def test_a_fresh_process_opens_the_folders_and_without_the_import_it_fails_loudly(tmp_path: Path) -> None:
    expected, folders = {}, {}
    narrower = {
        "Llama": "model.layers.0.mlp.gate_proj",
        "BERT": "bert.encoder.layer.0.intermediate.dense",
        "ViT": "vit.layers.0.mlp.fc1",
    }
    for name, layer in narrower.items():
        family = FAMILIES[name]
        model = family.build()
        ng.resize(model, (), {layer: -20}, kwargs=family.example)
        folders[name] = str(tmp_path / name)
        hf.save_pretrained(model, folders[name])
        expected[name] = outputs(model, family.example)
    for name, told in opened_elsewhere(folders, naivegraph=True).items():
        assert isinstance(told, list), told
        kind, values = told
        assert kind == FAMILIES[name].kind
        assert torch.allclose(torch.tensor(values), expected[name], rtol=0, atol=1e-6)
    for told in opened_elsewhere(folders, naivegraph=False).values():
        assert "has model type `naivegraph` but Transformers does not recognize" in told
