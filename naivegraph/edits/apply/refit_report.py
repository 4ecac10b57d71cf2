"""The report on a refit: errors of layers before and after, and the layers that were left as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from naivegraph.tables import Block, Column, TextTable

__all__ = ["LayerRefit", "RefitReport"]

_SHOWN = 12
_EXACT = 1e-9  # an error that is rounding
_COLUMNS = (
    Column("layer", fold=True), Column("outputs", right=True), Column("inputs each", right=True),
    Column("error before", right=True), Column("after", right=True),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LayerRefit:
    """The refit of one layer.

    Errors are the share of the variance of the layer's outputs, before the edit, that is missed: 0 is exact,
    1 is as good as a constant. They are measured on samples that were held out, where there were some. What
    an activation behind the layer takes for the same number, as ReLU all below zero, is not missed.

    Attributes:
        name: The vertex.
        outputs: The number of outputs that are left.
        unknowns: The number of weights of each.
        rows: The number of rows (places of samples) that they were solved from.
        before: The error with the weights kept.
        after: The error with the weights solved for.
        ridge: The penalty on the distance from the weights kept, in units of the mean square of an input;
            None where the weights kept stay, as nothing is better.
    """

    name: str
    outputs: int
    unknowns: int
    rows: int
    before: float
    after: float
    ridge: float | None


@dataclasses.dataclass(frozen=True)
class RefitReport:
    """The refit of a network.

    Attributes:
        layers: The layers whose weights were solved for, in the order of the graph.
        left: The layers with weights that were not, and why.
        samples: The number of samples.
        held_out: The number of those on which errors were measured; 0 for all of them, as there were few.
    """

    layers: tuple[LayerRefit, ...]
    left: tuple[tuple[str, str], ...]
    samples: int
    held_out: int

    @property
    def count(self) -> int:
        """The number of layers that got other weights."""
        return sum(layer.ridge is not None for layer in self.layers)

    @property
    def worst(self) -> list[LayerRefit]:
        """The layers, that of the largest error after the refit first."""
        return sorted(self.layers, key=lambda layer: -layer.after)

    def blocks(self) -> Iterator[Block]:
        """The report for people."""
        held = f", errors on {self.held_out} held out" if self.held_out else ""
        if self.layers:
            rows = [
                (each.name, str(each.outputs), str(each.unknowns), f"{each.before:.2%}", f"{each.after:.2%}")
                for each in self.worst[:_SHOWN]
            ]
            more = len(self.layers) - _SHOWN
            title = f"{self.count} layers refitted to {self.samples} samples{held}; the worst first"
            yield TextTable(
                _COLUMNS, rows, title, f"and {more} more (edit.refit.layers)" if more > 0 else None
            )
        few = [layer.name for layer in self.layers if layer.rows <= layer.unknowns and layer.after > _EXACT]
        if few:
            yield f"Fewer rows than unknowns at {_some(few)}: more samples would bring more."
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left:
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            yield f"Not refitted: {_some(names)}, as {reason}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
