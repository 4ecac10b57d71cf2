"""A schema as a space of a study: walks drawn at random, then children bred of the best."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from naivegraph.errors import SchemaError, StudyError
from naivegraph.network import Graph
from naivegraph.search.architecture_names import structure_name
from naivegraph.search.evolution import Selection, tournament
from naivegraph.search.schema.breeding import breed
from naivegraph.search.schema.depth import NodesWish
from naivegraph.search.schema.drawn_walk import Walk
from naivegraph.search.schema.feature_shape import ShapeWish
from naivegraph.search.schema.schema import Schema
from naivegraph.search.study import History, Proposal, name_of

__all__ = ["SchemaSpace"]


class SchemaSpace:
    """A space of a study whose networks are walks through a schema, each kept as its genome.

    The first networks are drawn at random; from then on most are bred of two that `select` chooses. They
    start with fresh weights. A network that was there before is not proposed again if another is found.

    Args:
        schema: The schema.
        shape: The shape of its input, as for `schema.walk`.
        nodes: The number of nodes, as for `schema.walk`.
        population: The number of networks drawn before any is bred.
        fresh: The probability with which one is drawn at random later, too.
        select: How a parent is chosen; by default the best of five.
        attempts: The number of walks tried for one proposal.

    Example:
        >>> from naivegraph import search
        >>> s = search.Schema()
        >>> a, b = s.node("a", search.conv(3), channels=(4, 16)), s.node("b", search.mean())
        >>> _ = a.then(a, weight=2).then(b)
        >>> space = search.SchemaSpace(s, (3, 8, 8), nodes=(2, 6))
    """

    def __init__(
        self,
        schema: Schema,
        shape: ShapeWish,
        *,
        nodes: NodesWish = None,
        population: int = 10,
        fresh: float = 0.1,
        select: Selection | None = None,
        attempts: int = 10,
    ) -> None:
        if not isinstance(schema, Schema):
            raise StudyError(f"SchemaSpace takes a search.Schema, not {schema!r}")
        if not 0 <= fresh <= 1 or population < 1 or attempts < 1:
            raise StudyError("fresh= is from 0 to 1; population= and attempts= are from 1 up")
        self.schema, self.shape, self.nodes = schema, shape, nodes
        self.population, self.fresh, self.attempts = population, fresh, attempts
        self.select = tournament() if select is None else select

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose a network that was not proposed before, if one is found.

        Raises:
            SchemaError: The schema has none for this shape; the message says which rules conflict.
        """
        last: Proposal | None = None
        for _ in range(self.attempts):
            last = self._proposal(history, rng)
            if last.name not in history.names:
                break
        return last

    def walk(self, structure: Mapping[str, Any]) -> Walk:
        """The walk of a proposal's structure."""
        return self.schema.walk(self.shape, genome=structure["genome"], nodes=self.nodes)

    def build(self, structure: Mapping[str, Any]) -> nn.Module:
        """The network of a proposal's structure, with fresh weights."""
        return self.graph(structure, None).to_module()

    def graph(self, structure: Mapping[str, Any], weights: Mapping[str, Tensor] | None) -> Graph:
        """The graph of a proposal's structure, with these weights or fresh ones."""
        graph = self.walk(structure).graph(structure["genome"][0] % (1 << 31))
        if weights is not None:
            graph.module.load_state_dict(dict(weights))
        return graph

    @property
    def fingerprint(self) -> str:
        """A text that tells this space from others: all that the schema states."""
        stated = {"schema": self.schema.text(), "shape": str(self.shape), "nodes": str(self.nodes)}
        return f"schema {name_of(stated)}"

    def _proposal(self, history: History, rng: random.Random) -> Proposal:
        seed = rng.getrandbits(31)
        parents: tuple[str, ...] = ()
        walk = None
        if len(history.names) >= self.population and history.allowed and rng.random() >= self.fresh:
            chosen = [self.select(history, rng) for _ in range(2)]
            parents = tuple(dict.fromkeys(each.name for each in chosen))
            try:
                walk = breed([self.walk(each.structure) for each in chosen], seed)
            except SchemaError:
                parents = ()  # these parents lead nowhere with this seed
        if walk is None:
            walk = self.schema.walk(self.shape, seed=seed, nodes=self.nodes)
        return Proposal(
            {"genome": walk.genome},
            structure_name(walk.graph()),
            parents,
            "bred" if parents else "drawn",
        )
