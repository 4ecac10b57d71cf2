"""Life of a network that was opened again: generation, further edits, saving by transformers, training."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, TEXT, outputs

LLAMA = FAMILIES["Llama"]
BERT = FAMILIES["BERT"]


def pruned(folder: Path, **more: Any) -> Any:
    """A Llama with one narrower layer, which its config cannot say, saved in a folder."""
    model = LLAMA.build(**more)
    ng.resize(model, (), {"model.layers.0.mlp.gate_proj": -20}, kwargs=TEXT)
    hf.save_pretrained(model, folder)
    return model


def test_generation_gives_the_same_tokens(tmp_path: Path) -> None:
    model = pruned(tmp_path)
    asked = {"max_new_tokens": 12, "do_sample": False, "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    opened = LLAMA.open(tmp_path)
    assert torch.equal(opened.generate(**TEXT, **asked), model.generate(**TEXT, **asked))


def test_it_is_edited_and_saved_again_by_this_package_or_by_transformers(tmp_path: Path) -> None:
    pruned(tmp_path / "once")
    opened = LLAMA.open(tmp_path / "once")
    ng.resize(opened, (), {"model.layers.1.mlp.gate_proj": -4}, kwargs=TEXT)
    hf.save_pretrained(opened, tmp_path / "ours")
    opened.save_pretrained(tmp_path / "theirs")
    copy.deepcopy(LLAMA.open(tmp_path / "theirs")).save_pretrained(tmp_path / "copied")
    texts = [(tmp_path / name / "config.json").read_text() for name in ("ours", "theirs", "copied")]
    assert len({*texts}) == 1
    assert len(json.loads(texts[0])["naivegraph"]["edits"]) == 2
    for name in ("ours", "theirs", "copied"):
        assert torch.equal(outputs(LLAMA.open(tmp_path / name), TEXT), outputs(opened, TEXT))


def test_bfloat16_and_other_dtypes(tmp_path: Path) -> None:
    model = LLAMA.build().to(torch.bfloat16)
    ng.prune(model, (), TEXT, params=0.65)
    hf.save_pretrained(model, tmp_path)
    opened = LLAMA.open(tmp_path)
    assert opened.dtype == torch.bfloat16
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))
    full = LLAMA.open(tmp_path, dtype=torch.float32)
    assert full.dtype == full.model.rotary_emb.inv_freq.dtype == torch.float32


def test_shards_replace_what_was_in_the_folder(tmp_path: Path) -> None:
    pruned(tmp_path)
    model = LLAMA.open(tmp_path)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    hf.save_pretrained(model, tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(outputs(LLAMA.open(tmp_path), TEXT), outputs(model, TEXT))
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    hf.save_pretrained(model, tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    assert torch.equal(outputs(LLAMA.open(tmp_path), TEXT), outputs(model, TEXT))


def test_a_device_map_and_information_on_loading(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = pruned(tmp_path)
    places = {f"model.{name}": "cpu" for name in ("embed_tokens", "norm", "rotary_emb", "layers.0")}
    places |= {"lm_head": "cpu", "model.layers.1": "disk"}
    placed = LLAMA.open(tmp_path, device_map=places, offload_folder=tmp_path / "disk")
    assert torch.equal(outputs(placed, TEXT), outputs(model, TEXT))
    _, told = LLAMA.open(tmp_path, output_loading_info=True)
    assert not any(told.values())


def test_all_auto_classes_and_heads_that_fit(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    model = pruned(tmp_path / "llama")
    body = library.AutoModel.from_pretrained(tmp_path / "llama")
    assert type(body) is library.LlamaModel
    assert torch.equal(body(**TEXT).last_hidden_state, model.model(**TEXT).last_hidden_state)
    bert = FAMILIES["BERT, no head"].build()
    ng.prune(bert, (), TEXT, params=0.65)
    hf.save_pretrained(bert, tmp_path / "bert")
    opened, told = library.AutoModelForTokenClassification.from_pretrained(
        tmp_path / "bert", num_labels=5, output_loading_info=True
    )
    assert told["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert opened(**TEXT).logits.shape == (2, 8, 5)
    assert torch.equal(opened.bert(**TEXT).last_hidden_state, bert(**TEXT).last_hidden_state)


def test_another_number_of_classes(tmp_path: Path) -> None:
    model = BERT.build()
    ng.prune(model, (), TEXT, params=0.65)
    hf.save_pretrained(model, tmp_path)
    opened = BERT.open(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert opened(**TEXT).logits.shape == (2, 5)
    body = opened.bert(**TEXT).last_hidden_state
    assert torch.equal(body, model.bert(**TEXT).last_hidden_state)
    model.classifier = nn.Linear(model.classifier.in_features, 7)
    model.config.num_labels = 7
    hf.save_pretrained(model, tmp_path)
    assert torch.equal(outputs(BERT.open(tmp_path), TEXT), outputs(model, TEXT))


def test_a_vocabulary_of_another_size(tmp_path: Path) -> None:
    pruned(tmp_path)
    model = LLAMA.open(tmp_path)
    model.resize_token_embeddings(100)
    hf.save_pretrained(model, tmp_path)
    opened = LLAMA.open(tmp_path)
    assert opened.config.vocab_size == 100
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))


def test_layers_that_were_left_out_and_neurons_that_were_added(tmp_path: Path) -> None:
    model = LLAMA.build(num_hidden_layers=4)
    edit = ng.prune(model, (), TEXT, params=0.6, depth=True)
    assert edit.dropped
    graph = ng.capture(model, (), TEXT)
    left = next(vertex.name for vertex in graph.vertices if vertex.name.endswith("mlp.gate_proj"))
    ng.resize(graph, {left: +3})
    hf.save_pretrained(model, tmp_path)
    assert torch.equal(outputs(LLAMA.open(tmp_path), TEXT), outputs(model, TEXT))


def test_the_config_is_that_of_the_family_and_can_be_copied(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    model = pruned(tmp_path)
    config = library.AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, library.LlamaConfig)
    assert config.to_dict() == {**model.config.to_dict(), "_name_or_path": str(tmp_path)}
    assert "with 1 edits" in repr(config)
    for other in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config
        assert other.to_json_string() == config.to_json_string()
    blank = library.AutoModelForCausalLM.from_config(config)
    shapes = {name: tensor.shape for name, tensor in blank.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_the_trainer_trains_it_and_its_checkpoints_open(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    pytest.importorskip("accelerate")
    model = BERT.build()
    ng.prune(model, (), TEXT, params=0.65)
    hf.save_pretrained(model, tmp_path / "start")
    opened = BERT.open(tmp_path / "start")
    rows = [{"input_ids": torch.arange(3, 11) + at, "labels": at % 2} for at in range(8)]
    told = library.TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=4, save_steps=2,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    library.Trainer(model=opened, args=told, train_dataset=rows).train()
    trained = BERT.open(tmp_path / "run" / "checkpoint-2")
    opened.eval()
    assert torch.equal(outputs(trained, TEXT), outputs(opened, TEXT))
    assert not torch.equal(outputs(trained, TEXT), outputs(model, TEXT))


def test_classes_and_labels_that_an_edit_changed(tmp_path: Path) -> None:
    names = {0: "ant", 1: "bee", 2: "cat"}
    model = BERT.build(id2label=names, label2id={name: place for place, name in names.items()})
    ng.transfer.head(model, (), "classifier", {0: 2, 1: "new", 2: 0, 3: "new"}, kwargs=TEXT)
    ng.prune(model, (), TEXT, params=0.7)
    hf.save_pretrained(model, tmp_path)
    opened = BERT.open(tmp_path)
    assert opened.config.id2label == model.config.id2label
    assert opened.config.id2label[0] == "cat"
    assert opened.config.label2id == model.config.label2id
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))


def test_a_stream_that_grew_through_its_norms(tmp_path: Path) -> None:
    model = LLAMA.build()
    before = outputs(model, TEXT)
    ng.resize(model, (), {"model.embed_tokens": +4}, kwargs=TEXT)
    hf.save_pretrained(model, tmp_path)
    opened = LLAMA.open(tmp_path)
    assert opened.model.embed_tokens.weight.shape == (90, 36)
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))
    assert torch.allclose(outputs(opened, TEXT), before, atol=1e-4)
