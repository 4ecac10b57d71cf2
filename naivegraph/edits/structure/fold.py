"""Folding of a batch norm into the layer before it: which can be, and the weights that come of it.

In eval mode a batch norm is `(y - mean) / sqrt(var + eps) * weight + bias`, so that after `y = W x + b` it is
`s W x + s (b - mean) + bias` with `s = weight / sqrt(var + eps)`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.edits.apply.give import give
from naivegraph.edits.structure.vertices import output_of, returns, users_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.mutate import changed, update_state
from naivegraph.graph.run.batch_norm_calls import BatchNormCall, batch_norm_call
from naivegraph.graph.run.query import edges
from naivegraph.graph.run.state_users import state_users
from naivegraph.ir.step_module import box_at
from naivegraph.ir.values import State
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["Folding", "fold_weights", "folding_of", "is_norm"]

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_FUNCTIONS: tuple[Any, ...] = (F.linear, torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED: tuple[Any, ...] = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_PLACES = ("input", "weight", "bias")
_GROUPS = 6  # the place of `groups` among the arguments of a transposed convolution


@dataclasses.dataclass(frozen=True, eq=False)
class Folding:
    """A batch norm and the layer that takes it over.

    Attributes:
        norm: The call of the norm.
        mean: Its running means.
        var: Its running variances.
        layer: The vertex before it.
        weight: The name of that one's weight.
        bias: The name of its bias, which is to come if there is none.
        groups: The number of groups if it is a transposed convolution, else 0.
    """

    norm: BatchNormCall
    mean: torch.Tensor
    var: torch.Tensor
    layer: Vertex
    weight: str
    bias: str
    groups: int


def is_norm(graph: Graph, vertex: Vertex) -> bool:
    """Tell whether a vertex is a call of a batch norm."""
    return batch_norm_call(graph, vertex) is not None


def folding_of(graph: Graph, vertex: Vertex, *, trained: bool = True) -> Folding:
    """The folding of a batch norm into the layer before it.

    Args:
        graph: The graph.
        vertex: The call of the norm.
        trained: Whether a norm in train mode is refused, which a fresh network to be loaded into may have.

    Raises:
        EditError: It cannot be folded; the message says why.
    """
    norm = batch_norm_call(graph, vertex)
    if norm is None:
        raise EditError(f"{vertex.name!r} is no batch norm")
    start = f"{vertex.name!r} cannot be folded: "
    if norm.computed:
        raise EditError(f"{start}other calls compute its {norm.computed[0]}")
    if norm.mean is None or norm.var is None:
        raise EditError(f"{start}it has no running statistics, so it normalises by each batch")
    if norm.of_batch and trained:
        raise EditError(
            f"{start}it is in train mode, in which it normalises by each batch; call eval() first"
        )
    layer = next((maker for maker, user, stub in edges(graph) if user is vertex and stub is norm.input), None)
    if layer is None or layer.kind == "input":
        raise EditError(f"{start}no layer comes before it")
    found = _weights(graph, layer, start)
    others = [user.name for user in users_of(graph, layer) if user is not vertex]
    if others or returns(graph, layer, output_of(layer)):
        used = f"{others[0]!r} uses" if others else "the network returns"
        raise EditError(f"{start}{used} what {layer.name!r} gives before it, too")
    if layer.kind == "layer" and len(output_of(layer).shape) != 2 and isinstance(layer.target, nn.Linear):
        raise EditError(f"{start}its channels are not the features of {layer.name!r}, which come last")
    users = state_users(graph)
    for name in (found[0], found[1]):
        shared = users.get(name, frozenset()) - {layer.name}
        if shared or sum(other.target is layer.target for other in graph if layer.kind == "layer") > 1:
            by = f"{min(shared)!r}" if shared else "another call of it"
            raise EditError(f"{start}{name} of {layer.name!r} is shared by {by}")
    return Folding(norm, norm.mean, norm.var, layer, *found)


def _weights(graph: Graph, layer: Vertex, start: str) -> tuple[str, str, int]:
    """Names of weight and bias of a layer, and its groups if it is a transposed convolution."""
    target = layer.target
    if isinstance(target, _LAYERS):
        if "weight" not in target._parameters:
            raise EditError(f"{start}the weight of {layer.name!r} is worked out from other parameters")
        groups = target.groups if isinstance(target, nn.modules.conv._ConvTransposeNd) else 0
        return f"{layer.path}.weight".lstrip("."), f"{layer.path}.bias".lstrip("."), int(groups)
    if isinstance(target, nn.Module) or target not in (*_FUNCTIONS, *_TRANSPOSED):
        raise EditError(f"{start}{layer.name!r} comes before it, which is no linear layer and no convolution")
    weight, bias = (_argument(layer, place) for place in (1, 2))
    if not isinstance(weight, State) or not (bias is None or isinstance(bias, State)):
        what = "bias" if isinstance(weight, State) else "weight"
        raise EditError(f"{start}the {what} of {layer.name!r} is worked out by other calls")
    if not isinstance(graph.tensor(weight.name), nn.Parameter):
        raise EditError(f"{start}{weight.name} of {layer.name!r} is no parameter")
    if target is F.linear and len(output_of(layer).shape) != 2:
        raise EditError(f"{start}its channels are not the features of {layer.name!r}, which come last")
    given = layer.kwargs.get("groups", layer.args[_GROUPS] if len(layer.args) > _GROUPS else 1)
    name = bias.name if bias is not None else _free_name(graph, weight.name)
    return weight.name, name, int(given) if target in _TRANSPOSED else 0


def _argument(layer: Vertex, place: int) -> Any:
    return layer.args[place] if len(layer.args) > place else layer.kwargs.get(_PLACES[place])


def _free_name(graph: Graph, weight: str) -> str:
    """A name for the bias beside a weight."""
    path, _, own = weight.rpartition(".")
    home = graph.module.get_submodule(path)
    wished = "bias" if own == "weight" else f"{own}_bias"
    while getattr(home, wished, None) is not None:
        wished = f"{wished}_"
    return f"{path}.{wished}".lstrip(".")


@torch.no_grad()
def fold_weights(graph: Graph, folding: Folding, undo: UndoLog) -> None:
    """Give a layer the weights with which it does what the norm after it did, too; the norm stays.

    Args:
        graph: The graph, whose network gets a bias where the layer had none.
        folding: The folding.
        undo: The log that takes it back.
    """
    norm, weight = folding.norm, graph.tensor(folding.weight)
    mean = folding.mean.double()
    scale = (folding.var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    path, _, own = folding.bias.rpartition(".")
    home = box_at(graph.module, path)
    bias = getattr(home, own, None)
    shift = -mean if bias is None else bias.double() - mean
    shift = shift * scale + (0.0 if norm.bias is None else norm.bias.double())
    folded = (weight.double() * _spread(scale, weight, folding.groups)).to(weight.dtype)
    _give(weight, folded, undo)
    if bias is not None:
        _give(bias, shift.to(bias.dtype), undo)
        return
    with changed(graph, undo):
        undo.keep_mapping(home._parameters)
        if own in vars(home):
            undo.keep_entry(vars(home), own)
            del vars(home)[own]
        made = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)
        home.register_parameter(own, made)
        update_state(graph)
        folding.layer.stale = True
        _take_bias(folding.layer, folding.bias)


def _spread(scale: torch.Tensor, weight: torch.Tensor, groups: int) -> torch.Tensor:
    """The scale of each channel in a shape that multiplies the weight."""
    if not groups:
        return scale.reshape(-1, *[1] * (weight.dim() - 1))
    inputs = weight.shape[0] // groups  # a transposed weight is [inputs, outputs of a group, ...]
    return (
        scale.reshape(groups, 1, -1)
        .expand(-1, inputs, -1)
        .reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
    )


def _give(tensor: torch.Tensor, data: torch.Tensor, undo: UndoLog) -> None:
    undo.push(functools.partial(give, tensor, tensor.data, tensor.grad))
    give(tensor, data, None)


def _take_bias(layer: Vertex, name: str) -> None:
    """Let a function take a bias; a layer takes its own."""
    if isinstance(layer.target, nn.Module):
        return
    if len(layer.args) > 2:
        layer.args = (*layer.args[:2], State(name), *layer.args[3:])
    else:
        layer.kwargs = {**layer.kwargs, "bias": State(name)}
