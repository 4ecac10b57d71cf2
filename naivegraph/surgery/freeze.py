"""Freezing of a network but for some parts of it, for the time of a block."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from naivegraph.edits.request.named_parts import named_parts
from naivegraph.edits.request.target import check_model
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["frozen"]

# All that keep running statistics: batch norms, also synchronised ones, and instance norms.
_NORMS = torch.nn.modules.batchnorm._NormBase


@contextlib.contextmanager
def frozen(model: nn.Module | Graph, except_: str | Sequence[str] = ()) -> Iterator[None]:
    """Freeze a network in a block, but for some parts: parameters, and the statistics of norms.

    Frozen parameters need no gradient. Frozen norms that keep running statistics normalise by them, as in
    eval mode, whatever `train()` says inside the block; other buffers of frozen modules are put back after
    it. In the end, after an exception, too, all parameters need a gradient that did, and all modules are in
    the mode that they were in.

    Args:
        model: The network, or its graph.
        except_: What is left free, by name or pattern: modules with all that is in them, parameters, and in a
            graph vertices, with what they compute with. A parameter with several names is free by any.

    Raises:
        EditError: A name or pattern fits nothing.

    Example:
        >>> import naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> with ng.surgery.frozen(net, except_="2"):
        ...     net.train()[1].training, [p.requires_grad for p in net.parameters()]
        (False, [False, False, False, False, True, True])
        >>> [p.requires_grad for p in net.parameters()]
        [True, True, True, True, True, True]
    """
    check_model("surgery.frozen", model)
    network = model.module if isinstance(model, Graph) else model
    free = named_parts(model, except_, "except_")
    still = [module for _, module in modules_of(network) if id(module) not in free]
    parameters = [parameter for parameter in network.parameters() if id(parameter) not in free]
    undo = UndoLog()
    try:
        for _, module in modules_of(network):
            undo.push(functools.partial(setattr, module, "training", module.training))
        for parameter in parameters:
            undo.push(functools.partial(parameter.requires_grad_, parameter.requires_grad))
            parameter.requires_grad_(False)
        for module in still:
            undo.push(_buffers_as_now(module, free))
            if isinstance(module, _NORMS):
                module.training = False
                undo.keep_entry(vars(module), "train")
                vars(module)["train"] = functools.partial(_stay, module)
        yield
    finally:
        undo.undo()


def _buffers_as_now(module: nn.Module, free: set[int]) -> Callable[[], None]:
    """The function that puts a module's own buffers back, as the tensors they are, with their numbers."""
    kept = {name: (b, b.detach().clone()) for name, b in module._buffers.items() if b is not None}

    def put_back() -> None:
        """Restore the buffers, but for those left free."""
        with torch.no_grad():
            for name, (buffer, before) in kept.items():
                if id(buffer) not in free and name in module._buffers:
                    module._buffers[name] = buffer
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)

    return put_back


def _stay(norm: nn.Module, mode: bool = True) -> nn.Module:
    """Leave a norm in eval mode, in place of its `train()`."""
    return norm
