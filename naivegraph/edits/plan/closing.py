"""The closing of the gaps that whole layers left in the lists they were in, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.edits.plan.attribute_change import AttributeChange
from naivegraph.edits.plan.plain import natural

__all__ = ["Closing", "ItemsGone"]


@dataclasses.dataclass(frozen=True)
class ItemsGone:
    """Items that go from a list: of layers, or one of numbers or words that a module keeps.

    Attributes:
        path: The path of the `nn.ModuleList`, or of the module.
        name: The attribute of the module; "" for a list of layers.
        keys: What leads to the list inside the attribute.
        items: The places of the items, and what they are; None for layers.
    """

    path: str
    name: str
    keys: tuple[int | str, ...]
    items: tuple[tuple[int, Any], ...]

    @property
    def places(self) -> frozenset[int]:
        """The places of the items."""
        return frozenset(place for place, _ in self.items)

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.path, self.name, list(self.keys), [list(item) for item in self.items]]

    @classmethod
    def from_data(cls, data: Any) -> ItemsGone:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        path, name, keys, items = data
        if any(len(item) != 2 or not isinstance(item[1], (int, float, str, type(None))) for item in items):
            raise ValueError(f"{items!r} are no items of a list")
        found = tuple((natural(place), value) for place, value in items)
        return cls(str(path), str(name), tuple(keys), found)


@dataclasses.dataclass(frozen=True)
class Closing:
    """The end of an edit by which whole layers do nothing: they leave their lists, and others move up.

    All paths are those from before.

    Attributes:
        attributes: The numbers that follow: counts of layers in the network's config, the number of a layer
            in the layer itself.
        lists: The items that leave lists.
    """

    attributes: tuple[AttributeChange, ...]
    lists: tuple[ItemsGone, ...]

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that go."""
        return [
            f"{gone.path}.{place}" for gone in self.lists if not gone.name for place in sorted(gone.places)
        ]

    def _gone(self, path: str) -> frozenset[int]:
        return next((each.places for each in self.lists if each.path == path and not each.name), frozenset())

    def after(self, name: str) -> str | None:
        """The path or name afterwards of what had one before; None if it goes.

        Example:
            >>> gone = Closing((), (ItemsGone("layers", "", (), ((1, None),)),))
            >>> gone.after("layers.3.weight"), gone.after("layers.1"), gone.before("layers.2.weight")
            ('layers.2.weight', None, 'layers.3.weight')
        """
        old: list[str] = []
        new: list[str] = []
        for part in name.split("."):
            gone = self._gone(".".join(old))
            old.append(part)
            if gone and part.isdecimal():
                if int(part) in gone:
                    return None
                part = str(int(part) - sum(place < int(part) for place in gone))
            new.append(part)
        return ".".join(new)

    def before(self, name: str) -> str:
        """The path or name before of what has one afterwards."""
        old: list[str] = []
        for part in name.split("."):
            gone = self._gone(".".join(old))
            if gone and part.isdecimal():
                place = int(part)
                for each in sorted(gone):
                    place += each <= place
                part = str(place)
            old.append(part)
        return ".".join(old)

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [[each.to_data() for each in self.attributes], [each.to_data() for each in self.lists]]

    @classmethod
    def from_data(cls, data: Any) -> Closing | None:
        """Read what `to_data` gave; None stays None.

        Raises:
            ValueError: It is something else.
        """
        if data is None:
            return None
        attributes, lists = data
        return cls(tuple(map(AttributeChange.from_data, attributes)), tuple(map(ItemsGone.from_data, lists)))
