"""Networks of torchvision, timm and transformers, where they are installed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.network import capture

pytestmark = pytest.mark.usefixtures("torchvision_operators")


def _import(name: str) -> Any:
    pytest.importorskip(name)
    return importlib.import_module(name)


def _torchvision(name: str) -> nn.Module:
    module: nn.Module = getattr(_import("torchvision").models, name)(weights=None)
    return module


def _timm(name: str) -> nn.Module:
    module: nn.Module = _import("timm").create_model(name, img_size=64)
    return module


def _transformers(name: str, **settings: int) -> nn.Module:
    library = _import("transformers")
    config = getattr(library, f"{name}Config")(bos_token_id=1, eos_token_id=2, **settings)
    module: nn.Module = getattr(library, f"{name}Model")(config)
    return module


_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": 50,
}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50}
REAL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "resnet18": (lambda: _torchvision("resnet18"), "image"),
    "mobilenet": (lambda: _torchvision("mobilenet_v3_small"), "image"),
    "deit": (lambda: _timm("deit_tiny_patch16_224"), "image"),
    "bert": (lambda: _transformers("Bert", **_SMALL), "text"),
    "gpt2": (lambda: _transformers("GPT2", **_GPT), "text"),
    "llama": (lambda: _transformers("Llama", num_key_value_heads=2, **_SMALL), "text"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_networks_are_repeated(name: str) -> None:
    build, kind = REAL[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = build()
        except (RuntimeError, ImportError) as error:
            pytest.skip(f"cannot be built here: {error}")
        x = torch.randn(2, 3, 64, 64) if kind == "image" else torch.randint(3, 50, (2, 8))
        graph = capture(module, x)
    graph.lint()
    assert graph.checks["recorded batch"] == "equal"
    assert graph.checks["another batch"] == "equal"
