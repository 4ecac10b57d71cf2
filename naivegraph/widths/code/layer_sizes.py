"""The sizes that torch's layers keep as attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import nn

from naivegraph.algebra.axis import Axis, single
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph import Vertex
from naivegraph.ir.values import Attribute, Stub
from naivegraph.operators.relation import tensors_in
from naivegraph.widths.code.constraint_kinds import CodeConstraint, OpaqueAxis, SizeArgument, SmallerAxis
from naivegraph.widths.widths import Widths

__all__ = ["first_output", "layer_sizes", "own_sizes", "unread_sizes"]


def first_output(vertex: Vertex) -> Stub | None:
    """The first tensor that a vertex returns."""
    found = tensors_in(vertex.output)
    return found[0] if found else None


def layer_sizes(widths: Widths, vertex: Vertex, layer: nn.Module) -> Iterator[CodeConstraint]:
    """The sizes that a torch layer keeps as attributes, which follow its parameters."""
    kind: Any = type(layer)
    rule = _rule_of(kind)
    if rule is not None:
        yield from _sizes(widths, vertex, layer, rule)
        if isinstance(layer, nn.LSTM) and layer.proj_size:
            yield from _projections(widths, vertex, layer)
        return
    own: list[dict[str, Any]] = [
        dict(layer.named_parameters(prefix=vertex.path, remove_duplicate=False)),
        dict(layer.named_buffers(prefix=vertex.path, remove_duplicate=False)),
    ]
    for name in [name for names in own for name in names if name in widths.axes]:
        for axis in widths.axes[name]:
            yield OpaqueAxis(axis, vertex)


@functools.cache
def _rule_of(kind: Any) -> Callable[[Widths, Vertex, Any], LayerSizes] | None:
    """The rule of a class of layers, if it is one of torch's or derived from one."""
    return next((rule for known, rule in _LAYERS if issubclass(kind, known)), None)


Known = Mapping[Attribute, Polynomial]


def unread_sizes(widths: Widths, known: Known) -> Iterator[tuple[Attribute, Polynomial]]:
    """The sizes kept by layers whose parameters are used without calling them, and which no code reads.

    Args:
        widths: The widths.
        known: The sizes of the attributes that are read.
    """
    called = {v.path for run in widths.graph.runs for v in run.vertices if v.kind == "layer"}
    for path, layer in widths.graph.module.named_modules():
        if path not in called:
            for name, keys, size in _unread(widths, known, f"{path}." if path else "", layer):
                value = functools.reduce(lambda found, key: found[key], keys, getattr(layer, name))
                if value == size.value(lambda atom: atom.length):
                    yield Attribute(path, name, keys), size


_Unread = tuple[str, tuple[int, ...], Polynomial]


def _unread(widths: Widths, known: Known, prefix: str, layer: nn.Module) -> Iterator[_Unread]:
    for kind, rule in _BY_PARAMETERS:
        if isinstance(layer, kind):
            axes: Any = widths.axes
            named = {name: axes.get(f"{prefix}{name}") for name in ("weight", "running_mean")}
            given = {name: axes for name, axes in named.items() if axes is not None}
            for name, keys, axis in rule(layer, given):
                yield name, keys, Polynomial.of_axis(axis)
            return
    if isinstance(layer, nn.MultiheadAttention):
        packed, out = (widths.axes.get(prefix + name) for name in ("in_proj_weight", "out_proj.weight"))
        for size, name in (("kdim", "k_proj_weight"), ("vdim", "v_proj_weight")):
            weight = packed or widths.axes.get(prefix + name)
            if weight is not None:  # which an edit of the structure may have taken out
                yield size, (), Polynomial.of_axis(weight[1])
        heads = known.get(Attribute(prefix.removesuffix("."), "num_heads"))
        each = None if heads is None or out is None else Polynomial.of_axis(out[1]).divided(heads)
        if each is not None:
            yield "head_dim", (), each


# The sizes of a layer by the axes of its parameters and buffers, where no call of it says more.
_Axes = Mapping[str, Sequence[Axis]]
_ByParameters = Callable[[Any, _Axes], Iterator[tuple[str, tuple[int, ...], Axis]]]


def _of_matrix(*names: str) -> _ByParameters:
    """The sizes of a layer whose weight has one dimension for each."""

    def sizes(layer: Any, axes: _Axes) -> Iterator[tuple[str, tuple[int, ...], Axis]]:
        """Give them."""
        for name, axis in zip(names, axes.get("weight", ()), strict=False):
            yield name, (), axis

    return sizes


def _of_kernels(layer: nn.modules.conv._ConvNd, axes: _Axes) -> Iterator[tuple[str, tuple[int, ...], Axis]]:
    """The sizes of a convolution without groups, or of each channel by itself."""
    weight = axes.get("weight")
    if weight is None:
        return
    names = ("in_channels", "out_channels") if layer.transposed else ("out_channels", "in_channels")
    if layer.groups == 1:
        yield from ((name, (), axis) for name, axis in zip(names, weight, strict=False))
    elif layer.groups == layer.in_channels == layer.out_channels:
        yield from ((name, (), weight[0]) for name in (*names, "groups"))


def _of_channels(layer: nn.Module, axes: _Axes) -> Iterator[tuple[str, tuple[int, ...], Axis]]:
    """The size of a norm of channels."""
    for axis in next(iter(axes.values()), ())[:1]:
        yield "num_features", (), axis


def _of_features(layer: nn.Module, axes: _Axes) -> Iterator[tuple[str, tuple[int, ...], Axis]]:
    """The sizes of a norm of features."""
    for index, axis in enumerate(axes.get("weight", ())):
        yield "normalized_shape", (index,), axis


_BY_PARAMETERS: tuple[tuple[Any, _ByParameters], ...] = (
    (nn.Linear, _of_matrix("out_features", "in_features")),
    (nn.Embedding, _of_matrix("num_embeddings", "embedding_dim")),
    (nn.PReLU, _of_matrix("num_parameters")),
    (nn.modules.conv._ConvNd, _of_kernels),
    (nn.modules.batchnorm._NormBase, _of_channels),
    ((nn.LayerNorm, nn.RMSNorm), _of_features),
)


def own_sizes(widths: Widths, vertex: Vertex) -> Iterator[CodeConstraint]:
    """The sizes kept by a module whose forward calls the function of a torch layer.

    A layer with a parametrized weight is such a module, and so is a user's own subclass of a layer.
    """
    kind: Any = _FUNCTIONS.get(vertex.target) if callable(vertex.target) else None
    if kind is None:
        return
    module = widths.graph.module.get_submodule(vertex.path)
    if isinstance(module, kind):
        rule = _rule_of(kind)
        if rule is not None:
            yield from _sizes(widths, vertex, module, rule)


def _sizes(
    widths: Widths, vertex: Vertex, layer: nn.Module, rule: Callable[[Widths, Vertex, Any], LayerSizes]
) -> Iterator[CodeConstraint]:
    for (name, keys), axis in rule(widths, vertex, layer):
        # A subclass may mean something else by the name, or not have it.
        value: Any = getattr(layer, name, None)
        for key in keys if value is not None else ():
            value = value[key]
        if value == axis.length:
            yield SizeArgument(
                Attribute(vertex.path, name, keys), widths.relation.algebra.resolve(axis), vertex
            )


LayerSizes = Iterator[tuple[tuple[str, tuple[int, ...]], Axis]]


def _states(widths: Widths, vertex: Vertex, name: str) -> list[Axis] | None:
    """The axes of a layer's own parameter; None where it is computed (a normed weight, say)."""
    return widths.axes.get(f"{vertex.path}.{name}" if vertex.path else name)


def _input(widths: Widths, vertex: Vertex) -> list[Axis]:
    """The axes of the first argument; none where it is no tensor of the run."""
    found = tensors_in([*vertex.args[:1], vertex.kwargs.get("input")])
    return widths.of(found[0]) if found else []


def _count(widths: Widths, vertex: Vertex) -> Axis:
    out = first_output(vertex)
    return widths.relation.counts.get(out.id, single(1)) if out is not None else single(1)


def _convolution(widths: Widths, vertex: Vertex, layer: nn.modules.conv._ConvNd) -> LayerSizes:
    weight, count, out = _states(widths, vertex, "weight"), _count(widths, vertex), first_output(vertex)
    yield ("groups", ()), count
    if weight is not None:
        grouped = widths.relation.algebra.join([count, weight[1]])
        yield ("in_channels", ()), weight[0] if layer.transposed else grouped
        yield ("out_channels", ()), grouped if layer.transposed else weight[0]
        return
    place = -1 - len(layer.kernel_size)
    if out is not None:
        yield ("out_channels", ()), widths.of(out)[place]
    if axes := _input(widths, vertex):
        yield ("in_channels", ()), axes[place]


def _linear(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    weight, out = _states(widths, vertex, "weight"), first_output(vertex)
    if weight is not None:
        yield ("out_features", ()), weight[0]
        yield ("in_features", ()), weight[1]
        return
    if out is not None:
        yield ("out_features", ()), widths.of(out)[-1]
    if axes := _input(widths, vertex):
        yield ("in_features", ()), axes[-1]


def _bilinear(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    names = ("out_features", "in1_features", "in2_features")
    for name, axis in zip(names, _states(widths, vertex, "weight") or (), strict=False):
        yield (name, ()), axis


def _channel_norm(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    out = first_output(vertex)
    if out is not None:
        yield ("num_features", ()), widths.of(out)[1]


def _layer_norm(widths: Widths, vertex: Vertex, layer: nn.LayerNorm) -> LayerSizes:
    out = first_output(vertex)
    if out is not None:
        last = widths.of(out)[len(out.shape) - len(layer.normalized_shape) :]
        for index, axis in enumerate(last):
            yield ("normalized_shape", (index,)), axis


def _group_norm(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    out = first_output(vertex)
    if out is not None:
        yield ("num_channels", ()), widths.of(out)[1]
        yield ("num_groups", ()), _count(widths, vertex)


def _embedding(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    weight, out = _states(widths, vertex, "weight"), first_output(vertex)
    if weight is not None:
        yield ("num_embeddings", ()), weight[0]
    if out is not None:
        yield ("embedding_dim", ()), widths.of(out)[-1]


def _prelu(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    if weight := _states(widths, vertex, "weight"):
        yield ("num_parameters", ()), weight[0]


def _shuffle(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    yield ("groups", ()), _count(widths, vertex)


def _recurrent(widths: Widths, vertex: Vertex, layer: nn.RNNBase) -> LayerSizes:
    state, size = ("proj_size" if layer.proj_size else "hidden_size"), layer.hidden_size
    ends = [f"_l{n}{way}" for n in range(layer.num_layers) for way in ("", "_reverse")]
    for end in ends[:: 1 if layer.bidirectional else 2]:
        yield from _gates(widths, vertex, end, state, size)
        if projection := _states(widths, vertex, f"weight_hr{end}"):
            yield (state, ()), projection[0]


def _projections(widths: Widths, vertex: Vertex, layer: nn.LSTM) -> Iterator[CodeConstraint]:
    """Torch tells an LSTM with projections by a state that is smaller than its cell."""
    for n in range(layer.num_layers):
        projection = _states(widths, vertex, f"weight_hr_l{n}")
        if projection is not None:
            yield SmallerAxis(projection[0], projection[1], vertex)


def _recurrent_cell(widths: Widths, vertex: Vertex, layer: nn.RNNCellBase) -> LayerSizes:
    yield from _gates(widths, vertex, "", "hidden_size", layer.hidden_size)


def _gates(widths: Widths, vertex: Vertex, end: str, state: str, size: int) -> LayerSizes:
    """Weights of one direction of one layer: its input, its state, and the first of its gates."""
    inputs, hidden = (_states(widths, vertex, f"weight_{kind}{end}") for kind in ("ih", "hh"))
    if inputs is not None and end in ("", "_l0"):
        yield ("input_size", ()), inputs[1]
    if hidden is not None:
        yield (state, ()), hidden[1]
        yield ("hidden_size", ()), widths.relation.algebra.cut(hidden[0], size)[0]


def _unflattened(widths: Widths, vertex: Vertex, layer: nn.Unflatten) -> LayerSizes:
    out = first_output(vertex)
    if out is not None and isinstance(layer.dim, int):
        first = layer.dim % (len(out.shape) - len(layer.unflattened_size) + 1)
        for index, axis in enumerate(widths.of(out)[first : first + len(layer.unflattened_size)]):
            yield ("unflattened_size", (index,)), axis


# torch's layers that keep sizes as attributes, and which axes those are. Other layers keep their size.
_LAYERS: list[tuple[type[nn.Module], Callable[[Widths, Vertex, Any], LayerSizes]]] = [
    (nn.modules.conv._ConvNd, _convolution),
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (nn.modules.batchnorm._NormBase, _channel_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.EmbeddingBag, _embedding),
    (nn.ChannelShuffle, _shuffle),
    (nn.PReLU, _prelu),
    (nn.Unflatten, _unflattened),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent_cell),
]
# The functions whose layers have sizes that their own forward does not read.
_FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.linear: nn.Linear,
    F.bilinear: nn.Bilinear,
    F.embedding: nn.Embedding,
    F.embedding_bag: nn.EmbeddingBag,
    F.batch_norm: nn.modules.batchnorm._NormBase,
    F.instance_norm: nn.modules.batchnorm._NormBase,
    F.prelu: nn.PReLU,
    **dict.fromkeys([F.conv1d, F.conv2d, F.conv3d], nn.modules.conv._ConvNd),
    **dict.fromkeys([F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d], nn.modules.conv._ConvNd),
}
