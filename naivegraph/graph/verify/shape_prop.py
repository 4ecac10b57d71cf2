"""Shape propagation: running a graph once for the shapes and operators that its vertices have now."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

import torch

from naivegraph.errors import NaivegraphError
from naivegraph.graph.record.record_run import copy_tensors, slow_attention, state_of
from naivegraph.graph.record.record_train_mode import record_again
from naivegraph.graph.record.recorder import Recorder
from naivegraph.graph.run.side_effects import follows_values, runs_torch_alone
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.verify.observed_run import ObservedRun
from naivegraph.ir.pytree import map_leaves, stubs_in
from naivegraph.ir.recording import TRAIN_MODE, Recording
from naivegraph.undo import all_or_nothing

__all__ = ["new_number", "placed", "propagate_shapes"]


@ordinary_mode()
def propagate_shapes(graph: Recording, changed: Collection[str] | None = None) -> None:
    """Run the vertices once on the stored example, and update shapes, operators and names of state.

    The run in train mode, if there is one, is recorded anew; if sizes are not related by it, only once it is
    needed. Tensors keep their numbers. Flags, buffers, random numbers and attributes of the network are
    restored.

    Args:
        graph: Changed in place.
        changed: The paths of the modules of which attributes have changed since it was up to date. It ends
            up as after a run of all vertices, but runs no further than what may have changed: vertices that
            call something else (`Vertex.stale`), those that take parameters, buffers or inputs of other
            shapes or such attributes, and those that take what these give, as far as shapes differ. All are
            run if shapes may follow from the numbers in tensors. By default all are.

    Raises:
        NaivegraphError: The graph has no example.
        Exception: Any exception of a vertex, with a note that names it; the graph is as it was.
    """
    missing = [vertex.name for vertex in graph.inputs if vertex.name not in graph.example]
    if missing:
        raise NaivegraphError(f"the graph keeps no example of its input {missing[0]!r}: capture it again")
    module = graph.module
    recorder = Recorder({}, state_of(module), start=new_number(graph))
    example = placed(graph, copy_tensors(graph.example))
    run = ObservedRun(graph, recorder, None if changed is None or follows_values(graph) else changed)
    still = runs_torch_alone(graph)
    with (
        contextlib.nullcontext() if still else restored(module),
        preserved(module, buffers=not still),
        slow_attention(),
        torch.no_grad(),
    ):
        run.observe(example)
    with all_or_nothing() as undo:
        undo.push(snapshot(graph))
        run.commit()
        graph.reserved = recorder.unused_number()
        if graph.training is not None:
            example = placed(graph, copy_tensors(graph.training.example))
            graph.training = record_again(graph, graph.training, example)
        if graph.train_replay is not None:  # made again when it is needed
            graph.train_replay = None
            graph.checks = {name: found for name, found in graph.checks.items() if name != TRAIN_MODE}


def new_number(graph: Recording) -> int:
    """A number from which on no tensor of the graph has one, but those of a second run and those added."""
    if not graph.reserved:
        graph.reserved = 1 + _largest_number(graph)
    return graph.reserved


def _largest_number(graph: Recording) -> int:
    """The largest number of a tensor of the graph."""
    found = [stub.id for stub in graph.state.values()]
    for vertex in graph.vertices:
        found.extend(stub.id for stub in stubs_in(vertex.output))
        found.extend(o.id for op in vertex.operations for o in op.outputs if o is not None)
    return max(found, default=-1)


def placed(graph: Recording, example: dict[str, Any]) -> dict[str, Any]:
    """An example moved to the network's device and precision, if it has one of each."""
    tensors = tensors_of(graph.module).values()
    devices = {tensor.device for tensor in tensors}
    dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    before = {stub.dtype for stub in graph.state.values() if stub.dtype.is_floating_point}

    def place(leaf: Any) -> Any:
        """Move a tensor, and return any other leaf as it is."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if len(devices) == 1:
            leaf = leaf.to(next(iter(devices)))
        if leaf.is_floating_point() and len(dtypes) == 1 and dtypes != before and leaf.dtype in before:
            leaf = leaf.to(next(iter(dtypes)))
        return leaf

    placed: dict[str, Any] = map_leaves(example, place)
    return placed
