"""Update of optimizers and averaged models for a network whose layers come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from naivegraph.edits.apply.optimizer_state import split_averages
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["Following", "follow_average", "follow_optimizer"]


def follow_optimizer(
    optimizer: Optimizer, module: nn.Module, before: list[nn.Parameter], undo: UndoLog
) -> None:
    """Drop removed parameters from an optimizer, and add new ones to its first group.

    Args:
        optimizer: Changed in place.
        module: The network as it is now.
        before: Its parameters as they were.
        undo: The log that restores all of it.
    """
    after = list(module.parameters())
    old, new = {id(p) for p in before}, {id(p) for p in after}
    groups = [list(group["params"]) for group in optimizer.param_groups]
    names = [list(group.get("param_names", ())) for group in optimizer.param_groups]
    known = {id(p) for params in groups for p in params}
    added = [p for p in after if id(p) not in old | known]
    states, came = dict(optimizer.state), {id(p) for p in added}

    def put_back() -> None:
        """Restore the groups and the state."""
        # In place, as some optimizers keep the list; the groups are others after `load_state_dict`.
        for group, params, called in zip(optimizer.param_groups, groups, names, strict=False):
            group["params"][:] = params
            if called:
                group["param_names"][:] = called
        now = {**states, **optimizer.state}  # in the order of before
        optimizer.state.clear()
        optimizer.state.update({p: state for p, state in now.items() if id(p) not in came})

    with all_or_nothing(undo):
        undo.push(put_back)
        for group, params, called in zip(optimizer.param_groups, groups, names, strict=True):
            group["params"][:] = [p for p in params if id(p) not in old - new]
            if called:
                group["param_names"][:] = [
                    n for n, p in zip(called, params, strict=True) if id(p) not in old - new
                ]
        for p in states:
            if id(p) in old - new:
                del optimizer.state[p]
        first = optimizer.param_groups[0]
        first["params"] += added
        if "param_names" in first:  # made of `named_parameters()`
            by_id = {id(p): name for name, p in module.named_parameters()}
            first["param_names"] += [by_id[id(p)] for p in added]


def follow_average(
    average: nn.Module, module: nn.Module, before: Mapping[str, nn.Module], undo: UndoLog
) -> None:
    """Remove from an averaged model the modules that the network lost, and copy those it got.

    Args:
        average: Changed in place.
        module: The network as it is now.
        before: Its modules as they were, by every path.
        undo: The log that restores all of it.

    Raises:
        EditError: It does not have them: it is an average of another network.
    """
    after = dict(modules_of(module, every_path=True))
    with all_or_nothing(undo):
        for path in _outermost(before.keys() - after.keys()):
            home, name = _home(average, path)
            if name not in home._modules:
                raise EditError(f"the averaged model has no module {path!r}: is it one of another network?")
            undo.keep_mapping(home._modules)
            del home._modules[name]
        for path in sorted(_outermost(after.keys() - before.keys()), key=list(after).index):
            home, name = _home(average, path)
            undo.keep_mapping(home._modules)
            home.add_module(name, deep_copy(after[path]))


class Following:
    """Optimizers and averaged models of a network, to be updated once its layers have changed.

    Args:
        module: The network, before the change.
        following: The optimizers and averaged models.
        averages: Whether averaged models are to be updated; they may follow otherwise.
    """

    def __init__(self, module: nn.Module, following: tuple[Any, ...], *, averages: bool = True) -> None:
        self._module = module
        found, self._optimizers = split_averages(following)
        self._averages = found if averages else []
        self._parameters = list(module.parameters())
        self._modules = dict(modules_of(module, every_path=True))

    def go(self, undo: UndoLog) -> None:
        """Update them for the network as it is now."""
        for optimizer in self._optimizers:
            follow_optimizer(optimizer, self._module, self._parameters, undo)
        for average in self._averages:
            follow_average(average, self._module, self._modules, undo)


def _outermost(paths: set[str]) -> list[str]:
    return [path for path in sorted(paths) if path.rpartition(".")[0] not in paths]


def _home(average: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, name = path.rpartition(".")
    try:
        return average.get_submodule(parent), name
    except AttributeError as error:
        raise EditError(
            f"the averaged model has no module {parent!r}: is it one of another network?"
        ) from error
