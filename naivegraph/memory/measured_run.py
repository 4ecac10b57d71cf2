"""One run of a network, measured: its calls, and the bytes of what they make as products of sizes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.algebra.size_product import SizeProduct
from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import copy_tensors, slow_attention, state_of, uncompiled
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import nested_arguments
from naivegraph.ir.values import Stub
from naivegraph.memory.call_log import AtenCall, CallLog, Memory
from naivegraph.memory.matched_calls import Recorded, matched
from naivegraph.widths import Widths

__all__ = [
    "Count",
    "MeasuredRun",
    "check_runs",
    "measured_run",
    "ready",
    "scaled",
    "scaled_by_result",
    "sizes_of",
    "tensors_of_example",
    "vertices_of",
    "whole",
]

Count = Callable[[Atom], int] | None


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """One run of a network.

    Attributes:
        calls: Its calls.
        memory: The memory that they made, but for what holds nothing.
        recorded: The recorded operation of each call that has one, by its number.
        sizes: The bytes of each memory, in the order of `memory`.
    """

    calls: list[AtenCall]
    memory: list[Memory]
    recorded: dict[int, Recorded]
    sizes: list[SizeProduct]


def measured_run(widths: Widths) -> MeasuredRun:
    """Run a network in eval mode without gradients on the graph's example, and measure it.

    The network's own forward runs, as it alone keeps what its variables keep; where the structure of the
    graph was edited, the graph does. The network, its buffers and the random numbers are as before.

    Raises:
        EditError: The graph keeps no example, the network is on the meta device, or it makes calls that were
            not recorded.
    """
    graph = widths.graph
    check_runs(graph)
    example = placed(graph, copy_tensors(graph.example))
    given = [*state_of(graph.module).values(), *tensors_of_example(example)]
    log = CallLog(given, measure=True)
    with ready(graph.module), torch.no_grad(), uncollected():
        result = log.run(_forward(graph, example))
    log.end()
    del result
    memory = [each for each in log.memory if each.size]
    recorded = matched(graph, log.calls)
    return MeasuredRun(log.calls, memory, recorded, sizes_of(widths, recorded, memory, len(log.calls)))


def sizes_of(
    widths: Widths, recorded: dict[int, Recorded], memory: list[Memory], ends: int
) -> list[SizeProduct]:
    """The bytes of all memory as products of sizes, each with the vertices that it is for.

    Args:
        widths: The widths of the graph with the recorded operations.
        recorded: The recorded operation of each call that has one.
        memory: The memory, in the order in which it was made.
        ends: The number of calls.
    """
    found: dict[int, SizeProduct] = {}
    for each in memory:
        known = recorded.get(each.born)
        copied = None if each.copied is None or known is not None else found.get(id(each.copied))
        if copied is not None and each.copied is not None:
            part = copied._replace(coefficient=whole(copied.coefficient * each.size / each.copied.size))
        else:
            part = bytes_of(widths, known, each)
        found[id(each)] = part._replace(where=() if each.died > ends else vertices_of(recorded, each))
    return list(found.values())


def vertices_of(recorded: dict[int, Recorded], memory: Memory) -> tuple[str, ...]:
    """The names of the vertices that make or take memory; none where a call of none does."""
    calls = [memory.born, *sorted(memory.users)]
    if any(call not in recorded for call in calls):
        return ()
    return tuple(dict.fromkeys(recorded[call].vertex.name for call in calls))


@contextlib.contextmanager
def ready(module: nn.Module, *, training: bool = False) -> Any:
    """A block in which a network runs its own code as recorded, and after which it is as before."""
    with restored(module), preserved(module, training=training), slow_attention(), uncompiled(module):
        yield


def check_runs(graph: Recording) -> None:
    """Check that a graph can be run and has memory.

    Raises:
        EditError: It keeps no example, or is on the meta device.
    """
    missing = [vertex.name for vertex in graph.inputs if vertex.name not in graph.example]
    if missing:
        raise EditError(f"the graph keeps no example of its input {missing[0]!r}: capture it again")
    tensors = [*state_of(graph.module).values(), *tensors_of_example(graph.example)]
    if any(tensor.is_meta for tensor in tensors):
        raise EditError(
            "memory is measured by a run, which a network on the meta device has none of: "
            "model.to_empty(device='cpu') gives it memory (its values do not matter)"
        )


def tensors_of_example(value: Any) -> list[torch.Tensor]:
    """The tensors in a pytree."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def _forward(graph: Recording, example: dict[str, Any]) -> Callable[[], Any]:
    """The call of the network's forward, or of the graph, on an example."""
    if graph.rewired:
        return lambda: Interpreter(graph).run(example)
    args, kwargs = nested_arguments(graph.module, {**graph.constants, **example})
    return lambda: graph.module(*args, **kwargs)


def bytes_of(widths: Widths, recorded: Recorded | None, memory: Memory) -> SizeProduct:
    """The bytes of memory as a product of sizes: of the tensor it was made for."""
    if recorded is None or memory.outside:
        return SizeProduct(memory.size, ())
    stub = recorded.operation.outputs[memory.result]
    if stub is None or not memory.elements:
        return SizeProduct(memory.size, ())
    return scaled(widths, stub, memory.size) or scaled_by_result(widths, recorded, memory.size)


def scaled(widths: Widths, stub: Stub, size: int) -> SizeProduct | None:
    """So many bytes, scaled as the elements of a tensor; None if its sizes are not related to any."""
    if stub.id not in widths.relation.axes:
        return None
    axes = tuple(widths.of(stub))
    now = 1
    for axis in axes:
        now *= axis.length
    if not now:
        return None
    return SizeProduct(whole(size / now), axes)


def whole(number: float) -> float:
    """A number as an int, if it is one."""
    return int(number) if number == int(number) else number


def scaled_by_result(widths: Widths, recorded: Recorded, size: int) -> SizeProduct:
    """So many bytes, scaled as the elements of the largest tensor that a vertex gives.

    The inside of a function with a rule of the user's own is not known in more detail.
    """
    results: Iterable[Stub] = stubs_in(recorded.vertex.output)
    for stub in sorted(results, key=lambda each: -torch.Size(each.shape).numel()):
        found = scaled(widths, stub, size)
        if found is not None:
            return found
    return SizeProduct(size, ())
