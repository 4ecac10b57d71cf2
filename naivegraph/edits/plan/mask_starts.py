"""Masks among the buffers of a network, whose new entries let new neurons through."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from naivegraph.algebra.axis import Atom
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.ir.recording import Recording
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.sources import each_of
from naivegraph.widths.widths import Widths

__all__ = ["mask_starts"]


def mask_starts(widths: Widths, grown: Collection[Atom]) -> Iterator[tuple[str, int, Atom]]:
    """The new entries of masks along widths that grow: name, dimension and width.

    A mask is a buffer of zeros and ones that others are multiplied by, perhaps in another shape. Where it
    hides whole neurons, a copy of an old one, as other buffers get, may be hidden, too, and could never be
    trained. Any other mask tells what may be connected to what, so that a copy is right.

    Args:
        widths: The widths of a graph.
        grown: Those that grow.
    """
    trained = parameters_of(widths.graph.module)
    factors: set[int] | None = None
    for name, axes in widths.axes.items():
        along = [(dim, atom) for dim, axis in enumerate(axes) for atom in axis.atoms() if atom in grown]
        if not along or name in trained:
            continue
        if factors is None:
            factors = _factors(widths.graph)
        mask = widths.graph.tensor(name)
        if widths.graph.state[name].id not in factors or mask.is_meta:
            continue
        if bool(((mask == 0) | (mask == 1)).all()):
            for dim, atom in along:
                shown = (mask != 0).movedim(dim, 0).flatten(1).any(1) if mask.dim() > 1 else mask != 0
                if not bool(shown.all()):
                    yield name, dim, atom


def _factors(graph: Recording) -> set[int]:
    """The numbers of parameters and buffers that others are multiplied by, and that have no other use."""
    shown = {stub.id: stub.id for stub in graph.state.values()}
    factors, others = set[int](), set[int]()
    for run in graph.runs:
        for vertex in run.vertices:
            for operation in vertex.operations:
                moved = movement_of(operation) is not None and len(operation.operands) == 1
                multiplied = record_of(operation.func).sources is each_of
                for stub in operation.operands:
                    if stub.id not in shown:
                        continue
                    if moved:
                        shown.update((out.id, shown[stub.id]) for out in operation.outputs if out is not None)
                    else:
                        (factors if multiplied else others).add(shown[stub.id])
    return factors - others
