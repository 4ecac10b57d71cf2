"""The network as it was, run with neurons at zero or vertices replaced: what an edit must compute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.signature import bind
from naivegraph.network import Graph

__all__ = ["Replaced", "computed", "expected_outputs", "mixed_statistics", "reshaped"]

# The output of a vertex, from its own and those of the vertices before it, by name.
Replaced = Mapping[str, Callable[[dict[str, Any]], Any]]
# The vertices whose neurons changed, by name.
Changes = Mapping[str, ng.SizeChange]

_MIXING = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_SOFTMAX = (
    torch.softmax, torch.Tensor.softmax, nn.functional.softmax, torch.log_softmax, torch.Tensor.log_softmax,
    nn.functional.log_softmax,
)  # fmt: skip
_DISTANCES = (torch.cdist, nn.functional.pairwise_distance)  # to weights, which are not zeroed
_WITH_INSIDES = (
    nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
)  # fmt: skip


class _Run(Interpreter):
    """A run of a graph in which outputs of vertices are replaced, then neurons set to zero."""

    def __init__(self, graph: Graph, zeros: Mapping[str, Tensor], replaced: Replaced) -> None:
        super().__init__(graph)
        self.zeros, self.replaced = zeros, replaced
        self.found: dict[str, Any] = {}

    def _assign(self, vertex: Any, result: Any) -> None:
        name = vertex.name
        self.found[name] = result
        if name in self.replaced:
            result = self.replaced[name](self.found)
        if name in self.zeros:
            result = _zeroed(result, self.zeros[name], vertex.kind == "layer")
        self.found[name] = result
        super()._assign(vertex, result)


def _zeroed(result: Any, zeros: Tensor, layer: bool) -> Any:
    """A tensor with neurons at zero; of several the first, of a layer's (a cell's) all that are like it."""
    if isinstance(result, tuple) and isinstance(result[0], Tensor):
        like = [isinstance(each, Tensor) and each.shape == result[0].shape for each in result]
        like = like if layer else [True] + [False] * (len(result) - 1)  # parts may lose different neurons
        return tuple(
            each * zeros.to(each) if alike else each for each, alike in zip(result, like, strict=True)
        )
    return result * zeros.to(result) if isinstance(result, Tensor) else result


@torch.no_grad()
def computed(graph: Graph, x: Tensor, replaced: Replaced, last: str) -> dict[str, Any]:
    """The output by name of every vertex up to the last, with those of some replaced."""
    run, inputs = _Run(graph, {}, replaced), bind(graph, (x,), {})
    for position, vertex in enumerate(graph.vertices):
        run.step(position, inputs)
        if vertex.name == last:
            break
    return run.found


@torch.no_grad()
def expected_outputs(graph: Graph, x: Tensor, changes: Changes, replaced: Replaced) -> Any:
    """The output of a graph before an edit, with the neurons at zero that the edit took away.

    Those of an output of the network are left out of it; it is None where new ones came to an output.
    """
    dims = neuron_dimensions(graph)
    zeros, kept = dict[str, Tensor](), dict[str, tuple[int, Tensor]]()
    for name, size in changes.items():
        if name not in graph:
            continue
        stub = stubs_in(graph[name].output)[0]
        dim, stay = (
            dims[tensor_key(stub)],
            torch.tensor([i for run in size.kept for i in run], dtype=torch.long),
        )
        mask = torch.zeros(size.before, dtype=x.dtype)
        mask[stay] = 1
        zeros[name] = mask.reshape([-1 if d == dim else 1 for d in range(len(stub.shape))])
        kept[name] = dim, stay
    run = _Run(graph, zeros, replaced)
    out = run.run(bind(graph, (x,), {}))
    makers = {stub.id: v.name for v in graph for stub in stubs_in(v.output)}
    returned = [makers.get(stub.id, "") for stub in stubs_in(graph.output)]
    if any(changes[name].new for name in returned if name in kept):
        return None
    tensors = list(out) if isinstance(out, (tuple, list)) else [out]
    if len(tensors) != len(returned) or not all(isinstance(t, Tensor) for t in tensors):
        return None if any(name in kept for name in returned) else out
    return [
        tensor.index_select(*kept[name]) if name in kept else tensor
        for name, tensor in zip(returned, tensors, strict=True)
    ]


_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d)


def reshaped(old: Graph, new: Graph) -> set[str]:
    """The vertices that changed along another dimension than that of their neurons."""
    dims = neuron_dimensions(old)
    return {
        vertex.name
        for vertex in old
        if vertex.name in new
        for before, after in zip(stubs_in(vertex.output), stubs_in(new[vertex.name].output), strict=False)
        for dim, sizes in enumerate(zip(before.shape, after.shape, strict=False))
        if dim != dims.get(tensor_key(before)) and len(set(sizes)) > 1
    }


def mixed_statistics(graph: Graph, changes: Changes, passed: Collection[str], tensors: Iterable[str]) -> bool:
    """Whether neurons came or went that others depend on unseen.

    Those of a norm, a softmax and the length of a head are what others are divided by; those of a layer with
    neurons inside (a recurrent one, say) act on others before they can be set to zero.

    Args:
        graph: The graph before.
        changes: The vertices whose neurons changed.
        passed: These, and those along other dimensions of which some changed.
        tensors: The names of tensors that were resized.
    """
    if any(size.by_row for size in changes.values()):
        return True
    inside = tuple(f"{v.path}." for v in graph if isinstance(v.target, _WITH_INSIDES))
    if inside and any(name.startswith(inside) for name in tensors):
        return True
    makers = {stub.id: v.name for v in graph for stub in stubs_in(v.output)}
    for vertex in graph:
        if vertex.kind == "layer" and vertex.name in passed and vertex.name not in changes:
            return True  # its bias is added to what is set to zero along another dimension than its own
        norm = isinstance(vertex.target, _MIXING)
        attention = vertex.target is nn.functional.scaled_dot_product_attention
        softmax = vertex.target in _SOFTMAX or isinstance(vertex.target, (nn.Softmax, nn.LogSoftmax))
        if norm or attention or softmax or vertex.target in _DISTANCES:
            taken = [makers.get(stub.id, "") for stub in stubs_in((vertex.args, vertex.kwargs))]
            if any(name in passed for name in (vertex.name, *taken)):
                return True
        if isinstance(vertex.target, _POOLS):  # a mean over neurons, where these lie along an image
            (stub,) = stubs_in(vertex.args)
            along = neuron_dimensions(graph).get(tensor_key(stub), 1)
            maker = makers.get(stub.id, "")
            if maker in passed and (along > 1 or maker not in changes):
                return True
    return False
