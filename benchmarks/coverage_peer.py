"""Torch-Pruning on any network, as its documentation says: half of every width, the classifier ignored."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from benchmarks.common import Example, params, peer
from benchmarks.function_kept import outputs, tensors_in
from benchmarks.time_to_edit import peer_heads


def ignored(model: nn.Module, output: torch.Tensor) -> list[nn.Module]:
    """The layers that make as many outputs as there are classes; the last layer where that says nothing."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    classes = output.shape[1] if output.dim() in (2, 4) else None
    found = [m for m in layers if (m.out_features if isinstance(m, nn.Linear) else m.out_channels) == classes]
    return [*(found or layers[-1:])]


def peer_run(model: nn.Module, example: Example, ratio: float, heads_named: bool) -> dict[str, Any]:
    """Prune in place; whether the network then runs and keeps its output shapes, and the CPU seconds."""
    tp = peer()
    args, kwargs = example
    before = outputs(model, args, kwargs)
    heads = peer_heads(model) if heads_named else {}
    if heads_named and not heads:
        raise LookupError("it has no heads to name")
    keep = ignored(model, before[0])
    started = time.process_time()
    pruner = tp.pruner.BasePruner(
        model,
        kwargs or args,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1 - ratio,
        ignored_layers=keep,
        num_heads=heads,
        output_transform=tensors_in,
    )
    pruner.step()
    seconds = time.process_time() - started
    layers: list[Any] = list(model.modules())
    for layer in layers:
        if getattr(layer, "qkv", None) in heads:
            layer.num_heads = pruner.num_heads[layer.qkv]
            layer.head_dim = layer.qkv.out_features // (3 * layer.num_heads)
    after = outputs(model, args, kwargs)
    same = [x.shape for x in before] == [x.shape for x in after]
    return {
        "outcome": "yes" if same else "no: the output has another shape",
        "cpu s": seconds,
        "params left": params(model),
    }
