"""Mutations: small changes of a network, which compose."""

from __future__ import annotations

import abc
import copy
import random
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.search.evolution.genome import Genome

__all__ = [
    "Mutation",
    "NothingToDoError",
    "Where",
    "alike",
    "chain",
    "chance",
    "checked_where",
    "computed",
    "one_of",
    "output_shapes",
    "output_vertices",
    "picked",
    "tried",
]

Where = str | Sequence[str] | Callable[[Vertex], bool] | None
"""Vertices that a mutation may choose: patterns of names, a function of a vertex, or None for all."""

_Choice = TypeVar("_Choice")


class NothingToDoError(EditError):
    """A mutation finds no place in a network."""


class Mutation(abc.ABC):
    """A change of a network, chosen at random. One of one's own is a class with `__call__`.

    Attributes:
        keeps_function: The network computes the same afterwards, before any training.

    Example:
        >>> import naivegraph as ng
        >>> class OneWider(Mutation):
        ...     keeps_function = True
        ...     def __call__(self, genome, rng):
        ...         name = rng.choice(["0", "1"])
        ...         ng.resize(genome.graph, {name: +1})
        ...         return f"{name} +1"
    """

    keeps_function: bool = False

    @abc.abstractmethod
    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place.

        Args:
            genome: The network and its recipe. A copy, so that it may be left half changed by an error.
            rng: Random numbers; no others may be used, so that a seed gives the same search.

        Returns:
            What was done, in a few words.

        Raises:
            EditError: It cannot be done to this network; the search tries something else.
        """


def tried(mutation: Mutation, genome: Genome, rng: random.Random) -> tuple[Genome, str] | None:
    """A mutated copy and what was done; None where the mutation can do nothing to this network.

    What changes the shape of an output counts as nothing, as no training would know what to do with it.
    """
    child = copy.deepcopy(genome)
    try:
        told = mutation(child, rng)
    except EditError:
        return None
    return (child, told) if output_shapes(child.graph) == output_shapes(genome.graph) else None


def output_shapes(graph: Graph) -> list[tuple[int, ...]]:
    """The shapes of a network's outputs on its example."""
    return [tuple(stub.shape) for stub in stubs_in(graph.output)]


def computed(graph: Graph) -> list[Tensor]:
    """The tensors that a network returns for its example in eval mode; it is as it was afterwards."""
    with preserved(graph.module), torch.no_grad():
        out = Interpreter(graph).run(placed(graph, copy_tensors(graph.example)))
    return [leaf for leaf in leaves(out) if isinstance(leaf, Tensor)]


def alike(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Tell whether tensors are equal but for the rounding of sums in another order."""
    return len(before) == len(after) and all(
        one.shape == two.shape and torch.allclose(one, two, 0.0, 1e-5 * _scale(one), equal_nan=True)
        for one, two in zip(before, after, strict=True)
    )


def _scale(tensor: Tensor) -> float:
    return max(1.0, float(tensor.abs().nan_to_num(0.0, 1.0, 1.0).max())) if tensor.numel() else 1.0


def output_vertices(graph: Graph) -> list[Vertex]:
    """The vertices that compute what a network returns."""
    returned = {stub.id for stub in stubs_in(graph.output)}
    return [v for v in graph if v.kind != "input" and returned & {stub.id for stub in stubs_in(v.output)}]


def checked_where(where: Where) -> Where:
    """The vertices that a mutation may choose.

    Raises:
        EditError: They are told by neither names nor a function.
    """
    texts = [where] if isinstance(where, str) else where
    if where is None or callable(where):
        return where
    if not isinstance(texts, (list, tuple)) or not all(isinstance(each, str) for each in texts):
        raise EditError(f"where={where!r}: give patterns of names, or a function of a vertex")
    return where


def checked_mutation(mutation: object) -> Mutation:
    """The mutation.

    Raises:
        EditError: It is none.
    """
    if not isinstance(mutation, Mutation):
        raise EditError(f"{mutation!r} is no mutation, such as search.wider(), or of a class of your own")
    return mutation


def picked(genome: Genome, where: Where, rng: random.Random, among: Iterable[Vertex]) -> list[Vertex]:
    """The vertices that a mutation may choose, in random order."""
    if where is None:
        chosen = list(among)
    elif callable(where):
        chosen = [vertex for vertex in among if where(vertex)]
    else:
        patterns = [where] if isinstance(where, str) else list(where)
        chosen = [v for v in among if any(fnmatchcase(v.name, pattern) for pattern in patterns)]
    rng.shuffle(chosen)
    return chosen


def first_that_can(
    choices: Iterable[_Choice], change: Callable[[_Choice], str], what: str, most: int = 6
) -> str:
    """Try choices until one is possible; each attempt leaves the network as it was if it is not.

    Raises:
        NothingToDoError: None of the first few is.
    """
    reason = "there is no place for it"
    for tries, choice in enumerate(choices):
        if tries == most:
            break
        try:
            return change(choice)
        except EditError as error:
            reason = str(error)
    raise NothingToDoError(f"{what}: {reason}")


class chance(Mutation):
    """A mutation that is made with a probability, and else leaves the network as it is.

    Args:
        probability: From 0 to 1.
        mutation: The mutation.
    """

    def __init__(self, probability: float, mutation: Mutation) -> None:
        if not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
            raise EditError(f"probability={probability}: give a number from 0 to 1, and then the mutation")
        self.probability, self.mutation = probability, checked_mutation(mutation)
        self.keeps_function = mutation.keeps_function

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place, or not."""
        return self.mutation(genome, rng) if rng.random() < self.probability else ""


class chain(Mutation):
    """Several mutations, one after the other; those that find no place are left out.

    Args:
        mutations: The mutations in order.
    """

    def __init__(self, *mutations: Mutation) -> None:
        if not mutations:
            raise EditError("chain takes mutations, at least one")
        self.mutations = tuple(map(checked_mutation, mutations))
        self.keeps_function = all(each.keeps_function for each in mutations)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        done: list[str] = []
        for mutation in self.mutations:
            try:
                done.append(mutation(genome, rng))
            except EditError:
                continue
        told = ", ".join(filter(None, done))
        if not told:
            raise NothingToDoError("none of the mutations of the chain could be made")
        return told


class one_of(Mutation):
    """One of several mutations, chosen at random.

    Args:
        mutations: The mutations.
        weights: How often each is chosen, relative to each other; by default equally often.
    """

    def __init__(self, *mutations: Mutation, weights: Sequence[float] | None = None) -> None:
        if not mutations or (weights is not None and len(weights) != len(mutations)):
            raise EditError("one_of takes mutations, and as many weights as there are of them")
        self.mutations = tuple(map(checked_mutation, mutations))
        self.weights = None if weights is None else list(weights)
        self.keeps_function = all(each.keeps_function for each in mutations)

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        return rng.choices(self.mutations, self.weights)[0](genome, rng)
