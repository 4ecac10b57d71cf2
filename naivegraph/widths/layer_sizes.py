"""The sizes that torch's layers keep as attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from naivegraph.graph import Vertex
from naivegraph.graph.values import Attribute, Stub
from naivegraph.widths.axis import Axis, single
from naivegraph.widths.demand import Demand, Size, Still
from naivegraph.widths.polynomial import Polynomial
from naivegraph.widths.relation import tensors_in
from naivegraph.widths.widths import Widths

__all__ = ["first_output", "layer_sizes", "unread_sizes"]


def first_output(vertex: Vertex) -> Stub | None:
    """The first tensor a vertex gives."""
    found = tensors_in(vertex.output)
    return found[0] if found else None


def layer_sizes(widths: Widths, vertex: Vertex, layer: nn.Module) -> Iterator[Demand]:
    """The sizes which a torch layer keeps as attributes; they follow its parameters."""
    for kind, reader in _LAYERS:
        if isinstance(layer, kind):
            for names, axis in reader(widths, vertex, layer):
                yield Size(Attribute(vertex.path, *names), widths.relation.algebra.resolve(axis), vertex)
            return
    prefix = f"{vertex.path}." if vertex.path else ""
    for name, axes in widths.axes.items():
        if name.startswith(prefix):
            for axis in axes:
                yield Still(axis, vertex)


Known = Mapping[Attribute, Polynomial]


def unread_sizes(widths: Widths, known: Known) -> Iterator[tuple[Attribute, Polynomial]]:
    """The sizes kept by layers whose parameters are used without calling them, and read by nobody.

    Args:
        widths: The widths.
        known: What the attributes are that are read.
    """
    called = {vertex.path for vertex in widths.graph.vertices if vertex.kind == "layer"}
    for path, layer in widths.graph.module.named_modules():
        if path not in called:
            for name, size in _unread(widths, known, f"{path}." if path else "", layer):
                if getattr(layer, name) == size.value(lambda atom: atom.length):
                    yield Attribute(path, name), size


def _unread(widths: Widths, known: Known, prefix: str, layer: nn.Module) -> Iterator[tuple[str, Polynomial]]:
    axes = {
        name: [Polynomial.of_axis(axis) for axis in widths.axes[prefix + name]]
        for name, _ in layer.named_parameters(recurse=False)
        if prefix + name in widths.axes
    }
    if isinstance(layer, nn.Linear) and "weight" in axes:
        yield from zip(("out_features", "in_features"), axes["weight"], strict=True)
    elif isinstance(layer, nn.Embedding) and "weight" in axes:
        yield from zip(("num_embeddings", "embedding_dim"), axes["weight"], strict=True)
    elif isinstance(layer, nn.MultiheadAttention):
        packed = axes.get("in_proj_weight")
        yield "kdim", (packed or axes["k_proj_weight"])[1]
        yield "vdim", (packed or axes["v_proj_weight"])[1]
        heads = known.get(Attribute(prefix.removesuffix("."), "num_heads"))
        inner = Polynomial.of_axis(widths.axes[f"{prefix}out_proj.weight"][1])
        size = None if heads is None else inner.divided(heads)
        if size is not None:
            yield "head_dim", size


LayerSizes = Iterator[tuple[tuple[str, tuple[int, ...]], Axis]]


def _states(widths: Widths, vertex: Vertex, name: str) -> list[Axis]:
    return widths.axes[f"{vertex.path}.{name}" if vertex.path else name]


def _count(widths: Widths, vertex: Vertex) -> Axis:
    out = first_output(vertex)
    return widths.relation.counts.get(out.id, single(1)) if out is not None else single(1)


def _convolution(widths: Widths, vertex: Vertex, layer: nn.modules.conv._ConvNd) -> LayerSizes:
    first, second = _states(widths, vertex, "weight")[:2]
    count = _count(widths, vertex)
    grouped = widths.relation.algebra.join([count, second])
    yield ("in_channels", ()), first if layer.transposed else grouped
    yield ("out_channels", ()), grouped if layer.transposed else first
    yield ("groups", ()), count


def _linear(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    rows, columns = _states(widths, vertex, "weight")
    yield ("out_features", ()), rows
    yield ("in_features", ()), columns


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
    rows, columns = _states(widths, vertex, "weight")
    yield ("num_embeddings", ()), rows
    yield ("embedding_dim", ()), columns


def _prelu(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    yield ("num_parameters", ()), _states(widths, vertex, "weight")[0]


def _recurrent(widths: Widths, vertex: Vertex, layer: nn.RNNBase) -> LayerSizes:
    yield ("input_size", ()), _states(widths, vertex, "weight_ih_l0")[1]
    recurrent = _states(widths, vertex, "weight_hh_l0")[1]
    if layer.proj_size:
        yield ("proj_size", ()), recurrent
        recurrent = _states(widths, vertex, "weight_hr_l0")[1]
    yield ("hidden_size", ()), recurrent


def _recurrent_cell(widths: Widths, vertex: Vertex, layer: nn.Module) -> LayerSizes:
    yield ("input_size", ()), _states(widths, vertex, "weight_ih")[1]
    yield ("hidden_size", ()), _states(widths, vertex, "weight_hh")[1]


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
    (nn.modules.batchnorm._NormBase, _channel_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.PReLU, _prelu),
    (nn.Unflatten, _unflattened),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent_cell),
]
