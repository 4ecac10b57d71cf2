"""Ranks of low-rank adapters of PEFT, whose configs and layers follow an edit.

PEFT builds an adapter's layers from its config when it loads them, `r` neurons in each, and multiplies what
they give by `lora_alpha / r` (`/ sqrt(r)` with `use_rslora`; Hu et al., "LoRA", ICLR 2022; Kalajdzievski,
"A rank stabilization scaling factor for fine-tuning with LoRA", 2023). An edit changes the rank and leaves
that factor as it is, so both numbers are written anew.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.index_formula import formula_length
from naivegraph.graph.torch_utils.module_paths import modules_of

__all__ = ["with_adapter_ranks"]


@dataclasses.dataclass(frozen=True)
class _Rank:
    """The rank of one adapter in one layer.

    Attributes:
        path: The layer's.
        layer: The layer.
        adapter: The adapter's name.
        after: Its rank after the edit.
    """

    path: str
    layer: Any
    adapter: str
    after: int

    @property
    def scaled(self) -> float:
        """The `lora_alpha` with which the factor stays as it is."""
        factor = float(self.layer.scaling[self.adapter])
        stable = self.layer.use_rslora.get(self.adapter, False)
        alpha = factor * (math.sqrt(self.after) if stable else self.after)
        return round(alpha) if math.isclose(alpha, round(alpha), rel_tol=1e-9) else alpha

    def changes(self) -> Iterator[AttributeChange]:
        """The changes of the layer's own numbers."""
        for name, number in (("r", self.after), ("lora_alpha", self.scaled)):
            before = getattr(self.layer, name)[self.adapter]
            if before != number:
                yield AttributeChange(self.path, name, (self.adapter,), before, number)


def with_adapter_ranks(change: Change, module: nn.Module) -> tuple[Change, tuple[str, ...]]:
    """Add the changes of adapters' ranks, in layers and configs, or a sentence if a config cannot say them.

    Args:
        change: A change of a network's sizes.
        module: The network, as it is before.
    """
    peft = sys.modules.get("peft")
    if peft is None or not change.widths:
        return change, ()
    ranks = list(_ranks(change, module, peft.tuners.lora.LoraLayer))
    if not any(rank.layer.r[rank.adapter] != rank.after for rank in ranks):
        return change, ()
    attributes = [one for rank in ranks for one in rank.changes()]
    notes = []
    for adapter in dict.fromkeys(rank.adapter for rank in ranks):
        said = _config_changes([rank for rank in ranks if rank.adapter == adapter], module, adapter)
        if isinstance(said, str):
            notes.append(said)
        else:
            attributes += said
    return dataclasses.replace(change, attributes=[*change.attributes, *attributes]), tuple(notes)


def _ranks(change: Change, module: nn.Module, kind: type) -> Iterator[_Rank]:
    """The ranks of all adapters in all layers."""
    sizes = {key: width.after for key, width in change.widths.items()}
    layers: list[tuple[str, Any]] = [each for each in modules_of(module) if isinstance(each[1], kind)]
    for path, layer in layers:
        for adapter in layer.r:
            for name, dim in _weights(layer, adapter):
                axes = change.tensors.get(f"{path}.{name}".lstrip("."))
                rank = layer.r[adapter] if axes is None else formula_length(axes[dim], sizes)
                yield _Rank(path, layer, adapter, rank)


def _weights(layer: Any, adapter: str) -> Iterator[tuple[str, int]]:
    """The weight that has the adapter's rank, with the dimension that has it."""
    if adapter in layer.lora_A:
        yield f"lora_A.{adapter}.weight", 0
    elif adapter in layer.lora_embedding_A:
        yield f"lora_embedding_A.{adapter}", 0


def _config_changes(ranks: list[_Rank], module: nn.Module, adapter: str) -> list[AttributeChange] | str:
    """The changes of one adapter's config, or why it cannot say the ranks."""
    numbers = {(rank.after, rank.scaled) for rank in ranks}
    owners = [
        (path, config)
        for path, owner in modules_of(module)
        if (config := (vars(owner).get("peft_config") or {}).get(adapter)) is not None
    ]
    if not owners:
        return []
    if len(numbers) > 1 or any(config.rank_pattern or config.alpha_pattern for _, config in owners):
        return (
            f"the config of the adapter {adapter!r} has one rank, and its layers now have others: use "
            "ng.save and ng.load rather than save_pretrained, or give all of them the same rank"
        )
    ((rank, alpha),) = numbers
    return [
        AttributeChange(path, "peft_config", (adapter, name), getattr(config, name), number)
        for path, config in owners
        for name, number in (("r", rank), ("lora_alpha", alpha))
        if getattr(config, name) != number
    ]
