"""The calls of a run, matched with those that were recorded, for which sizes are known as products."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation
from naivegraph.ir.vertex import Vertex
from naivegraph.memory.call_log import AtenCall

__all__ = ["Recorded", "matched"]

# Operators that a recorder adds, or leaves out, as they compute nothing.
_NOTHING = frozenset({torch.ops.aten.alias.default, torch.ops.aten.detach.default})


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded operation and the vertex it is part of."""

    vertex: Vertex
    operation: Operation


def matched(
    graph: Recording, calls: Sequence[AtenCall], needed: Collection[int] | None = None
) -> dict[int, Recorded]:
    """The recorded operation of each call of a run, by the number of the call.

    Calls that copy what was made before need none.

    Args:
        graph: The recording.
        calls: The calls of the run.
        needed: The numbers of the calls that have to be found; by default of those that allocated something.

    Raises:
        EditError: A call that made memory was not recorded; the message names the vertex before it.
    """
    recorded = [each for each in _operations(graph) if each.operation.func not in _NOTHING]
    numbers = [number for number, call in enumerate(calls) if call.func not in _NOTHING]
    # By the first result, as others may be work space that depends on whether gradients are needed.
    ran = [(calls[number].func, calls[number].shapes[:1]) for number in numbers]
    known = [(each.operation.func, _shapes(each.operation)[:1]) for each in recorded]
    found: dict[int, Recorded] = {}
    for start, other, length in _runs(ran, known):
        for step in range(length):
            found[numbers[start + step]] = recorded[other + step]
    _check(calls, found, needed)
    return found


def _operations(graph: Recording) -> Iterator[Recorded]:
    for vertex in graph.vertices:
        for operation in vertex.operations:
            yield Recorded(vertex, operation)


def _shapes(operation: Operation) -> tuple[tuple[int, ...] | None, ...]:
    return tuple([None if stub is None else tuple(stub.shape) for stub in operation.outputs])


def _runs(ran: Sequence[Any], known: Sequence[Any]) -> list[tuple[int, int, int]]:
    """Runs of equal items of both, as their starts and length."""
    if list(ran) == list(known):
        return [(0, 0, len(ran))]
    numbers: dict[Any, int] = {}
    one, two = ([numbers.setdefault(item, len(numbers)) for item in items] for items in (ran, known))
    blocks = difflib.SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks]


def _check(calls: Sequence[AtenCall], found: dict[int, Recorded], needed: Collection[int] | None) -> None:
    """Raise EditError for a call that was not recorded and should have been."""
    last: Vertex | None = None
    for number, call in enumerate(calls):
        if number in found:
            last = found[number].vertex
        elif _allocates(call) and (needed is None or number in needed):
            place = f" ({line_text(last.where)})" if last is not None and last.where else ""
            after = f"after {last.name!r}{place}" if last is not None else "at its start"
            raise EditError(
                f"the network calls {call.func} {after}, which its graph has not, so that its memory is not "
                "known for other sizes; ng.capture(model, ...).to_module() gives a network of the graph's "
                "calls alone"
            )


def _allocates(call: AtenCall) -> bool:
    if call.made and all(memory.copied is not None for memory in call.made):
        return False
    return any(memory.size for memory in call.made) or (call.peak is not None and call.peak.size > 0)
