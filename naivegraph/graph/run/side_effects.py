"""Effects of a run of a graph, and what it depends on, besides the shapes and operators it records."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import nn

from naivegraph.graph.run.liveness import written_numbers
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub

__all__ = ["follows_values", "runs_torch_alone"]

_BUILTIN = (
    torch._ops.OpOverload,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
)


def follows_values(graph: Recording) -> bool:
    """Tell whether a shape, or what a vertex can take at all, may depend on the numbers in a tensor.

    So it may where an operator says so of itself, or is not torch's own, and where integers or truth values
    are computed from other numbers, as indices into another tensor may be.
    """
    computed: set[int] = set()
    for vertex in graph.vertices:
        if isinstance(vertex.target, CustomFunction):
            return True
        for operation in vertex.operations:
            if _reads_values(operation.func):
                return True
            if computed and not computed.isdisjoint([stub.id for stub in operation.operands]):
                return True
            others = [out.id for out in operation.outputs if out is not None and not _is_float(out)]
            if others and any(map(_is_float, operation.operands)):
                computed.update(others)
    return False


def _is_float(stub: Stub) -> bool:
    return stub.dtype.is_floating_point or stub.dtype.is_complex


@functools.cache
def _reads_values(func: torch._ops.OpOverload) -> bool:
    tags = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
    return func.namespace not in ("aten", "prims") or any(tag in func.tags for tag in tags)


def runs_torch_alone(graph: Recording) -> bool:
    """Tell whether a run in eval mode changes no attribute and no buffer of the network.

    Layers of torch as they come and torch's functions do not, where none works in place on a buffer.
    """
    state = {stub.id for stub in graph.state.values()}
    return all(
        _is_torchs(vertex.target) and state.isdisjoint(written_numbers(vertex)) for vertex in graph.vertices
    )


def _is_torchs(target: Any) -> bool:
    if isinstance(target, nn.Module):
        return all(map(_is_plain, target.modules()))
    owner = getattr(target, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        return False
    made = getattr(target, "__module__", None) or ""
    return target is None or isinstance(target, _BUILTIN) or made.startswith("torch.")


def _is_plain(layer: nn.Module) -> bool:
    """Tell whether a module is a layer of torch without hooks or a forward of its own."""
    own = vars(layer)
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"]
    return type(layer).__module__.startswith("torch.nn.modules.") and not hooked and "forward" not in own
