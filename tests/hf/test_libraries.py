"""Other libraries with edited networks: pipelines and tokenizers of transformers, adapters of PEFT."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, TEXT, outputs

LLAMA = FAMILIES["Llama"]


def pruned(folder: Path) -> Any:
    """A pruned Llama, which is saved in a folder."""
    model = LLAMA.build()
    ng.prune(model, (), TEXT, params=0.65)
    hf.save_pretrained(model, folder)
    return model


def test_a_pipeline_opens_a_folder_with_a_tokenizer(tmp_path: Path) -> None:
    library, tokenizers = importlib.import_module("transformers"), pytest.importorskip("tokenizers")
    model = pruned(tmp_path)
    words = {f"w{number}": number for number in range(90)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w3"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = library.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="w3", pad_token="w0")
    tokenizer.save_pretrained(tmp_path)
    asked = {"max_new_tokens": 5, "do_sample": False}
    opened = library.pipeline("text-generation", model=str(tmp_path))("w5 w6 w7", **asked)
    expected = library.pipeline("text-generation", model=model, tokenizer=tokenizer)("w5 w6 w7", **asked)
    assert opened == expected


def test_adapters_are_trained_saved_and_opened_on_it(tmp_path: Path) -> None:
    peft, library = pytest.importorskip("peft"), importlib.import_module("transformers")
    pruned(tmp_path / "base")
    told = peft.LoraConfig(
        r=2, task_type="CAUSAL_LM", target_modules=["q_proj", "gate_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(LLAMA.open(tmp_path / "base"), told).eval()
    expected = outputs(model, TEXT)
    model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(LLAMA.open(tmp_path / "base"), tmp_path / "adapter").eval()
    assert torch.equal(outputs(again, TEXT), expected)
    for auto in (peft.AutoPeftModelForCausalLM, library.AutoModelForCausalLM):
        opened = auto.from_pretrained(tmp_path / "adapter").eval()
        assert torch.equal(outputs(opened, TEXT), expected)
    with pytest.raises(ng.EditError, match="Save adapters by themselves, or merge them first"):
        hf.save_pretrained(model, tmp_path / "out")
    with pytest.raises(ng.EditError, match="is gone: it was replaced by hand"):
        hf.save_pretrained(model.get_base_model(), tmp_path / "out")
    merged = model.merge_and_unload()
    hf.save_pretrained(merged, tmp_path / "out")
    assert torch.equal(outputs(LLAMA.open(tmp_path / "out"), TEXT), outputs(merged, TEXT))
