"""Attributes, configs and buffers that say how many positions a network has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.edits.config.rebuild import Field, Rebuilt, numbers_of, quiet
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.edits.plan.index_formula import Formula
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.network import Graph
from naivegraph.transfer.position_tables import GridTable, PositionTable
from naivegraph.widths import relate

__all__ = ["length_attributes", "size_attributes"]


def length_attributes(
    graph: Graph, table: PositionTable, length: int, key: str
) -> tuple[dict[str, list[Formula]], list[AttributeChange]]:
    """The buffers and attributes that follow another number of positions.

    Args:
        graph: The graph.
        table: The table of positions.
        length: The number of rows afterwards.
        key: The key of the width of rows.

    Returns:
        The axes of buffers that count positions, or have the same number for each; and the attributes.

    Raises:
        EditError: A buffer has a number for each position that does not say what further ones are.
    """
    module, tensors = graph.module, dict[str, list[Formula]]()
    for name, dim in _by_position(graph, table) if length != table.rows else ():
        buffer = module.get_buffer(name)
        row = buffer.reshape(-1, buffer.shape[-1])
        counts = torch.arange(row.shape[-1], device=buffer.device).expand_as(row)
        last = dim == buffer.dim() - 1
        if not last or not (torch.equal(row.long(), counts) or bool((row == row[:, :1]).all())):
            raise EditError(
                f"{name} has {table.rows} {'numbers' if last else 'rows'}, as there are positions, and does "
                "not say what further ones are: build the network with the other length, and load what was "
                "saved"
            )
        axes: list[Formula] = [[[size]] for size in buffer.shape]
        tensors[name] = [*axes[:-1], [[key]]]
    path = table.name.rpartition(".")[0]
    owner = module.get_submodule(path)
    own = [AttributeChange(path, "num_embeddings", (), table.rows, length)] if (
        isinstance(owner, nn.Embedding) and owner.num_embeddings == table.rows != length
    ) else []  # fmt: skip
    return tensors, _each_once([*own, *_by_config(module, {table.rows: length}, table, length)])


def _by_position(graph: Graph, table: PositionTable) -> Iterator[tuple[str, int]]:
    """The buffers with as many numbers along a dimension as there are positions, and that dimension.

    Those along neurons are left aside, and the first dimension comes first.
    """
    free = relate(graph)
    for name, buffer in graph.module.named_buffers():
        for dim, size in enumerate(buffer.shape if name in graph.state else ()):
            neurons = any(atom in free.by_atom for atom in free.axes[name][dim].atoms())
            if size == table.rows and not neurons:
                yield name, dim
                break


def size_attributes(
    graph: Graph, found: GridTable, image: tuple[int, int], rows: int
) -> list[AttributeChange]:
    """The attributes that follow another size of images: of the config, or of the modules around the patches.

    Without a config those attributes count that say the image's size, the grid, or the number of rows, in the
    modules that contain the table or the layer that makes patches. Whether the network runs with them is for
    the caller to check.

    Args:
        graph: The graph.
        found: The table and its grids.
        image: The height and width afterwards.
        rows: The number of rows of the table afterwards.
    """
    module = graph.module
    if found.image[0] == found.image[1] and image[0] == image[1]:
        changes = _by_config(module, {found.image[0]: image[0]}, found.table, rows)
        if changes:
            return changes
    old, new = found.old[0] * found.old[1], found.new[0] * found.new[1]
    pairs = {found.image: image, found.old: found.new}
    numbers = {old: new, found.table.rows: rows}
    if found.image[0] == found.image[1] and image[0] == image[1]:
        numbers[found.image[0]] = image[0]
    for other in found.others:  # a number that may say something else is left as it is
        numbers.pop(other, None)
    around = {*_around(found.table.name), *_around(f"{found.path}.weight")}
    return [
        change
        for path, owner in modules_of(module)
        if path in around
        for name, value in vars(owner).items()
        if name not in INTERNAL
        for change in _changes(path, name, value, pairs, numbers)
    ]


def _each_once(changes: list[AttributeChange]) -> list[AttributeChange]:
    return list({(each.path, each.name, each.keys): each for each in changes}.values())


def _around(name: str) -> Iterator[str]:
    """The paths of the modules that contain a parameter, other than the layer itself."""
    parts = name.split(".")[:-1]
    for end in range(len(parts) + 1):
        yield ".".join(parts[:end])


def _changes(
    path: str, name: str, value: Any, pairs: dict[tuple[int, int], tuple[int, int]], numbers: dict[int, int]
) -> Iterator[AttributeChange]:
    if type(value) is int and value in numbers and numbers[value] != value:
        yield AttributeChange(path, name, (), value, numbers[value])
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(type(side) is int for side in value):
        after = pairs.get((value[0], value[1]))
        for place, (was, now) in enumerate(zip(value, after or value, strict=True)):
            if was != now:
                yield AttributeChange(path, name, (place,), was, now)


def _by_config(
    module: nn.Module, sizes: dict[int, int], table: PositionTable, rows: int
) -> list[AttributeChange]:
    """The number of the config that builds a table of so many rows, and all numbers that follow from it."""
    name = config_name(module)
    if name is None:
        return []
    with quiet():
        built = Rebuilt(module, name)
        before, start = numbers_of(module, name), built.numbers({})
        for field, value in built.fields.items():
            found = built.numbers({field: sizes[value]}) if value in sizes else None
            if start is None or found is None or found.get(("size", table.name, table.dim)) != rows:
                continue
            return [*_of_config(module, name, built, field, sizes[value]), *_following(before, start, found)]
    return []


def _of_config(
    module: nn.Module, name: str, built: Rebuilt, field: Field, after: int
) -> Iterator[AttributeChange]:
    for path, owner in modules_of(module):
        if vars(owner).get(name) is built.config:
            yield AttributeChange(path, name, field, built.fields[field], after)


def _following(
    before: dict[Any, float], start: dict[Any, float], found: dict[Any, float]
) -> list[AttributeChange]:
    """The numbers of modules that the class sets from that of the config, if they are as it set them."""
    return [
        AttributeChange(place[1], place[2], place[3], int(value), int(found[place]))
        for place, value in before.items()
        if place[0] == "number" and type(value) is int
        if start.get(place) == value and place in found and found[place] != value
    ]
