"""Other positions for a pretrained network: longer texts, images of another size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.change import Change, InputChange
from naivegraph.edits.plan.index_formula import Formula
from naivegraph.edits.plan.start import Start, Sums
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.signature import nested_arguments
from naivegraph.network import Graph
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.transfer.position_attributes import length_attributes, size_attributes
from naivegraph.transfer.position_tables import PositionTable, grid_table, length_table
from naivegraph.transfer.resampling import extended, resampled
from naivegraph.widths import relate

__all__ = ["positions"]

# Keys of the widths of the change: positions, and the height and width of the image.
_ROWS, _SIDES = "0", ("1", "2")


@graph_verb
def positions(
    model: Graph,
    *,
    length: int | None = None,
    image: tuple[int, int] | None = None,
    table: str | None = None,
    grid: tuple[int, int] | None = None,
    before: int | None = None,
    how: str | None = None,
    optimizer: Any = None,
) -> Edit:
    """Give a network positions for other lengths or other images, in place, by its table of positions.

    For a length, the table has a row for each place in a text. For images, it has a row for each patch, one
    line of the grid of patches after the other, perhaps behind rows of class tokens. Buffers that count
    positions, attributes and the config follow; the example becomes an image of the new size.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        length: The number of rows afterwards.
        image: The height and width of images afterwards, in pixels. The grid of patches before and afterwards
            is that of the layer that reads the image.
        table: The name of the table; by default the one that is found.
        grid: For images, the rows and columns of patches before, if no layer tells.
        before: The number of rows in front of the positions, which stay as they are: those of class tokens or
            of an offset. By default, for images, the rows which are no patches; for lengths none.
        how: The rows afterwards. "extend": the old ones stay, and further ones repeat them from the first on,
            so that texts that were not too long before give what they did; the default for a length.
            "linear" (lengths) or "bilinear", "bicubic" (images, the default): interpolated, as
            `torch.nn.functional.interpolate` does.
        optimizer: An optimizer (or several) whose state follows.

    Returns:
        The edit; its notes state the grids and the rows that stay.

    Raises:
        EditError: There is no such table, a grid does not fit it, or the network does not run on images of
            that size; everything is as it was.

    Example:
        >>> import naivegraph as ng
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.patch, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 2)
        ...         self.position = nn.Parameter(torch.randn(1, 9, 8))
        ...     def forward(self, x):
        ...         return self.head((self.patch(x).flatten(2).transpose(1, 2) + self.position).mean(1))
        >>> net = Net()
        >>> edit = ng.transfer.positions(net, torch.randn(1, 3, 12, 12), image=(16, 24))
        >>> net.position.shape, net(torch.randn(1, 3, 16, 24)).shape
        (torch.Size([1, 24, 8]), torch.Size([1, 2]))
    """
    if (length is None) == (image is None):
        raise EditError("say how many positions there are to be with one of length= and image=")
    prefix = None if before is None else validate.whole(before, "before", 0)
    if length is not None:
        return _of_length(model, validate.whole(length, "length", 1), table, prefix, how, optimizer)
    if not isinstance(image, (tuple, list)) or len(image) != 2:
        raise EditError(f"image={image!r}: give a height and a width in pixels, such as (96, 128)")
    height, width = (validate.whole(side, "a side of an image", 1) for side in image)
    return _of_image(model, (height, width), table, grid, prefix, how, optimizer)


def _of_length(
    graph: Graph, length: int, name: str | None, prefix: int | None, how: str | None, optimizer: Any
) -> Edit:
    ways = ("extend", "linear")
    if how not in (None, *ways):
        raise EditError(f"how={how!r}: give {' or '.join(map(repr, ways))} for a length")
    table = length_table(graph, name)
    start = prefix or 0
    if start >= min(table.rows, length):
        raise EditError(f"before={start}: {table.name} has {table.rows} rows, and is to have {length}")
    own = table.rows - start
    sums = (
        resampled((own,), (length - start,), "linear") if how == "linear" else extended(own, length - start)
    )
    kept = start if how == "linear" else min(table.rows, length)
    told = (
        f"{table.name} has {length} positions instead of {table.rows}"
        + (f", with {start} rows in front that stayed" if start else "")
        + (": all others were interpolated" if how == "linear" else f": the first {kept} stayed")
        + (", and further ones repeat them" if how != "linear" and length > kept else "")
    )
    change = _change(graph, table, length, kept, start, sums)
    tensors, attributes = length_attributes(graph, table, length, _ROWS)
    change = dataclasses.replace(
        change,
        tensors={**change.tensors, **tensors},
        attributes=attributes,
    )
    starts = [start for name in tensors for start in _counting(graph, name, change)]
    change = dataclasses.replace(change, starts=(*change.starts, *starts))
    return _applied(graph, change, {"positions": table.name, "length": length}, (f"{told}.",), optimizer)


def _counting(graph: Graph, name: str, change: Change) -> list[Start]:
    """The start of further numbers of a buffer that counts positions; none if all its numbers are one."""
    buffer = graph.module.get_buffer(name)
    width = change.widths[_ROWS]
    if width.before < 2 or not bool((buffer.reshape(-1, width.before)[0] != buffer.reshape(-1)[0]).any()):
        return []
    sums = tuple((np.ones(1, np.int64), np.array([float(place)])) for place in range(width.stay, width.after))
    return [Start(name, buffer.dim() - 1, _ROWS, sums, np.arange(width.new))]


def _of_image(
    graph: Graph,
    image: tuple[int, int],
    name: str | None,
    grid: tuple[int, int] | None,
    prefix: int | None,
    how: str | None,
    optimizer: Any,
) -> Edit:
    ways = ("bicubic", "bilinear")
    if how not in (None, *ways):
        raise EditError(f"how={how!r}: give {' or '.join(map(repr, ways))} for an image")
    found = grid_table(graph, name, grid, prefix, image)
    table, start = found.table, found.before
    own = resampled(found.old, found.new, how or "bicubic")
    rows = start + found.new[0] * found.new[1]
    change = _change(graph, table, rows, start, start, own)
    sides = [WidthChange(f"image side {key}", was, *_side(was, now)) for key, was, now in
             zip(_SIDES, found.image, image, strict=True)]  # fmt: skip
    inputs = tuple(
        InputChange(found.input[0], found.input[1], dim, [[key]])
        for dim, key in zip(found.dims, _SIDES, strict=True)
    )
    change = dataclasses.replace(
        change,
        widths={**change.widths, **dict(zip(_SIDES, sides, strict=True))},
        inputs=inputs,
        attributes=size_attributes(graph, found, image, rows),
    )
    told = (
        f"{table.name} has positions for a grid of {found.new[0]} x {found.new[1]} patches instead of "
        f"{found.old[0]} x {found.old[1]}, {how or 'bicubic'}"
        + (f", and {start} row{'s' if start > 1 else ''} in front that stayed" if start else "")
    )
    asked = {"positions": table.name, "image": list(image)}
    config = config_name(graph.module)
    said = config is None or any(each.name == config for each in change.attributes)
    unsaid = () if said else (
        f"the network's {config} cannot describe images of {image[0]} x {image[1]}: use ng.save and ng.load "
        "rather than save_pretrained or the like",
    )  # fmt: skip
    return _applied(graph, change, asked, (f"{told}.", *unsaid), optimizer)


def _side(before: int, after: int) -> tuple[Any, int]:
    return np.arange(min(before, after)), max(after - before, 0)


def _change(graph: Graph, table: PositionTable, rows: int, kept: int, start: int, sums: Sums) -> Change:
    """The change of the table: the first rows stay, the others are sums of those behind `start`."""
    width = WidthChange(f"positions of {table.name}", table.rows, np.arange(kept), rows - kept)
    axes: list[Formula] = [[[size]] for size in graph.state[table.name].shape]
    axes[table.dim] = [[_ROWS]]
    stub = graph.state[table.name]
    names = [name for name, other in graph.state.items() if other.id == stub.id]
    moved = tuple((old + start, weights) for old, weights in sums[kept - start :])
    starts = (Start(table.name, table.dim, _ROWS, moved, np.arange(len(moved))),) if moved else ()
    return Change({_ROWS: width}, dict.fromkeys(names, axes), [], starts=starts)


def _applied(
    graph: Graph, change: Change, asked: dict[str, Any], notes: tuple[str, ...], optimizer: Any
) -> Edit:
    return apply(
        change, graph, optimizer=optimizer, asked=asked, notes=notes, before=graph.costs(),
        after=graph.costs, check=_runs(graph), old=RelatedGraph.of(relate(graph)), failed=_NOT_RUNNING,
    )  # fmt: skip


_NOT_RUNNING = (
    "the network does not run with these positions, so all is as it was; a table of relative positions, a "
    "mask or a size in the code does not follow"
)


def _runs(graph: Graph) -> Callable[[], None]:
    def check() -> None:
        """Run the network's own code on the example."""
        module: nn.Module = graph.module
        args, kwargs = nested_arguments(module, graph.example)
        try:
            with torch.no_grad(), preserved(module):
                module(*args, **kwargs)
        except Exception as error:  # of the network's own checks, which may raise anything
            raise EditError(
                f"{type(module).__name__} does not run with these positions: {type(error).__name__}: {error}"
            ) from error

    return check
