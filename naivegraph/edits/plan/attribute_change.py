"""A change of an attribute of a module, as plain data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["AttributeChange"]


@dataclasses.dataclass(frozen=True)
class AttributeChange:
    """A change of an attribute of a module, a number or a string; `keys` lead to it inside containers."""

    path: str
    name: str
    keys: tuple[int | str, ...]
    before: float | str
    after: float | str

    def __str__(self) -> str:
        keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return f"{self.path + '.' if self.path else ''}{self.name}{keys}: {self.before} -> {self.after}"

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.path, self.name, list(self.keys), self.before, self.after]

    @classmethod
    def from_data(cls, data: Any) -> AttributeChange:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        path, name, keys, before, after = data
        return cls(str(path), str(name), tuple(keys), _setting(before), _setting(after))


def _setting(value: Any) -> float | str:
    if type(value) not in (int, str, float) or (type(value) is float and not math.isfinite(value)):
        raise ValueError(f"{value!r} is no value of an attribute: a number or a word is")
    return value  # type: ignore[no-any-return]
