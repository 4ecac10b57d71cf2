"""A module of which a branch was left out, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.ir.bypass_module import BypassCall

__all__ = ["ModuleChange"]


@dataclasses.dataclass(frozen=True)
class ModuleChange:
    """The remainder of a module without a branch; see `Bypass` for the last three.

    Attributes:
        path: The path of the module.
        plain: Whether `nn.Identity` is in its place.
        calls: The layers and functions that are left.
        zero: Whether it gives a zero.
        outputs: The number of things it returns; None for a tensor by itself.
        mark: The name of a weight of the module that went; a tensor of another shape is in its place, so that
            a network which has the weight refuses a file of this one.
    """

    path: str
    plain: bool
    calls: tuple[BypassCall, ...] = ()
    zero: bool = False
    outputs: int | None = None
    mark: str | None = None

    @property
    def kept(self) -> list[str]:
        """The paths inside of the module of the layers that are left."""
        return [name for kind, name in self.calls if kind == "layer"]

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        mark = [] if self.mark is None else [self.mark]
        return [self.path, self.plain, [list(call) for call in self.calls], self.zero, self.outputs, *mark]

    @classmethod
    def from_data(cls, data: Any) -> ModuleChange:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        path, plain, calls, zero, outputs, *more = data
        mark = more[0] if more else None
        if any(len(call) != 2 or call[0] not in ("layer", "function") for call in calls):
            raise ValueError(f"{calls!r} are no calls of layers and functions")
        if not isinstance(path, str) or not path or type(outputs) not in (int, type(None)):
            raise ValueError(f"{data!r} is no change of a module")
        if len(more) > 1 or type(mark) not in (str, type(None)):
            raise ValueError(f"{more!r} is no name of a weight")
        named = tuple((str(kind), str(name)) for kind, name in calls)
        return cls(path, bool(plain), named, bool(zero), outputs, mark)
