"""A network in a search: its graph, beside what it is trained with, and both as data."""

from __future__ import annotations

import base64
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from naivegraph.edits.save.example_codec import EXAMPLE
from naivegraph.edits.save.network_structure import Structure
from naivegraph.network import Graph

__all__ = ["Genome", "network_of", "start_anew"]


@dataclasses.dataclass
class Genome:
    """A network and its recipe, which mutations change in place.

    Attributes:
        graph: The network.
        recipe: Numbers and words for its training by name, such as `{"learning_rate": 0.01}`. The module that
            an evaluation gets has them as `module.recipe`.
    """

    graph: Graph
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Genome:
        return Genome(copy.deepcopy(self.graph, memo), dict(self.recipe))

    def to_data(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The network without its numbers, as JSON has it, and the numbers that are trained.

        Raises:
            EditError: It has layers or calls that cannot be data.
        """
        structure = Structure.of(self.graph)
        weights, constants = {}, {}
        for name, tensor in structure.tensors.items():
            if structure.data["tensors"].get(name, {}).get("persistent", True) and not name.startswith(
                EXAMPLE
            ):
                weights[name] = tensor.detach().clone()
            else:
                constants[name] = _packed(tensor)
        return {"network": structure.data, "constants": constants, "recipe": dict(self.recipe)}, weights

    @classmethod
    def of_data(cls, data: Mapping[str, Any], weights: Mapping[str, Tensor] | None) -> Genome:
        """The genome of what `to_data` gave; without weights its numbers are zeros."""
        return cls(_structure(data, weights).graph(), dict(data["recipe"]))


def network_of(data: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The module of a genome's data, to be trained, with the recipe as `module.recipe`."""
    module = _structure(data, weights).module()
    vars(module)["recipe"] = dict(data["recipe"])
    return module


def start_anew(graph: Graph) -> None:
    """Give all layers new weights, as their class starts them; parameters outside layers stay."""
    for module in graph.module.modules():
        for name in ("reset_parameters", "_reset_parameters"):
            reset = getattr(module, name, None)
            if callable(reset):
                reset()
                break


def _structure(data: Mapping[str, Any], weights: Mapping[str, Tensor] | None) -> Structure:
    network = data["network"]
    constants = {name: _unpacked(packed) for name, packed in data["constants"].items()}
    return Structure(dict(network), {**_tensors_for(network, weights), **constants})


def _tensors_for(network: Mapping[str, Any], weights: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The tensors of a structure: those given, zeros for the others."""
    made: dict[str, Tensor] = {}
    for name, fact in network["tensors"].items():
        if "same" not in fact and fact.get("persistent", True):
            given = None if weights is None else weights.get(name)
            made[name] = (
                torch.zeros(fact["shape"], dtype=getattr(torch, fact["dtype"])) if given is None else given
            )
    return made


def _packed(tensor: Tensor) -> dict[str, Any]:
    plain = tensor.detach().cpu().contiguous()
    raw = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {
        "dtype": str(plain.dtype).removeprefix("torch."),
        "shape": list(plain.shape),
        "base64": base64.b64encode(raw).decode(),
    }


def _unpacked(packed: Mapping[str, Any]) -> Tensor:
    raw = np.frombuffer(base64.b64decode(packed["base64"]), np.uint8).copy()
    return torch.from_numpy(raw).view(getattr(torch, packed["dtype"])).reshape(packed["shape"])
