"""The tests that every mutation has to pass, for authors of mutations."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from naivegraph.edits.save.network_structure import Structure
from naivegraph.errors import EditError
from naivegraph.extend.checks import expect, tensors_of
from naivegraph.extend.example_networks import example_networks
from naivegraph.network import Graph, capture
from naivegraph.search.evolution import Genome, Mutation
from naivegraph.search.evolution.mutation import output_shapes

__all__ = ["MutationContract"]


class MutationContract:
    """The promises of a `Mutation`; a subclass in a test file names it, and pytest finds the tests.

    Attributes:
        mutation: The mutation under test.
        graphs: By name, the networks that are mutated.
        seeds: How many children of each network are made.

    Example:
        >>> from naivegraph import search
        >>> class TestWider(MutationContract):
        ...     mutation = search.wider()
        >>> TestWider().test_keeps_the_function_if_it_says_so()
    """

    mutation: ClassVar[Mutation]
    graphs: ClassVar[dict[str, Graph]]
    seeds: ClassVar[int] = 5

    def test_it_finds_a_place_in_some_network(self) -> None:
        """At least one child is made, and what was done is told in words."""
        told = [what for _, _, what in self._children()]
        expect(bool(told), "no network could be mutated, whatever the seed")
        expect(all(isinstance(what, str) for what in told), f"it returns {told[0]!r}, not a few words")

    def test_a_seed_gives_the_same_child(self) -> None:
        """No random numbers but those that are given are used."""
        for one, two in zip(self._children(), self._children(), strict=True):
            expect(one[2] == two[2], f"the same seed gives {one[2]!r} and {two[2]!r}")
            first, second = one[1].graph, two[1].graph
            expect(_same(_numbers(first), _numbers(second)), f"{one[2]}: weights differ from run to run")
            expect(one[1].recipe == two[1].recipe, f"{one[2]}: recipes differ from run to run")

    def test_the_parent_stays_as_it_is(self) -> None:
        """A child shares nothing with its parent that is changed."""
        for name, graph in self.graphs.items():
            parent = Genome(graph, {"learning_rate": 0.01, "batch_size": 8})
            before, recipe = copy.deepcopy(_numbers(graph)), dict(parent.recipe)
            for seed in range(self.seeds):
                _mutated(self.mutation, parent, seed)
            expect(_same(before, _numbers(graph)) and recipe == parent.recipe, f"{name}: the parent changed")

    def test_children_run_and_learn(self) -> None:
        """A child whose outputs have their shapes runs and has gradients; so does a module made of it."""
        for graph, child, told in self._children():
            if output_shapes(child.graph) != output_shapes(graph):
                continue  # which a search does not take
            x = tuple(child.graph.example.values())
            for network in (child.graph, child.graph.to_module()):
                out = tensors_of(network(*x))
                expect(all(bool(tensor.isfinite().all()) for tensor in out), f"{told}: not finite")
                torch.autograd.backward(sum((tensor.sum() for tensor in out), torch.zeros(())))

    def test_keeps_the_function_if_it_says_so(self) -> None:
        """With `keeps_function` a child computes what its parent does, but for rounding."""
        for graph, child, told in self._children() if self.mutation.keeps_function else ():
            x = tuple(graph.example.values())
            for one, two in zip(tensors_of(graph(*x)), tensors_of(child.graph(*x)), strict=True):
                off = float((one - two).detach().abs().max()) if one.shape == two.shape else float("inf")
                expect(
                    off <= 1e-4 * (1 + float(one.detach().abs().max())),
                    f"{told}: outputs differ by {off:.1e}",
                )

    def test_children_can_be_data(self) -> None:
        """A child can be written as data and read again, as a study does."""
        for _, child, told in self._children():
            x = tuple(child.graph.example.values())
            again = Structure.of(child.graph).graph()
            for one, two in zip(tensors_of(child.graph(*x)), tensors_of(again(*x)), strict=True):
                expect(torch.equal(one, two), f"{told}: the network that is read computes something else")

    def _children(self) -> Iterator[tuple[Graph, Genome, str]]:
        for graph in self.graphs.values():
            parent = Genome(graph, {"learning_rate": 0.01, "batch_size": 8})
            for seed in range(self.seeds):
                made = _mutated(self.mutation, parent, seed)
                if made is not None:
                    yield graph, *made


def _mutated(mutation: Mutation, parent: Genome, seed: int) -> tuple[Genome, str] | None:
    """A child and what was done; None where the mutation is refused, which only an EditError says."""
    child = copy.deepcopy(parent)
    try:
        return child, mutation(child, random.Random(seed))
    except EditError:
        return None


def _numbers(graph: Graph) -> dict[str, Tensor]:
    return dict(graph.module.state_dict())


def _same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _graphs() -> dict[str, Graph]:
    return {name: capture(network, args) for name, (network, args) in example_networks().items()}


MutationContract.graphs = _graphs()
