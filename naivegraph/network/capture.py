"""Capture of a network: one run, recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from naivegraph.errors import CaptureError
from naivegraph.graph.record.record_train_mode import record_training
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.graph.verify.verify import record_fake, record_verified
from naivegraph.ir.signature import keyword_inputs
from naivegraph.network.graph_api import Graph

__all__ = ["capture"]


@ordinary_mode()
def capture(
    model: nn.Module,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    verify: bool | Literal["recorded"] = True,
    fake: bool = False,
) -> Graph:
    """Capture the graph of a network, from one run in eval mode on an example.

    Args:
        model: The network; it is left exactly as it was. Of `nn.DataParallel` and `torch.compile`, the
            network inside is captured.
        args: Example inputs of its forward: a tuple, or a single tensor.
        kwargs: Example keyword inputs.
        verify: Compare the graph with the network at the recorded batch (a difference is an error), at
            another batch size and in train mode (differences go into `graph.checks`). "recorded" makes the
            first comparison alone, False none; that in train mode is then made when the graph is first used
            in train mode, exported, or changed in structure.
        fake: Run the network on fake tensors where that is possible. This takes next to no time, and nothing
            is compared; where it is not possible, the network runs as without this.

    Raises:
        CaptureError: The network does not run on the example, or the graph does not repeat the run.

    Examples:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> graph = capture(net, torch.ones(2, 4))
        >>> [vertex.name for vertex in graph]
        ['input', '0', '1']
        >>> graph.checks["another batch"]
        'equal'
    """
    model = unwrapped(model)
    _check_network(model)
    args = args if isinstance(args, tuple) else tuple(args) if isinstance(args, list) else (args,)
    named = keyword_inputs(kwargs)
    faked = record_fake(model, args, named) if fake else None
    recorded = faked or record_verified(model, args, named, verify)
    recorded.training = record_training(recorded, args, named, fake=fake)
    if verify is True and faked is None:
        follow_training(recorded)
    return Graph.of(recorded)


def _check_network(module: object) -> None:
    """Raise CaptureError, with what to do instead, for anything but a module that can be recorded."""
    if isinstance(module, type) and issubclass(module, nn.Module):
        name = module.__name__
        raise CaptureError(f"{name} is a class; make a network of it first: {name}(...)")
    if isinstance(module, Graph):
        raise CaptureError("this is a graph already; where a network is needed, give graph.to_module()")
    if not isinstance(module, nn.Module):
        raise CaptureError(f"the network must be a torch.nn.Module, not {type(module).__name__}")
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            code = f"the code of {name}, a part of this network," if name else "the code of this network"
            raise CaptureError(
                f"{code} was compiled by torch.jit, and its sizes with it; give the module that it was made "
                "from, and compile it after the edit"
            )
