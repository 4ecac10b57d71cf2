"""A change of a network as plain data, and as JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from naivegraph.edits.plan.attribute_change import AttributeChange
from naivegraph.edits.plan.closing import Closing
from naivegraph.edits.plan.fill import Fill, NumberChange
from naivegraph.edits.plan.index_formula import Formula, Indices, formula_length, to_runs
from naivegraph.edits.plan.labels import Labels
from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.edits.plan.plain import Plain, natural, runs
from naivegraph.edits.plan.start import Start
from naivegraph.edits.plan.width_change import WidthChange

__all__ = ["AttributeChange", "Change", "InputChange", "Outgoing", "Rows", "Scaling"]


# Entries as (dimension, indices along it); None for all.
Rows = tuple[int, Indices] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Outgoing(Plain):
    """Entries of a tensor by which new neurons act on the rest of the network.

    Attributes:
        tensor: Its name.
        dims: The dimensions that the new neurons of `widths` lie along.
        widths: Keys of widths.
        rows: The entries as (dimension, indices along it before the change); None for all.
    """

    tensor: str
    dims: tuple[int, ...]
    widths: tuple[str, ...]
    rows: Rows = None

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.tensor, list(self.dims), list(self.widths), _rows_to_json(self.rows)]


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling(Plain):
    """Entries of a tensor (`rows` as in `Outgoing`) that are multiplied by a factor."""

    tensor: str
    rows: Rows
    factor: float

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.tensor, _rows_to_json(self.rows), self.factor]


@dataclasses.dataclass(frozen=True)
class InputChange:
    """A change of a size of an input.

    Attributes:
        name: The input's name.
        index: The place of the tensor among those of the input.
        dim: The dimension; None if the numbers in the tensor are places along the axis, as in a table.
        axis: Its axis, as a formula over the widths.
    """

    name: str
    index: int
    dim: int | None
    axis: Formula

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.name, self.index, self.dim, self.axis]


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """All that an edit changes, without the values of tensors.

    Attributes:
        widths: The changes of widths, by the short keys that formulas use.
        tensors: The axes of every parameter and buffer that changes, as formulas over the widths.
        attributes: The attributes that change.
        outgoing: The entries by which new neurons act on others.
        scalings: The entries that are multiplied by a factor.
        seed: The seed of the numbers new neurons start with.
        initialise: Their initialisation: "layer", "duplicate", or the name of a function of the user's.
        function: That function; not part of the JSON, nor of a copy.
        structure: The change of the graph's structure, if any: the verb, its arguments and `steps`, by which
            it can be repeated (see `Rewiring`).
        inputs: The sizes of the network's inputs that change.
        seed_paths: The paths of modules, where the edit was made through another network, with those there,
            by which the numbers of new neurons are drawn.
        seed_widths: The names of widths there, by their keys.
        refitted: The parameters and buffers that `ng.reconstruct` gave other values. They are no part of the
            change: a replay leaves them as they are.
        modules: The modules of which branches were left out, in the network's own class.
        starts: The new neurons that start as combinations of old ones.
        labels: The dicts of labels that follow the neurons they are of.
        fills: The new entries that are filled with zeros, ones or means, after everything else.
        numbers: The numbers that vertices of the graph are called with which change.
        closing: What closes the gaps that whole layers left, once all else is done; later edits tell their
            names by it.
    """

    widths: dict[str, WidthChange]
    tensors: dict[str, list[Formula]]
    attributes: list[AttributeChange]
    outgoing: tuple[Outgoing, ...] = ()
    scalings: tuple[Scaling, ...] = ()
    seed: int = 0
    initialise: str = "layer"
    function: Callable[[torch.Tensor, str], object] | None = dataclasses.field(default=None, repr=False)
    structure: dict[str, Any] | None = None
    inputs: tuple[InputChange, ...] = ()
    seed_paths: dict[str, str] = dataclasses.field(default_factory=dict)
    seed_widths: dict[str, str] = dataclasses.field(default_factory=dict)
    refitted: tuple[str, ...] = ()
    modules: tuple[ModuleChange, ...] = ()
    starts: tuple[Start, ...] = ()
    labels: tuple[Labels, ...] = ()
    fills: tuple[Fill, ...] = ()
    numbers: tuple[NumberChange, ...] = ()
    closing: Closing | None = None

    def seed_of(self, name: str) -> str:
        """The name of a tensor by which its new numbers are drawn."""
        path, _, own = name.rpartition(".")
        there = self.seed_paths.get(path, path)
        return f"{there}.{own}" if there else own

    def to_json(self) -> str:
        """The change as JSON, from which `from_json` makes it again."""
        return self._json

    @functools.cached_property
    def _json(self) -> str:
        return json.dumps(
            {
                "widths": {key: width.to_data() for key, width in self.widths.items()},
                "tensors": self.tensors,
                "attributes": [each.to_data() for each in self.attributes],
                "outgoing": [outgoing.to_data() for outgoing in self.outgoing],
                "scalings": [scaling.to_data() for scaling in self.scalings],
                "seed": self.seed,
                "initialise": self.initialise,
                **({} if self.structure is None else {"structure": self.structure}),
                **({"inputs": [each.to_data() for each in self.inputs]} if self.inputs else {}),
                **({"seed_paths": self.seed_paths} if self.seed_paths else {}),
                **({"seed_widths": self.seed_widths} if self.seed_widths else {}),
                **({"refitted": list(self.refitted)} if self.refitted else {}),
                **({"modules": [each.to_data() for each in self.modules]} if self.modules else {}),
                **({"starts": [each.to_data() for each in self.starts]} if self.starts else {}),
                **({"labels": [each.to_data() for each in self.labels]} if self.labels else {}),
                **({"fills": [each.to_data() for each in self.fills]} if self.fills else {}),
                **({"numbers": [each.to_data() for each in self.numbers]} if self.numbers else {}),
                **({} if self.closing is None else {"closing": self.closing.to_data()}),
            },
            separators=(",", ":"),
        )

    @staticmethod
    def from_json(text: str) -> Change:
        """Read a change.

        Raises:
            ValueError: The text is no such JSON; the message says where.
        """
        try:
            data = json.loads(text)
        except (TypeError, json.JSONDecodeError) as error:
            raise _unreadable(error) from error
        return Change.from_data(data)

    @staticmethod
    def from_data(data: Any) -> Change:
        """Make a change from the data of its JSON.

        Raises:
            ValueError: It is no such data; the message says where.
        """
        try:
            widths = {str(key): WidthChange.from_data(w) for key, w in data["widths"].items()}
            tensors = {
                str(name): [_formula(f, widths) for f in axes] for name, axes in data["tensors"].items()
            }
            attributes = list(map(AttributeChange.from_data, data["attributes"]))
            sizes = {key: width.before for key, width in widths.items()}
            outgoing = tuple(
                Outgoing(
                    name, _dims(dims, tensors[name]), _keys(keys, widths), _rows(rows, tensors[name], sizes)
                )
                for name, dims, keys, rows in data.get("outgoing", ())
            )
            scalings = tuple(
                Scaling(name, _rows(rows, tensors[name], sizes), float(factor))
                for name, rows, factor in data.get("scalings", ())
            )
            seed, initialise = natural(data.get("seed", 0)), str(data.get("initialise", "layer"))
            structure = _structure(data.get("structure"))
            inputs = tuple(
                InputChange(str(name), natural(index), _dim(dim), _formula(axis, widths))
                for name, index, dim, axis in data.get("inputs", ())
            )
            paths, names = (
                {str(here): str(there) for here, there in data.get(key, {}).items()}
                for key in ("seed_paths", "seed_widths")
            )
            refitted = tuple(map(str, data.get("refitted", ())))
            modules = tuple(map(ModuleChange.from_data, data.get("modules", ())))
            come = {key: (width.before, width.new) for key, width in widths.items()}
            ranks = {name: len(axes) for name, axes in tensors.items()}
            starts = tuple(Start.from_data(each, come, ranks) for each in data.get("starts", ()))
            labels = tuple(Labels.from_data(each, widths) for each in data.get("labels", ()))
            fills = tuple(Fill.from_data(each, tensors, widths) for each in data.get("fills", ()))
            numbers = tuple(map(NumberChange.from_data, data.get("numbers", ())))
            closing = Closing.from_data(data.get("closing"))
        except (KeyError, TypeError, AttributeError) as error:
            raise _unreadable(error) from error
        return Change(
            widths, tensors, attributes, outgoing, scalings, seed, initialise,
            structure=structure, inputs=inputs, seed_paths=paths, seed_widths=names, refitted=refitted,
            modules=modules, starts=starts, labels=labels, fills=fills, numbers=numbers, closing=closing,
        )  # fmt: skip

    def __bool__(self) -> bool:
        parts = (self.structure, self.closing)
        return bool(self.widths or self.refitted or self.modules) or any(part is not None for part in parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and other.to_json() == self.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_json"}
        return {**state, "function": None}  # which may be a lambda


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"not an edit of this format ({type(error).__name__}: {error})")


def _structure(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    for step in value["steps"]:
        if not isinstance(step["do"], str):
            raise ValueError(f"{step['do']!r} is no step of an edit")
    if not isinstance(value["verb"], str):
        raise ValueError(f"{value['verb']!r} is no verb")
    return dict(value)


def _rows_to_json(rows: Rows) -> Any:
    return None if rows is None else [rows[0], to_runs(rows[1])]


def _rows(value: Any, axes: list[Formula], sizes: Mapping[str, int]) -> Rows:
    if value is None:
        return None
    dim = natural(value[0])
    if dim >= len(axes):
        raise ValueError(f"it names dimension {dim} of a tensor of {len(axes)}")
    return dim, runs(value[1], formula_length(axes[dim], sizes))


def _dim(value: Any) -> int | None:
    return None if value is None else natural(value)


def _dims(dims: Any, axes: list[Formula]) -> tuple[int, ...]:
    out = tuple(map(natural, dims))
    if any(dim >= len(axes) for dim in out):
        raise ValueError(f"it names dimension {max(out)} of a tensor of {len(axes)}")
    return out


def _keys(keys: Any, widths: dict[str, WidthChange]) -> tuple[str, ...]:
    for key in keys:
        if key not in widths:
            raise ValueError(f"it names the width {key!r}, which is not there")
    return tuple(map(str, keys))


def _check_rows(key: str, outside: list[Any], widths: dict[str, WidthChange]) -> None:
    kept, last = widths[key].kept, outside[-1] if outside else 1
    rows = widths[last].before if isinstance(last, str) else last
    if kept.ndim == 2 and len(kept) != rows:
        raise ValueError(f"an axis names the width {key!r} of {len(kept)} rows in a place of {rows}")


def _formula(value: Any, widths: dict[str, WidthChange]) -> Formula:
    out: Formula = []
    for term in value:
        factors: list[Any] = []
        for factor in term:
            if isinstance(factor, list):
                factors.append(_formula(factor, widths))
            elif isinstance(factor, str):
                if factor not in widths:
                    raise ValueError(f"an axis names the width {factor!r}, which is not there")
                _check_rows(factor, factors, widths)
                factors.append(factor)
            else:
                factors.append(natural(factor))
        out.append(factors)
    return out
