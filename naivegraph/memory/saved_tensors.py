"""Memory that a forward pass in train mode leaves behind for the backward pass, as products of sizes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.size_product import SizeProduct
from naivegraph.errors import CaptureError, EditError
from naivegraph.graph.record.record_run import copy_tensors, state_of
from naivegraph.graph.record.record_train_mode import record_in_train_mode
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import nested_arguments
from naivegraph.memory.call_log import CallLog
from naivegraph.memory.matched_calls import matched
from naivegraph.memory.measured_run import (
    check_runs,
    ready,
    sizes_of,
    tensors_of_example,
    vertices_of,
)
from naivegraph.widths import Widths, relate

__all__ = ["saved_tensors"]

_KEY = "saved tensors"  # among what was worked out from a graph


def saved_tensors(widths: Widths) -> list[SizeProduct]:
    """The memory that autograd holds once the network's forward has run in train mode on the example.

    It is found by holding the backward functions of the outputs and nothing else, so that what a checkpointed
    part computes anew is not in it. Parameters, buffers and inputs are there before and are not in it.

    Raises:
        EditError: The network does not run in train mode on the example, its structure was edited, or its
            sizes are others in train mode.
    """
    types = tuple([(t.dtype, t.device, t.requires_grad) for t in state_of(widths.graph.module).values()])
    known = widths.graph.found.get(_KEY)
    if known is None or known[0] is not widths.relation or known[1] != types:
        known = widths.relation, types, _saved(widths)
        widths.graph.found[_KEY] = known
    found: list[SizeProduct] = known[2]
    return found


def _saved(widths: Widths) -> list[SizeProduct]:
    graph = widths.graph
    check_runs(graph)
    if graph.rewired:
        raise EditError(
            "the structure of the graph was edited, and what autograd saves is measured on a network's own "
            "forward: capture graph.to_module() and go on with that"
        )
    example = placed(graph, graph.example)
    training = _recorded(graph, example)
    both = copy.copy(graph)
    both.training, both.found = training, {}
    related = relate(both)
    atoms = _same_widths(related, widths)
    log = _run(graph, copy_tensors(example))
    ends = len(log.calls)
    memory = [each for each in log.memory if each.size]
    held = {number: each for number, each in enumerate(memory) if each.died > ends}
    recorded = matched(training, log.calls, {each.born for each in held.values()})
    sizes = sizes_of(related, recorded, memory, ends)
    names = {vertex.name for vertex in graph.vertices}
    found = []
    for number, each in held.items():
        where = vertices_of(recorded, each)
        axes = tuple([_renamed(axis, atoms) for axis in sizes[number].axes])
        found.append(SizeProduct(sizes[number].coefficient, axes, where if names.issuperset(where) else ()))
    return found


def _recorded(graph: Recording, example: dict[str, Any]) -> Recording:
    """The run in train mode, recorded."""
    arguments = nested_arguments(graph.module, {**graph.constants, **copy_tensors(example)})
    try:
        return record_in_train_mode(graph, arguments)
    except CaptureError as error:
        raise EditError(
            "what autograd saves is that of a run in train mode, which fails on the example: give one of "
            f"several samples, if that is why ({error})"
        ) from error


def _run(graph: Recording, example: dict[str, Any]) -> CallLog:
    """The log of a run in train mode, of whose results the backward functions alone are held."""
    args, kwargs = nested_arguments(graph.module, {**graph.constants, **example})
    log = CallLog([*state_of(graph.module).values(), *tensors_of_example(example)], measure=False)

    def forward() -> list[Any]:
        """Run the network; the backward functions of what it gives."""
        outputs = leaves(graph.module(*args, **kwargs))
        return [leaf.grad_fn for leaf in outputs if isinstance(leaf, torch.Tensor)]

    with ready(graph.module, training=True), torch.enable_grad():
        functions = log.run(forward)
    log.end()
    del functions
    return log


def _same_widths(related: Widths, widths: Widths) -> dict[Atom, Atom]:
    """The atoms of the widths of a graph by those of the same graph with another run in train mode.

    A width of one neuron may be a width in one of them alone, as it depends on the order of calls whether a
    dimension of one index can be told from none. Nothing can be removed from it, so it counts as one there.

    Raises:
        EditError: They are not the same widths.
    """
    one, two = ({w: (w.size, w.lives) for w in each.widths} for each in (related, widths))
    known = [*one.values()]
    own = [w for w, place in one.items() if w.size > 1 or place in two.values()]
    its = [w for w, place in two.items() if w.size > 1 or place in known]
    other = [w for w, v in zip(own, its, strict=False) if one[w] != two[v]]
    other += [*own[len(its) :], *its[len(own) :]]
    if other:
        raise EditError(
            f"in train mode the network ties its sizes in another way than in eval mode ({other[0].name}), "
            "so what autograd saves is not known for other sizes: leave that budget out"
        )
    return {w.atom: v.atom for w, v in zip(own, its, strict=True)}


def _renamed(axis: Axis, atoms: Mapping[Atom, Atom]) -> Axis:
    """An axis with other atoms in the places of its own."""
    terms = [
        tuple(
            [
                atoms.get(f, f) if isinstance(f, Atom) else _renamed(f, atoms) if isinstance(f, Axis) else f
                for f in term
            ]
        )
        for term in axis.terms
    ]
    return Axis(tuple(terms), axis.length)
