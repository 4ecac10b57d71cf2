"""Changing a graph's structure and its sizes in one edit: all of it or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from naivegraph.edits import given
from naivegraph.edits.edit import Costs, Edit
from naivegraph.edits.follow import follow_average, follow_optimizer
from naivegraph.edits.joints import is_sum, tensors_of
from naivegraph.edits.journal import Journal, Undo
from naivegraph.edits.optimizers import as_optimizers, split_averages
from naivegraph.edits.record import Change
from naivegraph.edits.sizes import Sizing
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph import Graph, Vertex
from naivegraph.graph.modules import modules_of
from naivegraph.graph.query import edges, related
from naivegraph.graph.sizes import neuron_dimensions, place_of
from naivegraph.graph.structure import holds, stubs_in
from naivegraph.graph.values import Stub
from naivegraph.graph.written import Written
from naivegraph.solvers.budget import Certificate
from naivegraph.widths import relate

__all__ = [
    "RUN_ERRORS",
    "costs_of",
    "neuron_dimension",
    "new_name",
    "output_of",
    "path_between",
    "returns",
    "rewire",
    "taken_back",
    "users_of",
    "vertex_of",
]

# What running a network whose shapes do not fit raises.
RUN_ERRORS = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError,
    NaivegraphError,
)  # fmt: skip


def rewire(
    graph: Graph,
    change: Change,
    steps: list[Callable[[Journal], None]],
    *,
    asked: dict[str, Any],
    certificate: Certificate,
    optimizer: Any = (),
    counted: bool = True,
    sizing: Sizing | None = None,
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
    journal = Journal(graph)
    with contextlib.ExitStack() as undone:
        undone.callback(graph.snapshot())
        undone.callback(journal.undo)
        for step in steps:
            step(journal)
        for each in follow.steps():
            undone.callback(each())
        edit = Edit(
            graph.module, _written(change, journal), asked=asked, certificate=certificate,
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
    if isinstance(graph.module, Written):
        what = "the module that the graph was made with"
    else:
        what = f"the forward of {type(graph.module).__name__}"
    return (
        f"{what} does not know of this edit and may fail or do something else: run graph(...) or "
        "graph.to_module()",
    )


def _written(change: Change, journal: Journal) -> Change:
    """The change with the steps that were carried out, unless it has them already."""
    if change.structure is None:
        return change
    return dataclasses.replace(change, structure={"steps": journal.steps, **change.structure})


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


def vertex_of(graph: Graph, vertex: str | Vertex) -> Vertex:
    """The vertex of this name.

    Raises:
        NaivegraphError: There is none.
    """
    return given.graph(graph)[vertex.name if isinstance(vertex, Vertex) else vertex]


def output_of(vertex: Vertex) -> Stub:
    """The one tensor a vertex gives.

    Raises:
        EditError: It gives several, or none.
    """
    found = stubs_in(vertex.output)
    if len(found) != 1:
        raise EditError(
            f"{vertex.name!r} gives {len(found)} tensors; only a vertex which gives one can be used"
        )
    return found[0]


def neuron_dimension(graph: Graph, vertex: Vertex) -> int:
    """The dimension along which the neurons of the one tensor that a vertex gives are counted.

    Raises:
        EditError: It gives several tensors, or a single number.
    """
    stub = output_of(vertex)
    if not stub.shape:
        raise EditError(f"{vertex.name!r} gives a single number, which has no neurons")
    return neuron_dimensions(graph)[place_of(stub)]


def new_name(graph: Graph, wished: str) -> str:
    """A name which neither a vertex nor anything in the network has: the wish, or with `_2`, `_3`..."""
    for count in itertools.count(1):
        name = wished if count == 1 else f"{wished}_{count}"
        parent, _, last = name.rpartition(".")
        try:
            home = graph.module.get_submodule(parent)
        except AttributeError:
            home = None
        if name not in graph and (home is None or not hasattr(home, last)):
            return name
    raise EditError(f"there is no name like {wished!r} left")


def users_of(graph: Graph, vertex: Vertex) -> list[Vertex]:
    """The vertices that use a vertex's tensor as it left that vertex, each once."""
    return list(dict.fromkeys(user for maker, user, _ in edges(graph) if maker is vertex))


def returns(graph: Graph, maker: Vertex, stub: Stub) -> bool:
    """Whether the network returns a tensor as it left this vertex."""
    makers = [vertex for vertex in graph if holds(vertex.output, stub)]
    return holds(graph.output, stub) and makers[-1] is maker


def path_between(graph: Graph, start: Vertex, end: Vertex) -> list[Vertex]:
    """The vertices on the ways from one vertex to another, both included; none if there is no way."""
    after = related(graph, start, upwards=False)
    if not any(vertex is end for vertex in after):
        return []
    before = {id(vertex) for vertex in related(graph, end, upwards=True)}
    return [start, *(vertex for vertex in after if id(vertex) in before), end]
