"""Decisions by which widths grow with the function kept, which a run of all tensors' states confirms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from naivegraph.algebra.axis import Atom
from naivegraph.edits.exact_growth.roles import Along
from naivegraph.edits.exact_growth.tensor_state import Kind
from naivegraph.ir.vertex import Vertex

__all__ = ["Decisions", "ScaledNumber"]


@dataclasses.dataclass(frozen=True)
class ScaledNumber:
    """A number of the code, such as the `eps` of a norm, that has to be multiplied by a factor.

    Attributes:
        vertex: The vertex that takes it.
        value: Its value now.
        factor: The factor.
    """

    vertex: Vertex
    value: float
    factor: float


@dataclasses.dataclass
class Decisions:
    """Decisions made so far.

    Attributes:
        kinds: What new entries of the neurons of a width are, where they are written.
        gains: The numbers of the layer scales that follow a parameter, by which its rows are weighted.
        ones: The layer scales whose new entries are one, along a width.
        shifts: The entries that are added to what a norm gives, and start as zero.
        scales: The factors of parameters, by number, with the widths whose growth led to them.
    """

    kinds: Mapping[Atom, Kind]
    gains: dict[Along, frozenset[int]] = dataclasses.field(default_factory=dict)
    ones: dict[Along, None] = dataclasses.field(default_factory=dict)
    shifts: dict[Along, None] = dataclasses.field(default_factory=dict)
    scales: dict[int, tuple[float, frozenset[Atom]]] = dataclasses.field(default_factory=dict)
