"""Pruned networks of transformers, where it is installed: generation, and saving its own way."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.oracle import choose, zeroed

pytestmark = pytest.mark.usefixtures("torchvision_operators")

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_SHARED = {**_SMALL, "num_key_value_heads": 2}
_GPT2 = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
_IMAGE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
TEXT = {"input_ids": torch.arange(3, 19).reshape(2, 8)}
IMAGES = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)}
GENERATING = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", _SHARED),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _SHARED),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_SHARED, "head_dim": 8}),
    "GPT2": ("GPT2LMHeadModel", "GPT2Config", _GPT2),
}
ROUND_TRIPS = {
    "BERT": (("BertForSequenceClassification", "BertConfig", _SMALL), TEXT),
    "ViT": (("ViTForImageClassification", "ViTConfig", _IMAGE), IMAGES),
    "Llama": (GENERATING["Llama"], TEXT),
    "GPT2": (GENERATING["GPT2"], TEXT),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Whatever the library warns of while it builds and loads is not ours."""
    library = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        yield


def build(kind: str, config: str, settings: dict[str, int]) -> Any:
    library = importlib.import_module("transformers")
    torch.manual_seed(0)
    model = getattr(library, kind)(getattr(library, config)(**settings)).eval()
    for parameter in model.parameters():  # As they start, tokens hardly depend on what the layers do.
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", GENERATING)
def test_a_pruned_network_generates_the_tokens_of_the_zeroed_one(name: str) -> None:
    model = build(*GENERATING[name])
    original = copy.deepcopy(model)
    widths = relate(capture(model, (), TEXT, verify="recorded"))
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed=1)
    assert any(".mlp." in w.name for w in kept)
    assert any(".self_attn." in w.name or ".attn." in w.name for w in kept)
    zero: Any = zeroed(model, widths, kept)
    apply(plan(widths, constraints, kept), model)
    asked = {"max_new_tokens": 12, "do_sample": False, "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    tokens = model.generate(**TEXT, **asked)
    assert torch.equal(tokens, zero.generate(**TEXT, **asked))
    assert torch.equal(tokens, model.generate(**TEXT, **asked, use_cache=False))
    assert not torch.equal(tokens, original.generate(**TEXT, **asked))


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_network_pruned_by_a_ratio_is_saved_and_loaded_by_its_own_methods(
    name: str, tmp_path: Path
) -> None:
    parts, example = ROUND_TRIPS[name]
    model = build(*parts)
    before = sum(p.numel() for p in model.parameters())
    edit = ng.prune(model, (), example, ratio=0.5)
    assert edit.notes == ()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert sum(p.numel() for p in loaded.parameters()) < 0.6 * before
    assert torch.equal(loaded(**example).logits, model(**example).logits)


def test_what_no_config_can_describe_is_said(tmp_path: Path) -> None:
    model = build(*GENERATING["Llama"])
    edit = ng.prune(model, (), TEXT, ratio=0.5, keep=["model.layers.0.mlp.gate_proj"])
    assert model.config.intermediate_size == 48
    assert any("intermediate_size would have to be 48 for" in note for note in edit.notes)
    ng.save(model, tmp_path / "llama.safetensors")
    fresh = build(*GENERATING["Llama"])
    ng.load(fresh, tmp_path / "llama.safetensors")
    assert torch.equal(fresh(**TEXT).logits, model(**TEXT).logits)
