"""Mutations of depth and of connections: deeper, shallower, skip, unskip, another activation."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from naivegraph.edits.branch import branch
from naivegraph.edits.insert import insert
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.request.validate import whole
from naivegraph.errors import EditError
from naivegraph.graph.run.blocks import Block, Uses, is_activation, is_sum
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.mutation import (
    Mutation,
    NothingToDoError,
    Where,
    checked_where,
    first_that_can,
    output_shapes,
    picked,
)

__all__ = ["activation", "deeper", "shallower", "skip", "unskip"]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class deeper(Mutation):
    """One more layer, a linear one or a convolution, which starts as the identity.

    It comes behind an activation, followed by a ReLU where that changes nothing at the start (behind another
    ReLU), or behind a layer.

    Args:
        kernel: The size of the kernel of new convolutions, odd.
        where: The vertices behind which it may come.
        seed: Of new weights that are no zeros or ones.
    """

    keeps_function = True

    def __init__(self, kernel: int = 3, *, where: Where = None, seed: int = 0) -> None:
        if whole(kernel, "kernel", 1) % 2 == 0:
            raise EditError(f"kernel={kernel}: give an odd number")
        self.kernel, self.where, self.seed = kernel, checked_where(where), seed

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph

        def change(vertex: Vertex) -> str:
            """Insert a layer behind a vertex."""
            layers = self._layers(graph, vertex)
            edit = insert(graph, layers, after=vertex, identity=True, seed=self.seed)
            return f"deeper: {edit.asked['insert']} behind {vertex.name}"

        found = picked(genome, self.where, rng, (v for v in graph if _gives_neurons(graph, v)))
        return first_that_can(found, change, "deeper")

    def _layers(self, graph: Graph, vertex: Vertex) -> list[Callable[[int], nn.Module]]:
        dimensions = len(stubs_in(vertex.output)[0].shape)
        made = functools.partial(_layer, dimensions, self.kernel)
        return [made, _relu] if _is_relu(vertex) else [made]


def _layer(dimensions: int, kernel: int, size: int) -> nn.Module:
    if dimensions in _CONVOLUTIONS:
        return _CONVOLUTIONS[dimensions](size, size, kernel, padding=kernel // 2)
    return nn.Linear(size, size)


def _relu(size: int) -> nn.Module:
    return nn.ReLU()


def _is_relu(vertex: Vertex) -> bool:
    return isinstance(vertex.target, nn.ReLU) or [o.func._schema.name for o in vertex.operations] in (
        ["aten::relu"],
        ["aten::relu_"],
    )


def _gives_neurons(graph: Graph, vertex: Vertex) -> bool:
    """Tell whether a vertex gives one tensor of images or vectors, which others use."""
    found = stubs_in(vertex.output)
    if vertex.kind == "input" or len(found) != 1 or not found[0].dtype.is_floating_point:
        return False
    return len(found[0].shape) in (2, *_CONVOLUTIONS) and bool(graph.outputs_of(vertex))


class shallower(Mutation):
    """One layer or residual block less.

    Args:
        where: The layers, or first vertices of blocks, that may go.
    """

    def __init__(self, *, where: Where = None) -> None:
        self.where = checked_where(where)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph
        allowed = {v.name for v in picked(genome, self.where, rng, graph)}
        found: list[str | Block] = [
            v.name
            for v in graph
            if isinstance(v.target, nn.Module) and v.target._parameters and v.name in allowed
        ]
        found += [block for block in graph.blocks() if allowed.intersection(block.vertices)]
        rng.shuffle(found)

        def change(what: str | Block) -> str:
            """Take out a layer or a block."""
            shapes = output_shapes(graph)
            edit = remove(graph, what)
            if all(v.kind == "input" for v in graph):
                edit.undo()
                raise NothingToDoError("nothing would be left")
            if output_shapes(graph) != shapes:
                edit.undo()
                raise NothingToDoError("the output would have another shape")
            return f"shallower: without {what if isinstance(what, str) else what.name}"

        return first_that_can(found, change, "shallower")


class skip(Mutation):
    """A connection past some layers: a sum, to which a layer with zeros leads, so nothing changes at first.

    Args:
        where: The vertices from which it may start.
        far: The largest number of vertices that it leads past.
    """

    keeps_function = True

    def __init__(self, *, where: Where = None, far: int = 8) -> None:
        self.where, self.far = checked_where(where), whole(far, "far", 1)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph

        def change(ends: tuple[Vertex, Vertex]) -> str:
            """Add a branch."""
            start, end = ends
            edit = branch(graph, start, end)
            return f"skip: {start.name} to {end.name} ({edit.asked['name']})"

        return first_that_can(self._ends(genome, rng), change, "skip", most=12)

    def _ends(self, genome: Genome, rng: random.Random) -> Iterator[tuple[Vertex, Vertex]]:
        """Pairs of vertices whose tensors have the same extent."""
        vertices = genome.graph.vertices
        for start in picked(
            genome, self.where, rng, (v for v in vertices if _gives_neurons(genome.graph, v))
        ):
            at = vertices.index(start)
            ends = [v for v in vertices[at + 1 : at + 1 + self.far] if _alike(start, v)]
            if ends:
                yield start, rng.choice(ends)


def _alike(start: Vertex, end: Vertex) -> bool:
    one, two = stubs_in(start.output), stubs_in(end.output)
    if len(two) != 1 or len(one[0].shape) != len(two[0].shape) or end.kind == "input":
        return False
    return one[0].shape[2:] == two[0].shape[2:] and one[0].dtype == two[0].dtype


class unskip(Mutation):
    """One connection less, of those that end in a sum.

    Args:
        where: The sums that may lose one.
    """

    def __init__(self, *, where: Where = None) -> None:
        self.where = checked_where(where)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph

        def change(vertex: Vertex) -> str:
            """Take one summand away."""
            source = rng.choice(graph.inputs_of(vertex))
            disconnect(graph, source, vertex)
            return f"unskip: {source.name} from {vertex.name}"

        found = picked(genome, self.where, rng, (v for v in graph if is_sum(v)))
        return first_that_can(found, change, "unskip")


class activation(Mutation):
    """Another activation in the place of one.

    Args:
        kinds: Classes of layers without parameters to choose from.
        where: The activations that may change.
    """

    def __init__(
        self,
        kinds: Sequence[type[nn.Module]] = (nn.ReLU, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU),
        *,
        where: Where = None,
    ) -> None:
        self.kinds, self.where = tuple(kinds), checked_where(where)
        if not self.kinds or not all(isinstance(k, type) and issubclass(k, nn.Module) for k in self.kinds):
            raise EditError(f"kinds={kinds!r}: give classes of layers, such as (nn.ReLU, nn.GELU)")

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph

        def change(vertex: Vertex) -> str:
            """Put another activation in the place of one."""
            others = [kind for kind in self.kinds if type(vertex.target) is not kind]
            if not others:
                raise NothingToDoError(f"{vertex.name!r} has no other activation to choose")
            kind = rng.choice(others)
            edit = insert(graph, kind(), after=vertex)
            try:
                remove(graph, vertex)
            except EditError:
                edit.undo()
                raise
            return f"activation: {vertex.name} to {edit.asked['insert']}"

        uses = Uses(graph)
        found = picked(genome, self.where, rng, (v for v in graph if v.operations and is_activation(uses, v)))
        return first_that_can(found, change, "activation")
