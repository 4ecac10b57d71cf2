"""The modules of a network by their paths."""

from __future__ import annotations

from torch import nn

__all__ = ["Modules"]


class Modules(dict[str, nn.Module]):
    """The modules of a network by path, each looked up once, while nothing moves them.

    Raises:
        AttributeError: The network has no module at a path.

    Example:
        >>> Modules(nn.Sequential(nn.ReLU()))["0"]
        ReLU()
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__({"": root})

    def __missing__(self, path: str) -> nn.Module:
        parent, _, own = path.rpartition(".")
        found = getattr(self[parent], own)
        if not isinstance(found, nn.Module):
            raise AttributeError(f"{path} is a {type(found).__name__}, no module")
        self[path] = found
        return found
