"""Another number of input channels for a pretrained network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change, Scaling
from naivegraph.edits.plan.index_formula import Indices, indices
from naivegraph.edits.plan.start import Start
from naivegraph.edits.request import validate
from naivegraph.edits.request.network_inputs import asked_inputs
from naivegraph.edits.request.requests import Size
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.ir.pytree import map_leaves
from naivegraph.network import Graph
from naivegraph.transfer.kept_function import KeptFunction
from naivegraph.transfer.rearrange import Rearrangement, rearrange, width_along
from naivegraph.widths import Width, Widths, relate

__all__ = ["inputs"]

_STARTS = ("zero", "mean", "repeat")


@graph_verb
def inputs(
    model: Graph,
    vertex: str | Vertex,
    channels: int,
    *,
    new: str = "zero",
    optimizer: Any = None,
    seed: int = 0,
) -> Edit:
    """Give an input another number of channels, in place; the graph's example follows.

    New channels come after the old ones. Of fewer channels each stands for several old ones: old channel `i`
    is then read from channel `i` modulo `channels`, as a grey image stands for red, green and blue, by the
    sum of their weights.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        vertex: The input, by its name.
        channels: The number of channels afterwards.
        new: The weights of new channels. "zero": the network computes what it did, whatever they are fed.
            "repeat": those of channel `c` modulo the old number, shared out among the channels that repeat
            it, so that the network computes what it did where they are fed the same. "mean": the mean of
            the old ones.
        optimizer: An optimizer (or several) whose state follows.
        seed: For parameters along the channels which are no weights.

    Returns:
        The edit. Its notes tell when the network computes the same, and by how much it differs then on the
        example.

    Raises:
        EditError: There is no such input, or its channels cannot change; everything is as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> image = torch.randn(1, 3, 8, 8)
        >>> before = net(image)
        >>> edit = ng.transfer.inputs(net, image, "input", channels=4)
        >>> torch.equal(net(torch.cat([image, torch.randn(1, 1, 8, 8)], 1)), before)
        True
    """
    start = vertex_of(model, vertex)
    if start.kind != "input":
        names = ", ".join(each.name for each in model.inputs)
        raise EditError(f"{start.name!r} is no input of the network: its inputs are {names}")
    after = validate.whole(channels, "channels", 1)
    if new not in _STARTS:
        raise EditError(f"new={new!r}: give {', '.join(map(repr, _STARTS))}")
    asked: Any = {start.name: Size(after)}
    free = asked_inputs(model, asked)
    widths = relate(model, free_outputs=True, free_inputs=free)
    axis = widths.relation.algebra.resolve(widths.relation.inputs[min(free)].axis)
    width = width_along(widths, axis, f"the channels of {start.name!r}")
    way = "fold" if after < width.size else new
    kept = KeptFunction(model, widths, _as_one(model, start, widths) if way == "fold" else None)

    def notes(difference: float) -> tuple[str, ...]:
        """Return a sentence on the function."""
        where = _CONDITIONS[way].format(before=width.size, after=after)
        if difference > _ROUNDING:
            return (
                f"The network computes something else now, even {where}: there it differs by "
                f"{difference:.1e} of the largest output.",
            )
        start = "New channels have weights of zero: the" if way == "zero" else "The"
        told = f"{start} network computes what it did {where}"
        return (f"{told} (there it differs by {difference:.1e} of the largest output).",)

    asked = {"inputs": start.name, "channels": after, "new": new}
    return rearrange(
        model, widths, asked, _rearrangement(way, width, after),
        adjust=lambda change, key: change if way == "zero" else _acting(model, change, key, way, after),
        kept=kept,
        notes=notes if way != "mean" else lambda difference: (_CONDITIONS["mean"],),
        optimizer=optimizer, seed=seed,
    )  # fmt: skip


_ROUNDING = 1e-3  # relative to the largest output: more is no rounding of float32

_CONDITIONS = {
    "zero": "whatever they are fed",
    "repeat": "where channel c is fed what channel c modulo {before} is",
    "mean": "New channels have the mean of the old ones' weights: the network computes what it did only "
    "where they are fed zeros.",
    "fold": "where old channels c were fed the same as c modulo {after}",
}


def _as_one(graph: Graph, start: Vertex, widths: Widths) -> dict[str, Any]:
    """The example with every channel of an input as the first one, which stands for all after folding."""
    example, (_, place) = dict(graph.example), next(iter(widths.relation.inputs.items()))

    def first(leaf: Any) -> Any:
        """Return a tensor with its first channel in the place of all, and any other leaf as it is."""
        if not isinstance(leaf, torch.Tensor) or place.dim >= leaf.dim():
            return leaf
        return leaf.narrow(place.dim, 0, 1).expand_as(leaf)

    example[start.name] = map_leaves(example[start.name], first)
    return example


def _rearrangement(way: str, width: Width, after: int) -> Rearrangement:
    """The channels afterwards, and the old ones that new ones start as, where they are no weights."""
    before: Indices = np.arange(width.size)
    places: Indices = np.arange(after)
    if way == "fold":
        groups = [before[before % after == channel] for channel in places]
        means = [(group, np.full(len(group), 1 / len(group))) for group in groups]
        return Rearrangement(width, np.full(after, -1), means, places)
    old = np.where(places < width.size, places, -1)
    if way == "repeat":
        copies = [(before[[channel]], np.ones(1)) for channel in before]
        return Rearrangement(width, old, copies, places[width.size :] % width.size)
    if way == "mean":
        mean = before, np.full(width.size, 1 / width.size)
        return Rearrangement(width, old, [mean], np.zeros(after - width.size, np.int64))
    return Rearrangement(width, old)


def _acting(graph: Graph, change: Change, key: str, way: str, after: int) -> Change:
    """The change in which new channels act, by weights that are summed up or shared out.

    Raises:
        EditError: The weights by which they act are not known, or not theirs alone.
    """
    own = [out for out in change.outgoing if key in out.widths]
    if (not own and change.widths[key].new) or any(out.rows is not None for out in own):
        raise EditError(
            f'the weights that read the channels have other uses, too: give new="zero", not "{way}"'
        )
    places = {(graph.state[out.tensor].id, dim): out.tensor for out in own for dim in out.dims}
    before = change.widths[key].before
    counts = np.bincount(np.arange(after) % before, minlength=before)
    starts, scalings = list[Start](), list(change.scalings)
    for start in change.starts:
        sums = start.sums
        if (graph.state[start.tensor].id, start.dim) in places and way == "fold":
            sums = tuple((old, np.ones(len(old))) for old, _ in sums)
        elif (graph.state[start.tensor].id, start.dim) in places and way == "repeat":
            scalings += _shared(change, start, key, counts)
        starts.append(dataclasses.replace(start, sums=sums))
    rest = tuple(out for out in change.outgoing if key not in out.widths)
    return dataclasses.replace(change, starts=tuple(starts), outgoing=rest, scalings=tuple(scalings))


def _shared(change: Change, start: Start, key: str, counts: Indices) -> Iterator[Scaling]:
    """The scalings of old channels that share what they do with new ones, which come from them, too."""
    axis = change.tensors[start.tensor][start.dim]
    sizes = {name: width.before for name, width in change.widths.items()}
    whole = {name: np.arange(size) for name, size in sizes.items()}
    for count in np.unique(counts[counts > 1]):
        rows = indices(axis, sizes, {**whole, key: np.flatnonzero(counts == count)})
        yield Scaling(start.tensor, (start.dim, np.sort(rows)), 1 / float(count))
