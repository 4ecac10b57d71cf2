"""Saving an edited network and loading it into a fresh one: safetensors with the edits as JSON, no pickle."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from naivegraph.edits.apply.change_module import change_module
from naivegraph.edits.apply.resize_example import resize_example
from naivegraph.edits.apply.resize_tensors import find_tensor
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request import validate
from naivegraph.edits.save.checked_safetensors import read, write
from naivegraph.edits.save.example_codec import EXAMPLE, from_data, to_data
from naivegraph.edits.save.fresh_network import fitted
from naivegraph.edits.save.replay import Layers, carried_out, check_layers
from naivegraph.errors import EditError, LoadError, NaivegraphError
from naivegraph.graph.export.history import Origin, history_of, origins_of
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.module_paths import Modules, modules_of
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.ir.signature import nested_arguments
from naivegraph.network import Graph, capture
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["edits_header", "load", "restored", "save"]


def save(model: nn.Module | Graph, path: str | os.PathLike[str]) -> None:
    """Write a network's tensors and its edits, and those of its parts, to a safetensors file.

    A layer that was replaced by hand after an edit is written as it is: where no edit changed its sizes, a
    fresh network must have them as they are now, of which a warning tells.

    Args:
        model: A network, edited by this package or not. After edits of a graph's structure: the graph or
            its `to_module()`; then the example it was captured with is written, too, so that `load` can
            capture a fresh network.
        path: Where to; an existing file is replaced once the new one is complete.

    Raises:
        NaivegraphError: The network has state that is no tensor.
        EditError: Its structure was edited, and it is neither the graph nor its `to_module()`; or a layer
            that an edit resized was removed or replaced by hand since, so that no fresh network would become
            this one by its edits; or a tensor has no shape or no numbers yet.

    Example:
        >>> import tempfile, torch, naivegraph as ng
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> net, x = build(), torch.ones(1, 4)
        >>> edit = ng.prune(net, x, ratio=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ng.save(net, folder + "/small.safetensors")
        ...     copy = ng.load(build(), folder + "/small.safetensors")
        >>> bool((copy(x) == net(x)).all()), copy[0].out_features
        (True, 4)
        >>> graph = ng.capture(net, x)
        >>> edit = ng.remove(graph, "1")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ng.save(graph, folder + "/linear.safetensors")
        ...     copy = ng.load(build(), folder + "/linear.safetensors")
        >>> bool((copy(x) == graph(x)).all())
        True
    """
    module = validate.network(model)
    validate.file_path(path)
    if isinstance(module, Graph):
        module = module.to_module() if module.rewired else module.module
    tensors, aliases = _state(module)
    header, examples = edits_header(module)
    header["aliases"] = aliases
    write(Path(path), header, {**tensors, **examples})


def edits_header(module: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The edits of a network as data for JSON, and the tensors of the examples they need.

    With the network's state they are all that `restored` takes.

    Raises:
        EditError: As for `save`.
    """
    _check_replayable(module)
    edits = fitted(history_of(module), module)
    origins = origins_of(module)
    _tell_of_layers([text for origin in origins for text in origin.edits])
    header: dict[str, Any] = {"class": type(module).__name__, "edits": edits, "aliases": {}}
    examples: dict[str, torch.Tensor] = {}
    if origins:
        header["origins"] = [_described(origin, examples) for origin in origins]
    return header, examples


def _check_replayable(module: nn.Module) -> None:
    for text in history_of(module):
        structure = json.loads(text).get("structure")
        if structure is not None:
            raise EditError(
                f"the structure of the network was edited ({structure['verb']}), which its own forward does "
                "not know: save the graph, or graph.to_module(), instead"
            )
    for path, part in modules_of(module)[1:]:
        if origins_of(part):
            warnings.warn(
                f"{path!r} of the network is the to_module() of a graph, or was loaded as one: ng.load the "
                "file into a network whose part is made in the same way",
                stacklevel=4,
            )


def _tell_of_layers(edits: Sequence[str]) -> None:
    """Warn of inserted layers that the file does not suffice to make again."""
    steps = [s for text in edits for s in (json.loads(text).get("structure") or {}).get("steps", ())]
    known = {"path", "arguments", "layers"}
    asked = [s for s in steps if s["do"] == "layer" and known.isdisjoint(s["layer"])]
    if asked:
        needed = ", ".join(f"{step['name']!r}: ..." for step in asked)
        classes = ", ".join(dict.fromkeys(step["layer"]["class"] for step in asked))
        warnings.warn(
            f"ng.load will need layers={{{needed}}}, with each layer or a function of the size that makes "
            f"it: nothing in the file makes a {classes}",
            stacklevel=4,
        )


def _state(module: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a network's state, each once, and the first name of each by its other names."""
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise NaivegraphError(
                f"{name} of the network is {type(value).__name__}, not a tensor, and cannot be saved"
            )
        if is_lazy(value):
            raise EditError(f"{name} has no shape yet: call the network once on an example before")
        if value.is_meta:
            raise EditError(f"{name} is on the meta device, without numbers: give the network weights before")
        key = (
            (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype) if value.numel() else (name,)
        )
        if key in seen:
            aliases[name] = seen[key]
            continue
        seen[key] = name
        tensors[name] = value.detach().cpu().contiguous().clone()
    return tensors, aliases


def _described(origin: Origin, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A graph as JSON; its example goes to the tensors."""
    found: dict[str, torch.Tensor] = dict(tensors)
    try:
        example, why = to_data({**origin.example, **origin.constants}, found, EXAMPLE), ""
    except NaivegraphError as error:
        example, why = None, str(error)
    else:
        tensors.update(found)
    return {
        "edits": list(origin.edits), "network": origin.network, "written": origin.written,
        "example": example, "why": why, **({} if origin.outputs is None else {"outputs": origin.outputs}),
    }  # fmt: skip


def load(
    model: nn.Module | Graph, path: str | os.PathLike[str], *, layers: Layers | None = None
) -> nn.Module:
    """Load a file into a fresh network: replay the edits, then copy the tensors.

    Args:
        model: A network as it was built before any edit, or one with the very edits of the file. Of a
            network written by hand, and of one whose example could not be written: the fresh graph.
        path: A file written by `save`.
        layers: By name of their vertices: inserted layers which are none of `torch.nn` (the error says
            which), or functions of a size which make them.

    Returns:
        `model` itself (of a graph its module, of a wrapped network what is inside), changed in place, if the
        edits were of sizes. If the
        structure was edited, or the file is of a `to_module()`: such a module, a new one, with `model` as it
        was.

    Raises:
        LoadError: The file is damaged, or was saved from another network; `model` is as it was.
    """
    model = validate.editable(model)
    header, tensors = read(Path(validate.file_path(path)))
    if "structure" in header:
        raise LoadError(
            f"{path} holds the structure of a network: ng.Structure.load({str(path)!r}).graph() makes it"
        )
    if "delta" in header:
        raise LoadError(
            f"{path} holds a difference of two networks: "
            f"ng.surgery.WeightDelta.load({str(path)!r}).apply(model) adds it"
        )
    return restored(model, header, tensors, path, layers)


@ordinary_mode()
def restored(
    model: nn.Module | Graph,
    header: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    path: Any,
    layers: Layers | None = None,
) -> nn.Module:
    """A fresh network with the edits of a header and with tensors, as `load` gives it.

    Args:
        model: As for `load`.
        header: What `edits_header` gave.
        tensors: The network's state, each tensor once unless `aliases` is empty, and the examples.
        path: Where they come from, for messages.
        layers: As for `load`.

    Raises:
        LoadError: As for `load`.
    """
    example = {name: tensors[name] for name in tensors if name.startswith(EXAMPLE)}
    tensors = {name: tensors[name] for name in tensors if name not in example}
    stages, changes = _parsed(header, path)
    module = model.module if isinstance(model, Graph) else model
    known = len(origins_of(module))
    if [stage.edits for stage in stages[:known]] != [list(o.edits) for o in origins_of(module)]:
        raise LoadError(f"the network was edited already, not as in {path}: load into a freshly built one")
    try:
        if len(stages) == known:
            _in_place(model, header, changes, tensors, path)
            return module
        if history_of(module):
            raise LoadError(
                f"the network was edited already, not as in {path}: load into a freshly built one"
            )
        check_layers([change for stage in stages for change in stage.changes], layers)
        made: nn.Module | Graph = deep_copy(model)
        for stage in stages[known:]:
            made = _exported(made, stage, example, layers or {}, path)
        _in_place(made, header, changes, tensors, path)
        return made if isinstance(made, nn.Module) else made.module
    except LoadError:
        raise
    except NaivegraphError as error:
        raise LoadError(f"{path} was saved from another network: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A graph of the file: its edits as written and as read, and the example of its capture."""

    edits: list[str]
    changes: list[Change]
    network: str
    written: bool
    example: Any
    why: str
    outputs: dict[str, str] | None = None


def _parsed(header: dict[str, Any], path: Any) -> tuple[list[_Stage], list[Change]]:
    try:
        stages = [
            _Stage(
                list(data["edits"]), [Change.from_json(text) for text in data["edits"]], str(data["network"]),
                bool(data["written"]), data["example"], str(data["why"]), _outputs(data.get("outputs")),
            )
            for data in header.get("origins", [])
        ]  # fmt: skip
        changes = [Change.from_json(text) for text in header["edits"]]
        if any(change.structure for change in changes):
            raise ValueError("the structure was edited after all graphs there are")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"the description of the edits in {path} is damaged ({error})") from error
    return stages, changes


def _outputs(data: Any) -> dict[str, str] | None:
    return None if data is None else {str(key): str(name) for key, name in data.items()}


def _exported(
    source: nn.Module | Graph, stage: _Stage, example: dict[str, torch.Tensor], layers: Layers, path: Any
) -> nn.Module:
    """The module exported from the graph of a network, after the edits of a stage."""
    graph = source if isinstance(source, Graph) else _captured(source, stage, example, path)
    for change in stage.changes:
        carried_out(graph, change, layers, loading=True)
    return graph.to_module(stage.outputs)


def _captured(module: nn.Module, stage: _Stage, example: dict[str, torch.Tensor], path: Any) -> Graph:
    """The graph of a network, as it was captured before it was edited."""
    if stage.written:
        raise LoadError(f"{path} is of a graph written by hand: load it into such a graph, not its module")
    if stage.example is None:
        raise LoadError(
            f"{path} does not say how to run the network ({stage.why}): load it into "
            "ng.capture(network, example)"
        )
    first = next(module.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    try:
        flat = dict(from_data(stage.example, example, device))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"the example in {path} is damaged ({error})") from error
    args, kwargs = nested_arguments(module, flat)
    return capture(module, args, kwargs, verify=False)


def _in_place(
    target: nn.Module | Graph,
    header: dict[str, Any],
    changes: list[Change],
    tensors: dict[str, torch.Tensor],
    path: Any,
) -> None:
    """Apply the changes of sizes, unless they are applied already, and copy the tensors; all or nothing."""
    module = target.module if isinstance(target, Graph) else target
    done = history_of(module)
    if fitted(done, module, tell=False) != header["edits"][: len(done)]:
        raise LoadError(f"the network was edited already, not as in {path}: load into a freshly built one")
    left = changes[len(done) :]
    with all_or_nothing() as undo:
        for change in left:
            change_module(change, module, (), undo)
        if isinstance(target, Graph) and left:
            undo.push(snapshot(target))
            for change in left:
                resize_example(change, target)
            target.refresh()
        _copy_in(module, header["aliases"], tensors, undo)


def _copy_in(
    module: nn.Module, aliases: dict[str, str], tensors: dict[str, torch.Tensor], undo: UndoLog
) -> None:
    """Copy tensors into a network of the same shape; checks all first."""
    needed = {name for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    names = {**{name: name for name in tensors}, **{str(k): str(v) for k, v in aliases.items()}}
    for what, difference in (("lacks", needed - names.keys()), ("has no place for", names.keys() - needed)):
        if difference:
            subject = "the file" if what == "lacks" else "the network"
            raise EditError(f"{subject} {what} {min(difference)}")
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    modules = Modules(module)
    for name, source in names.items():
        target, value = find_tensor(modules, name), tensors.get(source)
        if target is None or value is None:
            raise EditError(f"{name} is nowhere to be found")
        if target.shape != value.shape or target.dtype != value.dtype:
            raise EditError(
                f"{name} is {tuple(target.shape)} of {target.dtype} in the network and "
                f"{tuple(value.shape)} of {value.dtype} in the file"
            )
        pairs.append((target, value))
    with torch.no_grad(), all_or_nothing(undo):
        for target, value in pairs:
            undo.push(functools.partial(target.data.copy_, target.clone()))
            target.copy_(value)
