"""Replacement of modules whose branches were left out, in the network's own class."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.errors import EditError
from naivegraph.ir.bypass_module import Bypass, function_at
from naivegraph.undo import UndoLog

__all__ = ["bypass_modules"]


def bypass_modules(network: nn.Module, changes: Iterable[ModuleChange], undo: UndoLog) -> None:
    """Put what is left of modules in their places.

    Args:
        network: The network, changed in place.
        changes: What is left of which.
        undo: The log that puts the modules back.

    Raises:
        EditError: The network has no such module or layer.
    """
    for change in changes:
        parent, _, name = change.path.rpartition(".")
        try:
            home = network.get_submodule(parent)
            gone = home._modules[name]
            if gone is None:
                raise KeyError(name)
            layers = {path: gone.get_submodule(path) for kind, path in change.calls if kind == "layer"}
            for kind, function in change.calls:
                if kind == "function":
                    function_at(function)
            weight = None if change.mark is None else gone.get_parameter(change.mark)
        except (AttributeError, KeyError, ValueError) as error:
            raise EditError(f"the network has no module {change.path!r} to leave out: {error}") from error
        mark = None if weight is None else (str(change.mark), weight.detach().new_zeros(1))
        if change.plain and mark is None:
            made: nn.Module = nn.Identity()
        else:
            made = Bypass(change.calls, layers, zero=change.zero, outputs=change.outputs, mark=mark)
        _same_attributes(made, gone)
        made.training = gone.training
        undo.keep_entry(home._modules, name)
        home._modules[name] = made


def _same_attributes(made: nn.Module, gone: nn.Module) -> None:
    """Give a module the numbers and words of another one, which the code around may read, and no weights."""
    for name, value in vars(gone).items():
        if isinstance(value, (int, float, str, type(None))) and not hasattr(made, name):
            vars(made)[name] = value
    for name in gone._parameters:
        if not hasattr(made, name):
            made.register_parameter(name, None)
