"""The numbers that tables are looked up by: whether they count positions, or say something else of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.operators import movement_of
from naivegraph.transfer.lookup_tables import lookups

__all__ = ["counting", "picked_rows", "worked_out"]

_PICKS = ("index", "index_select", "gather", "take_along_dim")


def counting(graph: Graph) -> dict[str, bool]:
    """For tables that something is looked up in, whether that counts positions on the example.

    Those looked up by single numbers are left out: one number does not tell.

    Example:
        >>> import naivegraph as ng
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.tokens, self.places = torch.nn.Embedding(9, 4), torch.nn.Embedding(6, 4)
        ...     def forward(self, ids):
        ...         return self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        >>> counting(ng.capture(Net(), torch.tensor([[3, 3, 7]])))
        {'tokens.weight': False, 'places.weight': True}
    """
    wanted: dict[int, list[tuple[str, Stub]]] = {}
    for name, vertex, indices in lookups(graph):
        wanted.setdefault(id(vertex), []).append((name, indices))
    found: dict[str, bool] = {}
    run = Interpreter(graph)
    with torch.no_grad(), preserved(graph.module):
        for place, vertex in enumerate(graph.vertices):
            for name, indices in wanted.get(id(vertex), ()):
                try:
                    numbers = run.resolve(indices)
                except LookupError:  # made inside the vertex
                    continue
                if isinstance(numbers, torch.Tensor) and numbers.dim() and numbers.shape[-1] > 1:
                    rises = (numbers.diff(dim=-1) == 1).all(-1)
                    found[name] = found.get(name, False) or bool(rises.any())
            run.step(place, graph.example)
    return found


def picked_rows(graph: Graph) -> Iterator[tuple[str, str]]:
    """The parameters from which rows are picked as from a table of relative positions, with the vertex."""
    origins = {stub.id: name for name, stub in graph.state.items()}
    learnt = {name for name, _ in graph.module.named_parameters()}
    for vertex in graph.vertices:
        for operation in vertex.operations:
            own = [origins[stub.id] for stub in operation.operands[:1] if stub.id in origins]
            if own and own[0] in learnt and operation.func.overloadpacket.__name__ in _PICKS:
                yield own[0], vertex.name
            elif own and movement_of(operation) is not None:
                origins.update({out.id: own[0] for out in operation.outputs if out is not None})


def worked_out(graph: Graph) -> list[str]:
    """The buffers of real numbers that the code works out and does not save, as those of rotary positions."""
    unsaved = unsaved_buffers(graph.module)
    return [
        name
        for name, buffer in graph.module.named_buffers()
        if name in unsaved and name in graph.state and buffer.is_floating_point()
    ]
