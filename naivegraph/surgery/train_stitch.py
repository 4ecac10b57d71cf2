"""Training of some parts of a network, with all else frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from naivegraph.calibration import Calibration, CalibrationBatch
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.ir.signature import nested_arguments
from naivegraph.network import Graph
from naivegraph.surgery.freeze import frozen

__all__ = ["train_parts"]


def train_parts(
    graph: Graph,
    parts: Sequence[str],
    data: Any,
    *,
    epochs: int,
    lr: float,
    loss: Callable[[Any, Any], torch.Tensor],
) -> list[float]:
    """Train modules of a network by Adam, with a learning rate that falls to zero along a cosine.

    Args:
        graph: The graph.
        parts: The paths of the modules; all others are frozen and in eval mode.
        data: Batches with labels.
        epochs: How often to go through the data.
        lr: The learning rate at first.
        loss: A function of output and labels.

    Returns:
        The mean loss of each epoch.

    Raises:
        EditError: There are no labels, or the loss is not finite.
    """
    validate.whole(epochs, "epochs", 1)
    validate.at_least_zero(lr, "lr")
    validate.function(loss, "loss", "a function of output and labels")
    batches, module, means = Calibration(graph, data, "data"), graph.module, list[float]()
    count = len(data) if hasattr(data, "__len__") and not isinstance(data, (torch.Tensor, Mapping)) else 0
    with frozen(graph, parts):
        module.eval()
        for part in parts:
            module.get_submodule(part).train()
        free = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not free:
            raise EditError(f"nothing of {', '.join(parts)} has parameters that need a gradient")
        optimizer = torch.optim.Adam(free, lr=lr)
        for epoch in range(epochs):
            losses: list[float] = []
            for batch in batches:
                done = min((epoch + len(losses) / count if count else epoch) / epochs, 1)
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 + math.cos(math.pi * done)) / 2
                losses.append(_step(graph, batch, optimizer, loss))
            count = len(losses)
            means.append(sum(losses) / count)
    return means


def _step(
    graph: Graph,
    batch: CalibrationBatch,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Any], torch.Tensor],
) -> float:
    """One step, of which the loss is returned."""
    args, kwargs = nested_arguments(graph.module, batch.inputs)
    with torch.enable_grad():  # what yields batches may have turned it off
        found = loss(graph(*args, **kwargs), _labels(graph, batch))
    if not bool(torch.isfinite(found)):
        raise EditError(
            f"the loss of batch {batch.number} is {float(found.detach())}: take a lower learning rate"
        )
    optimizer.zero_grad()
    torch.autograd.backward(found)
    optimizer.step()
    return float(found.detach())


def _labels(graph: Graph, batch: CalibrationBatch) -> Any:
    """The part of a batch that is no input."""
    rest: Any = ()
    if isinstance(batch.given, Mapping):
        rest = {name: value for name, value in batch.given.items() if name not in batch.inputs}
    elif isinstance(batch.given, (tuple, list)):
        rest = tuple(batch.given[len(graph.inputs) :])
    if not rest:
        raise EditError(
            f"batch {batch.number} of data= has no labels: give tuples of inputs and labels, or dicts of both"
        )
    return rest[0] if isinstance(rest, tuple) and len(rest) == 1 else rest
