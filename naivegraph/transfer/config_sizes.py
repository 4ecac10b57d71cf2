"""Sizes of widths by the entries of a config, found from the network that the config builds with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from naivegraph.algebra.axis import Atom, Axis, single
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.edits.config.rebuild import Rebuilt, numbers_of, quiet
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.edits.request import validate
from naivegraph.errors import EditError, nearest
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.values import Attribute
from naivegraph.widths import SizeConstraints

__all__ = ["ConfigSizes", "sizes_by_config"]


@dataclasses.dataclass(frozen=True)
class ConfigSizes:
    """Sizes by entries of a config.

    Attributes:
        axes: The widths that change, as axes, with their sizes.
        attributes: The whole numbers that modules keep which change, whether their code reads them or not.
        config: The changes of the config itself.
    """

    axes: tuple[tuple[Axis, int], ...] = ()
    attributes: tuple[AttributeChange, ...] = ()
    config: tuple[AttributeChange, ...] = ()


def sizes_by_config(constraints: SizeConstraints, entries: Mapping[str, Any]) -> ConfigSizes:
    """The sizes of a network where entries of its config have these values.

    Args:
        constraints: The constraints of the network's code.
        entries: The values, by name; those of configs inside another one as "text_config.hidden_size".

    Raises:
        EditError: There is no such entry, or the config builds no network with these values.
    """
    if not entries:
        return ConfigSizes()
    module = constraints.widths.graph.module
    name = config_name(module)
    if name is None:
        raise EditError(
            f"{next(iter(entries))!r} is no vertex of the graph, and {type(module).__name__} keeps no config "
            "that it was built from"
        )
    built = Rebuilt(module, name)
    known = {".".join(map(str, field)): field for field in built.fields}
    unknown = [entry for entry in entries if entry not in known]
    if unknown:
        hint = nearest(unknown[0], [*known, *(v.name for v in constraints.widths.graph.vertices)])
        raise EditError(f"{unknown[0]!r} is no vertex, nor a whole number of the network's {name}{hint}")
    values = {known[entry]: validate.whole(value, entry, 1) for entry, value in entries.items()}
    with quiet():
        before, after = built.numbers({}), built.numbers(values)
    if before is None or after is None:
        told = ", ".join(f"{entry}={value}" for entry, value in entries.items())
        raise EditError(f"the network's {name} builds no network with {told}")
    axes = [(single(atom), size) for atom, size in _solved(constraints, after).items() if size != atom.length]
    present = numbers_of(module, name)
    return ConfigSizes(
        tuple(axes),
        tuple(
            AttributeChange(place[1], place[2], place[3], int(before[place]), int(value))
            for place, value in after.items()
            if place[0] == "number"
            and isinstance(value, int)
            and place in before
            and present.get(place) == before[place] != value
        ),
        tuple(
            AttributeChange(path, name, field, built.fields[field], value)
            for path, owner in modules_of(module)
            if vars(owner).get(name) is built.config
            for field, value in values.items()
        ),
    )


def _equations(constraints: SizeConstraints, wanted: Mapping[Any, float]) -> Iterator[tuple[Polynomial, int]]:
    """Sizes and attributes, with the values they should have."""
    for name, axes in constraints.widths.axes.items():
        for dim, axis in enumerate(axes):
            if ("size", name, dim) in wanted:
                yield Polynomial.of_axis(axis), int(wanted["size", name, dim])
    for attribute, polynomial in constraints.attributes.items():
        if isinstance(attribute, Attribute):
            value = wanted.get(("number", attribute.path, attribute.name, attribute.keys))
            if value is not None:
                yield polynomial, int(value)


def _solved(constraints: SizeConstraints, wanted: Mapping[Any, float]) -> dict[Atom, int]:
    """The sizes of widths for which all have the values wanted, found one unknown at a time.

    Raises:
        EditError: There are none.
    """
    every = ((p, value) for p, value in _equations(constraints, wanted) if p.degree)
    equations = list({(frozenset(p.terms.items()), value): (p, value) for p, value in every}.values())
    found: dict[Atom, int] = {}
    while True:
        more = False
        for polynomial, value in equations:
            free = [atom for atom in polynomial.atoms() if atom not in found]
            if len(free) == 1:
                size = _solve(polynomial, free[0], value, found)
                if size is None:
                    raise EditError(
                        f"no size of {constraints.widths.by_atom[free[0]].name} makes {value} of what is "
                        f"{polynomial.value(lambda atom: atom.length)} now"
                    )
                found[free[0]] = size
                more = True
        if more:
            continue
        left = [atom for polynomial, _ in equations for atom in polynomial.atoms() if atom not in found]
        if not left:
            break
        found[min(left, key=lambda atom: atom.length)] = min(left, key=lambda atom: atom.length).length
    for polynomial, value in equations:
        if polynomial.value(lambda atom: found.get(atom, atom.length)) != value:
            raise EditError(
                f"the config's sizes do not fit together in this network: {value} is wanted of what is "
                f"{polynomial.value(lambda atom: atom.length)} now"
            )
    return found


def _solve(polynomial: Polynomial, atom: Atom, value: int, known: Mapping[Atom, int]) -> int | None:
    """The size of one width for which a polynomial has a value; None if there is none."""

    def at(size: int) -> int:
        """The polynomial's value."""
        return int(polynomial.value(lambda each: size if each is atom else known.get(each, each.length)))

    slope, start = at(1) - at(0), at(0)
    if slope == 0 or (value - start) % slope:
        return None
    size = (value - start) // slope
    return size if size > 0 and at(size) == value else None
