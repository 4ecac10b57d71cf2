"""What may change in a network, and why the rest may not, in words."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from naivegraph.edits import Costs
from naivegraph.graph import capture
from naivegraph.widths import Demands, Width, Widths, demands_of, relate

__all__ = ["Report", "inspect"]


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Why some axes of parameters are fixed.

    Attributes:
        reason: In words.
        axes: How many axes.
        params: How many parameters the tensors hold which have such an axis.
        example: One of them.
    """

    reason: str
    axes: int
    params: int
    example: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What `inspect` found; print it.

    Attributes:
        costs: Multiply-accumulates and parameters.
        widths: The runs of neurons that always occur together.
        held: Why the network's own code does not let a width change, by the width's name.
        fixed: Reasons for fixed axes, most harmful first.
        free_share: Share of the parameters that live on a width which may change.
        unknown: Operators without a rule, each with the vertex where it was met.
        checks: What comparing the captured graph with the network found.
    """

    costs: Costs
    widths: tuple[Width, ...]
    held: Mapping[str, str]
    fixed: tuple[Fixed, ...]
    free_share: float
    unknown: tuple[tuple[str, str], ...]
    checks: Mapping[str, str]

    def __str__(self) -> str:
        stream = io.StringIO()
        console = Console(file=stream, width=110, force_terminal=False)
        console.print(
            f"{self.costs.macs:,} MACs on the example input, {self.costs.params:,} parameters, "
            f"{self.free_share:.1%} of them on widths that may change.",
            highlight=False,
        )
        console.print(self._width_table())
        if self.fixed:
            console.print(self._fixed_table())
        for name, where in self.unknown:
            console.print(f"No rule for {name} (at {where}): all that it touches is fixed.", highlight=False)
        for check, found in self.checks.items():
            console.print(f"Captured graph against the network, {check}: {found}", highlight=False)
        return stream.getvalue().rstrip()

    def _width_table(self) -> Table:
        table = Table(title=f"{len(self.widths)} widths")
        table.add_column("output of")
        table.add_column("neurons", justify="right")
        table.add_column("tensors", justify="right")
        table.add_column("may change")
        for width in self.widths:
            if width.name in self.held:
                may = f"no: {self.held[width.name]}"
            elif width.coupled:
                may = f"yes, but {_more(width.coupled)} sees its neurons together"
            else:
                may = "yes"
            tensors = len({name for name, _ in width.lives})
            table.add_row(width.name, str(width.size), str(tensors), may)
        return table

    def _fixed_table(self) -> Table:
        table = Table(title="fixed axes, those that matter most first")
        table.add_column("because")
        table.add_column("axes", justify="right")
        table.add_column("parameters", justify="right")
        table.add_column("for example")
        for fixed in self.fixed:
            table.add_row(fixed.reason, str(fixed.axes), f"{fixed.params:,}", fixed.example)
        return table


def _more(found: tuple[str, ...]) -> str:
    return found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more)"


def inspect(model: nn.Module, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Report:
    """Tell what may change in a network, what is tied together, and why the rest may not change.

    Args:
        model: Any module whose forward runs on the example; it is left as it is.
        args: The example: a tensor or a tuple of positional arguments.
        kwargs: Keyword arguments of the example.

    Raises:
        CaptureError: The model could not be captured.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        >>> report = inspect(net, torch.zeros(1, 4))
        >>> [(w.name, w.size, w.coupled) for w in report.widths]
        [('0', 8, ('a layer norm at 1',))]
        >>> [(f.reason, f.axes) for f in report.fixed]
        [('an input of the network (input)', 1), ('an output of the network', 2)]
    """
    graph = capture(model, args, dict(kwargs or {}))
    widths = relate(graph)
    return report_of(widths, demands_of(widths))


def report_of(widths: Widths, demands: Demands) -> Report:
    """The report on a graph whose widths are known."""
    held = {width.name: demands.holds[width.atom] for width in widths.widths if width.atom in demands.holds}
    sizes = {name: tensor.numel() for name, tensor in widths.graph.module.named_parameters()}
    movable = {width.atom for width in widths.widths if width.name not in held}
    free = sum(
        sizes[name]
        for name, axes in widths.parameters().items()
        if any(atom in movable for axis in axes for atom in axis.atoms())
    )
    grouped: dict[str, list[tuple[str, int]]] = {}
    for axis in widths.fixed():
        if axis.name in sizes:
            grouped.setdefault(axis.reason, []).append(
                (f"{axis.name} (dimension {axis.dim})", sizes[axis.name])
            )
    fixed = [Fixed(reason, len(at), sum(n for _, n in at), at[0][0]) for reason, at in grouped.items()]
    return Report(
        Costs(widths.macs(), widths.params()),
        tuple(widths.widths),
        held,
        tuple(sorted(fixed, key=lambda f: -f.params)),
        free / max(sum(sizes.values()), 1),
        tuple(dict.fromkeys(widths.relation.unknown)),
        dict(widths.graph.checks),
    )
