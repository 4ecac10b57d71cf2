"""Values of neurons, summed up over all parameters that have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.errors import EditError
from naivegraph.utility.effective_weights import (
    Constants,
    EffectiveWeight,
    effective_weights,
    replaced_atoms,
)
from naivegraph.utility.masked_activations import MaskedActivations
from naivegraph.utility.scores import Score
from naivegraph.widths import Width, Widths

__all__ = ["Collected", "Floats", "by_row", "per_atom", "shape_of"]

Floats = npt.NDArray[np.float64]


def shape_of(widths: Widths, width: Width) -> tuple[int, ...]:
    """The shape of the values of a width's neurons: one each, or one in each row of `widths.outer`."""
    outer = widths.outer.get(width.atom)
    return (width.size,) if outer is None else (outer.length, width.size)


def by_row(widths: Widths, width: Width, values: Floats) -> Floats:
    """Values of a width's neurons, divided equally among rows where each row keeps its own neurons."""
    shape = shape_of(widths, width)
    return values if values.shape == shape else np.tile(values / shape[0], (shape[0], 1))


class Collected(Mapping[Width, Floats]):
    """Sums of a score of single weights for every neuron, over the parameters that live on it.

    Those of a width are worked out when they are asked for, from its own parameters.

    Args:
        widths: The widths.
        score: The values of single elements of a parameter; their signs do not matter.
        how: "sum" adds the scores up, "mean" averages them over each parameter's other dimensions. "share"
            divides the sums along each axis of a parameter by their total, so that every layer has the same
            weight whatever the scale of its parameters, and a width counts for all layers that share it (a
            sum over a group as in Fang et al., "DepGraph: Towards any structural pruning", 2023, section 3.3;
            they divide by the mean). Biases and scales of norms, of one dimension, then count only for
            neurons that have no other weights.
        power: 2 for the squares of the scores.
        in_effect: Score the weights that layers compute with by themselves, instead of the parameters they
            are made of (see `effective_weights`), behind masks and gains of activations as far as these let
            them (see `MaskedActivations`).
        once: Value rows of a product by themselves, without the neurons inside (see `per_atom`).

    Raises:
        EditError: When a width is asked for, if a score of it is not finite, or has not the shape of its
            parameter.
    """

    def __init__(
        self,
        widths: Widths,
        score: Score,
        *,
        how: Literal["share", "sum", "mean"] = "share",
        power: Literal[1, 2] = 1,
        in_effect: bool = False,
        once: bool = False,
    ) -> None:
        self._widths, self._score, self._how, self._power, self._once = widths, score, how, power, once
        effective = effective_weights(widths) if in_effect else []
        self._replaced = replaced_atoms(effective)
        self._masked = MaskedActivations(widths, Constants(widths.graph)) if in_effect else None
        self._tensors: list[tuple[str, Sequence[Axis], EffectiveWeight | None]] = [
            *((name, axes, None) for name, axes in widths.parameters().items()),
            *((f"the weight of {weight.name}", weight.axes, weight) for weight in effective),
        ]
        self._of_atom: dict[Atom, list[int]] = {}
        for index, (_, axes, _) in enumerate(self._tensors):
            for atom in dict.fromkeys(atom for axis in axes for atom in axis.atoms()):
                self._of_atom.setdefault(atom, []).append(index)
        self._parts: dict[int, tuple[int, list[dict[Atom, Floats]]]] = {}
        self._known: dict[Width, Floats] = {}

    def __iter__(self) -> Iterator[Width]:
        return iter(self._widths)

    def __len__(self) -> int:
        return len(self._widths)

    def __contains__(self, width: object) -> bool:
        return isinstance(width, Width) and width.atom in self._widths.by_atom

    def __getitem__(self, width: Width) -> Floats:
        if width not in self._known:
            self._known[width] = self._sum(width)
        return self._known[width]

    def _sum(self, width: Width) -> Floats:
        """The values of a width's neurons."""
        atom = width.atom
        sums = {rank: np.zeros(shape_of(self._widths, width)) for rank in (1, 2)}
        for index in self._of_atom.get(atom, ()):
            rank, parts = self._parts_of(index)
            if atom not in self._replaced.get(self._tensors[index][0], ()):
                for part in parts:
                    if atom in part:
                        sums[rank] += part[atom]
        return sums[2] if sums[2].any() else sums[1]

    def _parts_of(self, index: int) -> tuple[int, list[dict[Atom, Floats]]]:
        """The rank of a tensor's scores, and for each of its axes that may change the sums for each width."""
        if index not in self._parts:
            name, axes, weight = self._tensors[index]
            values = self._score(name) if weight is None else weight.values
            if self._masked is not None and weight is None and name in self._masked.gates:
                values = None
            if self._masked is not None and values is not None:
                stub = self._widths.graph.state[name] if weight is None else weight.stub
                factor = self._masked.factor(stub)
                values = values if factor is None else values * factor.to(values)
            rank = 1 if self._how == "share" and len(axes) == 1 else 2
            self._parts[index] = rank, [] if values is None else self._summed(name, axes, values)
        return self._parts[index]

    def _summed(self, name: str, axes: Sequence[Axis], values: torch.Tensor) -> list[dict[Atom, Floats]]:
        free = [d for d, axis in enumerate(axes) if not axis.fixed]
        if values.shape != tuple([axis.length for axis in axes]):
            raise EditError(
                f"the score of {name} has shape {tuple(values.shape)}, not that of the parameter, "
                f"{tuple([axis.length for axis in axes])}"
            )
        if values.is_meta:
            raise EditError(
                f"{name} is on the meta device and has no values to choose neurons by; load the weights "
                "first, or give utility= the values"
            )
        found = []
        for dim, along in _sums(values, free, self._power).items():
            total = float(along.sum())
            if not np.isfinite(total):
                raise EditError(f"{name} holds values that are not finite, so its neurons cannot be compared")
            if self._how == "share":
                along = along / total if total > 0 else along
            elif self._how == "mean":
                along = along * len(along) / values.numel()
            found.append(per_atom(axes[dim], along, self._widths.outer, once=self._once))
        return found


def _sums(values: torch.Tensor, dims: list[int], power: Literal[1, 2]) -> dict[int, Floats]:
    """The sums of absolute values, or of squares, over all dimensions but one, for each of `dims`.

    Block by block, for a copy of a large parameter takes many times longer than the sums, and each block as a
    matrix, whose sums take half as long.
    """
    size = torch.square if power == 2 else torch.abs
    if values.dim() == 1:
        return {0: size(_real(values).float()).double().cpu().numpy()}
    rows: list[torch.Tensor] = []
    columns: torch.Tensor | None = None
    small = values.numel() <= _BLOCK
    for block in (values,) if small else torch.split(values, max(1, _BLOCK * len(values) // values.numel())):
        sizes = size(_real(block).float().flatten(1))
        if 0 in dims:
            rows.append(sizes.sum(1).double())
        if dims != [0]:
            part = sizes.sum(0).double()
            columns = part if columns is None else columns + part
    found: dict[int, Floats] = {0: torch.cat(rows).cpu().numpy()} if rows else {}
    if columns is not None:
        inner: Floats = columns.cpu().numpy().reshape(values.shape[1:])
        for dim in dims:
            if dim:
                found[dim] = inner.sum(axis=tuple(d for d in range(inner.ndim) if d != dim - 1))
    return found


def _real(values: torch.Tensor) -> torch.Tensor:
    """Magnitudes in the place of complex numbers."""
    return values.abs() if values.is_complex() else values


_BLOCK = 1 << 18  # elements; as many floats fit a core's own cache


def per_atom(
    axis: Axis, along: Floats, outer: Mapping[Atom, Atom], *, once: bool = False
) -> dict[Atom, Floats]:
    """Sums of values along an axis for every neuron of each atom in it, of some in each row (`outer`).

    With `once`, values of neurons that have rows are theirs alone, and those rows have none of them.
    """
    whole = axis.atoms()
    if axis.terms == (whole,) and len(whole) == 1 and whole[0] not in outer:
        return {whole[0]: along}
    out: dict[Atom, Floats] = {}
    offset = 0
    for term in axis.terms:
        shape = [factor.length if isinstance(factor, (Atom, Axis)) else int(factor) for factor in term]
        length = int(np.prod(shape))
        block = along[offset : offset + length].reshape(shape)
        offset += length
        for position, factor in enumerate(term):
            if isinstance(factor, int):
                continue
            rows = outer.get(factor) if isinstance(factor, Atom) else None
            inside = rows is not None and position > 0 and term[position - 1] is rows
            chosen = (position - 1, position) if inside else (position,)
            after = term[position + 1] if position + 1 < len(term) else None
            part = block.sum(axis=tuple(d for d in range(len(shape)) if d not in chosen))
            if rows is not None and not inside:
                part = np.tile(part / rows.length, (rows.length, 1))
            if once and isinstance(after, Atom) and outer.get(after) is factor:
                part = np.zeros_like(part)
            found = {factor: part} if isinstance(factor, Atom) else per_atom(factor, part, outer, once=once)
            for atom, values in found.items():
                out[atom] = out[atom] + values if atom in out else values
    return out
