"""Calls of batch norms, of the layer or the function, with the tensors they compute with."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["BatchNormCall", "batch_norm_call"]

_LAYER = nn.modules.batchnorm._BatchNorm
# The names of the arguments of the two functions, in order.
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.batch_norm: ("input", "mean", "var", "weight", "bias", "training", "momentum", "eps"),
    torch.batch_norm: ("input", "weight", "bias", "mean", "var", "training", "momentum", "eps"),
}
_LONG = {"running_mean": "mean", "running_var": "var"}


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNormCall:
    """A call of a batch norm, as it is now.

    Attributes:
        vertex: The call.
        input: What it normalises.
        mean: The running means; None if there are none, or they are computed.
        var: The running variances; likewise.
        weight: The scales; None for ones.
        bias: The shifts; None for zeros.
        eps: What is added to variances.
        of_batch: Whether it normalises by the statistics of the batch.
        computed: The names of those of these that other calls compute.
    """

    vertex: Vertex
    input: Stub
    mean: torch.Tensor | None
    var: torch.Tensor | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    eps: float
    of_batch: bool
    computed: tuple[str, ...] = ()


def batch_norm_call(graph: Recording, vertex: Vertex) -> BatchNormCall | None:
    """The call of a batch norm that a vertex is, or None.

    Example:
        >>> from naivegraph.network import capture
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).eval()
        >>> graph = capture(net, torch.ones(2, 4))
        >>> [batch_norm_call(graph, vertex) is not None for vertex in graph]
        [False, False, True]
    """
    target = vertex.target
    given: dict[Any, Any] = dict(enumerate(vertex.args))
    given.update(vertex.kwargs)
    if isinstance(target, _LAYER):
        taken = given.get(0, given.get("input"))
        of_batch = target.training or target.running_mean is None
        return (
            BatchNormCall(
                vertex, taken, target.running_mean, target.running_var, target.weight, target.bias,
                target.eps, of_batch,
            )
            if isinstance(taken, Stub)
            else None
        )  # fmt: skip
    if isinstance(target, nn.Module) or target not in _ARGUMENTS:
        return None
    names = _ARGUMENTS[target]
    named = {_LONG.get(str(key), key) if isinstance(key, str) else names[key]: v for key, v in given.items()
             if isinstance(key, str) or key < len(names)}  # fmt: skip
    computed = tuple(name for name in ("mean", "var", "weight", "bias") if isinstance(named.get(name), Stub))
    resolve = Interpreter(graph).resolve
    found = {key: resolve(value) for key, value in named.items() if key not in computed and key != "input"}
    if not isinstance(named.get("input"), Stub):
        return None
    of_batch = bool(found.get("training", False)) or named.get("mean") is None
    return BatchNormCall(
        vertex, named["input"], found.get("mean"), found.get("var"), found.get("weight"), found.get("bias"),
        float(found.get("eps", 1e-5)), of_batch, computed,
    )  # fmt: skip
