"""A second recorded run, in train mode, for networks that call other functions there."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch

from naivegraph.errors import CaptureError
from naivegraph.graph.fake.fake_tensor import FakeMode, on_fake_tensors
from naivegraph.graph.record.left_behind import stores_in_train_mode
from naivegraph.graph.record.record_run import copy_tensors, record
from naivegraph.graph.torch_utils.module_paths import buffers_of, parameters_of
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import leaves, map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import nested_arguments
from naivegraph.ir.train_eval_module import TrainEvalModule
from naivegraph.ir.values import Stub

__all__ = [
    "Arguments",
    "doubled",
    "record_again",
    "record_in_train_mode",
    "record_training",
    "run_training",
    "unused_parameters",
]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def record_training(
    graph: Recording, args: tuple[Any, ...], kwargs: dict[str, Any], *, fake: bool
) -> Recording | None:
    """Record a run in train mode, if it uses parameters that the one in eval mode does not, or buffers.

    Also if it leaves tensors behind that the run in eval mode does not, such as features for a loss.
    Also if the network is known to call other functions in train mode, as it was exported from such a graph.

    Where the network does not run on the example in train mode (a batch norm needs more than one value per
    channel), it runs on the example twice, as one batch.

    Args:
        graph: The run recorded in eval mode.
        args: The example it was recorded on.
        kwargs: Its keyword inputs.
        fake: Whether to run on fake tensors where that is possible.

    Returns:
        The run; None if it neither uses other parameters or buffers nor leaves other tensors behind, or the
        network does not run in train mode.
    """
    unused = _unused(graph)
    other = isinstance(graph.module, TrainEvalModule)
    if not (unused or other or stores_in_train_mode(graph.module)):
        return None
    examples = [each for each in ((args, kwargs), doubled((args, kwargs))) if each is not None]
    found: Recording | None = None
    for arguments in examples:
        if found is None and fake:
            again = functools.partial(record_in_train_mode, graph, arguments)
            found = on_fake_tensors(graph.module, again, buffers=True)
    for arguments in examples:
        if found is None:
            with contextlib.suppress(CaptureError):
                found = record_in_train_mode(graph, arguments)
    if found is None:
        return None
    kept = set(found.left_behind.values()) - set(graph.left_behind.values())
    return found if other or kept or not unused <= _unused(found) else None


def record_again(graph: Recording, training: Recording, example: dict[str, Any]) -> Recording:
    """Record the run in train mode once more, as the network does it now.

    Args:
        graph: The run in eval mode, up to date.
        training: The run in train mode recorded before.
        example: The inputs of that run.

    Raises:
        CaptureError: The network does not run in train mode any more.
    """
    return record_in_train_mode(graph, nested_arguments(graph.module, {**training.constants, **example}))


def run_training(training: Recording) -> Any:
    """The output of the network's own forward in train mode, on the inputs of a recorded run.

    Raises:
        Exception: Any exception of the network.
    """
    module = training.module
    args, kwargs = nested_arguments(module, {**training.constants, **copy_tensors(training.example)})
    with restored(module), preserved(module, training=True, watch=True), torch.no_grad():
        return module(*args, **kwargs)


def doubled(arguments: Arguments) -> Arguments | None:
    """The inputs with twice the batch, the second half with its last dimension rolled.

    None if they do not share the size of their first dimension.
    """
    tensors = [leaf for leaf in leaves(arguments) if isinstance(leaf, torch.Tensor)]
    if not tensors or any(tensor.dim() == 0 for tensor in tensors):
        return None
    if len({tensor.shape[0] for tensor in tensors}) != 1 or tensors[0].shape[0] == 0:
        return None

    def double(leaf: Any) -> Any:
        """Return a tensor with twice the batch, and any other leaf as it is."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return torch.cat([leaf, leaf.roll(1, -1) if leaf.dim() > 1 else leaf]).detach()

    twice: Arguments = map_leaves(arguments, double)
    return twice


def record_in_train_mode(graph: Recording, arguments: Arguments, fake: FakeMode | None = None) -> Recording:
    """Record a run in train mode, which shares the numbers of parameters and buffers with the graph's run.

    Raises:
        CaptureError: The network does not run in train mode on these arguments.
    """
    module = graph.module
    with restored(module), preserved(module, training=True, watch=True):
        return record(module, *arguments, fake=fake, first=graph)[0]


def unused_parameters(run: Recording) -> set[str]:
    """Names of the parameters that no operator of a run takes, apart from those added since."""
    unused = _unused(run)
    return {n for n, _ in run.module.named_parameters() if n in run.state and run.state[n].id in unused}


def _unused(run: Recording) -> set[int]:
    """Numbers of the parameters that no operator of a run takes, and of buffers with numbers like theirs.

    Such a buffer is a running mean of what the network computes, of codes in a table, for example.
    """
    buffers = [name for name, b in buffers_of(run.module).items() if b.dim() and b.is_floating_point()]
    unused = {run.state[name].id for name in (*parameters_of(run.module), *buffers) if name in run.state}
    waiting: list[Any] = []
    for vertex in run.vertices:
        for operation in vertex.operations:
            waiting.extend(operation.args)
            waiting.extend(operation.kwargs.values())
    for value in waiting:  # which grows by the items of lists
        kind = type(value)
        if kind is Stub:
            unused.discard(value.id)
        elif kind is list or kind is tuple:
            waiting.extend(value)
    return unused
