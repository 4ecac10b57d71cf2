"""Walks bred of others inherit what these drew."""

from __future__ import annotations

import json

import pytest

from naivegraph import search
from naivegraph.errors import SchemaError
from tests.search.schema.spaces import residual, unet

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def schema() -> search.Schema:
    return residual()


def walks(schema: search.Schema, count: int) -> list[search.Walk]:
    return [schema.walk(SHAPE, seed=seed, nodes=(8, 30)) for seed in range(count)]


def test_one_parent_without_mutation_is_that_parent_again(schema: search.Schema) -> None:
    for walk in walks(schema, 5):
        assert str(search.breed([walk], seed=9, mutate=0)) == str(walk)


def test_every_index_comes_from_a_parent_or_is_fresh(schema: search.Schema) -> None:
    one, two = walks(schema, 2)
    known = set(one.genome) | set(two.genome)
    fresh = inherited = crossed = 0
    for seed in range(20):
        child = search.breed([one, two], seed=seed, switch=0.3, mutate=0.2)
        assert 8 <= len(child) <= 30
        new = sum(index not in known for index in child.genome)
        fresh, inherited = fresh + new, inherited + len(child) - new
        crossed += bool(set(child.genome) & set(one.genome)) and bool(set(child.genome) & set(two.genome))
    assert 0.1 < fresh / (fresh + inherited) < 0.4
    assert crossed > 10


def test_inheriting_and_mutating_are_the_right_way_round(schema: search.Schema) -> None:
    one, two = walks(schema, 2)
    known = set(one.genome) | set(two.genome)
    assert set(search.breed([one, two], seed=1, mutate=0).genome) <= known
    assert not set(search.breed([one, two], seed=1, mutate=1).genome) & known


def test_a_childs_genome_gives_the_child_again(schema: search.Schema) -> None:
    one, two = walks(schema, 2)
    for seed in range(5):
        child = search.breed([one, two], seed=seed)
        genome = json.loads(json.dumps(child.genome))
        assert str(schema.walk(SHAPE, genome=genome, nodes=(8, 30))) == str(child)


def test_children_compile(schema: search.Schema) -> None:
    child = search.breed(walks(schema, 3), seed=4)
    graph = child.graph()
    assert graph.sizes["head.dense"] == 10


def test_parents_have_to_fit(schema: search.Schema) -> None:
    (one,) = walks(schema, 1)
    other = unet().walk((1, 32, 32), nodes=7)
    with pytest.raises(SchemaError, match="parents are walks of one schema"):
        search.breed([one, other])
    with pytest.raises(SchemaError, match="at least one"):
        search.breed([])
    with pytest.raises(SchemaError, match="mutate is a probability"):
        search.breed([one], mutate=2)
