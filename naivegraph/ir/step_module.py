"""The module of a network written by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from naivegraph.errors import NaivegraphError
from naivegraph.ir.pytree import ValueRef, map_leaves
from naivegraph.undo import UndoLog

__all__ = ["BuiltModule", "Step", "add_submodule", "box_at"]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A call of the submodule at `path`, on earlier values (`ValueRef`) and constants."""

    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class BuiltModule(nn.Module):
    """A network written by hand: its submodules, called one after the other.

    Args:
        inputs: Names of the inputs, in order.
        modules: The submodules that the steps call, by path.
        steps: The calls in order. The first values are the inputs, each step adds its result.
        output: The pytree the network returns, with a `ValueRef` for each value.
    """

    def __init__(
        self, inputs: tuple[str, ...], modules: dict[str, nn.Module], steps: tuple[Step, ...], output: Any
    ) -> None:
        super().__init__()
        self._inputs = inputs
        self._steps = steps
        self._output = output
        for path, module in modules.items():
            add_submodule(self, path, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run all steps; inputs by position or by name."""
        values = list(self.by_name(args, kwargs).values())

        def fill(leaf: Any) -> Any:
            """Return the value of a reference, and any other leaf as it is."""
            return values[leaf.index] if isinstance(leaf, ValueRef) else leaf

        for step in self._steps:
            module = self.get_submodule(step.path)
            values.append(module(*map_leaves(step.args, fill), **map_leaves(step.kwargs, fill)))
        return map_leaves(self._output, fill)

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The inputs by name, in order.

        Raises:
            NaivegraphError: There are too many or too few, or one of another name.
        """
        if len(args) > len(self._inputs):
            raise NaivegraphError(f"the network takes {len(self._inputs)} inputs, not {len(args)}")
        named = {**dict(zip(self._inputs, args, strict=False)), **kwargs}
        if sorted(named) != sorted(self._inputs) or len(named) != len(args) + len(kwargs):
            raise NaivegraphError(f"the network takes the inputs {list(self._inputs)}, not {list(named)}")
        return {name: named[name] for name in self._inputs}


def add_submodule(root: nn.Module, path: str, module: nn.Module, undo: UndoLog | None = None) -> None:
    """Register a module at a new path, with empty modules on the way.

    Args:
        root: The module to register it in.
        path: The path, as in `root.get_submodule(path)`.
        module: The module.
        undo: The log that takes back what was done.

    Raises:
        NaivegraphError: The name is taken or cannot be an attribute; nothing is registered then.
    """
    home, names = root, path.split(".")
    while len(names) > 1:
        child = home._modules.get(names[0])
        if child is None:
            break
        home, names = child, names[1:]
    name, *inner = names
    if not all(names) or hasattr(home, name):
        raise NaivegraphError(
            f"{path!r} cannot be the name of a layer: its parent has an attribute {name!r} already"
        )
    for each in reversed(inner):
        box = nn.Module()
        box.training = root.training
        box.add_module(each, module)
        module = box
    if undo is not None:
        undo.keep_entry(home._modules, name)
    home.add_module(name, module)


def box_at(root: nn.Module, path: str) -> nn.Module:
    """The module at a path, made of empty modules where there are none.

    Example:
        >>> root = nn.Module()
        >>> box_at(root, "a.b") is root.get_submodule("a.b")
        True
    """
    for name in path.split(".") if path else ():
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    return root
