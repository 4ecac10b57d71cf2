"""What follows a network whose layers come and go: optimizers of its parameters, averages of it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping

from torch import nn
from torch.optim import Optimizer

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import modules_of

__all__ = ["follow_average", "follow_optimizer"]

Undo = Callable[[], None]


def follow_optimizer(optimizer: Optimizer, module: nn.Module, before: list[nn.Parameter]) -> Undo:
    """Let an optimizer forget parameters that are gone, and add new ones to its first group."""
    after = list(module.parameters())
    old, new = {id(p) for p in before}, {id(p) for p in after}
    groups = [(group, list(group["params"])) for group in optimizer.param_groups]
    known = {id(p) for _, params in groups for p in params}
    added = [p for p in after if id(p) not in old | known]
    states, came = dict(optimizer.state), {id(p) for p in added}

    def undo() -> None:
        for group, params in groups:
            group["params"] = params
        now = {**states, **optimizer.state}  # in the order of before
        optimizer.state.clear()
        optimizer.state.update({p: state for p, state in now.items() if id(p) not in came})

    try:
        for group, params in groups:
            group["params"] = [p for p in params if id(p) not in old - new]
        for p in states:
            if id(p) in old - new:
                del optimizer.state[p]
        groups[0][0]["params"] = [*groups[0][0]["params"], *added]
    except BaseException:
        undo()
        raise
    return undo


def follow_average(average: nn.Module, module: nn.Module, before: Mapping[str, nn.Module]) -> Undo:
    """Let an average of a network lose the modules the network lost, and get copies of those it got.

    Raises:
        EditError: It does not have them: it is an average of another network.
    """
    after = dict(modules_of(module, every_path=True))
    with contextlib.ExitStack() as undone:
        for path in _outermost(before.keys() - after.keys()):
            home, name = _home(average, path)
            if name not in home._modules:
                raise EditError(f"the averaged model has no module {path!r}: is it one of another network?")
            undone.callback(_putting_back(home))
            del home._modules[name]
        for path in sorted(_outermost(after.keys() - before.keys()), key=list(after).index):
            home, name = _home(average, path)
            undone.callback(_putting_back(home))
            home.add_module(name, copy.deepcopy(after[path]))
        return undone.pop_all().close


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


def _putting_back(home: nn.Module) -> Undo:
    before = dict(home._modules)

    def put_back() -> None:
        home._modules.clear()
        home._modules.update(before)

    return put_back
