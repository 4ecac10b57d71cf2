"""What neurons are worth: numbers collected from all parameters that live on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.errors import EditError
from naivegraph.utility.scores import CRITERIA, Score, taylor
from naivegraph.widths import Width, Widths

__all__ = ["Floats", "Utility", "by_row", "collect", "per_atom", "utilities"]

Floats = npt.NDArray[np.float64]
# A criterion's name, or a function of the widths which gives one value per neuron by the name of each width.
Utility = str | Callable[[Widths], Mapping[str, npt.ArrayLike]]


def utilities(
    widths: Widths,
    utility: Utility = "l2",
    *,
    loss: Callable[[nn.Module], torch.Tensor] | None = None,
    seed: int = 0,
) -> dict[Width, Floats]:
    """One number per neuron of every width; more is worth keeping.

    Of a width in `widths.outer`, an array [rows, neurons]: its neurons are worth something of their own in
    each row, in each head, say.

    Args:
        widths: The widths of a graph.
        utility: "l1", "l2" (magnitude of the weights), "bn_scale" (magnitude of batch norms' scales),
            "taylor" (first order estimate of the change of the loss), "random", or a function which takes the
            widths and gives, by the name of each width, an array of its size (or [rows, its size]).
        loss: For "taylor": a function which runs the network it is given on a batch and returns the loss.
        seed: For "random".

    Raises:
        EditError: An unknown criterion, a missing loss, values that are not finite or of the wrong length.
    """
    if callable(utility):
        return _checked(widths, utility(widths))
    if utility == "random":
        generator = np.random.default_rng(seed)
        shapes = {width: _shape(widths, width) for width in widths}
        return {width: generator.random(shape) / math.prod(shape) for width, shape in shapes.items()}
    if utility == "taylor":
        if loss is None:
            raise EditError('utility="taylor" needs loss=, which takes the network and returns its loss')
        return collect(widths, taylor(widths.graph.module, loss), how="sum")
    if utility not in CRITERIA:
        raise EditError(
            f"there is no utility {utility!r}; there are {', '.join([*CRITERIA, 'taylor', 'random'])}"
        )
    score, power = CRITERIA[utility]
    return collect(widths, score(widths.graph.module), power=power)


def _checked(widths: Widths, given: Mapping[str, npt.ArrayLike]) -> dict[Width, Floats]:
    out = {}
    unknown = given.keys() - {width.name for width in widths.widths}
    if unknown:
        raise EditError(
            f"the utility function gave values for {min(unknown)!r}, which is no width of the network"
        )
    for width in widths.widths:
        if width.name not in given:
            raise EditError(f"the utility function gave no values for the width {width.name!r}")
        values = np.asarray(given[width.name], np.float64)
        if values.shape not in ((width.size,), _shape(widths, width)):
            raise EditError(f"the utilities of {width.name} have shape {values.shape}, not ({width.size},)")
        if not np.isfinite(values).all():
            raise EditError(f"the utilities of {width.name} are not all finite")
        out[width] = by_row(widths, width, values)
    return out


def _shape(widths: Widths, width: Width) -> tuple[int, ...]:
    outer = widths.outer.get(width.atom)
    return (width.size,) if outer is None else (outer.length, width.size)


def by_row(widths: Widths, width: Width, values: Floats) -> Floats:
    """What the neurons of a width are worth; shared out equally if its rows choose for themselves."""
    shape = _shape(widths, width)
    return values if values.shape == shape else np.tile(values / shape[0], (shape[0], 1))


def collect(
    widths: Widths,
    score: Score,
    *,
    how: Literal["share", "sum", "mean"] = "share",
    power: Literal[1, 2] = 1,
) -> dict[Width, Floats]:
    """Sum up a score of single weights for every neuron, over the parameters that live on it.

    Args:
        widths: The widths.
        score: What every element of a parameter counts for, but for its sign.
        how: "sum" adds the scores up, "mean" averages them over each parameter's other dimensions. "share"
            divides the sums along each axis of a parameter by their total, so that a layer counts the same
            whatever the scale of its weights, and a width that many layers share counts for all of them (a
            sum over a group as in Fang et al., "DepGraph: Towards any structural pruning", 2023, section 3.3;
            they divide by the mean). Biases and scales of norms, of one dimension, then count only for
            neurons that have no other weights.
        power: 2 for the squares of the scores.

    Raises:
        EditError: A score is not finite.
    """
    sums = {rank: {w.atom: np.zeros(_shape(widths, w)) for w in widths} for rank in (1, 2)}
    for name, axes in widths.parameters().items():
        free = [d for d, axis in enumerate(axes) if not axis.fixed]
        values = score(name) if free else None
        if values is None:
            continue
        for dim, along in _sums(values, free, power).items():
            total = float(along.sum())
            if not np.isfinite(total):
                raise EditError(f"{name} holds values that are not finite, so its neurons cannot be compared")
            if how == "share":
                along = along / total if total > 0 else along
            elif how == "mean":
                along = along * len(along) / values.numel()
            rank = sums[1 if how == "share" and values.dim() == 1 else 2]
            for atom, part in per_atom(axes[dim], along, widths.outer).items():
                if atom in rank:
                    rank[atom] += part
    return {w: sums[2][w.atom] if sums[2][w.atom].any() else sums[1][w.atom] for w in widths.widths}


def _sums(values: torch.Tensor, dims: list[int], power: Literal[1, 2]) -> dict[int, Floats]:
    """The sums of absolute values, or of squares, over all dimensions but one, for each of `dims`.

    Block by block, for a copy of a large parameter takes many times longer than the sums, and each block as a
    matrix, whose sums take half as long.
    """
    size = torch.square if power == 2 else torch.abs
    if values.dim() == 1:
        return {0: size(values.float()).double().cpu().numpy()}
    rows: list[torch.Tensor] = []
    columns: torch.Tensor | None = None
    small = values.numel() <= _BLOCK
    for block in (values,) if small else torch.split(values, max(1, _BLOCK * len(values) // values.numel())):
        sizes = size(block.float().flatten(1))
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


_BLOCK = 1 << 18  # elements; as many floats fit a core's own cache


def per_atom(axis: Axis, along: Floats, outer: Mapping[Atom, Atom]) -> dict[Atom, Floats]:
    """Sums of values along an axis for every neuron of each atom in it, of some in each row (`outer`)."""
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
            part = block.sum(axis=tuple(d for d in range(len(shape)) if d not in chosen))
            if rows is not None and not inside:
                part = np.tile(part / rows.length, (rows.length, 1))
            found = {factor: part} if isinstance(factor, Atom) else per_atom(factor, part, outer)
            for atom, values in found.items():
                out[atom] = out[atom] + values if atom in out else values
    return out
