"""Replay of edits on another copy of the network."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request import validate
from naivegraph.edits.save.layer_spec import layer_from_spec
from naivegraph.edits.structure.identity_weights import start_as_identity, start_as_zero
from naivegraph.edits.structure.optimizer_params import Following
from naivegraph.edits.structure.rewiring import Rewiring, carry_out
from naivegraph.edits.structure.transaction import rewire
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.network import Graph
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["Layers", "carried_out", "check_layers", "replay"]

# Layers by the name of the vertex that calls them, or functions of a size which make them.
Layers = Mapping[str, "nn.Module | Callable[[int], nn.Module]"]
_WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError)


@ordinary_mode()
def replay(
    model: nn.Module | Graph,
    edits: Edit | str | Sequence[Edit | str],
    *,
    optimizer: Any = None,
    layers: Layers | None = None,
) -> Edit:
    """Carry out edits once more, on another copy of the network, in place: all of them or none.

    Nothing is decided anew: the same neurons stay and the same connections change, whatever the weights of
    the copy are. New neurons and inserted layers of `torch.nn` which a function made start as they did in the
    original edit, so a copy with the weights that one had becomes the very same network.

    Args:
        model: A network as it was before the edits. A graph for edits of the structure.
        edits: An edit, what its `to_json` gave, or several of these in order.
        optimizer: An optimizer (or several) which follows.
        layers: By name of their vertices: inserted layers which cannot be made from what was written (other
            modules than those of `torch.nn`, and any which started with weights of their own), or functions
            of a size which make them. Used in place of what was written for others, too.

    Returns:
        The edit; of several the last one, whose `undo` undoes all, with the others in `earlier`.

    Raises:
        EditError: The model is not the network the edits were made for, or a layer is missing; it is as
            it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> graph, fresh = (ng.capture(build(), torch.ones(1, 4)) for _ in range(2))
        >>> edit = ng.insert(graph, torch.nn.BatchNorm1d, after="0", name="norm")
        >>> again = ng.replay(fresh, [edit.to_json(), ng.resize(graph, {"norm": -2}).to_json()])
        >>> fresh.sizes
        {'input': 4, '0': 6, 'norm': 6, '1': 2}
        >>> again.undo()
        >>> fresh.sizes
        {'input': 4, '0': 8, '1': 2}
    """
    model = validate.editable(model)
    changes = [change for change in _changes(edits) if change]
    check_layers(changes, layers)
    if not changes:
        return apply(Change({}, {}, []), model, asked={"replay": "sizes"})
    done: list[Edit] = []
    with all_or_nothing() as undo:
        for change in changes:
            own = UndoLog()  # by which each is undone alone
            undo.push(own.undo)
            done.append(carried_out(model, change, layers or {}, optimizer=optimizer, undo=own))
    *earlier, last = done
    return dataclasses.replace(last, earlier=tuple(earlier), before=done[0].before)


def _changes(edits: Any) -> list[Change]:
    if isinstance(edits, Edit):
        return [*(edit.change for edit in edits.earlier), edits.change]
    if isinstance(edits, str):
        try:
            found = json.loads(edits)
            return [Change.from_data(data) for data in (found if type(found) is list else [found])]
        except ValueError as error:
            raise EditError(f"this cannot be replayed: {error}") from error
    if isinstance(edits, Sequence):
        return [change for each in edits for change in _changes(each)]
    raise EditError(f"replay takes edits or their JSON, not {type(edits).__name__}")


def check_layers(changes: Sequence[Change], layers: Layers | None) -> None:
    """Check that each of the given layers is one that the changes insert.

    Raises:
        EditError: One is not; the message lists those that are.
    """
    steps = [step for change in changes if change.structure for step in change.structure["steps"]]
    inserted = [step.get("name") for step in steps if step["do"] == "layer"]
    for name in validate.mapping(layers, "layers", "of layers by the names of their vertices"):
        if name not in inserted:
            names = ", ".join(map(repr, inserted)) or "none"
            raise EditError(f"layers= names {name!r}; the layers inserted are: {names}")


def carried_out(
    target: nn.Module | Graph,
    change: Change,
    layers: Layers,
    *,
    optimizer: Any = None,
    loading: bool = False,
    undo: UndoLog | None = None,
) -> Edit:
    """Carry out one change.

    Args:
        target: A network as it was before it.
        change: The change.
        layers: Layers by name; see `replay`.
        optimizer: What follows.
        loading: Whether all tensors are replaced afterwards: inserted layers then need not start as they did,
            and costs are not counted.
        undo: Takes what undoes the edit.

    Raises:
        EditError: The target is not the network the change was made for; it is as it was.
    """
    if not isinstance(target, Graph):
        if change.structure is not None:
            raise EditError(
                f"the edit changes the structure ({change.structure['verb']}), which a graph is needed for: "
                "replay it on ng.capture(network, example)"
            )
        return _on_network(change, target, optimizer, undo)
    if change.modules or change.closing is not None:
        raise EditError(
            "the edit left branches out in the network's own class: replay it on the network, not its graph"
        )
    if change.structure is None:
        count = functools.partial(Costs.of_module, target.module) if loading else target.costs
        return apply(
            change, target, asked=_asked(change), optimizer=optimizer, undo=undo, before=count(), after=count,
            failed="the network would not run after this",
        )  # fmt: skip
    steps = change.structure["steps"]
    make = functools.partial(_layer, layers=layers, exact=not loading)
    return rewire(
        target,
        change,
        [functools.partial(_done_again, step=step, make=make) for step in steps],
        asked=_asked(change),
        optimizer=optimizer,
        counted=not loading,
        undo=undo,
    )


def _on_network(change: Change, target: nn.Module, optimizer: Any, undo: UndoLog | None) -> Edit:
    """Carry out a change that needs no graph, on a network."""
    followers = as_optimizers(optimizer)
    follow = Following(target, followers, averages=False)  # these change as the network does
    with all_or_nothing(undo) as log:
        return apply(
            change, target, asked=_asked(change), optimizer=followers, undo=log,
            check=functools.partial(follow.go, log) if change.modules or change.closing is not None else None,
        )  # fmt: skip


def _asked(change: Change) -> dict[str, Any]:
    return {"replay": "sizes" if change.structure is None else change.structure["verb"]}


def _done_again(rewiring: Rewiring, step: Mapping[str, Any], make: Any) -> None:
    try:
        carry_out(step, rewiring, make)
    except _WRONG as error:
        raise EditError(
            f"the step {step['do']!r} of the edit does not fit this network ({type(error).__name__}: {error})"
        ) from error


def _layer(rewiring: Rewiring, step: Mapping[str, Any], layers: Layers, exact: bool) -> nn.Module:
    """The layer of an insertion: one of the network, one given, or one made from its specification."""
    spec, name, graph = step["layer"], step["name"], rewiring.graph
    if "path" in spec:
        return graph.module.get_submodule(spec["path"])
    if name not in layers:
        first = next(graph.module.parameters(), None)
        device = torch.device("cpu") if first is None else first.device
        return layer_from_spec(spec, name, device, exact=exact)
    given = layers[name]
    layer = given if isinstance(given, nn.Module) else given(graph.sizes[step["behind"]])
    if not isinstance(layer, nn.Module):
        raise EditError(f"layers= gave {layer!r} for {name!r}, which is no torch.nn.Module")
    if spec["identity"]:
        start_as_identity(layer, name, rewiring.undo)
    if spec.get("zero"):
        start_as_zero(layer, name, rewiring.undo)
    return layer
