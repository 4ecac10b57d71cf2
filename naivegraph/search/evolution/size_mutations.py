"""Mutations of sizes: wider, narrower, and other kernels."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from torch import nn

import naivegraph.edits.resize_kernel as kernels
from naivegraph.edits.request.requests import Frozen, relaxed
from naivegraph.edits.request.validate import above_zero, whole
from naivegraph.edits.resize import resize
from naivegraph.errors import EditError
from naivegraph.ir.vertex import Vertex
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.mutation import (
    Mutation,
    NothingToDoError,
    Where,
    alike,
    checked_where,
    computed,
    first_that_can,
    output_vertices,
    picked,
)
from naivegraph.utility import Utility

__all__ = ["kernel", "narrower", "wider"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Resized(Mutation):
    """A change of the sizes of some layers by a part of what they are, by one program for all of them.

    Args:
        by: The largest part of its size by which a layer changes; how much it is is drawn for each.
        layers: The number of layers that it is asked of; what must follow follows.
        where: The layers it may be asked of.
        utility: What neurons are worth, where some go.
    """

    sign = 1

    def __init__(
        self, by: float = 0.5, layers: int = 1, *, where: Where = None, utility: Utility = None
    ) -> None:
        self.by, self.layers = above_zero(by, "by"), whole(layers, "layers", 1)
        self.where, self.utility = checked_where(where), utility

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph
        found = picked(genome, self.where, rng, (v for v in graph if _has_size(v)))
        held = {vertex.name: Frozen() for vertex in output_vertices(graph)}
        before = computed(graph) if self.keeps_function else None

        def change(vertices: Sequence[Vertex]) -> str:
            """Resize some layers."""
            sizes = graph.sizes
            asked = {
                v.name: self.sign * max(1, round(rng.uniform(0, self.by) * sizes[v.name])) for v in vertices
            }
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the nearest change will do
                wishes = {name: relaxed(more) for name, more in asked.items() if name not in held}
                edit = resize(graph, {**wishes, **held}, utility=self.utility)
            if not edit or graph.sizes == sizes:
                raise NothingToDoError(f"{', '.join(asked)} cannot change")
            if before is not None and not alike(before, computed(graph)):
                edit.undo()
                raise NothingToDoError(
                    f"{', '.join(asked)} cannot grow without a change of what the network computes; "
                    "wider(keep=False) grows them all the same"
                )
            changed = [n for n in asked if graph.sizes[n] != sizes[n]] or list(asked)
            return ", ".join(f"{n} {sizes[n]} to {graph.sizes[n]}" for n in changed)

        groups = [found[i : i + self.layers] for i in range(0, len(found), self.layers)]
        return f"{type(self).__name__}: {first_that_can(groups, change, type(self).__name__)}"


class wider(_Resized):
    """More neurons in some layers; the network computes the same.

    Layers whose growth would change that, such as those before a function and then a norm, are left out,
    unless `keep` is False.

    Args:
        by: The largest part of its size by which a layer grows; how much it is is drawn for each.
        layers: The number of layers that it is asked of; what must follow follows.
        where: The layers it may be asked of.
        utility: Worth of neurons, where a size of several factors is met by other ones and some go.
        keep: Only growth after which the network computes the same on its example.

    Example:
        >>> import random, torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> genome = Genome(ng.capture(net, torch.ones(1, 4)))
        >>> wider(where="0")(genome, random.Random(0))
        'wider: 0 8 to 11'
    """

    def __init__(
        self,
        by: float = 0.5,
        layers: int = 1,
        *,
        where: Where = None,
        utility: Utility = None,
        keep: bool = True,
    ) -> None:
        super().__init__(by, layers, where=where, utility=utility)
        self.keeps_function = keep


class narrower(_Resized):
    """Fewer neurons in some layers; those of the least utility go.

    Args:
        by: The largest part of its size by which a layer shrinks; how much it is is drawn for each.
        layers: The number of layers that it is asked of; what must follow follows.
        where: The layers it may be asked of.
        utility: What neurons are worth, by default "magnitude"; see `naivegraph.utility.utility`.
    """

    sign = -1


class kernel(Mutation):
    """Another size of the kernel of a convolution; where it grows, the network computes the same.

    Args:
        sizes: The sizes to choose from.
        where: The convolutions to choose from.
        grow_only: Only larger sizes, so that the function is always kept.
    """

    def __init__(
        self, sizes: Sequence[int] = (1, 3, 5, 7), *, where: Where = None, grow_only: bool = False
    ) -> None:
        self.sizes = tuple(whole(each, "a size of a kernel", 1) for each in sizes)
        if not self.sizes:
            raise EditError("sizes=(): give sizes of kernels to choose from")
        self.where, self.grow_only = checked_where(where), grow_only
        self.keeps_function = grow_only

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph

        def change(vertex: Vertex) -> str:
            """Give one convolution another kernel."""
            now = int(getattr(vertex.target, "kernel_size")[0])  # noqa: B009
            sizes = [s for s in self.sizes if s > now or (s < now and not self.grow_only)]
            if not sizes:
                raise NothingToDoError(f"{vertex.name!r} has no other size to choose")
            size = rng.choice(sizes)
            kernels.resize_kernel(graph, {vertex.name: size})
            return f"kernel: {vertex.name} {now} to {size}"

        found = picked(genome, self.where, rng, (v for v in graph if isinstance(v.target, _CONVOLUTIONS)))
        return first_that_can(found, change, "kernel")


def _has_size(vertex: Vertex) -> bool:
    """Tell layers that make neurons from those that pass them on."""
    target = vertex.target
    return isinstance(target, nn.Module) and any(each.ndim >= 2 for each in target.parameters())
