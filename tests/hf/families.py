"""Tiny networks of transformers, with random weights."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import torch

_TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_GROUPED = {**_TEXT, "num_key_value_heads": 2}
_PAIR = {
    "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 90,
    "decoder_start_token_id": 0,
}  # fmt: skip
_GPT2 = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
_IMAGE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 32}
_WINDOWS = {
    "image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
    "window_size": 4,
}  # fmt: skip

TEXT = {"input_ids": torch.arange(3, 19).reshape(2, 8)}
BOTH = {**TEXT, "decoder_input_ids": torch.arange(3, 11).reshape(2, 4)}
SMALL_IMAGES = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)}
IMAGES = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)}


@dataclasses.dataclass(frozen=True)
class Family:
    """A class of networks with small sizes, an example, and the Auto class that opens it."""

    kind: str
    config: str
    sizes: dict[str, Any]
    example: dict[str, torch.Tensor]
    auto: str

    def build(self, **more: Any) -> Any:
        """A network whose outputs depend on all of its layers."""
        library = importlib.import_module("transformers")
        torch.manual_seed(0)
        model = getattr(library, self.kind)(getattr(library, self.config)(**{**self.sizes, **more})).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    def open(self, folder: Any, **options: Any) -> Any:
        """The network of a folder, by the Auto class."""
        return getattr(importlib.import_module("transformers"), self.auto).from_pretrained(folder, **options)


FAMILIES = {
    "Llama": Family("LlamaForCausalLM", "LlamaConfig", _GROUPED, TEXT, "AutoModelForCausalLM"),
    "Llama, tied": Family(
        "LlamaForCausalLM", "LlamaConfig", {**_GROUPED, "tie_word_embeddings": True}, TEXT,
        "AutoModelForCausalLM",
    ),
    "Qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", _GROUPED, TEXT, "AutoModelForCausalLM"),
    "Mistral": Family("MistralForCausalLM", "MistralConfig", _GROUPED, TEXT, "AutoModelForCausalLM"),
    "Gemma": Family(
        "GemmaForCausalLM", "GemmaConfig", {**_GROUPED, "head_dim": 8}, TEXT, "AutoModelForCausalLM"
    ),
    "Qwen3": Family(
        "Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 8}, TEXT, "AutoModelForCausalLM"
    ),
    "Mixtral": Family(
        "MixtralForCausalLM", "MixtralConfig", {**_GROUPED, "num_local_experts": 4}, TEXT,
        "AutoModelForCausalLM",
    ),
    "GPT-2": Family("GPT2LMHeadModel", "GPT2Config", _GPT2, TEXT, "AutoModelForCausalLM"),
    "BERT": Family(
        "BertForSequenceClassification", "BertConfig", _TEXT, TEXT, "AutoModelForSequenceClassification"
    ),
    "BERT, no head": Family("BertModel", "BertConfig", _TEXT, TEXT, "AutoModel"),
    "T5": Family("T5ForConditionalGeneration", "T5Config", _PAIR, BOTH, "AutoModelForSeq2SeqLM"),
    "ViT": Family(
        "ViTForImageClassification", "ViTConfig", _IMAGE, SMALL_IMAGES, "AutoModelForImageClassification"
    ),
    "Swin": Family(
        "SwinForImageClassification", "SwinConfig", _WINDOWS, IMAGES, "AutoModelForImageClassification"
    ),
    "ConvNeXt": Family(
        "ConvNextForImageClassification", "ConvNextConfig", _STAGES, IMAGES, "AutoModelForImageClassification"
    ),
}  # fmt: skip


@torch.no_grad()
def outputs(model: Any, example: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits, or where there are none the last hidden state."""
    found = model(**example)
    result: torch.Tensor = found.logits if "logits" in found else found.last_hidden_state
    return result.float()
