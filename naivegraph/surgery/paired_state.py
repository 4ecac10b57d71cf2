"""Two networks of one structure: their parameters and buffers, name by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from naivegraph.edits.request.target import check_model
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import parameters_of, tensors_of
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.network import Graph

__all__ = ["StatePair", "network_of", "paired_state"]


@dataclasses.dataclass(frozen=True)
class StatePair:
    """A parameter or buffer of two networks.

    Attributes:
        name: Its first name.
        one: The tensor of the first network.
        two: That of the second.
        parameter: Whether it is a parameter.
    """

    name: str
    one: torch.Tensor
    two: torch.Tensor
    parameter: bool


def network_of(verb: str, model: Any) -> nn.Module:
    """The module of a network or graph.

    Raises:
        EditError: It is neither.
    """
    check_model(verb, model)
    return model.module if isinstance(model, Graph) else unwrapped(model)


def paired_state(one: nn.Module, two: nn.Module) -> list[StatePair]:
    """The parameters and buffers of two networks, those that are tied once.

    Raises:
        EditError: One has a tensor that the other lacks, or one of another shape or kind; the message names
            the first.
    """
    first, second = tensors_of(one), tensors_of(two)
    parameters = parameters_of(one)
    for name in [*first, *second]:
        if name not in first or name not in second:
            lacks, has = ("first", "second") if name not in first else ("second", "first")
            raise EditError(f"the networks differ: the {lacks} has no {name!r}, which the {has} has")
        a, b = first[name], second[name]
        if a.shape != b.shape:
            raise EditError(
                f"the networks differ: {name!r} has shape {tuple(a.shape)} in the first and "
                f"{tuple(b.shape)} in the second"
            )
        if a.is_floating_point() != b.is_floating_point() or a.is_complex() != b.is_complex():
            raise EditError(
                f"the networks differ: {name!r} is {a.dtype} in the first and {b.dtype} in the second"
            )
    known: dict[int, str] = {}
    found: list[StatePair] = []
    for name, a in first.items():
        if id(a) in known:
            if second[name] is not second[known[id(a)]]:
                raise EditError(
                    f"the networks differ: {name!r} and {known[id(a)]!r} are one tensor in the first alone"
                )
            continue
        known[id(a)] = name
        found.append(StatePair(name, a, second[name], name in parameters))
    return found
