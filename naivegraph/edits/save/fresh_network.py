"""The check that a fresh network becomes the present one by its edits, made before it is saved."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

from torch import nn
from torch.nn.parameter import is_lazy

from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import Formula, formula_length
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import buffers_of, modules_of, parameters_of

__all__ = ["fitted"]


def fitted(texts: Sequence[str], module: nn.Module, *, tell: bool = True) -> list[str]:
    """The edits of a network, made to fit layers that were replaced by hand since.

    Where an edit left a dimension of a tensor alone, that may have another size now (a head with more
    classes): the edit is written as one of such a network.

    Args:
        texts: The edits as JSON, oldest first.
        module: The network as it is now.
        tell: Whether to warn of sizes that a fresh network must have.

    Raises:
        EditError: A tensor that an edit resized is gone, or has another size along that dimension.
    """
    state = {**parameters_of(module), **buffers_of(module)}
    shapes = {name: list(tensor.shape) for name, tensor in state.items() if not is_lazy(tensor)}
    changes = [Change.from_json(text) for text in texts]
    out: list[str] = []
    other: set[str] = set()
    gone: list[str] = []  # paths of modules that a later edit left out
    for change, text in zip(reversed(changes), reversed(texts), strict=True):
        if change.structure is not None:
            return list(texts)  # a graph's, whose names are those of the graph
        if change.closing is not None:
            shapes = {change.closing.before(name): shape for name, shape in shapes.items()}
            gone = [change.closing.before(path) for path in gone] + change.closing.layers
        gone += [each.path for each in change.modules]
        tensors = {
            name: axes if name not in shapes and _within(name, gone) else _fitted(name, axes, change, shapes)
            for name, axes in change.tensors.items()
        }
        fits = tensors == change.tensors
        other |= {name for name, axes in tensors.items() if axes != change.tensors[name]}
        out.insert(0, text if fits else dataclasses.replace(change, tensors=tensors).to_json())
    _check_attributes(changes, module)
    if other and tell:
        sizes = ", ".join(f"{name} of shape {tuple(shapes[name])}" for name in sorted(other))
        warnings.warn(
            f"replaced by hand after an edit: a fresh network to load this into must have {sizes}",
            stacklevel=5,
        )
    return out


def _within(name: str, paths: Sequence[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def _fitted(name: str, axes: list[Formula], change: Change, shapes: dict[str, list[int]]) -> list[Formula]:
    """The axes of one tensor, made to fit its present shape; the shape becomes the one before the edit."""
    shape = shapes.get(name)
    after = {key: width.after for key, width in change.widths.items()}
    before = {key: width.before for key, width in change.widths.items()}
    if shape is None or len(shape) != len(axes):
        raise _unloadable(name, "is gone" if shape is None else f"has shape {tuple(shape)}")
    out: list[Formula] = []
    for dim, axis in enumerate(axes):
        if formula_length(axis, after) == shape[dim]:
            out.append(axis)
        elif any(isinstance(factor, (str, list)) for term in axis for factor in term):
            raise _unloadable(name, f"has shape {tuple(shape)}")
        else:
            out.append([[shape[dim]]])
    shapes[name] = [formula_length(axis, before) for axis in out]
    return out


def _check_attributes(changes: Sequence[Change], module: nn.Module) -> None:
    """Check that the layers whose attributes were changed are still there."""
    paths = {path for path, _ in modules_of(module, every_path=True)}
    gone: list[str] = []
    for change in reversed(changes):
        if change.closing is not None:
            paths = {change.closing.before(path) for path in paths}
            gone = [change.closing.before(path) for path in gone] + change.closing.layers
        gone += [each.path for each in change.modules]
        for attribute in change.attributes:
            if attribute.path not in paths and not _within(attribute.path, gone):
                raise _unloadable(attribute.path, "is gone")


def _unloadable(name: str, now: str) -> EditError:
    return EditError(
        f"{name}, which an edit resized, {now}: it was replaced by hand, so a fresh network would not become "
        "this one by its edits. Replace layers, or wrap them, before the edits; or ng.save the network as "
        "the edits left it (a part alone, too), and this one with torch.save(model.state_dict()): to load, "
        "ng.load the former, make the same replacements, and load_state_dict the latter"
    )
