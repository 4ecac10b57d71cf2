"""Changing a graph's structure and its sizes in one edit: all of it or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from naivegraph.edits.apply.edit import Costs, Edit
from naivegraph.edits.apply.optimizer_state import as_optimizers, split_averages
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.plan.change import Change
from naivegraph.edits.structure.merges import is_sum, tensors_of
from naivegraph.edits.structure.optimizer_params import follow_average, follow_optimizer
from naivegraph.edits.structure.undo_log import Undo, UndoLog
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph import Vertex
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.step_module import BuiltModule
from naivegraph.network import Graph
from naivegraph.solvers.budget import Certificate
from naivegraph.widths import relate

__all__ = [
    "RUN_ERRORS",
    "costs_of",
    "rewire",
    "taken_back",
]

# What running a network whose shapes do not fit raises.
RUN_ERRORS = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError,
    NaivegraphError,
)  # fmt: skip


def rewire(
    graph: Graph,
    change: Change,
    steps: list[Callable[[UndoLog], None]],
    *,
    asked: dict[str, Any],
    certificate: Certificate,
    optimizer: Any = (),
    counted: bool = True,
    sizing: SizeReport | None = None,
) -> Edit:
    """Change the structure step by step, then the sizes, then see that the network runs.

    Args:
        graph: Changed in place.
        change: What sizes become, and what is done to the structure, as data.
        steps: Each changes the structure by means of a journal.
        asked: What was asked.
        certificate: How good the sizes are.
        optimizer: Optimizers and averaged models which follow.
        counted: Whether to count what the network costs, which takes as long as the rest.
        sizing: Tells what becomes of the sizes of vertices.

    Raises:
        EditError: The network would not run; everything is as it was.
    """
    following = as_optimizers(optimizer)
    count = costs_of if counted else _uncounted
    before, follow = count(graph), _Following(graph.module, following)
    repeating = [vertex for vertex in graph if _repeats(vertex)]
    undo_log = UndoLog(graph)
    with contextlib.ExitStack() as undone:
        undone.callback(graph.snapshot())
        undone.callback(undo_log.undo)
        for step in steps:
            step(undo_log)
        for each in follow.steps():
            undone.callback(each())
        edit = Edit(
            graph.module, _written(change, undo_log), asked=asked, certificate=certificate,
            before=before, after=before, optimizers=following, notes=_notes(graph), sizing=sizing,
        )  # fmt: skip
        edit.after_undo(undone.pop_all().close)
    with taken_back(edit, "the network would not run after this"):
        edit.then_refresh(graph)
        _check_sums(graph, repeating)
        edit.after = count(graph)
    return edit


@contextlib.contextmanager
def taken_back(edit: Edit, failed: str) -> Iterator[None]:
    """Undo an edit if the block raises anything.

    Args:
        edit: The edit.
        failed: What it means if the network does not run, for the message.

    Raises:
        EditError: The network does not run.
    """
    try:
        yield
    except RUN_ERRORS as error:
        edit.undo()
        raise EditError(f"{failed}: {error}") from error
    except BaseException:
        edit.undo()
        raise


class _Following:
    """What follows a network from how it is now to how it is later."""

    def __init__(self, module: nn.Module, following: tuple[Any, ...]) -> None:
        self._module = module
        self._averages, self._optimizers = split_averages(following)
        self._parameters = list(module.parameters())
        self._modules = dict(modules_of(module, every_path=True))

    def steps(self) -> Iterator[Callable[[], Undo]]:
        """Each lets one optimizer or average follow, and gives what undoes that."""
        for optimizer in self._optimizers:
            yield functools.partial(follow_optimizer, optimizer, self._module, self._parameters)
        for average in self._averages:
            yield functools.partial(follow_average, average, self._module, self._modules)


def _notes(graph: Graph) -> tuple[str, ...]:
    if isinstance(graph.module, BuiltModule):
        what = "the module that the graph was made with"
    else:
        what = f"the forward of {type(graph.module).__name__}"
    return (
        f"{what} does not know of this edit and may fail or do something else: run graph(...) or "
        "graph.to_module()",
    )


def _written(change: Change, undo_log: UndoLog) -> Change:
    """The change with the steps that were carried out, unless it has them already."""
    if change.structure is None:
        return change
    return dataclasses.replace(change, structure={"steps": undo_log.steps, **change.structure})


def _repeats(vertex: Vertex) -> bool:
    """Whether a vertex is a sum of tensors of different shapes, of which it repeats one."""
    return is_sum(vertex) and len({stub.shape for stub in tensors_of(vertex)}) > 1


def _check_sums(graph: Graph, repeating: list[Vertex]) -> None:
    for vertex in graph:
        if _repeats(vertex) and not any(vertex is other for other in repeating):
            shapes = " and ".join(str(tuple(stub.shape)) for stub in tensors_of(vertex))
            raise EditError(f"{vertex.name!r} would add tensors of the shapes {shapes}")


def _uncounted(graph: Graph) -> Costs:
    return Costs(0, 0)


def costs_of(graph: Graph) -> Costs:
    """What a graph costs now."""
    widths = relate(graph, free_outputs=True)
    return Costs(widths.macs(), widths.params())
