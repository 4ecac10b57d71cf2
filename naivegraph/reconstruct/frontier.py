"""Memory of a refit: how many samples can wait at each layer with the tensors that later ones need."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from naivegraph.graph.run.interpreter import Reads
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording

__all__ = ["MEMORY", "samples_held"]

MEMORY = 1 << 30  # bytes


def samples_held(teacher: Recording, student: Recording, places: Sequence[int], memory: int) -> list[int]:
    """The most samples with which what waits at each vertex of the student, and from there on, fits.

    Args:
        teacher: The one network.
        student: The other.
        places: For each vertex of the student, the number of the teacher's vertices that run with it or
            before.
        memory: The bytes for the tensors of both that later vertices need. Views count as tensors.

    Returns:
        A number for each vertex of the student, which never falls.
    """
    theirs, mine = _waiting(teacher), _waiting(student)
    found = [
        int(memory // max(theirs[place] + mine[position + 1], 1e-9)) for position, place in enumerate(places)
    ]
    return [*itertools.accumulate(reversed(found), min)][::-1]


def _waiting(graph: Recording) -> list[float]:
    """Bytes per sample of what waits before the first vertex, and while each runs."""
    last: dict[int, int] = {}
    for position, vertex in enumerate(graph.vertices):
        for number in Reads.of((vertex.args, vertex.kwargs)).tensors:
            last[number] = position
    last |= dict.fromkeys(Reads.of(graph.output).tensors, len(graph.vertices))
    samples = next((s.shape[0] for v in graph.inputs for s in stubs_in(v.output) if s.shape), 1)
    change = [0.0] * (len(graph.vertices) + 3)
    for position, vertex in enumerate(graph.vertices):
        for stub in {stub.id: stub for stub in stubs_in(vertex.output)}.values():
            size = float(stub.dtype.itemsize)
            for length in stub.shape:
                size *= length
            change[position + 1] += size / samples
            change[last.get(stub.id, position) + 2] -= size / samples
    return [*itertools.accumulate(change)][:-1]
