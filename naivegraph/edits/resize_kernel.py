"""Change of the size of convolutions' kernels, with padding that follows."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import AttributeChange, Change, Outgoing
from naivegraph.edits.plan.index_formula import Floats, Formula
from naivegraph.edits.plan.kernel_padding import Convolution, sharing
from naivegraph.edits.plan.width_change import WidthChange, rolled
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.operators.relation import tensors_in
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.utility import Utility, check_utility, entry_values
from naivegraph.utility.scores import Loss
from naivegraph.widths import relate

__all__ = ["resize_kernel"]

# How many entries come in front and behind; fewer than none go.
_Ends = tuple[int, int]
_LARGEST = 2**16
_FURTHEST = 8  # sizes above the present one among which the nearest possible one is looked for


@graph_verb
def resize_kernel(
    model: Graph,
    sizes: Mapping[str | Vertex, int | Sequence[int]],
    *,
    utility: Utility = None,
    loss: Loss | None = None,
    optimizer: Any = None,
) -> Edit:
    """Change the size of convolutions' kernels, in place; padding follows, so outputs keep their size.

    A kernel grows around its centre with zeros, so that the network computes what it did before. A kernel
    shrinks around its centre too, and then computes what it did with the entries that go at zero.

    torch pads both sides of a layer's input alike, so sizes change by an even number, unless the layer has
    `padding="same"` or is transposed with an `output_padding` that makes up for it.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        sizes: By vertex (or its name): the new size of its kernel, one number, or one for each dimension.
        utility: The values of the entries of kernels; see `naivegraph.utility.utility`. Where there are
            values a kernel keeps the part, of those in one piece, of the largest value, wherever it lies, and
            changes by odd numbers too. Where the two sides of the input then differ, torch's layer does that
            with `padding_mode="constant"`. By default the middle stays.
        loss: For utility="taylor": a function of the network which returns its loss.
        optimizer: An optimizer (or several) whose state follows.

    Returns:
        The edit; falsy if nothing was changed.

    Raises:
        EditError: A vertex is no convolution whose padding can follow, or the size is not possible, with the
            nearest ones that are; everything is as it was.

    Example:
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
        >>> image = torch.randn(1, 3, 9, 9)
        >>> before = net(image)
        >>> edit = resize_kernel(capture(net, image), {"0": (5, 3)})
        >>> net[0]
        Conv2d(3, 8, kernel_size=(5, 3), stride=(1, 1), padding=(2, 1))
        >>> torch.allclose(net(image), before, atol=1e-6)
        True
    """
    check_utility(utility, loss)
    kernel_sizes: dict[str, tuple[int, ...]] = {}
    done: dict[int, tuple[str, tuple[int, ...]]] = {}
    build = _Builder()
    for key, asked in validate.mapping(sizes, "sizes", "by vertex, as in {'conv': 5}").items():
        vertex = vertex_of(model, key)
        group = sharing(model, vertex)
        size = kernel_sizes[vertex.name] = _size(vertex, group[0], asked)
        weight = group[0].layer.weight
        if id(weight) not in done:
            done[id(weight)] = vertex.name, size
            build.add(model, vertex, group, size, _values(model, vertex, group, utility, loss))
        name, other = done[id(weight)]
        if other != size:
            raise EditError(
                f"{name!r} and {vertex.name!r} have the same weight, and {other} and {size} were asked for"
            )
    return _carry_out(model, build.change(), kernel_sizes, optimizer)


def _size(vertex: Vertex, one: Convolution, asked: int | Sequence[int]) -> tuple[int, ...]:
    rank = len(one.sizes)
    size = tuple(asked) if isinstance(asked, Sequence) else (asked,) * rank
    if len(size) != rank or any(not isinstance(n, numbers.Integral) or not 0 < n <= _LARGEST for n in size):
        raise EditError(
            f"{asked!r} is no size for the kernel of {vertex.name!r}: give a number from 1, or {rank} of them"
            f" (at most {_LARGEST:,})"
        )
    return tuple(map(int, size))


def _values(
    graph: Graph, vertex: Vertex, group: list[Convolution], utility: Utility, loss: Loss | None
) -> torch.Tensor | None:
    """Values of the entries of the weight of some convolutions; None if the utility gives none."""
    layers = [each.layer for each in group]
    calls = [other for other in graph if other is vertex or any(other.target is one for one in layers)]
    return entry_values(graph, calls, f"{group[0].path}.weight".removeprefix("."), utility, loss)


class _Builder:
    """Builder of a change of kernels."""

    def __init__(self) -> None:
        self._widths: dict[str, WidthChange] = {}
        self._tensors: dict[str, list[Formula]] = {}
        self._attributes: list[AttributeChange] = []
        self._outgoing: list[Outgoing] = []

    def add(
        self,
        graph: Graph,
        vertex: Vertex,
        group: list[Convolution],
        size: tuple[int, ...],
        values: torch.Tensor | None,
    ) -> None:
        """Change the weight that a group of convolutions shares."""
        before = group[0].sizes
        ends = [_ends(vertex, group, dim, after, values) for dim, after in enumerate(size)]
        if size == before:
            return
        keys: dict[int, str] = {}
        for dim, (front, behind) in enumerate(ends):
            if front or behind:
                keys[dim] = str(len(self._widths))
                kept = np.arange(max(-front, 0), before[dim] - max(-behind, 0), dtype=np.int64)
                name = f"{group[0].path}.kernel_size[{dim}]".removeprefix(".")
                new = max(front, 0) + max(behind, 0)
                self._widths[keys[dim]] = WidthChange(
                    name, before[dim], kept, new, rolled(len(kept) + new, max(front, 0))
                )
        kernel: list[Formula] = [[[keys.get(dim, length)]] for dim, length in enumerate(before)]
        weight = group[0].layer.weight
        axes: list[Formula] = [[[length]] for length in weight.shape[:2]]
        number = graph.state[f"{group[0].path}.weight".removeprefix(".")].id
        names = [name for name, stub in graph.state.items() if stub.id == number]
        self._tensors.update({name: [*axes, *kernel] for name in names})
        self._outgoing.append(Outgoing(names[0], tuple(dim + 2 for dim in keys), tuple(keys.values())))
        for each in group:
            self._attributes += each.attributes(size, ends)

    def change(self) -> Change:
        """The change that was built."""
        return Change(self._widths, self._tensors, self._attributes, tuple(self._outgoing))


def _ends(
    vertex: Vertex, group: list[Convolution], dim: int, after: int, values: torch.Tensor | None
) -> _Ends:
    """The numbers of entries that come (or go, if negative) at both ends of a dimension of a kernel.

    Raises:
        EditError: The padding of some of the layers cannot follow.
    """
    before = group[0].sizes[dim]
    found = list(_possible(group, dim, after - before, values is not None))
    if not found:
        raise EditError(_refusal(vertex, group, dim, after, values is not None))
    worth = np.zeros(before)
    if values is not None and after < before:
        others = [d for d in range(values.dim()) if d != dim + 2]
        worth = values.mean(others).cpu().numpy()
    return min(found, key=lambda ends: (-_kept(worth, ends), abs(ends[0] - ends[1]), ends[0]))


def _kept(worth: Floats, ends: _Ends) -> float:
    return float(worth[max(-ends[0], 0) : len(worth) - max(-ends[1], 0)].sum())


def _possible(group: list[Convolution], dim: int, difference: int, free: bool) -> Iterator[_Ends]:
    """Every way to change a kernel by so many entries, such that the padding of all layers can follow."""
    for front in range(min(difference, 0), max(difference, 0) + 1):
        behind = difference - front
        centred = free or abs(front - behind) <= 1
        if centred and all(each.can(dim, front, behind, free) for each in group):
            yield front, behind


def _refusal(vertex: Vertex, group: list[Convolution], dim: int, after: int, free: bool) -> str:
    before = group[0].sizes[dim]
    front = (after - before) // 2
    ends = front, after - before - front
    each = next((each for each in group if not each.can(dim, *ends, free)), group[0])
    left, right = each.needed(dim, *ends)
    kind, padding = type(each.layer).__name__, each.layer.padding
    why = f"which this {kind} cannot have"
    if isinstance(padding, str):
        why = f"which padding={padding!r} is not; make it numbers"
    elif not each.layer.transposed and not free and (left != right or left < 0) and each.whole:
        why = "which a layer has only if utility= is given; without, it pads both sides alike, with 0 or more"

    def possible(size: int) -> bool:
        """Check whether the padding of all layers can follow this size."""
        return any(True for _ in _possible(group, dim, size - before, free))

    scans = range(after - 1, 0, -1), range(after + 1, max(after, before) + _FURTHEST)
    near = [str(next(filter(possible, scan))) for scan in scans if any(map(possible, scan))]
    return (
        f"a kernel of {after} instead of {before} along dimension {dim} of {vertex.name!r} takes a padding "
        f"of {left} in front and {right} behind, {why}; the nearest sizes it can have: {' and '.join(near)}"
    )


def _carry_out(graph: Graph, change: Change, sizes: dict[str, tuple[int, ...]], optimizer: Any) -> Edit:
    """Apply the change, and check that the network runs with outputs of the same shapes."""
    shapes = _shapes(graph)

    def check() -> None:
        """Compare the shapes of all outputs with those before."""
        for name, found in _shapes(graph).items():
            if found != shapes[name]:
                raise EditError(f"{name!r} would give {found} instead of {shapes[name]}")

    return apply(
        change,
        graph,
        optimizer=optimizer,
        asked={"resize_kernel": {name: list(size) for name, size in sizes.items()}},
        before=graph.costs(),
        after=graph.costs,
        check=check,
        failed="the network would not run as before with these kernels",
        old=RelatedGraph.of(relate(graph)),
    )


def _shapes(graph: Graph) -> dict[str, list[tuple[int, ...]]]:
    def of(stubs: list[Stub]) -> list[tuple[int, ...]]:
        """The shapes of tensors."""
        return [tuple(stub.shape) for stub in stubs]

    return {vertex.name: of(list(tensors_in(vertex.output))) for vertex in graph}
