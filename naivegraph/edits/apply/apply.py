"""Application of a change to a network, all of it or nothing, which results in an `Edit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from naivegraph.costs import Costs
from naivegraph.edits.apply.change_module import change_module
from naivegraph.edits.apply.checkpoint import Checkpoint
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.apply.edited_graph import EditedGraph
from naivegraph.edits.apply.forgotten_optimizer import forgotten_optimizer
from naivegraph.edits.apply.latency_report import LatencyReport
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.apply.refit_report import RefitReport
from naivegraph.edits.apply.replace_numbers import replace_numbers
from naivegraph.edits.apply.resize_example import resize_example
from naivegraph.edits.apply.resize_tensors import find_tensor
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.apply.way_back import WayBack
from naivegraph.edits.plan.change import Change
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.torch_utils.compiled_code import forget_compiled_code
from naivegraph.graph.torch_utils.module_paths import Modules, parameters_of
from naivegraph.graph.torch_utils.obstacle import still_wrapped
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.network import Graph
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.solvers.budget import Certificate
from naivegraph.undo import UndoLog, all_or_nothing
from naivegraph.widths import relate

__all__ = ["RUN_ERRORS", "apply", "checkpoint_of"]

# Exceptions that a network raises where shapes do not fit.
RUN_ERRORS = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError,
    NaivegraphError,
)  # fmt: skip


_NOT_RUNNING = (
    "the network does not run at the new sizes, so all is as it was; hold the sizes that its code relies on "
    "(ng.frozen() in ng.resize, keep= in ng.prune)"
)


@ordinary_mode()
def apply(
    change: Change,
    target: nn.Module | Graph,
    *,
    optimizer: Any = None,
    asked: Mapping[str, Any] | None = None,
    certificate: Certificate | None = None,
    before: Costs | None = None,
    after: Costs | Callable[[], Costs] | None = None,
    notes: tuple[str, ...] = (),
    sizes: SizeReport | None = None,
    check: Callable[[], None] | None = None,
    failed: str | None = None,
    undo: UndoLog | None = None,
    checkpoint: Checkpoint | None = None,
    refit: Callable[[], RefitReport] | RefitReport | None = None,
    latency: LatencyReport | None = None,
    dropped: tuple[str, ...] = (),
    function_kept: bool | None = None,
    closed: Callable[[], None] | None = None,
    old: RelatedGraph | None = None,
) -> Edit:
    """Apply a change in place: sizes of tensors, attributes, optimizers; then run the network.

    Parameters stay the same objects; their data is replaced. A change that is empty changes nothing, not even
    the network's history.

    Args:
        change: The change.
        target: The network it was made for, or a fresh copy of that; or its graph, which is updated.
        optimizer: Optimizers of the network's parameters and averaged models of it, which are resized too.
        asked: The request, by the names of arguments.
        certificate: The certificate of the choice; None if nothing was chosen.
        before: The costs before; by default those known without a run.
        after: The costs after, or a function that counts them when everything is done; likewise.
        notes: Sentences for the reader.
        sizes: The report on the sizes of vertices.
        check: A function called when everything is done; if it raises, everything is undone.
        failed: The beginning of the message if the network does not run then.
        undo: The log of what was done for this edit already, which is undone with it.
        checkpoint: The state before this edit; by default the present one.
        refit: A function that gives kept weights other values once all else is done, and the report on it;
            or the report.
        latency: The report on a budget of latency.
        dropped: The branches that the change leaves out.
        function_kept: Whether the network computes the same, as far as that is known.
        closed: A function called when the gaps that whole layers left are closed, after all else; if it
            raises, everything is undone.
        old: The graph before the change, where its picture is to show more than sizes of widths.

    Returns:
        The edit.

    Raises:
        EditError: The change does not fit the network, which does not run then, or an optimizer cannot
            follow.
        Exception: Any exception of `check` or `refit`. The network is then as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> change = ng.prune(build(), torch.ones(1, 4), macs=0.5).change
        >>> apply(change, build())
        Edit(params 58 -> 30, 1 width changed)
    """
    graph = target if isinstance(target, Graph) else None
    module = target.module if isinstance(target, Graph) else target
    optimizers = as_optimizers(optimizer)
    first = Costs.of_module(module) if before is None else before
    way = None
    shapes = {name: (parameter, parameter.shape) for name, parameter in parameters_of(module).items()}
    with all_or_nothing(undo) as log:
        if change:
            kept = checkpoint or checkpoint_of(module, change, optimizers)
            done = change_module(change, module, optimizers, log, close=False)
            way = WayBack(done, log, kept)
            forget_compiled_code()
            changed = {name: one for name, (one, shape) in shapes.items() if one.shape != shape}
            notes = (*notes, *still_wrapped(module), *forgotten_optimizer(changed, optimizers))
        if change and graph is not None:
            with _running(failed or _NOT_RUNNING, passed=() if failed else (NaivegraphError,)):
                log.push(snapshot(graph))
                resize_example(change, graph)
                replace_numbers(graph.vertices, change.numbers)
                propagate_shapes(graph, {attribute.path for attribute in change.attributes})
        with _running(failed):
            if change and check is not None:
                check()
            report = refit() if callable(refit) and change else refit
            if way is not None:
                done.close(log)  # last, as all before tell layers by their paths so far
            if change.closing is not None and closed is not None:
                closed()
            last = after() if callable(after) else Costs.of_module(module) if after is None else after
        new = RelatedGraph.of(relate(graph)) if graph is not None and old is not None else None
        return Edit(
            asked or {}, change, certificate, first, last, notes,
            refit=None if callable(report) else report, latency=latency, dropped=dropped,
            function_kept=function_kept if change else None,
            _size_report=sizes, _graph=graph, _way_back=way,
            _graphs=None if old is None or new is None else EditedGraph(old, new),
        )  # fmt: skip


def checkpoint_of(module: nn.Module, change: Change, followers: tuple[Any, ...]) -> Checkpoint:
    """The state of a network and of what follows it, before a change.

    Args:
        module: The network.
        change: The change.
        followers: Optimizers, schedulers and averaged models.
    """
    averages = [each for each in followers if isinstance(each, AveragedModel)]
    networks = [module, *(unwrapped(average.module) for average in averages)]
    found = (find_tensor(modules, name) for modules in map(Modules, networks) for name in change.tensors)
    replaced = {id(tensor) for tensor in found if tensor is not None}
    return Checkpoint([module, *averages], followers, replaced)


@contextmanager
def _running(failed: str | None, passed: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Run the edited network in a block; with a message, its errors but those passed become an EditError."""
    try:
        yield
    except RUN_ERRORS as error:
        if failed is None or isinstance(error, passed):
            raise
        where = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        raise EditError(f"{failed}: {error}{where}") from error
