"""The work of each call of a network as products of sizes: multiply-accumulates, and bytes read and written.

A roofline (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52, 2009) bounds a call's time by the larger of two terms, for the
arithmetic and for the memory; their sum, with a constant, is as good a description and a sum of products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from naivegraph.algebra.axis import Atom
from naivegraph.costs import SizeProduct
from naivegraph.costs.cost import sum_of
from naivegraph.ir.values import Operation, Stub
from naivegraph.widths import Widths

__all__ = ["CallWork", "work_of_calls"]


@dataclasses.dataclass(frozen=True)
class CallWork:
    """The work of one call.

    Attributes:
        macs: Products whose sum are its multiply-accumulates.
        bytes: Products whose sum are the bytes of the tensors its operators take and make.
    """

    macs: tuple[SizeProduct, ...]
    bytes: tuple[SizeProduct, ...]

    def amounts(self, count: Callable[[Atom], int] | None = None) -> tuple[float, float, float]:
        """The number 1, multiply-accumulates and bytes with `count(atom)` neurons of each width."""
        return 1.0, float(sum_of(self.macs, count)), float(sum_of(self.bytes, count))


def work_of_calls(widths: Widths) -> dict[str, CallWork]:
    """The work of each vertex of a graph but inputs, by its name.

    Example:
        >>> import torch, naivegraph as ng
        >>> graph = ng.capture(torch.nn.Linear(4, 8), torch.ones(10, 4))
        >>> [work.amounts() for work in work_of_calls(graph.widths).values()]  # weights, bias, input, output
        [(1.0, 320.0, 640.0)]
    """
    macs: dict[str, list[SizeProduct]] = {}
    for each in widths.contractions:
        macs.setdefault(each.where, []).append(SizeProduct(each.coefficient, each.axes))
    return {
        vertex.name: CallWork(
            tuple(macs.get(vertex.name, ())),
            tuple(
                SizeProduct(stub.dtype.itemsize, tuple(widths.of(stub)))
                for operation in vertex.operations
                if not _is_view(operation)
                for stub in _distinct((*operation.operands, *operation.outputs))
            ),
        )
        for vertex in widths.graph.vertices
        if vertex.kind != "input"
    }


def _is_view(operation: Operation) -> bool:
    """Tell whether an operator only gives another view of what it takes, and moves nothing."""
    infos = [each.alias_info for each in operation.func._schema.returns]
    return any(info is not None and not info.is_write for info in infos)


def _distinct(stubs: tuple[Stub | None, ...]) -> Iterator[Stub]:
    """Tensors, each once: a result in place is the operand."""
    return iter({stub.id: stub for stub in stubs if stub is not None}.values())
