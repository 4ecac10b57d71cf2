"""Networks of a family's own class, built from the config before the edits and resized before loading."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.edits.apply.change_module import change_module
from naivegraph.edits.apply.resize_tensors import find_tensor
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import formula_length
from naivegraph.errors import EditError, LoadError
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.hf.description import Description
from naivegraph.hf.edited_config import as_plain
from naivegraph.hf.library import pretrained_kind, real_device
from naivegraph.undo import UndoLog

__all__ = ["PARAMETERS", "edited_class", "give_buffers", "own_buffers"]

_KEPT = "_naivegraph_buffers"
# The attribute with the number of parameters before the edits.
PARAMETERS = "_naivegraph_parameters"


def edited_class(kind: Any, changes: Any, where: str) -> Any:
    """A class as `kind`, whose instances are resized as soon as they are built.

    Args:
        kind: The class.
        changes: A function of an instance that gives the changes of sizes, in order.
        where: What the changes are in, for messages.

    Its instances become those of `kind` once they are loaded: `instance.__class__ = kind`.
    """

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        # Of a config with edits the parts that it makes by an Auto class would be edited already.
        kind.__init__(self, as_plain(config), *args, **kwargs)
        own_buffers(self)
        vars(self)[PARAMETERS] = sum(parameter.numel() for parameter in self.parameters())
        try:
            with real_device():  # of the indices: weights stay where they are
                for change in changes(self):
                    change_module(_made_for(change, self), self, (), UndoLog())
        except LoadError:
            raise
        except EditError as error:
            raise LoadError(
                f"the edits in {where} do not fit the {kind.__name__} that its config builds: {error}"
            ) from error
        vars(self)[_KEPT] = _kept(self)

    return type(kind.__name__, (kind,), {"__init__": __init__, "__module__": kind.__module__})


def own_buffers(network: Any) -> None:
    """Give the buffers that are not saved their values, where they are on the meta device.

    By the library's own way for networks that are loaded, and from the config before the edits: after them it
    may say other frequencies, or none that fit.
    """
    modules = Modules(network)
    empty = [name for name in unsaved_buffers(network) if _buffer(modules, name).is_meta]
    with real_device(), torch.no_grad():
        for name in empty:
            modules[_owner(name)]._buffers[_own(name)] = torch.empty_like(
                _buffer(modules, name), device="cpu"
            )
        for path in dict.fromkeys(map(_owner, empty)):
            part = _pretrained_part(network, path)
            part._init_weights(modules[path])


def _pretrained_part(network: Any, path: str) -> Any:
    """The innermost part around a module that initialises it, as each family does in its own way."""
    kind, found, here = pretrained_kind(), network, network
    for name in path.split(".") if path else ():
        here = getattr(here, name)
        found = here if isinstance(here, kind) else found
    return found


def _buffer(modules: Modules, name: str) -> torch.Tensor:
    found = modules[_owner(name)]._buffers[_own(name)]
    assert found is not None
    return found


def _kept(network: Any) -> dict[str, torch.Tensor]:
    """The buffers that are not saved, which loading would work out from the config after the edits."""
    out: dict[str, torch.Tensor] = {}
    modules = Modules(network)
    for name in unsaved_buffers(network):
        out[name] = _buffer(modules, name)
        vars(modules[_owner(name)])["_is_hf_initialized"] = True
    return out


def give_buffers(network: Any, description: Description | None) -> None:
    """Give a network that was just loaded the buffers that are not saved.

    Args:
        network: The network.
        description: Its description, with those which have other values than the library gives them; None
            for a network with another head, which has those of the library.

    Raises:
        LoadError: It has no buffer of a name.
    """
    values: dict[str, torch.Tensor] = vars(network).pop(_KEPT, {})
    vars(network).pop(PARAMETERS, None)
    if description is not None:
        values.update(description.values())
        dtypes = description.dtypes()
        values.update({n: values[n].to(d) for n, d in dtypes.items() if n in values and d == network.dtype})
    modules = Modules(network)
    for name, value in values.items():
        try:
            owner = modules[_owner(name)]
            present = owner._buffers[_own(name)]
        except (AttributeError, KeyError):
            present = None
        if present is None:
            raise LoadError(f"config.json has values of the buffer {name!r}, which the network does not have")
        owner._buffers[_own(name)] = value.to(present.device)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _own(name: str) -> str:
    return name.rpartition(".")[2]


def _made_for(change: Change, network: nn.Module) -> Change:
    """A change as one of this network, which may differ from the one it was made for in other sizes.

    Such as the number of classes of a head. A tensor of another shape where the change leaves its dimension
    alone gets this shape.
    """
    sizes = {key: width.before for key, width in change.widths.items()}
    modules = Modules(network)
    tensors = {}
    for name, axes in change.tensors.items():
        tensor = find_tensor(modules, name)
        if tensor is not None and tensor.dim() == len(axes):
            axes = [
                [[size]] if formula_length(axis, sizes) != size and not _moves(axis) else axis
                for axis, size in zip(axes, tensor.shape, strict=True)
            ]
        tensors[name] = axes
    return change if tensors == change.tensors else dataclasses.replace(change, tensors=tensors)


def _moves(axis: Sequence[Any]) -> bool:
    """Tell whether an axis has a width in it."""
    return any(isinstance(factor, (str, list)) for term in axis for factor in term)
