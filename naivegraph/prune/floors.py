"""Least sizes and ratios of single layers: what is given by path or pattern, as numbers of widths."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.errors import EditError
from naivegraph.prune.keep import named_axes
from naivegraph.widths import Widths

__all__ = ["AT_LEAST", "AllFloors", "check_at_least", "check_ratio", "floors", "ratios"]

# The fraction of every width that stays unless at_least= says otherwise; chosen by measurement, see
# docs/accuracy.md.
AT_LEAST = 0.1

PerLayer = float | Mapping[Any, float]


class AllFloors(dict[str, int]):
    """The least sizes of all widths by their names, worked out before a network is edited several times.

    Attributes:
        may_lower: Whether they are the default, which gives way to a budget.
    """

    def __init__(self, sizes: Mapping[str, int], may_lower: bool) -> None:
        super().__init__(sizes)
        self.may_lower = may_lower


def check_at_least(at_least: Any) -> None:
    """Check all of `at_least=` that can be checked without a network.

    Raises:
        EditError: It is neither a number nor a dict of numbers, or a number makes no sense.
    """
    for value in at_least.values() if isinstance(at_least, Mapping) else [at_least]:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if value is None and value is at_least:
            continue
        if not real or not math.isfinite(value) or value < 0 or (value > 1 and value != int(value)):
            raise EditError(
                "at_least= takes a fraction from 0 to 1.0 or a whole number of neurons, or a dict of these "
                f"by layer, not {value!r}"
            )


def check_ratio(ratio: Any) -> None:
    """Check all of `ratio=` that can be checked without a network.

    Raises:
        EditError: It is neither a fraction nor a dict of fractions by layer.
    """
    if isinstance(ratio, Mapping) and not ratio:
        raise EditError("ratio= is an empty dict: name layers, or give one number for all")
    for value in ratio.values() if isinstance(ratio, Mapping) else [ratio]:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not (real and math.isfinite(value) and 0 < value <= 1):
            raise EditError(f"ratio must be a fraction above 0 and at most 1, not {value!r}")


def floors(widths: Widths, at_least: PerLayer | None) -> dict[Atom, int]:
    """The least number of neurons of each width.

    Args:
        widths: The widths.
        at_least: A fraction (a float up to 1.0) of every width, or a number of neurons; or a dict of these by
            layers as `keep=` names them, of which the last that names a width counts. Widths that it does not
            name, and all for None, keep `AT_LEAST` of their neurons.

    Raises:
        EditError: A path or pattern names nothing.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(*[torch.nn.Linear(n, m) for n, m in [(2, 30), (30, 9), (9, 1)]])
        >>> widths = ng.capture(net, torch.ones(1, 2)).widths
        >>> [list(floors(widths, each).values()) for each in (None, 0.5, 4, {"1": 8})]
        [[3, 1], [15, 5], [4, 4], [3, 8]]
    """
    if isinstance(at_least, AllFloors):
        return {width.atom: min(at_least.get(width.name, 1), width.size) for width in widths}
    of_all = AT_LEAST if at_least is None or isinstance(at_least, Mapping) else at_least
    found = {width.atom: _least(of_all, width.size) for width in widths}
    for atom, value in _by_layer(widths, at_least, "at_least").items():
        found[atom] = _least(value, atom.length)
    return found


def ratios(widths: Widths, ratio: PerLayer) -> dict[Atom, float]:
    """The fraction of each width that is to stay; of widths that a dict does not name, all.

    Raises:
        EditError: A path or pattern names nothing.
    """
    if isinstance(ratio, Mapping):
        return {width.atom: 1.0 for width in widths} | _by_layer(widths, ratio, "ratio")
    return {width.atom: float(ratio) for width in widths}


def _least(value: float, size: int) -> int:
    """The least size of a width: a fraction of it, rounded up, or a number, and never more than it has."""
    whole = isinstance(value, numbers.Integral) or value > 1
    least = int(value) if whole else math.ceil(round(float(value) * size, 9))
    return min(max(least, 1), size)


def _by_layer(widths: Widths, values: Any, argument: str) -> dict[Atom, float]:
    """The value of each width that a dict by layers names."""
    out: dict[Atom, float] = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if not isinstance(key, (str, nn.Module)):
            raise EditError(f"{argument}= has an entry for {key!r}, which is no layer, path or pattern")
        for axis in named_axes(widths, key, argument):
            out.update((atom, value) for atom in axis.atoms() if atom in widths.by_atom)
    return out
