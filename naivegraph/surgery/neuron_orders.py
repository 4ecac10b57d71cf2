"""Orders of the neurons of a network's widths, and its tensors in them.

A network computes the same with the neurons of a width in every order, if they are put into it wherever the
width occurs (Hecht-Nielsen, "On the algebraic structure of feedforward network weight spaces", 1990). A
dimension of a tensor may hold several widths: a sum in a concatenation, the product of heads and their size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from naivegraph.edits.plan.index_formula import Formula, Indices, formula_length, formula_of, indices
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.widths import Width, Widths

__all__ = ["NeuronOrders", "Occurrence", "occurrences"]


@dataclasses.dataclass(frozen=True, eq=False)
class Occurrence:
    """A place of a width in a tensor.

    Attributes:
        tensor: The name of the tensor.
        dim: The dimension.
        table: [others, neurons]: the index of each neuron, with all else along the dimension the same.
    """

    tensor: str
    dim: int
    table: Indices


class NeuronOrders:
    """An order of the neurons of each width of a network that can be put into any.

    Args:
        widths: The widths of a network.
        chosen: Those to put in order.

    Attributes:
        sizes: The sizes of these widths, by key.
        orders: For each of them the number of the neuron at each place.
        tensors: The formulas of the dimensions of the tensors that they are in, by name, tied tensors once.
    """

    def __init__(self, widths: Widths, chosen: Sequence[Width]) -> None:
        self.widths = {str(number): width for number, width in enumerate(chosen)}
        self.keys = {width.atom: key for key, width in self.widths.items()}
        self.sizes = {key: width.size for key, width in self.widths.items()}
        self.orders: dict[str, Indices] = {key: np.arange(size) for key, size in self.sizes.items()}
        state, seen = tensors_of(widths.graph.module), set[int]()
        self.tensors: dict[str, list[Formula]] = {}
        for name, axes in widths.axes.items():
            known = id(state[name]) in seen
            seen.add(id(state[name]))
            if not known and any(atom in self.keys for axis in axes for atom in axis.atoms()):
                self.tensors[name] = [formula_of(axis, self.keys) for axis in axes]

    def places(self, key: str) -> list[Occurrence]:
        """All places of a width in tensors."""
        return [
            Occurrence(name, dim, table)
            for name, axes in self.tensors.items()
            for dim, axis in enumerate(axes)
            for table in occurrences(axis, self.sizes, key)
        ]

    def put(self, key: str, order: Indices) -> None:
        """Put the neurons of a width, as they are in order now, into another order."""
        self.orders[key] = self.orders[key][order]

    def permuted(
        self, name: str, tensor: torch.Tensor, orders: Mapping[str, Indices] | None = None
    ) -> torch.Tensor:
        """A tensor of the network with its neurons in order.

        Args:
            name: Its name.
            tensor: The tensor.
            orders: Orders of some widths; by default those of all.
        """
        every = {key: np.arange(size) for key, size in self.sizes.items()}
        every.update(self.orders if orders is None else orders)
        for dim, axis in enumerate(self.tensors[name]):
            index = indices(axis, self.sizes, every)
            if not np.array_equal(index, np.arange(len(index))):
                tensor = tensor.index_select(dim, torch.from_numpy(index).to(tensor.device))
        return tensor


def occurrences(formula: Formula, sizes: Mapping[str, int], key: str) -> list[Indices]:
    """The places of a width along an axis, each as a table [others, neurons] of indices.

    Example:
        >>> [table.tolist() for table in occurrences([["h", "d"], ["d"]], {"h": 2, "d": 3}, "d")]
        [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8]]]
        >>> [table.tolist() for table in occurrences([["h", "d"], ["d"]], {"h": 2, "d": 3}, "h")]
        [[[0, 3], [1, 4], [2, 5]]]
    """
    found: list[Indices] = []
    offset = 0
    for term in formula:
        lengths = [
            formula_length(factor, sizes) if isinstance(factor, list)
            else sizes[factor] if isinstance(factor, str) else factor
            for factor in term
        ]  # fmt: skip
        grid = np.arange(math.prod(lengths)).reshape(lengths) + offset
        for place, factor in enumerate(term):
            if isinstance(factor, list):
                last = np.moveaxis(grid, place, -1).reshape(-1, lengths[place])
                found += [last[:, table].reshape(-1, sizes[key]) for table in occurrences(factor, sizes, key)]
            elif factor == key:
                found.append(np.moveaxis(grid, place, -1).reshape(-1, sizes[key]))
        offset += math.prod(lengths)
    return found
