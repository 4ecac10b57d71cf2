"""The description of an edited network, checked by building it anew."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from naivegraph.edits.config.rebuild import quiet
from naivegraph.edits.plan.change import Change
from naivegraph.edits.save.fresh_network import fitted
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.export.history import history_of, origins_of
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.hf.description import Description, base_config
from naivegraph.hf.edited_config import as_plain, as_plain_kind, known_of
from naivegraph.hf.edited_network import PARAMETERS, edited_class
from naivegraph.hf.library import config_class
from naivegraph.hf.model_card import base_model
from naivegraph.hf.other_head import shared_part

__all__ = ["described", "edits_of"]


def described(network: Any) -> Description | None:
    """The description of an edited network; None if no edit was made.

    Raises:
        EditError: The class would not become this network by its config and edits.
    """
    history = history_of(network)
    if history:
        _check_kind(network, history)
    edits = edits_of(network)
    if not edits:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on layers of other sizes: what is built anew is compared below
        told = tuple(map(_without_values, fitted(edits, network)))
    known = known_of(network.config)
    reports = () if known is None else known.description.reports
    base = base_model(network.config) if known is None else known.description.base
    found = Description(told, type(network).__name__, shared_part(network), reports=reports, base=base)
    twin = _twin(network, found)
    found = dataclasses.replace(found, parameters=vars(twin)[PARAMETERS])
    return found.with_buffers(*_other_buffers(network, twin))


def edits_of(network: Any) -> list[str]:
    """The edits of a network that changed more than the values of weights, as JSON, oldest first."""
    return [text for text in history_of(network) if _changes_sizes(Change.from_json(text))]


def _changes_sizes(change: Change) -> bool:
    return bool(change.tensors or change.attributes or change.modules or change.labels or change.closing)


def _without_values(text: str) -> str:
    """An edit without what it says of the values of weights: those are loaded, and there are none before."""
    return dataclasses.replace(
        Change.from_json(text), outgoing=(), scalings=(), starts=(), fills=(), numbers=(), inputs=(),
        refitted=(), seed=0, initialise="duplicate",
    ).to_json()  # fmt: skip


def _check_kind(network: Any, edits: list[str]) -> None:
    """Check that the network is one which its class and a config make, and the edits those of sizes."""
    structures = (Change.from_json(text).structure for text in edits)
    structure = next((found for found in structures if found is not None), None)
    if structure is not None or origins_of(network):
        verb = "" if structure is None else f" ({structure['verb']})"
        raise EditError(
            f"the structure of the network was edited{verb}, which the forward of {type(network).__name__} "
            "does not know: ng.save the graph (edit.graph), or its to_module(), instead"
        )
    kind = as_plain_kind(type(network.config))
    if config_class(kind.model_type) is not kind:
        raise EditError(
            f"transformers does not know configs of type {kind.model_type!r} as {kind.__name__}, so no Auto "
            f"class could open this: AutoConfig.register({kind.model_type!r}, {kind.__name__}) first, and so "
            f"for {type(network).__name__}"
        )


def _twin(network: Any, description: Description) -> Any:
    """The network as it is built and resized before its weights are loaded, without weights.

    Raises:
        EditError: It cannot be built, or is another network.
    """
    kind, plain = type(network), as_plain(network.config)
    # As it will be read.
    before = type(plain).from_dict(base_config(plain, description.edits).to_diff_dict())
    edited = edited_class(kind, lambda _: description.changes(), "the network's history")
    try:
        with quiet(), torch.device("meta"):
            twin = edited(before)
    except NaivegraphError as error:
        raise EditError(f"{error}: save it by ng.save") from error
    except Exception as error:
        raise EditError(
            f"no {kind.__name__} can be built from its config as it was before the edits ({error}): save the "
            "network by ng.save"
        ) from error
    for name, mine, other in _differences(network.state_dict(), twin.state_dict()):
        raise EditError(
            f"{name} is {mine} in the network, and {other} where its config and edits build it: it was "
            "replaced by hand. Make its config say so (as num_labels for a head), merge adapters, or save it "
            "by ng.save"
        )
    return twin


def _differences(
    mine: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, str, str]]:
    for name in {**mine, **other}:
        here, there = mine.get(name), other.get(name)
        if here is None or there is None or here.shape != there.shape:
            yield name, _told(here), _told(there)


def _told(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"


def _other_buffers(network: Any, twin: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.dtype]]:
    """The buffers that are not saved and differ from those of the network that is built anew.

    Returns:
        Those with other values; the dtypes of those which have the same values in another one.
    """
    values, dtypes = dict[str, torch.Tensor](), dict[str, torch.dtype]()
    mine, other = Modules(network), Modules(twin)
    for name in unsaved_buffers(network):
        path, _, own = name.rpartition(".")
        value, built = mine[path]._buffers[own], other[path]._buffers.get(own)
        if value is None or value.is_meta:
            continue
        if built is None or built.shape != value.shape or not torch.equal(value.cpu(), built.to(value.dtype)):
            values[name] = value
        elif built.dtype != value.dtype:
            dtypes[name] = value.dtype
    return values, dtypes
