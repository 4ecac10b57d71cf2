"""Layers and branches left out of networks of transformers: their config, caches, and files."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

import naivegraph as ng
import naivegraph.hf as hf
from naivegraph.errors import EditError
from naivegraph.prune.captured import captured
from naivegraph.prune.layers import find_layers
from tests.hf.families import FAMILIES, TEXT, Family, outputs
from tests.hf.fresh_process import opened_elsewhere

DEPTH = {"GPT-2": "n_layer"}


def built(name: str, layers: int = 4, **more: Any) -> tuple[Family, Any]:
    family = FAMILIES[name]
    return family, family.build(**{DEPTH.get(name, "num_hidden_layers"): layers, **more})


def _layers(model: Any, family: Family) -> list[Any]:
    found = captured(model, (), family.example, lambda sentence: None)
    return list(find_layers(found, found.graph.widths))


def layer_path(name: str, number: int) -> str:
    return {"GPT-2": f"transformer.h.{number}", "ViT": f"vit.layers.{number}"}.get(
        name, f"model.layers.{number}"
    )


def without(model: Any, path: str) -> None:
    """Let a layer give on what it takes, by a hook: it still runs, and fills its place in caches."""

    def given_on(module: Any, given: Any, named: Any, output: Any) -> Any:
        x = given[0] if given else named["hidden_states"]
        return (x, *output[1:]) if isinstance(output, tuple) else x

    model.get_submodule(path).register_forward_hook(given_on, with_kwargs=True)


def pruned_whole(name: str, *numbers: int) -> tuple[Family, Any, Any, ng.Edit]:
    """A network without whole layers; with one of before, whose layers give on what they take."""
    family, model = built(name)
    before = copy.deepcopy(model)
    for number in numbers:
        without(before, layer_path(name, number))
    asked = [layer_path(name, number) for number in numbers]
    graph = ng.capture(copy.deepcopy(model), (), family.example)
    least = sum(parameter.numel() for path in asked for parameter in model.get_submodule(path).parameters())
    total = sum(parameter.numel() for parameter in graph.module.parameters())
    edit = ng.prune(model, (), family.example, params=total - least, depth=asked, at_least=1.0)
    return family, model, before, edit


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "ViT"])
def test_a_whole_layer_leaves_its_list_and_the_config_follows(name: str, tmp_path: Path) -> None:
    family, model, before, edit = pruned_whole(name, 1)
    assert len(edit.dropped) == 2
    assert edit.graph is None
    assert model.config.num_hidden_layers == 3
    assert not any("cannot describe it" in note for note in edit.notes)
    assert torch.allclose(outputs(model, family.example), outputs(before, family.example), atol=1e-5)
    model.save_pretrained(tmp_path)
    plain = type(model).from_pretrained(tmp_path)
    assert torch.equal(outputs(plain, family.example), outputs(model, family.example))


def test_a_fresh_process_opens_them_without_this_package(tmp_path: Path) -> None:
    folders, expected = {}, {}
    for name in ("Qwen2", "GPT-2", "ViT"):
        family, model, _, _ = pruned_whole(name, 0, 2)
        folders[name] = str(tmp_path / name)
        model.save_pretrained(folders[name])
        expected[name] = outputs(model, family.example)
    for name, told in opened_elsewhere(folders, naivegraph=False).items():
        assert isinstance(told, list), told
        assert torch.allclose(torch.tensor(told[1]), expected[name], rtol=0, atol=1e-6)


def assert_a_cache_changes_nothing(model: Any) -> None:
    """One token after a cache of others, in the plain forward, which asks the cache for the token's place.

    transformers 5.23 asks the first entry: where a layer was taken out and its entry stays empty, the forward
    is silently wrong, though `generate` is right (findings/, on the forward without the first layer).
    """
    ids = TEXT["input_ids"]
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits[:, -1]
        cache = model(ids[:, :-1], use_cache=True).past_key_values
        last = model(ids[:, -1:], past_key_values=cache).logits[:, -1]
    torch.testing.assert_close(last, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "number"), [("Llama", 0), ("GPT-2", 2)])
def test_generation_with_a_cache(name: str, number: int) -> None:
    _, model, before, _ = pruned_whole(name, number)
    asked = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    found = model.generate(**TEXT, **asked, use_cache=True)
    assert torch.equal(found, model.generate(**TEXT, **asked, use_cache=False))
    assert torch.equal(found, before.generate(**TEXT, **asked, use_cache=True))
    assert_a_cache_changes_nothing(model)


@pytest.mark.parametrize(("name", "number"), [("Llama", 0), ("GPT-2", 2)])
def test_generation_where_an_attention_alone_went(name: str, number: int) -> None:
    family, model = built(name)
    inner = "attn" if name == "GPT-2" else "self_attn"
    path = f"{layer_path(name, number)}.{inner}"
    edit = ng.prune(model, (), family.example, params=0.999, depth=[path], at_least=1.0)
    assert len(edit.dropped) == 1
    assert edit.graph is None
    asked = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    found = model.generate(**TEXT, **asked, use_cache=True)
    assert torch.equal(found, model.generate(**TEXT, **asked, use_cache=False))
    assert_a_cache_changes_nothing(model)


@pytest.mark.parametrize("name", ["Mixtral", "BERT", "GPT-2"])
def test_uniform_sizes_and_whole_layers_open_without_this_package(name: str, tmp_path: Path) -> None:
    family, model = built(name, 3)
    edit = ng.prune(model, (), family.example, params=0.7, depth=True, uniform=True, at_least=0.9)
    assert edit.dropped
    assert edit.after.params <= 0.7 * edit.before.params
    model.save_pretrained(tmp_path)
    plain = type(model).from_pretrained(tmp_path)
    assert torch.equal(outputs(plain, family.example), outputs(model, family.example))


def test_where_the_config_cannot_say_it() -> None:
    # The rate of stochastic depth of each block depends on how many there are.
    family = FAMILIES["Swin"]
    with pytest.raises(EditError, match=r"whole layers, .*SwinForImageClassification has no list of layers"):
        ng.prune(family.build(), (), family.example, params=0.8, depth=True, uniform=True)
    model = family.build(depths=[2, 3])
    edit = ng.prune(model, (), family.example, params=0.75, depth=True, at_least=1.0)
    assert any("drop_prob would be" in note or "no whole layers" in note for note in edit.notes)


def test_a_layer_with_norms_behind_its_sums_goes_as_a_whole() -> None:
    family, model = built("BERT")
    before = copy.deepcopy(model)
    names = {branch.name for branch in _layers(model, family)}
    assert {f"bert.encoder.layer.{number}" for number in range(4)} <= names
    edit = ng.prune(model, (), family.example, params=0.5, depth=True, at_least=0.9)
    whole = [name for name in edit.dropped if name.rpartition(".")[2].isdecimal()]
    assert whole
    assert model.config.num_hidden_layers == 4 - len(whole)
    edit.undo()
    assert torch.equal(outputs(model, TEXT), outputs(before, TEXT))


def test_layers_of_two_kinds_keep_their_kinds(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    family, model = built("Qwen2", layer_types=kinds, use_sliding_window=True, sliding_window=3)
    before = copy.deepcopy(model)
    without(before, "model.layers.1")
    edit = ng.prune(model, (), TEXT, params=0.85, depth=["model.layers.1"], at_least=1.0)
    assert len(edit.dropped) == 2
    assert model.config.layer_types == [kinds[0], *kinds[2:]]
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2]
    assert torch.allclose(outputs(model, TEXT), outputs(before, TEXT), atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(outputs(family.open(tmp_path), TEXT), outputs(model, TEXT))
    edit.undo()
    assert model.config.layer_types == kinds


@pytest.mark.parametrize("name", ["Llama", "ViT"])
def test_what_is_no_whole_layer_is_refused_by_plain_loading(name: str, tmp_path: Path) -> None:
    family, model = built(name)
    edit = ng.prune(
        model, (), family.example, params=0.95, depth=[f"{layer_path(name, 1)}.mlp"], at_least=1.0
    )
    assert len(edit.dropped) == 1
    assert any("no whole layers" in note for note in edit.notes)
    model.save_pretrained(tmp_path / "plain")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        family.open(tmp_path / "plain")
    hf.save_pretrained(model, tmp_path / "ours", edit=edit)
    assert torch.equal(
        outputs(family.open(tmp_path / "ours"), family.example), outputs(model, family.example)
    )


def test_the_way_back_is_bit_for_bit() -> None:
    family, model = built("Qwen2")
    config, told, before = model.config, model.config.to_dict(), copy.deepcopy(model)
    edit = ng.prune(model, (), family.example, params=0.6, depth=True)
    assert edit.dropped
    edit.undo()
    assert model.config is config
    assert all(module.config is config for module in model.modules() if hasattr(module, "config"))
    assert model.config.to_dict() == told
    assert str(model) == str(before)
    assert list(model.state_dict()) == list(before.state_dict())
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in before.state_dict().items())
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]
    assert torch.equal(outputs(model, TEXT), outputs(before, TEXT))


def test_saved_replayed_and_edited_again(tmp_path: Path) -> None:
    family, model = built("Llama")
    fresh = [copy.deepcopy(model) for _ in range(2)]
    ng.resize(model, (), {"model.layers.3.mlp.gate_proj": -8}, kwargs=TEXT)
    middle = copy.deepcopy(model)
    edit = ng.prune(model, (), TEXT, params=0.8, depth=["model.layers.1", "model.layers.0"], at_least=1.0)
    assert {"model.layers.1.mlp", "model.layers.1.self_attn"} & {*edit.dropped}
    last = len(model.model.layers) - 1
    ng.resize(model, (), {f"model.layers.{last}.mlp.gate_proj": -4}, kwargs=TEXT)
    ng.save(model, tmp_path / "net.safetensors")
    assert torch.equal(outputs(ng.load(fresh[0], tmp_path / "net.safetensors"), TEXT), outputs(model, TEXT))
    ng.replay(middle, edit).undo()
    hf.save_pretrained(model, tmp_path / "hf")
    opened = family.open(tmp_path / "hf")
    assert torch.equal(outputs(opened, TEXT), outputs(model, TEXT))
    assert opened.config.num_hidden_layers == len(opened.model.layers)
    body = importlib.import_module("transformers").AutoModel.from_pretrained(tmp_path / "hf")
    assert torch.equal(body(**TEXT).last_hidden_state, model.model(**TEXT).last_hidden_state)


def test_networks_with_other_heads(tmp_path: Path) -> None:
    library = importlib.import_module("transformers")
    _, model = built("Llama")
    edit = ng.prune(model, (), TEXT, params=0.7, depth=True, at_least=1.0)
    assert edit.change.closing is not None
    assert edit.change.modules
    hf.save_pretrained(model, tmp_path)
    # This class makes its body by an Auto class.
    opened = library.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert opened.config.num_hidden_layers == len(opened.model.layers) == len(model.model.layers)
    expected = model.model(**TEXT).last_hidden_state
    assert torch.equal(opened.model(**TEXT).last_hidden_state, expected)
    opened.save_pretrained(tmp_path / "again")
    again = library.AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(again.model(**TEXT).last_hidden_state, expected)


def test_a_part_of_a_network_is_told_by_the_whole(tmp_path: Path) -> None:
    _, model = built("Llama")
    fresh = copy.deepcopy(model)
    ng.resize(model.model.layers[3].mlp, torch.ones(1, 2, 32), {"gate_proj": -8})
    edit = ng.prune(model.model, (), TEXT, params=0.7, depth=True, at_least=1.0)
    assert edit.dropped
    ng.save(model, tmp_path / "net.safetensors")
    loaded = ng.load(fresh, tmp_path / "net.safetensors")
    assert torch.equal(outputs(loaded, TEXT), outputs(model, TEXT))


def test_optimizers_follow_and_training_is_kept() -> None:
    _, model = built("Llama")
    optimizer = torch.optim.AdamW(model.parameters())
    model(**TEXT).logits.sum().backward()
    optimizer.step()
    edit = ng.prune(model, (), TEXT, params=0.55, depth=True, optimizer=optimizer)
    assert edit.change.closing is not None
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    with torch.no_grad():
        model.model.layers[-1].input_layernorm.weight.fill_(3.0)
    edit.undo(keep_training=True)
    assert any(bool((layer.input_layernorm.weight == 3.0).all()) for layer in model.model.layers)


@pytest.mark.parametrize("name", ["BERT"])
def test_with_calibration_and_a_refit(name: str) -> None:
    family, model = built(name)
    data = [{"input_ids": torch.randint(3, 90, (8, 8))} for _ in range(4)]
    edit = ng.prune(model, (), family.example, params=0.6, depth=True, calibration=data)
    assert edit.refit is not None
    assert edit.dropped
