"""Convolutions of a graph, and their padding with kernels of other sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from naivegraph.edits.plan.change import AttributeChange
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.interpreter import expressions
from naivegraph.ir.values import Attribute, DimSize, Operation
from naivegraph.network import Graph
from naivegraph.operators import record_of
from naivegraph.operators.operator_record import Role
from naivegraph.operators.relation import tensors_in

__all__ = ["Convolution", "convolution_at", "sharing"]

_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# The attributes that decide which inputs a kernel of some size covers.
_PADDING = ("padding", "output_padding", "padding_mode", "_reversed_padding_repeated_twice")


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution whose padding follows its kernel.

    Its sides are the widths of the padding in front of and behind its input (of what is cut off its output,
    if it is transposed). A kernel with `front` more entries in front and `behind` more behind has the same
    output if these are zero and the sides have `front * dilation` and `behind * dilation` more.

    Attributes:
        path: Its path in the network.
        layer: The module.
        whole: Whether its calls are vertices; else the operators inside it are.
    """

    path: str
    layer: _Layer
    whole: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of its kernel."""
        return tuple(self.layer.weight.shape[2:])

    def sides(self, dim: int) -> tuple[int, int]:
        """The padding in front and behind along a dimension of its kernel."""
        layer = self.layer
        if layer.padding == "same":
            return _same(layer.dilation[dim], self.sizes[dim])
        if isinstance(layer.padding, str):
            return 0, 0
        if layer.transposed:
            return layer.padding[dim], layer.padding[dim] - layer.output_padding[dim]
        if layer.padding_mode == "zeros":
            return layer.padding[dim], layer.padding[dim]
        front, behind = (layer._reversed_padding_repeated_twice[i] for i in self._places(dim))
        return front, behind

    def needed(self, dim: int, front: int, behind: int) -> tuple[int, int]:
        """The sides it needs with so many more (or fewer) entries of the kernel at either end."""
        before, dilation = self.sides(dim), self.layer.dilation[dim]
        return before[0] + front * dilation, before[1] + behind * dilation

    def can(self, dim: int, front: int, behind: int, free: bool) -> bool:
        """Check whether it can have the sides needed with so many more entries at either end.

        Args:
            dim: The dimension of the kernel.
            front: The number of entries added in front; removed if negative.
            behind: The number of entries added behind.
            free: Whether zeros may be added unequally, or inputs be left out.
        """
        layer = self.layer
        left, right = self.needed(dim, front, behind)
        if layer.padding == "same":
            return (left, right) == _same(layer.dilation[dim], self.sizes[dim] + front + behind)
        if isinstance(layer.padding, str):
            return left == right == 0
        if layer.transposed:
            return left >= 0 and 0 <= left - right < max(layer.stride[dim], layer.dilation[dim])
        if layer.padding_mode == "zeros":
            return left == right >= 0 or (free and self.whole)
        # F.pad with zeros cuts off what is less than zero.
        mode: str = layer.padding_mode
        return (free or front == behind) and (mode == "constant" or min(left, right) >= 0)

    def attributes(self, sizes: tuple[int, ...], ends: list[tuple[int, int]]) -> list[AttributeChange]:
        """The changes of its attributes with these sizes, and entries added in front and behind."""
        layer = self.layer
        sides = [self.needed(dim, *end) for dim, end in enumerate(ends)]
        new: dict[tuple[str, tuple[int, ...]], Any] = {}
        for dim, (left, right) in enumerate(sides):
            new["kernel_size", (dim,)] = sizes[dim]
            if not isinstance(layer.padding, str):
                new["padding", (dim,)] = left
            if layer.transposed:
                new["output_padding", (dim,)] = left - right
            for place, side in zip(
                self._places(dim), (left, left if layer.transposed else right), strict=True
            ):
                new["_reversed_padding_repeated_twice", (place,)] = side
        uneven = any(left != right or left < 0 for left, right in sides)
        if uneven and layer.padding_mode == "zeros" and not layer.transposed and layer.padding != "same":
            new["padding_mode", ()] = "constant"
        out = []
        for (name, keys), after in new.items():
            before = getattr(layer, name)
            before = before[keys[0]] if keys else before
            if before != after:
                out.append(AttributeChange(self.path, name, keys, before, after))
        return out

    def _places(self, dim: int) -> tuple[int, int]:
        """The indices of a dimension's two sides in the padding for `F.pad`, which starts at the last one."""
        last = 2 * (len(self.sizes) - 1 - dim)
        return last, last + 1


def _same(dilation: int, size: int) -> tuple[int, int]:
    """The sides of `padding="same"`; an odd one is longer behind."""
    total = dilation * (size - 1)
    return total // 2, total - total // 2


def convolution_at(graph: Graph, vertex: Vertex) -> Convolution:
    """The convolution that a vertex is, or is inside of.

    Raises:
        EditError: It is none, or one with a forward of its own.
    """
    layer = vertex.target
    if not isinstance(layer, nn.Module):
        layer = graph.module.get_submodule(vertex.path)
    kind = next((kind for kind in _KINDS if isinstance(layer, kind)), None)
    if kind is None or not isinstance(layer, _KINDS):
        calls = [op for op in vertex.operations if _is_convolution(op)]
        raise EditError(
            f"{vertex.name!r} is a convolution that the network's own code calls with its own padding, which "
            "cannot follow: make it a torch.nn convolution layer"
            if calls
            else f"{vertex.name!r} is no convolution: only those have a kernel of weights"
        )
    for name in ("forward", "_conv_forward"):
        if name in vars(layer) or getattr(type(layer), name, None) is not getattr(kind, name, None):
            raise EditError(
                f"{vertex.name!r} is a {type(layer).__name__} with a {name} of its own, in which the padding "
                f"may not follow the kernel: only what runs as torch's {kind.__name__} can change"
            )
    if not isinstance(layer._parameters.get("weight"), nn.Parameter):
        raise EditError(
            f"{vertex.name!r} works its weight out from other parameters, so its kernel cannot change: "
            "remove that (torch.nn.utils.parametrize.remove_parametrizations) first"
        )
    given = [layer.kernel_size] + [layer.padding] * (not isinstance(layer.padding, str))
    if any(not isinstance(value, tuple) or len(value) != layer.weight.dim() - 2 for value in given):
        raise EditError(
            f"{vertex.name!r} has {' and '.join(map(repr, given))} for kernel and padding: give it "
            "a tuple with one number per dimension for each"
        )
    return Convolution(vertex.path, layer, vertex.target is layer)


def sharing(graph: Graph, vertex: Vertex) -> list[Convolution]:
    """The convolution at a vertex and all others with the same weight, each once.

    Raises:
        EditError: Something that is no convolution uses the weight, or the network's code reads its size.
    """
    first = convolution_at(graph, vertex)
    number = graph.state[f"{first.path}.weight" if first.path else "weight"].id
    found: dict[int, Convolution] = {}
    for user in graph:
        uses = [op for op in user.operations if number in _numbers((op.args, op.kwargs))]
        if not uses:
            continue
        for op in uses:
            if not _is_convolution(op) or number not in _numbers(op.args[1]):
                raise EditError(
                    f"the weight of {vertex.name!r} is also used at {user.name!r}, and not as a kernel there"
                )
        each = convolution_at(graph, user)
        found.setdefault(id(each.layer), each)
    _check_reads(graph, vertex, number, {each.path: each for each in found.values()})
    return list(found.values())


def _is_convolution(operation: Operation) -> bool:
    return record_of(operation.func).role is Role.CONVOLUTION


def _numbers(value: Any) -> set[int]:
    return {stub.id for stub in tensors_in(value)}


def _check_reads(graph: Graph, vertex: Vertex, number: int, mine: dict[str, Convolution]) -> None:
    names = {name for name, stub in graph.state.items() if stub.id == number}

    def reads(value: Any) -> str | None:
        """Return the size or attribute of the kernel that an argument is computed from, if any."""
        for leaf in expressions(value):
            if isinstance(leaf, DimSize) and leaf.tensor in names and leaf.dim >= 2:
                return f"{leaf.tensor}.shape[{leaf.dim}]"
            if isinstance(leaf, Attribute) and leaf.path in mine and leaf.name in ("kernel_size", *_PADDING):
                return f"{leaf.path}.{leaf.name}"
        return None

    places: list[tuple[str, Any]] = [
        (repr(user.name), (user.args, user.kwargs)) for user in graph if user.path not in mine
    ]
    for value, where, how in graph.escapes:
        places.append((f"{how} ({where[0]}:{where[1]})" if where else how, value))
    for place, values in places:
        if (found := reads(values)) is not None:
            raise EditError(
                f"the kernel of {vertex.name!r} cannot change: the network's own code uses {found} at "
                f"{place}, which would then do something else"
            )
