"""Features of a network's data: counts of calls, and of calls with what leads to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from naivegraph.search.study import name_of

__all__ = ["network_features"]

_ROUNDS = 2


def network_features(structure: Mapping[str, Any]) -> dict[str, float]:
    """Features of a genome's data, between which distances are small where networks are alike.

    They are counts of labels of Weisfeiler and Lehman: a call, then a call with those before it, and so on
    (Ru et al., "Interpretable neural architecture search via Bayesian optimisation with Weisfeiler-Lehman
    kernels", ICLR 2021); the logarithm of the number of parameters; and numbers of the recipe, as
    logarithms.

    Args:
        structure: What `Genome.to_data` gives.
    """
    network = structure["network"]
    features: dict[str, float] = {}
    labels, before = {}, {}
    for call in network["calls"][0]:
        labels[call["name"]] = _kind(call, network["layers"])
        before[call["name"]] = list(_nodes([call["args"], call["kwargs"]]))
    for around in range(_ROUNDS + 1):
        for label in labels.values():
            key = f"{around} {label}"
            features[key] = features.get(key, 0.0) + 1.0
        labels = {
            name: name_of({"call": label, "before": [labels[each] for each in before[name]]})
            for name, label in labels.items()
        }
    trained = (fact for fact in network["tensors"].values() if fact.get("trains") and "same" not in fact)
    features["log2 params"] = math.log2(1 + sum(math.prod(fact["shape"]) for fact in trained))
    features.update(_recipe_features(structure.get("recipe", {})))
    return features


def _kind(call: Mapping[str, Any], layers: Mapping[str, Any]) -> str:
    """The class of a layer with its kernel and stride, or the name of a function."""
    layer = layers.get(call["target"]) if call["op"] == "call_module" else None
    if layer is None:
        return f"{call['op']} {call['target'] if call['op'] != 'get_attr' else ''}"
    arguments = layer.get("arguments", {})
    told = {name: arguments[name] for name in ("kernel_size", "stride") if name in arguments}
    return f"{layer.get('class', 'layers')} {json.dumps(told, sort_keys=True)}"


def _nodes(value: Any) -> Iterator[str]:
    """The names of calls whose results an argument holds."""
    if isinstance(value, Mapping):
        if isinstance(value.get("node"), str):
            yield value["node"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _recipe_features(recipe: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in recipe.items():
        if isinstance(value, int | float) and value > 0:
            yield f"recipe {name}", math.log2(value)
        else:
            yield f"recipe {name}={value!r}", 1.0
