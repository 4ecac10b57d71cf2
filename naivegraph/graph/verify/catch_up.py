"""Graphs of a network that was edited otherwise since they were captured."""

from __future__ import annotations

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.ir.recording import Recording

__all__ = ["catch_up"]


def catch_up(graph: Recording) -> None:
    """Bring a graph up to date with its network, if sizes of that were changed by other means since.

    That is so where the network itself, a part of it, or another graph of it was edited, or such an edit was
    undone.

    Raises:
        EditError: It does not run with these sizes; the graph is as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net, x = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)), torch.ones(1, 4)
        >>> graph = ng.capture(net, x)
        >>> edit = ng.prune(net, x, macs=0.5)
        >>> graph.sizes["0"]
        4
    """
    tensors = tensors_of(graph.module)
    missing = next((name for name in graph.state if name not in tensors), None)
    if missing is None and all(tuple(tensors[name].shape) == s.shape for name, s in graph.state.items()):
        return
    try:
        if missing is not None:
            raise EditError(f"it has no {missing!r} any more")
        propagate_shapes(graph)
    except Exception as error:
        why = "; ".join((str(error), *getattr(error, "__notes__", ())))
        raise EditError(
            "the network was changed otherwise since this graph of it was captured or edited, which does not "
            f"run any more ({why}): capture it again, ng.capture(model, x), or undo that change"
        ) from error
