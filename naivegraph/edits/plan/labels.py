"""Labels of a width's neurons, kept in a config, which follow the neurons; as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from naivegraph.edits.plan.plain import Plain
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import EditError

__all__ = ["Labels", "relabelled"]


@dataclasses.dataclass(frozen=True, eq=False)
class Labels(Plain):
    """A dict of labels by neuron, or of neurons by label, in an attribute of a module.

    Attributes:
        path: The path of the module.
        name: The attribute.
        keys: The fields that lead to the dict inside it.
        width: The key of the width.
        new: The labels of new neurons.
    """

    path: str
    name: str
    keys: tuple[int | str, ...]
    width: str
    new: tuple[str, ...]

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.path, self.name, list(self.keys), self.width, list(self.new)]

    @classmethod
    def from_data(cls, data: Any, widths: Mapping[str, WidthChange]) -> Labels:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
            KeyError: It names a width which is not there.
        """
        path, name, keys, width, new = data
        if len(new) != widths[width].new:
            raise ValueError(f"it has {len(new)} labels for {widths[width].new} new neurons")
        return cls(str(path), str(name), tuple(keys), str(width), tuple(map(str, new)))


def relabelled(value: Any, width: WidthChange, new: tuple[str, ...]) -> Any:
    """The dict of labels after a change of the neurons they are of.

    Example:
        >>> width = WidthChange("fc", 3, np.array([0, 2]), 1, np.array([1, 2, 0]))
        >>> relabelled({0: "ant", 1: "bee", 2: "cat"}, width, ("dog",))
        {0: 'cat', 1: 'dog', 2: 'ant'}
        >>> relabelled({"ant": 0, "bee": 1, "cat": 2}, width, ("dog",))
        {'cat': 0, 'dog': 1, 'ant': 2}

    Raises:
        EditError: It is no dict with an entry for each neuron.
    """
    places = list(range(width.before))
    if isinstance(value, Mapping) and sorted(value, key=str) == sorted(places, key=str):
        old, inverse = [value[place] for place in places], False
    elif isinstance(value, Mapping) and sorted(value.values(), key=str) == sorted(places, key=str):
        old, inverse = sorted(value, key=value.__getitem__), True
    else:
        raise EditError(f"there are no labels of {width.before} neurons in {value!r}, as the edit needs")
    found = [*(old[int(place)] for place in width.kept), *new]
    order = np.arange(len(found)) if width.order is None else width.order
    labels = [found[int(place)] for place in order]
    return {label: place for place, label in enumerate(labels)} if inverse else dict(enumerate(labels))
