"""Resizing: exact and relaxed changes of any sizes at once, with all that must follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from naivegraph.algebra.axis import Atom
from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.config.sync_config import with_config
from naivegraph.edits.config.sync_numbers import with_config_numbers
from naivegraph.edits.config.told_sizes import with_told_sizes
from naivegraph.edits.exact_growth.exact_growth import ExactGrowth, exact_growth
from naivegraph.edits.exact_growth.number_origins import follow_numbers
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.plan.outgoing_weights import growth_notes, replacement_notes, whole_copies
from naivegraph.edits.plan.plan import plan
from naivegraph.edits.plan.unused import unused_notes
from naivegraph.edits.request import validate
from naivegraph.edits.request.head_axis import head_axis
from naivegraph.edits.request.network_inputs import asked_inputs
from naivegraph.edits.request.requests import Heads, Inputs, RequestLike, Size, as_mapping
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize_program.resize_program import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Decision, Strategy, decide, default_strategy
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.operators.relation import tensors_in
from naivegraph.solvers import Backend
from naivegraph.undo import all_or_nothing
from naivegraph.utility import Utility
from naivegraph.utility.collect import Floats
from naivegraph.utility.on_demand import utilities_on_demand
from naivegraph.utility.scores import Loss
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate

__all__ = ["axis_requests_of", "carry_out", "resize"]


@graph_verb
def resize(
    model: Graph,
    requests: Mapping[Any, RequestLike] | None = None,
    *,
    utility: Utility = None,
    loss: Loss | None = None,
    calibration: Any = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
    initialise: Any = "layer",
    seed: int = 0,
) -> Edit:
    """Change sizes of a graph's vertices, in place; whatever must follow follows, the rest stays still.

    The network's outputs change if a request is about them, if they must follow one, or if utility alone
    decides. Its inputs change only where a request is about them: by an input's name, or by `ng.inputs(...)`
    of a vertex that takes one. The graph's example is resized with them; new channels repeat old ones there,
    and begin with weights of zero, so that the network computes the same whatever is fed to them.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        requests: By vertex (or its name): a number is an exact change of the output size (`-8`), or
            `ng.relaxed(+8)`, `ng.size(48)`, `ng.between(16, 64)`, `ng.multiple(8)`, `ng.frozen()`,
            `ng.heads(4)` for the number of heads of an attention alone, a tuple of several, or
            `ng.inputs(-2, None)` for the inputs. All are met together. Without any, the whole
            graph is resized by utility alone: neurons of negative utility go, none come.
        utility: The values of neurons, by default "magnitude"; see `naivegraph.utility.utility`. A neuron of
            negative utility is better gone: where that leaves fewer than a request wants, new ones come in
            its place (`ng.strategy.MostNew(0)` forbids that). No other neuron is replaced. With 0 only sizes
            count.
        loss: For utility="taylor" and "fisher": a function of the network which returns its loss; with
            calibration data, of the network and a batch as it was given.
        calibration: Batches of example inputs, for utilities by data; see `naivegraph.calibration`.
        strategy: What to do if the requests cannot be met; see `ng.strategy`. By default the
            nearest change with a warning, else nothing with a warning.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.
        optimizer: An optimizer (or several) whose state follows.
        initialise: How new neurons begin: "layer" (as the layer itself does it), "duplicate" (copies
            of existing ones, whose effect is shared out) or a function of a tensor and its name to fill it.
            Either way what follows them starts so that the network does the same as before.
        seed: For the weights of new neurons.

    Returns:
        The edit; falsy if nothing was changed. New neurons leave what the network computes as it was, also
        through norms (docs/widen.md); where that cannot be, `function_kept` is False and `notes` say why.

    Raises:
        EditError: A request makes no sense, or names no vertex.
        InfeasibleError: If the strategy raises it.
    """
    choice = SizeChoice(utility, loss, strategy, backend, calibration)
    if not isinstance(initialise, str):
        validate.function(
            initialise, "initialise", '"layer", "duplicate" or a function of a tensor and its name'
        )
    validate.whole(seed, "seed", 0)
    widths = relate(model, free_outputs=True, free_inputs=asked_inputs(model, requests))
    constraints = constraints_of(widths)
    axis_requests = tuple(axis_requests_of(model, widths, requests))

    def values(chosen: Utility) -> Mapping[Width, Floats]:
        """Values of neurons by another utility, for strategies that ask for one."""
        return utilities_on_demand(
            widths, chosen, default="magnitude", loss=loss, calibration=calibration, once=True
        )

    attempt = Attempt(widths, constraints, axis_requests, values(utility), values, backend=choice.backend)
    answer = decide(choice.strategy or default_strategy(), attempt)
    asked = {_name(key): tuple(found) for key, found in as_mapping(requests).items()}
    if answer is None:
        costs = Costs.of(widths)
        report = SizeReport(widths, Change({}, {}, []))
        return apply(Change({}, {}, []), model, asked=asked, before=costs, after=costs, sizes=report)
    return carry_out(
        model,
        widths,
        constraints,
        answer,
        asked,
        axis_requests=axis_requests,
        optimizer=optimizer,
        initialise=initialise,
        seed=seed,
    )


def carry_out(
    graph: Graph,
    widths: Widths,
    constraints: SizeConstraints,
    answer: Decision,
    asked: dict[str, Any],
    *,
    axis_requests: Sequence[AxisRequest] = (),
    optimizer: Any = None,
    initialise: Any = "layer",
    seed: int = 0,
    order: Mapping[Width, Indices] | None = None,
    adjust: Callable[[Change], Change] = lambda change: change,
    notes: Callable[[], tuple[str, ...]] = tuple,
    kept_only: bool = False,
) -> Edit:
    """Apply a decision to the module and update the graph; all of it or nothing.

    Args:
        graph: Changed in place.
        widths: Its widths.
        constraints: The constraints of the network's code.
        answer: The neurons that stay and the number of new ones.
        asked: What was asked, by name.
        axis_requests: The requests, for the report.
        optimizer: Optimizers that follow.
        initialise: How new neurons begin; see `resize`.
        seed: For their weights.
        order: The order of the neurons of widths; see `plan`.
        adjust: Gives the planned change other starts.
        notes: Gives more sentences for the reader once the network is changed.
        kept_only: Whether nothing is done unless the network computes the same afterwards.

    Raises:
        EditError: The network does not run then, or computes something else; nothing is changed.
    """
    sizes = answer.sizes()

    def count(atom: Atom) -> int:
        """The number of neurons of a width after the edit."""
        return sizes.get(atom, atom.length)

    changed = {
        width: (
            answer.kept[width].shape[-1] if width in answer.kept else width.size,
            answer.new.get(width, 0),
        )
        for width in (*answer.kept, *answer.new)
    }
    growth = ExactGrowth() if initialise == "duplicate" else exact_growth(widths, changed)
    change = plan(
        widths,
        constraints,
        answer.kept,
        answer.new,
        initialise=initialise,
        seed=seed,
        order=order,
        growth=growth.kept,
    )
    change, unsaid = with_config(adjust(change), constraints)
    change, unsaid_numbers, unfollowed = _with_numbers(change, graph, growth)
    change, untold = with_told_sizes(change, constraints)
    unsaid += () if unsaid else unsaid_numbers
    changing = _changing(widths, changed, growth, initialise == "duplicate")
    if kept_only and not _is_kept(changed, (*changing, *unfollowed)):
        told = " ".join((*changing, *unfollowed)) or "neurons would go"
        raise EditError(f"what the network computes cannot be kept: {told}")
    with all_or_nothing() as undo:
        edit = apply(
            change,
            graph,
            optimizer=optimizer,
            asked=asked,
            certificate=answer.certified,
            before=Costs.of(widths),
            after=Costs.of(widths, count),
            notes=(
                *changing,
                *unfollowed,
                *unsaid,
                *untold,
                *(unused_notes(widths) if change else ()),
            ),
            sizes=SizeReport(widths, change, axis_requests),
            undo=undo,
            function_kept=_is_kept(changed, (*changing, *unfollowed)),
        )
        for callback in answer.callbacks:
            callback(edit)
        more = notes()
    return dataclasses.replace(edit, notes=(*edit.notes, *more)) if more else edit


def _with_numbers(
    change: Change, graph: Graph, growth: ExactGrowth
) -> tuple[Change, tuple[str, ...], tuple[str, ...]]:
    """Add the changes of numbers such as the `eps` of norms.

    Returns:
        The change, sentences on a config that cannot say them, and on numbers that cannot follow.
    """
    if not growth.numbers:
        return change, (), ()
    attributes, numbers, left = follow_numbers(graph, growth.numbers)
    config, unsaid = with_config_numbers(graph.module, attributes)
    made = dataclasses.replace(
        change,
        attributes=[*change.attributes, *attributes, *config],
        numbers=(*change.numbers, *numbers),
    )
    return (
        made,
        unsaid,
        tuple(
            f"{name} adds a number that is written in the code and should follow the size: what the network "
            "computes changes by about as little as that number is beside what it is added to."
            for name in left
        ),
    )


def _changing(
    widths: Widths, changed: Mapping[Width, tuple[int, int]], growth: ExactGrowth, copies: bool
) -> tuple[str, ...]:
    """Sentences on new neurons that change what the network computes."""
    grown = {width.atom for width, (_, come) in changed.items() if come}
    if copies:
        grown -= whole_copies(widths, changed)
    return (*growth_notes(widths, grown, growth.kept, copies=copies), *replacement_notes(widths, changed))


def _is_kept(changed: Mapping[Width, tuple[int, int]], notes: tuple[str, ...]) -> bool | None:
    """Tell whether the network computes the same; None if neurons went."""
    if any(stay < width.size for width, (stay, _) in changed.items()):
        return None
    return not notes


def axis_requests_of(
    graph: Graph, widths: Widths, requests: Mapping[Any, RequestLike] | None
) -> Iterator[AxisRequest]:
    """The requests on axes that requests by vertex are.

    Raises:
        EditError: One makes no sense, or names no vertex.
    """
    for key, found in as_mapping(requests).items():
        vertex = vertex_of(graph, key)
        for request in found:
            if isinstance(request, Heads):
                yield AxisRequest(vertex, head_axis(widths, vertex), Size(request.count), "heads")
                continue
            if not isinstance(request, Inputs):
                yield AxisRequest(vertex, widths.output_axis(vertex), request)
                continue
            sources = tensors_in([vertex.args, vertex.kwargs])
            if len(request.entries) != len(sources):
                raise EditError(
                    f"{vertex.name} has {len(sources)} inputs, "
                    f"and {len(request.entries)} requests were given for them"
                )
            for number, (source, entry) in enumerate(zip(sources, request.entries, strict=True), 1):
                if entry is not None:
                    yield AxisRequest(vertex, widths.neuron_axis(source), entry, f"input {number}")


def _name(key: Any) -> str:
    return key.name if isinstance(key, Vertex) else str(key)
