"""Train mode of a graph that was recorded in eval mode."""

from __future__ import annotations

from naivegraph.errors import CaptureError
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.record.record_train_mode import Arguments, doubled, record_in_train_mode
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.graph.verify.train_eval_constants import switch_constants
from naivegraph.graph.verify.verify import compare
from naivegraph.ir.recording import TRAIN_MODE, Recording
from naivegraph.ir.signature import nested_arguments

__all__ = ["follow_training"]


def follow_training(graph: Recording) -> None:
    """Compare in train mode, once; where graph and network differ, record the network's run there.

    If it makes the same calls with other constants, these follow the training flag from then on. If it makes
    other calls, they are kept beside those of eval mode. The result is in `checks`. Where the network does
    not run on the example in train mode (a batch norm needs more than one value per channel), it runs on the
    example twice, as one batch. Nothing is done once the structure was edited, for then the network's own
    forward computes something else.

    Args:
        graph: Changed in place; the network is left as it was.
    """
    if TRAIN_MODE in graph.checks or graph.rewired:
        return
    example = placed(graph, copy_tensors(graph.example))
    arguments = nested_arguments(graph.module, {**graph.constants, **example})
    found = _follow(graph, arguments)
    twice = doubled(arguments) if found.startswith("not run") else None
    if twice is not None:
        found = _follow(graph, twice)
    graph.checks = {**graph.checks, TRAIN_MODE: found}


def _follow(graph: Recording, arguments: Arguments) -> str:
    """Compare on these arguments, record if needed, and return the result in words."""
    found = compare(graph, arguments, training=True)
    differs = found.startswith("differs")
    # Gradients that a forward turns off in eval mode alone make no difference to what it computes.
    if not (differs or _sets_modes(graph)) or graph.training is not None:
        return found
    try:
        other = record_in_train_mode(graph, arguments)
    except CaptureError as error:
        if not differs:
            return found
        return f"{found}; what the network does in train mode cannot be recorded: {error}"
    if not switch_constants(graph, other):
        if not differs:
            return found
        graph.train_replay = other
    again = compare(graph, arguments, training=True)
    if again == "equal" or graph.train_replay is None:
        return again
    graph.train_replay = None
    return (
        f"{found}; in train mode the network calls other functions than in eval mode, and repeating those "
        f"does not give the same either ({again})"
    )


def _sets_modes(graph: Recording) -> bool:
    return any(vertex.modes is not None for vertex in graph.vertices)
