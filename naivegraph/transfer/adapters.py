"""Small layers beside those of a pretrained network, which start without effect."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.branch import branch
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.vertices import new_name
from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["adapters"]

_KINDS = ("bottleneck", "lora")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Made = Callable[[int, int], nn.Module]


@graph_verb
def adapters(
    model: Graph,
    layers: str | Sequence[str],
    *,
    size: int = 8,
    kind: str = "bottleneck",
    seed: int = 0,
    optimizer: Any = None,
) -> Edit:
    """Put a small branch beside each of some layers, in place; it starts with zeros, so that nothing changes.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        layers: Linear layers or convolutions, by name or pattern (`"blocks.*.fc2"`), or several of these.
        size: The number of neurons inside.
        kind: "bottleneck": two layers with a GELU between, of what the layer gives, added to it (Houlsby et
            al., "Parameter-efficient transfer learning for NLP", ICML 2019). "lora": two layers without
            anything between, of what the layer takes, added to what it gives (Hu et al., "LoRA: low-rank
            adaptation of large language models", ICLR 2022).
        seed: For the weights of the first layers.
        optimizer: An optimizer (or several) which gets the parameters in its first group.

    Returns:
        The edit, of which `undo` takes all of them out.

    Raises:
        EditError: A pattern matches no such layer; everything is as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(3, 4)
        >>> graph = ng.capture(net, x)
        >>> edit = ng.transfer.adapters(graph, "*", size=2, kind="lora")
        >>> torch.equal(graph(x), net[2](net[1](net[0](x))))
        True
        >>> [name for name, _ in graph.module.named_parameters() if "lora" in name]
        ['0_lora.0.weight', '0_lora.1.weight', '2_lora.0.weight', '2_lora.1.weight']
    """
    inside = validate.whole(size, "size", 1)
    if kind not in _KINDS:
        raise EditError(f"kind={kind!r}: give {' or '.join(map(repr, _KINDS))}")
    names = [vertex.name for vertex in _matching(model, [layers] if isinstance(layers, str) else layers)]
    done: list[Edit] = []
    undo = UndoLog()
    try:
        for name in names:
            vertex = model[name]
            source = vertex if kind == "bottleneck" else model.inputs_of(vertex)[0]
            called = new_name(model, f"{name}_{kind}")
            make = _bottleneck(vertex, inside) if kind == "bottleneck" else _low_rank(vertex, inside)
            done.append(branch(model, source, vertex, make, name=called, seed=seed, optimizer=optimizer))
            undo.push(done[-1].undo)
    except BaseException:
        undo.undo()
        raise
    *earlier, last = done
    asked = {"adapters": names, "size": inside, "kind": kind}
    return dataclasses.replace(last, earlier=tuple(earlier), before=done[0].before, asked=asked)


def _matching(graph: Graph, patterns: Sequence[str]) -> list[Vertex]:
    """The linear layers and convolutions of these names."""
    known = [v for v in graph if isinstance(v.target, (nn.Linear, *_CONVOLUTIONS))]
    found: dict[str, Vertex] = {}
    for pattern in patterns:
        some = [vertex for vertex in known if fnmatch.fnmatchcase(vertex.name, str(pattern))]
        if not some:
            hint = nearest(str(pattern), [vertex.name for vertex in known])
            raise EditError(f"{pattern!r} is no linear layer or convolution of the network{hint}")
        found.update({vertex.name: vertex for vertex in some})
    return [vertex for vertex in known if vertex.name in found]


def _bottleneck(vertex: Vertex, inside: int) -> _Made:
    layer = vertex.target

    def make(taken: int, given: int) -> nn.Module:
        """Return two layers with an activation between, of as many neurons as a layer gives."""
        kind: Any = next((each for each in _CONVOLUTIONS if isinstance(layer, each)), None)
        if kind is not None:
            return nn.Sequential(kind(taken, inside, 1), nn.GELU(), kind(inside, given, 1))
        return nn.Sequential(nn.Linear(taken, inside), nn.GELU(), nn.Linear(inside, given))

    return make


def _low_rank(vertex: Vertex, inside: int) -> _Made:
    layer: Any = vertex.target

    def make(taken: int, given: int) -> nn.Module:
        """Return two layers that together have the form of a layer."""
        kind: Any = next((each for each in _CONVOLUTIONS if isinstance(layer, each)), None)
        if kind is not None:
            first = kind(
                taken, inside, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False,
                padding_mode=layer.padding_mode,
            )  # fmt: skip
            return nn.Sequential(first, kind(inside, given, 1, bias=False))
        return nn.Sequential(nn.Linear(taken, inside, bias=False), nn.Linear(inside, given, bias=False))

    return make
