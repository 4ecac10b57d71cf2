"""A report on the sizes of a network: which may change, and the reasons why others may not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.costs import Costs
from naivegraph.edits.request.target import check_model, check_no_example
from naivegraph.errors import EditError
from naivegraph.network import Graph, capture
from naivegraph.picture import NetworkPicture, Pictured
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.prune.sizes_picture import sizes_picture
from naivegraph.tables import Block, Column, TextTable, as_html, as_text
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate

__all__ = ["Report", "inspect"]


_SHOWN = 30
_FREE = (
    Column("neurons of", fold=True, no_wrap=True), Column("number", right=True),
    Column("part of", no_wrap=True), Column("tensors", right=True), Column("seen together by"),
)  # fmt: skip
_FIXED = (
    Column("because"), Column("dimensions", right=True), Column("parameters there", right=True),
    Column("for example"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FixedSize:
    """A reason for which axes of parameters cannot change.

    Attributes:
        reason: The reason, in words.
        axes: The number of axes.
        params: The number of parameters in the tensors with such an axis.
        example: One of these tensors.
    """

    reason: str
    axes: int
    params: int
    example: str


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Pictured):
    """The result of `inspect`, to be printed.

    Attributes:
        costs: The costs of the network.
        widths: The runs of neurons that change together.
        fixed_by_code: The reason why the network's own code does not let a width change, by the width's name.
        parts: The axis that a width is one factor or summand of, with the width in brackets, by its name.
        fixed: The reasons why axes cannot change, those of the most parameters first.
        free_share: Share of the parameters with a width that may change.
        unknown: Operators without a rule, each with its vertex.
        checks: The results of comparing the captured graph with the network.
    """

    costs: Costs
    widths: tuple[Width, ...]
    fixed_by_code: Mapping[str, str]
    parts: Mapping[str, str]
    fixed: tuple[FixedSize, ...]
    free_share: float
    unknown: tuple[tuple[str, str], ...]
    checks: Mapping[str, str]
    _related: RelatedGraph | None = dataclasses.field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_related": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        costs = "".join(f"{name} {value}, " for name, (_, value) in self.costs.shown().items())
        return (
            f"Report({costs}{len(self.free)} of {len(self.widths)} widths may change, with "
            f"{self.free_share:.1%} of the parameters)"
        )

    def __str__(self) -> str:
        return as_text(self._blocks(), width=110)

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    @property
    def free(self) -> tuple[Width, ...]:
        """The widths that may change."""
        return tuple(width for width in self.widths if width.name not in self.fixed_by_code)

    def picture(self) -> NetworkPicture:
        """The network as a picture, coloured by the sizes that may change and those that stay.

        `report.page("net.html")` writes it as a page, `report.svg("net.svg")` as SVG.

        Raises:
            EditError: This is a copy, which knows no network.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> picture = ng.inspect(net, torch.ones(1, 4)).picture()
            >>> [(vertex.name, vertex.group) for vertex in picture.vertices if vertex.kind == "layer"]
            [('0', 'may change'), ('1', 'may change'), ('2', 'stays')]
        """
        if self._related is None:
            raise EditError("a copy of a report has no picture: make it of the one that ng.inspect returned")
        return sizes_picture(self._related, self.fixed_by_code)

    def _blocks(self) -> Iterator[Block]:
        yield (
            f"On the example input: {', '.join(f'{n} {title}' for title, n in self.costs.shown().values())}; "
            f"{self.free_share:.1%} of the parameters are on sizes that may change."
        )
        if self.free:
            yield self._free_table()
        if self.fixed:
            yield self._fixed_table()
        for name, where in self.unknown:
            yield (
                f"No rule for {name} (at {where}): all that it touches is fixed "
                "(naivegraph.extend.register_operator states one)."
            )
        for check, found in self.checks.items():
            yield f"Captured graph against the network, {check}: {found}"

    def _free_table(self) -> TextTable:
        rows = [
            (
                width.name,
                str(width.size),
                self.parts.get(width.name, ""),
                str(len({name for name, _ in width.lives})),
                _some(width.coupled),
            )
            for width in self.free[:_SHOWN]
        ]
        below = []
        if len(self.free) > _SHOWN:
            below.append(f"and {len(self.free) - _SHOWN} more (report.free)")
        if any(width.coupled for width in self.free):
            below.append(
                "Where neurons are seen together (by a norm, a mean, a softmax), "
                "removing some changes what becomes of the others."
            )
        return TextTable(_FREE, rows, "What may change", "\n".join(below) or None)

    def _fixed_table(self) -> TextTable:
        rows = [
            (fixed.reason, str(fixed.axes), f"{fixed.params:,}", fixed.example)
            for fixed in self.fixed[:_SHOWN]
        ]
        more = len(self.fixed) - _SHOWN
        title = "What pruning cannot change, and why; that of the most parameters first"
        return TextTable(_FIXED, rows, title, f"and {more} more (report.fixed)" if more > 0 else None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:1]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def inspect(model: nn.Module | Graph, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Report:
    """Report the sizes that may change in a network, those tied together, and why the rest may not change.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs. It is left as it is.
        args: The example's positional inputs, as in `model(*args)`.
        kwargs: Its keyword inputs.

    Raises:
        CaptureError: The network could not be captured.
        EditError: The first argument is neither network nor graph, or a graph came with an example.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        >>> report = inspect(net, torch.zeros(1, 4))
        >>> [(w.name, w.size, w.coupled) for w in report.widths]
        [('0', 8, ('a layer norm at 1',))]
        >>> [(f.reason, f.axes) for f in report.fixed]
        [('an input of the network (input)', 1), ('an output of the network', 2)]
    """
    check_model("inspect", model)
    if isinstance(model, Graph):
        check_no_example("inspect", args, kwargs)
    graph = model if isinstance(model, Graph) else capture(model, args, kwargs)
    widths = relate(graph)
    return report_of(widths, constraints_of(widths))


def report_of(widths: Widths, constraints: SizeConstraints) -> Report:
    """The report on a graph whose widths have been worked out."""
    fixed_by_code = {
        width.name: constraints.fixed[width.atom]
        for width in widths.widths
        if width.atom in constraints.fixed
    }
    sizes = {name: tensor.numel() for name, tensor in widths.graph.module.named_parameters()}
    movable = {width.atom for width in widths.widths if width.name not in fixed_by_code}
    free = sum(
        sizes[name]
        for name, axes in widths.parameters().items()
        if any(atom in movable for axis in axes for atom in axis.atoms())
    )
    fixed = [_fixed(reason, at, sizes) for reason, at in _reasons(widths, fixed_by_code).items()]
    return Report(
        Costs.of(widths),
        tuple(widths.widths),
        fixed_by_code,
        {width.name: text for width in widths.widths if (text := _part(widths, width))},
        tuple(sorted(fixed, key=lambda f: -f.params)),
        free / max(sum(sizes.values()), 1),
        tuple(dict.fromkeys(widths.relation.unknown)),
        dict(widths.graph.checks),
        RelatedGraph.of(widths),
    )


def _part(widths: Widths, width: Width) -> str:
    """The first axis that a width is in, with the width in brackets, as `4*[16]`; empty if it is the axis."""

    def text(axis: Axis) -> str:
        """Return an axis as text."""
        return " + ".join("*".join(map(factor, term)) or "1" for term in axis.terms)

    def factor(value: Atom | int | Axis) -> str:
        """Return a factor as text."""
        if isinstance(value, Axis):
            return f"({text(value)})"
        if isinstance(value, Atom):
            return f"[{value.length}]" if value is width.atom else str(value.length)
        return str(int(value))

    name, dim = width.lives[0]
    axis = widths.axes[name][dim]
    return "" if axis.terms == ((width.atom,),) else text(axis)


def _reasons(widths: Widths, fixed_by_code: Mapping[str, str]) -> dict[str, list[tuple[str, int]]]:
    """The axes of parameters that cannot change, by reason."""
    out: dict[str, list[tuple[str, int]]] = {}
    for axis in widths.fixed():
        out.setdefault(_elsewhere(axis.reason), []).append((axis.name, axis.dim))
    for width in widths.widths:
        if width.name in fixed_by_code:
            out.setdefault(_elsewhere(fixed_by_code[width.name]), []).extend(width.lives)
    return out


def _elsewhere(reason: str) -> str:
    """A reason without the vertex in it, so that a reason that many vertices share is told once."""
    return re.sub(r"\S+ \(([^()]*:\d+)\)", r"\1", reason).partition(", at ")[0]


def _fixed(reason: str, at: Sequence[tuple[str, int]], sizes: Mapping[str, int]) -> FixedSize:
    tensors = dict.fromkeys(name for name, _ in at if name in sizes)
    name, dim = next(((name, dim) for name, dim in at if name in sizes), at[0])
    return FixedSize(reason, len(at), sum(sizes[name] for name in tensors), f"{name} (dimension {dim})")
