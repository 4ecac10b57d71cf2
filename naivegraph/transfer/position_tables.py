"""The table of positions of a network, and the grid of patches that its rows stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from torch import nn

from naivegraph.errors import EditError, nearest
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.operator_record import Role
from naivegraph.operators.relation import InputTensor, arguments, tensors_in
from naivegraph.transfer.lookup_tables import looked_up
from naivegraph.transfer.position_uses import counting, picked_rows, worked_out

__all__ = ["GridTable", "PositionTable", "grid_table", "length_table"]


@dataclasses.dataclass(frozen=True)
class PositionTable:
    """A parameter with a row for each position.

    Attributes:
        name: Its name.
        rows: Their number.
        dim: The dimension they lie along.
    """

    name: str
    rows: int
    dim: int


@dataclasses.dataclass(frozen=True)
class GridTable:
    """A table of positions on a grid of patches.

    Attributes:
        table: The table.
        before: The number of rows in front that are no patches.
        old: The rows and columns of patches before.
        new: Those afterwards.
        image: The height and width of images before.
        input: The input of the network that is the image.
        dims: The dimensions of its height and width.
        path: The path of the layer that makes patches of it.
        others: Sizes that say something else: of kernels and strides, of channels and features.
    """

    table: PositionTable
    before: int
    old: tuple[int, int]
    new: tuple[int, int]
    image: tuple[int, int]
    input: InputTensor
    dims: tuple[int, int]
    path: str
    others: frozenset[int]


def length_table(graph: Graph, name: str | None) -> PositionTable:
    """The table that positions in a text are looked up in, by numbers that count them.

    Raises:
        EditError: There is none of that name, or not a single one, or it is of something else.
    """
    every, counts = list(looked_up(graph)), counting(graph)
    if name is not None:
        table = next((table for table in every if graph.state[table.name] is graph.state.get(name)), None)
        if table is None:
            return _not_picked(graph, _parameter(graph, name))
        if counts.get(table.name) is False:
            raise EditError(
                f"what is looked up in {name} on the example does not count positions: its rows are kinds, "
                "tokens or relative positions, and do not follow another length"
            )
        return PositionTable(name, table.rows, 0)
    open_to = [table for table in every if not table.inputs and counts.get(table.name) is not False]
    sure = [table for table in open_to if counts.get(table.name)]
    found = sure if len(sure) == 1 else open_to
    if len(found) != 1:
        raise EditError(_which(graph, [table.name for table in found], counts))
    return PositionTable(found[0].name, found[0].rows, 0)


def _which(graph: Graph, found: list[str], counts: dict[str, bool]) -> str:
    """The sentence for none or several tables that may have the positions."""
    if found:
        return (
            f"{len(found)} tables are looked up by something else than an input of the network: say with "
            f"table= which has the positions ({', '.join(found)})"
        )
    told = "no table is looked up by numbers that count positions"
    picked = dict(picked_rows(graph))
    if picked:
        told += f"; {_first(picked)} has rows for relative positions, which do not follow"
    elif buffers := worked_out(graph):
        told += (
            f"; {buffers[0]} is worked out by the code, as rotary positions are: that needs no table, and "
            "the network takes other lengths as it is, or built by its config"
        )
    others = [name for name, counted in counts.items() if not counted]
    if others:
        told += f"; what is looked up in {', '.join(others)} does not count positions on the example"
    return f"{told}; if a parameter has the positions nevertheless, say with table= which"


def _first(picked: dict[str, str]) -> str:
    name, vertex = next(iter(picked.items()))
    return f"{name} (of {vertex!r}{f', and {len(picked) - 1} more' if len(picked) > 1 else ''})"


def _not_picked(graph: Graph, table: PositionTable) -> PositionTable:
    """The table, if rows are not picked from it one by one.

    Raises:
        EditError: They are.
    """
    vertex = dict(picked_rows(graph)).get(table.name)
    if vertex is not None:
        raise EditError(
            f"{vertex!r} picks rows of {table.name} by pairs of positions or the like: a table of relative "
            "positions does not follow another number of them; build the network with the other size"
        )
    return table


def _parameter(graph: Graph, name: str) -> PositionTable:
    """A parameter of rows by features, perhaps with a dimension of one in front.

    Raises:
        EditError: It is none.
    """
    stub = graph.state.get(name)
    if stub is None:
        raise EditError(f"the network has no parameter {name!r}{nearest(name, graph.state)}")
    if len(stub.shape) < 2 or any(size != 1 for size in stub.shape[:-2]):
        raise EditError(f"{name} has shape {stub.shape}: a table of positions has rows by features")
    return PositionTable(name, stub.shape[-2], len(stub.shape) - 2)


def grid_table(
    graph: Graph,
    name: str | None,
    grid: tuple[int, int] | None,
    before: int | None,
    image: tuple[int, int],
) -> GridTable:
    """The table of positions of an image's patches, and its grids before and afterwards.

    Raises:
        EditError: There is no such table, or the grid does not fit it.
    """
    patch, source, place = _patches(graph)
    layer = patch.target
    if not isinstance(layer, nn.Conv2d):
        raise EditError(f"{patch.name!r}, which reads the image, is no Conv2d: its grid is not known")
    out = tensors_in(patch.output)[0]
    old = (out.shape[-2], out.shape[-1]) if grid is None else (int(grid[0]), int(grid[1]))
    table = _not_picked(graph, _parameter(graph, name)) if name is not None else _added(graph, old, before)
    front = table.rows - old[0] * old[1] if before is None else before
    if front < 0 or front + old[0] * old[1] != table.rows:
        raise EditError(
            f"{table.name} has {table.rows} rows, which are not {old[0]} x {old[1]} patches"
            + (f" and {before} rows in front" if before is not None else "")
            + ": state the grid it was made for with grid=(rows, columns), and rows in front with before="
        )
    new = tuple(_after(layer, dim, side) for dim, side in enumerate(image))
    if min(new) < 1:
        raise EditError(f"an image of {image[0]} x {image[1]} pixels has no patch for {patch.name!r}")
    shape = source.shape
    dims = (len(shape) - 2, len(shape) - 1)
    features = graph.state[table.name].shape[-1]
    others = frozenset((*layer.kernel_size, *layer.stride, *layer.weight.shape, features))
    sides, size = (new[0], new[1]), (shape[-2], shape[-1])
    return GridTable(table, front, old, sides, size, place, dims, patch.path, others)


def _patches(graph: Graph) -> tuple[Vertex, Stub, InputTensor]:
    """The convolution that reads the image, the image, and its place among the inputs."""
    inputs = {
        stub.id: (vertex.name, index)
        for vertex in graph.inputs
        for index, stub in enumerate(tensors_in(vertex.output))
        if len(stub.shape) == 4
    }
    found = [
        (vertex, stub, inputs[stub.id])
        for vertex in graph.vertices
        for operation in vertex.operations
        if record_of(operation.func).role is Role.CONVOLUTION
        for stub in [_source(arguments(operation))]
        if stub is not None and stub.id in inputs
    ]
    if len(found) != 1:
        raise EditError(
            f"{len(found)} convolutions read an image that the network takes: positions of patches are known "
            "only where one does"
        )
    return found[0]


def _source(given: dict[str, object]) -> Stub | None:
    found = given.get("input", given.get("self"))
    return found if isinstance(found, Stub) else None


def _after(layer: nn.Conv2d, dim: int, side: int) -> int:
    """The number of patches along a side; the formula is that of torch.nn.Conv2d."""
    padding = layer.padding[dim] if isinstance(layer.padding, tuple) else 0
    span = layer.dilation[dim] * (layer.kernel_size[dim] - 1) + 1
    return (side + 2 * int(padding) - span) // layer.stride[dim] + 1


def _added(graph: Graph, grid: tuple[int, int], before: int | None) -> PositionTable:
    """The parameter with a row for each patch that is added to something, or looked up.

    Raises:
        EditError: There is none, or several.
    """
    patches = grid[0] * grid[1]
    found = {table.name: table for table in _candidates(graph, patches, before)}
    rows = f"a row for each of {grid[0]} x {grid[1]} patches"
    if not found:
        picked, buffers = dict(picked_rows(graph)), worked_out(graph)
        relative = (
            f"a table of relative positions, as {_first(picked)},"
            if picked
            else "a table of relative positions"
        )
        rotary = (
            f"positions that the code works out, as {buffers[0]},"
            if buffers
            else "positions that the code works out"
        )
        raise EditError(
            f"no parameter with {rows} is added to something or looked up: state the grid with grid= and the "
            f"table with table=, if there is one; {relative} or {rotary} do not follow"
        )
    if len(found) > 1:
        raise EditError(f"{', '.join(found)} have {rows}: say which with table=")
    return next(iter(found.values()))


def _candidates(graph: Graph, patches: int, before: int | None) -> Iterator[PositionTable]:
    numbers = _summands(graph)
    tables = {table.name for table in looked_up(graph)}
    for name, stub in graph.state.items():
        if (stub.id not in numbers and name not in tables) or len(stub.shape) < 2:
            continue
        more = stub.shape[-2] - patches
        fits = more == before if before is not None else 0 <= more < patches
        if fits and all(size == 1 for size in stub.shape[:-2]):
            yield PositionTable(name, stub.shape[-2], len(stub.shape) - 2)


def _summands(graph: Graph) -> set[int]:
    """The numbers of parameters that are added to something, perhaps in another shape."""
    origins = {stub.id: stub.id for stub in graph.state.values()}
    found: set[int] = set()
    for operation in (each for vertex in graph.vertices for each in vertex.operations):
        own = [origins[stub.id] for stub in operation.operands if stub.id in origins]
        if operation.func.overloadpacket.__name__ in ("add", "add_"):
            found.update(own)
        elif len(own) == 1 and movement_of(operation) is not None:
            origins.update({out.id: own[0] for out in operation.outputs if out is not None})
    return found
