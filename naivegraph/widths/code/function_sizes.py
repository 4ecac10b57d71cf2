"""Constraints of the sizes that a network's code passes to torch functions.

Functions that take sizes have a rule each, listed here; a symbolic integer passed to any other function must
keep its value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from naivegraph.algebra.axis import Axis, single
from naivegraph.graph import Vertex
from naivegraph.graph.run.interpreter import COMPUTE, read_attribute
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.ir.pytree import leaves
from naivegraph.ir.values import Attribute, Compound, DimSize, Expression, State, Stub
from naivegraph.operators.relation import tensors_in
from naivegraph.widths.code.constraint_kinds import (
    CodeConstraint,
    EqualSizes,
    FixedValue,
    LongestAxis,
    OpaqueAxis,
    SizeArgument,
    opaque_axes,
)
from naivegraph.widths.code.layer_sizes import first_output, layer_sizes, own_sizes
from naivegraph.widths.widths import Widths

__all__ = ["place_of_vertex", "sizes_of", "value_of"]


SizeRule = Callable[[Widths, Vertex], Iterator[CodeConstraint]]


def sizes_of(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """The constraints that the arguments of a vertex impose."""
    if isinstance(vertex.target, nn.Module):
        yield from layer_sizes(widths, vertex, vertex.target)
        return
    yield from own_sizes(widths, vertex)
    rule = _RULES.get(vertex.target) if callable(vertex.target) else None
    if rule is not None:
        yield from rule(widths, vertex)
        return
    for value in _expressions([vertex.args, vertex.kwargs]):
        yield FixedValue(value, vertex)
    numbers = (int, DimSize, Attribute, Compound)
    if any(type(leaf) in numbers for leaf in leaves((vertex.args, vertex.kwargs))):
        yield from _whole_slices(widths, vertex)
        yield from opaque_axes(widths, vertex)


def _whole_slices(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """Slices in a function that reach up to some number, which all indices are below."""
    for operation in vertex.operations:
        if operation.func is torch.ops.aten.slice.Tensor:
            source, dim, _, stop = (*operation.args, *(0, 0, None, None)[len(operation.args) :])[:4]
            if stop is not None and source.shape[dim] <= stop < sys.maxsize:
                yield LongestAxis(stop, widths.of(source)[dim], vertex)


def _expressions(value: Any) -> Iterator[Expression]:
    """The symbolic integers in nested arguments."""
    if isinstance(value, (DimSize, Attribute, Compound)):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _expressions(item)
    elif isinstance(value, dict):
        yield from _expressions(list(value.values()))
    elif isinstance(value, slice):
        yield from _expressions([value.start, value.stop, value.step])


def _number(value: Any) -> bool:
    """Tell whether an argument is an integer, symbolic or plain."""
    return isinstance(value, (DimSize, Attribute, Compound)) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _flat(values: Any) -> list[Any]:
    """The sizes in `reshape(2, 3)` and in `reshape((2, 3))`."""
    return list(values[0]) if len(values) == 1 and isinstance(values[0], (list, tuple)) else list(values)


def _target_shape(widths: Widths, vertex: Vertex, sizes: list[Any]) -> Iterator[CodeConstraint]:
    """Each size is that of a dimension of the result; -1 is free."""
    out = first_output(vertex)
    if out is None:
        return
    axes = widths.of(out)
    if len(axes) < len(out.shape) == len(sizes):  # squeezed in place since
        sizes = [value for value, size in zip(sizes, out.shape, strict=True) if size != 1]
    for value, axis in zip(sizes, axes, strict=False):
        if _number(value) and not (isinstance(value, int) and value == -1):
            yield SizeArgument(value, axis, vertex)


def _reshape(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    sizes = vertex.args[1:] or tuple(v for v in vertex.kwargs.values() if isinstance(v, (list, tuple)))
    if all(_number(value) for value in _flat(sizes)):
        yield from _target_shape(widths, vertex, _flat(sizes))


def _like(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """Result of the shape of the second argument."""
    (other,) = _named(vertex, "other")
    out = first_output(vertex)
    if out is not None and isinstance(other, (Stub, State)):
        shape = widths.of(other) if isinstance(other, Stub) else widths.axes[other.name]
        for one, two in zip(widths.of(out), shape, strict=True):
            yield EqualSizes((one, two), vertex)


def _no_sizes(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """Numbers that are no sizes that could change."""
    for value in _expressions([vertex.args, vertex.kwargs]):
        yield FixedValue(value, vertex)


def _strided(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """Sizes, and strides that are products of sizes, of the memory below: none may change."""
    yield from _no_sizes(widths, vertex)
    for stub in tensors_in(vertex.output):
        for axis in widths.of(stub):
            yield OpaqueAxis(axis, vertex)


def _repeats(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """Numbers of repeats, which stay; the neurons repeated may change."""
    yield from _no_sizes(widths, vertex)
    operands = tensors_in([vertex.args, vertex.kwargs])
    known = {atom for stub in operands for axis in widths.of(stub) for atom in axis.atoms()}
    for stub in tensors_in(vertex.output):
        for atom in dict.fromkeys(atom for axis in widths.of(stub) for atom in axis.atoms()):
            if atom not in known:
                yield OpaqueAxis(single(atom), vertex)


def _factory(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    sizes = vertex.args or tuple(vertex.kwargs[k] for k in ("size",) if k in vertex.kwargs)
    numbers = [v for v in _flat(sizes) if _number(v)]
    out = first_output(vertex)
    if out is not None and len(numbers) == len(out.shape):
        yield from _target_shape(widths, vertex, numbers)


def _new_factory(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    sizes = _flat(vertex.args[1:])
    numbers = [
        v for item in sizes for v in (item if isinstance(item, (list, tuple)) else [item]) if _number(v)
    ]
    out = first_output(vertex)
    if out is not None:
        yield from _target_shape(widths, vertex, numbers[: len(out.shape)])


def _unflatten(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    at, sizes = _named(vertex, "dim", "sizes")
    out = first_output(vertex)
    if out is None or not _number(at):
        return
    dim = value_of(widths, at)
    rank = len(out.shape) - len(sizes) + 1
    axes = widths.of(out)[dim % rank :]
    for value, axis in zip(sizes, axes, strict=False):
        if _number(value) and not (isinstance(value, int) and value == -1):
            yield SizeArgument(value, axis, vertex)


def _named(vertex: Vertex, *names: str) -> list[Any]:
    """Arguments after the tensor, by position or name; a missing one is None."""
    args = vertex.args[1:]
    return [args[i] if i < len(args) else vertex.kwargs.get(name) for i, name in enumerate(names)]


def _split(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    sizes, dim = _named(vertex, "split_size_or_sections", "dim")
    if sizes is None:
        sizes = vertex.kwargs.get("split_size", vertex.kwargs.get("split_sizes"))
    parts = tensors_in(vertex.output)
    axes = [widths.of(part)[value_of(widths, dim or 0)] for part in parts]
    values = sizes if isinstance(sizes, (list, tuple)) else [sizes] * len(axes)
    for value, axis in zip(values, axes, strict=False):
        if _number(value):
            yield SizeArgument(value, axis, vertex)


def _chunk(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    count, dim = _named(vertex, "chunks", "dim")
    axes = tuple(widths.of(part)[value_of(widths, dim or 0)] for part in tensors_in(vertex.output))
    if len({axis.length for axis in axes}) == 1 and value_of(widths, count) == len(axes):
        yield EqualSizes(axes, vertex)
    else:
        for axis in axes:
            yield OpaqueAxis(axis, vertex)
    for value in _expressions([count]):
        yield FixedValue(value, vertex)


def _getitem(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    source, keys = vertex.args[0], vertex.args[1]
    source = widths.graph.state[source.name] if isinstance(source, State) else source
    keys = keys if isinstance(keys, tuple) else (keys,)
    rank = len(source.shape) if isinstance(source, Stub) else None
    taken = sum(1 for key in keys if key is not None and key is not Ellipsis and not isinstance(key, bool))
    dim = 0
    for key in keys:
        if key is Ellipsis and rank is not None:
            dim += rank - taken
            continue
        if key is None:
            continue
        if (
            isinstance(key, slice)
            and isinstance(source, Stub)
            and (key.start is not None or key.stop is not None)
        ):
            yield from _sliced(widths, vertex, widths.of(source)[dim], key, source.shape[dim])
        else:
            for value in _expressions([key]):
                yield FixedValue(value, vertex)
        dim += 1


def _sliced(widths: Widths, vertex: Vertex, axis: Axis, key: slice, n: int) -> Iterator[CodeConstraint]:
    if key.step not in (None, 1):
        for value in _expressions([key]):
            yield FixedValue(value, vertex)
        return
    for bound in (key.start, key.stop):
        if bound is None or not _number(bound):
            continue
        value = value_of(widths, bound)
        place = min(max(value + n if value < 0 else value, 0), n)
        before, after = widths.relation.algebra.cut(axis, place)
        if value < 0:
            yield SizeArgument(Compound("-", 0, bound), after, vertex)
        elif value < n:
            yield SizeArgument(bound, before, vertex)
        elif isinstance(bound, int) or value > n:
            yield LongestAxis(value, axis, vertex)
        else:
            yield SizeArgument(bound, axis, vertex)


def value_of(widths: Widths, value: Expression) -> int:
    """The value of an expression in the run that was captured."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, DimSize):
        if isinstance(value.tensor, str):
            return widths.graph.state[value.tensor].shape[value.dim]
        return widths.relation.axes[value.tensor][value.dim].length
    if isinstance(value, Attribute):
        return int(read_attribute(widths.graph.module, value))
    return COMPUTE[value.operator](value_of(widths, value.left), value_of(widths, value.right))


def _narrow(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    at, start, length = _named(vertex, "dim", "start", "length")
    source, out = vertex.args[0], first_output(vertex)
    if isinstance(source, Stub) and out is not None and _number(at):
        dim = value_of(widths, at)
        axis, part = widths.of(source)[dim], widths.of(out)[dim]
        if not (
            _number(start) and _number(length)
        ):  # a tensor holds the start, which may be another next time
            yield from (OpaqueAxis(axis, vertex), OpaqueAxis(part, vertex))
            return
        yield SizeArgument(length, part, vertex)
        yield SizeArgument(start, widths.relation.algebra.cut(axis, value_of(widths, start))[0], vertex)


def _norm(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    (shape,) = _named(vertex, "normalized_shape")
    out = first_output(vertex)
    if out is not None:
        axes = widths.of(out)
        for value, axis in zip(shape, axes[len(axes) - len(shape) :], strict=True):
            yield SizeArgument(value, axis, vertex)


def _pad(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    (amounts,) = _named(vertex, "pad")
    source, out = vertex.args[0], first_output(vertex)
    if out is None or not isinstance(source, Stub):
        return
    axes = widths.of(out)
    for index, value in enumerate(amounts):
        if not _number(value):
            continue
        axis, number = axes[len(axes) - 1 - index // 2], value_of(widths, value)
        if number > 0 and not axis.fixed:
            at = number if index % 2 == 0 else axis.length - number
            yield SizeArgument(value, widths.relation.algebra.cut(axis, at)[index % 2], vertex)
        elif not isinstance(value, int):
            yield FixedValue(value, vertex)


def _counted(position: int, name: str) -> SizeRule:
    """Rule of a function with a number of groups as this argument."""

    def read(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
        """The number of groups is a size; other numbers stay."""
        value = vertex.args[position] if position < len(vertex.args) else vertex.kwargs.get(name, 1)
        out = first_output(vertex)
        count = widths.relation.counts.get(out.id) if out is not None else None
        if count is not None and _number(value):
            yield SizeArgument(value, widths.relation.algebra.resolve(count), vertex)
        rest = {k: v for k, v in vertex.kwargs.items() if k != name}
        for other in _expressions([[v for i, v in enumerate(vertex.args) if i != position], rest]):
            yield FixedValue(other, vertex)

    return read


_Tensor, _aten = torch.Tensor, torch.ops.aten
_RULES: dict[Any, SizeRule] = {
    **dict.fromkeys(
        [_Tensor.reshape, _Tensor.view, _Tensor.expand, torch.reshape, torch.broadcast_to], _reshape
    ),
    **dict.fromkeys([_Tensor.view_as, _Tensor.reshape_as, _Tensor.expand_as], _like),
    **dict.fromkeys([_Tensor.as_strided, _Tensor.as_strided_, torch.as_strided, torch.as_strided_], _strided),
    **dict.fromkeys([F.glu, F.pixel_shuffle, F.pixel_unshuffle], _no_sizes),
    **dict.fromkeys([torch.zeros, torch.ones, torch.empty, torch.full, torch.rand, torch.randn], _factory),
    **dict.fromkeys([_Tensor.new_zeros, _Tensor.new_ones, _Tensor.new_empty, _Tensor.new_full], _new_factory),
    **dict.fromkeys([_Tensor.unflatten, torch.unflatten], _unflatten),
    **dict.fromkeys([_Tensor.split, torch.split], _split),
    **dict.fromkeys([_Tensor.split_with_sizes, torch.split_with_sizes], _split),
    **dict.fromkeys([_Tensor.chunk, torch.chunk], _chunk),
    **dict.fromkeys([_Tensor.repeat_interleave, torch.repeat_interleave], _repeats),
    **dict.fromkeys([torch.native_channel_shuffle, torch.channel_shuffle], _counted(1, "groups")),
    **dict.fromkeys([_aten.view.default, _aten._unsafe_view.default, _aten.expand.default], _reshape),
    **dict.fromkeys([_Tensor.narrow, torch.narrow], _narrow),
    **dict.fromkeys([F.layer_norm, F.rms_norm], _norm),
    **dict.fromkeys([F.pad, torch.constant_pad_nd], _pad),
    **dict.fromkeys([_Tensor.__getitem__, _Tensor.__setitem__], _getitem),
    F.group_norm: _counted(1, "num_groups"),
    **dict.fromkeys([F.conv1d, F.conv2d, F.conv3d], _counted(6, "groups")),
    **dict.fromkeys([F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d], _counted(6, "groups")),
}


def place_of_vertex(vertex: Vertex) -> str:
    """The vertex and the line of the user's code that made it, for messages."""
    if vertex.where is None:
        return vertex.name
    return f"{vertex.name} ({line_text(vertex.where)})"
