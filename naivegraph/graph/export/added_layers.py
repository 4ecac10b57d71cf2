"""Layers that stand for what is no operator in an exported network: records, flags, functions."""

from __future__ import annotations

from typing import Any

from torch import nn

from naivegraph.graph.torch_utils.deep_copy import copied_argument
from naivegraph.ir.pytree import ValueRef, map_leaves

__all__ = ["Assemble", "Flag", "NamedTuple", "Value"]


class Assemble(nn.Module):
    """Layer that puts values into an object of the class that the network returned.

    Args:
        template: Such an object with a `ValueRef` for each value.
    """

    def __init__(self, template: Any) -> None:
        super().__init__()
        self._template = template

    @property
    def kind(self) -> type[Any]:
        """The class of the object."""
        return type(self._template)

    def forward(self, *values: Any) -> Any:
        """A new object with these values."""
        return map_leaves(
            self._template, lambda leaf: values[leaf.index] if isinstance(leaf, ValueRef) else leaf
        )


class NamedTuple(nn.Module):
    """Layer that makes a named tuple, such as a `PackedSequence`, of its values.

    Args:
        kind: The class of the tuple.
    """

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._kind = kind

    def forward(self, *values: Any) -> Any:
        """The tuple of these values."""
        return self._kind._make(values)


class Flag(nn.Module):
    """Layer that returns one value in train mode and another in eval mode, as `train()` and `eval()` set it.

    Args:
        on: The value in train mode; by default the flag itself.
        off: The value in eval mode.
    """

    def __init__(self, on: Any = True, off: Any = False) -> None:
        super().__init__()
        self._on, self._off = on, off

    @property
    def values(self) -> tuple[Any, Any]:
        """The value in train mode, and that in eval mode."""
        return self._on, self._off

    def forward(self) -> Any:
        """The value of the present mode."""
        return self._on if self.training else self._off


class Value(nn.Module):
    """Layer that returns a value which calls modules, as a function bound to one does.

    Args:
        value: The value.
    """

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = (value,)  # in a tuple, as a module would become a part of this one

    def forward(self, *called: nn.Module) -> Any:
        """The value; the modules that it calls are given to it, so that torch.fx knows of them."""
        return self._value[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> Value:
        return Value(copied_argument(self._value[0], memo))
