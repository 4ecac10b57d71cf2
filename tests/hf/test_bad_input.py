"""Bad input of `naivegraph.hf`: errors before anything is written, and folders that cannot be opened."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
import naivegraph.hf as hf
from naivegraph.hf.library import library
from tests.hf.families import FAMILIES, TEXT

LLAMA = FAMILIES["Llama"]
BERT = FAMILIES["BERT"]


def pruned(folder: Path | None = None) -> Any:
    model = BERT.build()
    ng.resize(model, (), {"bert.encoder.layer.0.intermediate.dense": -20}, kwargs=TEXT)
    if folder is not None:
        hf.save_pretrained(model, folder)
    return model


@pytest.mark.parametrize(
    ("what", "message"),
    [(nn.Linear(2, 3), "Linear is none: ng.save saves any network"), (None, "a torch.nn.Module or a graph")],
)
def test_other_things_than_networks_of_transformers(what: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ng.EditError, match=message):
        hf.save_pretrained(what, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_without_edits_is_saved_as_ever(tmp_path: Path) -> None:
    model = BERT.build()
    hf.save_pretrained(model, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert {path.name for path in (tmp_path / "ours").iterdir()} == names
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_edits_of_the_structure(tmp_path: Path) -> None:
    graph = ng.capture(FAMILIES["BERT, no head"].build(), (), TEXT)
    ng.remove(graph, "encoder.layer.1")
    with pytest.raises(ng.EditError, match=r"does not know: ng\.save the graph"):
        hf.save_pretrained(graph, tmp_path / "out")
    with pytest.raises(ng.EditError, match=r"\(remove\), which the forward of BertModel does not know"):
        hf.save_pretrained(graph.module, tmp_path / "out")
    with pytest.raises(ng.EditError, match="PreTrainedModel"):
        hf.save_pretrained(graph.to_module(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_and_no_edit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    model = pruned()
    with pytest.raises(ng.EditError, match="is a file: a folder is needed"):
        hf.save_pretrained(model, tmp_path / "file")
    wrong: Any = "edit"
    with pytest.raises(ng.EditError, match=r"edit= is an Edit, as ng\.prune returns it, not str"):
        hf.save_pretrained(model, tmp_path / "out", edit=wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_layers_replaced_by_hand(tmp_path: Path) -> None:
    model = pruned()
    model.classifier = nn.Linear(model.classifier.in_features, 7)
    with pytest.raises(ng.EditError, match=r"classifier\.weight is of shape .* replaced by hand.*num_labels"):
        hf.save_pretrained(model, tmp_path / "out")
    model = pruned()
    model.bert.encoder.layer[0].output.dense = nn.Identity()
    with pytest.raises(ng.EditError, match="is gone"):
        hf.save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_config_that_no_auto_class_knows(tmp_path: Path) -> None:
    transformers = importlib.import_module("transformers")
    own = type("OwnConfig", (transformers.BertConfig,), {"model_type": "own"})
    model = transformers.BertForSequenceClassification(own(**BERT.sizes)).eval()
    ng.prune(model, (), TEXT, params=0.65)
    with pytest.raises(ng.EditError, match=r"AutoConfig\.register\('own', OwnConfig\) first"):
        hf.save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "LlamaForCausalLM", "BertConfig"])
def test_a_class_of_one_family_says_what_to_do(kind: str, tmp_path: Path) -> None:
    pruned(tmp_path)
    transformers = importlib.import_module("transformers")
    with pytest.raises(ValueError, match=r"import naivegraph\.hf, and open it by an Auto class"):
        getattr(transformers, kind).from_pretrained(tmp_path)


def test_a_head_that_would_not_fit(tmp_path: Path) -> None:
    model = LLAMA.build()
    ng.resize(model, (), {"model.embed_tokens": -4, "model.layers.0.mlp.gate_proj": -20}, kwargs=TEXT)
    hf.save_pretrained(model, tmp_path)
    transformers = importlib.import_module("transformers")
    with pytest.raises(ng.LoadError, match="score of LlamaForSequenceClassification would not fit"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)


def _without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(told: dict[str, Any]) -> None:
        for key in keys[:-1]:
            told = told[key]
        del told[keys[-1]]

    return change


def _with(value: Any, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(told: dict[str, Any]) -> None:
        for key in keys[:-1]:
            told = told[key]
        told[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("naivegraph"), "has no 'naivegraph': it is damaged"),
        (_without("naivegraph", "edits"), "the edits in config.json are damaged"),
        (_with(["{"], "naivegraph", "edits"), "the edits in config.json are damaged"),
        (_with([3], "naivegraph", "edits"), "they are no list of texts"),
        (_with(['{"widths":{}}'], "naivegraph", "edits"), "the edits in config.json are damaged"),
        (_with(9, "naivegraph", "format"), "format 9 of edits; this version reads 1"),
        (_without("naivegraph", "config", "model_type"), "it has no model_type"),
        (_with("unheard", "naivegraph", "config", "model_type"), "does not know"),
        (_with("", "naivegraph", "class"), "the class of the network is no name"),
        (_with("!", "naivegraph", "buffers"), "the buffers in config.json are damaged"),
        (_with({"a": "float9"}, "naivegraph", "casts"), "torch has no dtype 'float9'"),
        (_with(64, "naivegraph", "config", "intermediate_size"), "do not fit the BertForSequenceClass.*64"),
        (
            _with(0, "naivegraph", "config", "num_hidden_layers"),
            "do not fit the BertForSequenceClassification",
        ),
    ],
)
def test_damaged_folders(damage: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    pruned(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    damage(told)
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ng.LoadError, match=message):
        BERT.open(tmp_path)


def test_without_transformers_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ng.NaivegraphError, match=r"pip install 'naivegraph\[transformers\]'"):
        library()


def test_saving_does_not_change_the_network(tmp_path: Path) -> None:
    model = pruned()
    kind, config = type(model.config), model.config.to_dict()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hf.save_pretrained(model, tmp_path)
    assert type(model.config) is kind
    assert {**model.config.to_dict(), "architectures": None, "dtype": None} == {
        **config, "architectures": None, "dtype": None,
    }  # fmt: skip
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
