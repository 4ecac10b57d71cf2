"""Evolution as a space of a study: children of the best networks so far, with their weights."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from naivegraph.edits.request.validate import above_zero
from naivegraph.errors import EditError, NaivegraphError, StudyError
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph
from naivegraph.search.architecture_names import structure_name
from naivegraph.search.evolution.genome import Genome, network_of, start_anew
from naivegraph.search.evolution.graft import graft
from naivegraph.search.evolution.mutation import Mutation, output_shapes, tried
from naivegraph.search.evolution.network_features import network_features
from naivegraph.search.evolution.selection import Selection, tournament
from naivegraph.search.study import Candidate, History, Proposal, name_of

__all__ = ["Evolution"]

Start = Graph | Callable[[int], Graph]
_LONGER = 5  # times as many attempts where the start is beyond a limit


class Evolution:
    """A space whose networks are children of those evaluated so far.

    The first networks are the starts, each once, and mutated copies of them. From then on each one is a child
    of a parent that `select` chooses: mutated, or joined with another one (`graft`), with its parent's
    weights. A network that was there before is not proposed again if another is found.

    Args:
        start: Graphs (written by hand, of a schema, or captured from any network) with the same inputs and
            outputs; or a function of a number that makes one, such as `lambda seed: schema.compile(shape,
            seed=seed)`.
        mutations: Mutations, of which one is drawn for each child.
        select: How a parent is chosen, such as `search.tournament(5)` or `search.nsga2(20)`.
        population: The number of networks before parents are chosen.
        cross: The probability with which a child is joined of two parents before it is mutated.
        limits: The largest value of a cost by its name, such as `{"params": 50_000}`: children beyond it are
            not proposed; a start may be, if mutations make it smaller.
        recipe: What the first networks are trained with.
        inherit: Children start with their parents' weights; otherwise with new ones.
        attempts: The number of children tried for one proposal; fewer after proposals of known networks.

    Example:
        >>> import torch, naivegraph as ng
        >>> from naivegraph import search
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> space = search.Evolution(ng.capture(net, torch.ones(1, 4)), [search.wider(), search.deeper()])
    """

    def __init__(
        self,
        start: Start | Sequence[Start],
        mutations: Sequence[Mutation],
        *,
        select: Selection | None = None,
        population: int = 10,
        cross: float = 0.0,
        limits: Mapping[str, float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        inherit: bool = True,
        attempts: int = 10,
    ) -> None:
        starts = list(start) if isinstance(start, Sequence) else [start]
        fit = [isinstance(e, Graph) or (callable(e) and not isinstance(e, (nn.Module, type))) for e in starts]
        if not starts or not all(fit):
            raise StudyError(
                "start= takes graphs (ng.capture(network, example)), or a function that makes one"
            )
        _check_alike([each for each in starts if isinstance(each, Graph)], limits or {})
        odd = [each for each in mutations if not callable(each) or isinstance(each, type)]
        if odd:
            raise StudyError(f"mutations= takes mutations, such as search.wider(), not {odd[0]!r}")
        if select is not None and (not callable(select) or isinstance(select, type)):
            raise StudyError(f"select= is a selection, such as search.tournament(5), not {select!r}")
        try:
            json.dumps(dict(recipe or {}))
        except (TypeError, ValueError) as error:
            raise StudyError(f"recipe= holds what JSON cannot say: {error}") from error
        if not mutations and not cross:
            raise StudyError("mutations= takes at least one, such as search.wider()")
        for name, limit in (limits or {}).items():
            above_zero(limit, f"limit {name!r}")
        if not 0 <= cross <= 1 or population < 1 or attempts < 1:
            raise StudyError("cross= is from 0 to 1; population= and attempts= are from 1 up")
        self.starts, self.mutations = starts, list(mutations)
        self.select = tournament() if select is None else select
        self.population, self.cross, self.attempts = population, cross, attempts
        self.limits, self.recipe, self.inherit = dict(limits or {}), dict(recipe or {}), inherit

    # What a study asks of a space

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose a child, or one of the first networks."""
        number = len(history.names)
        if number < max(len(self.starts), self.population) or not history.allowed:
            return self._first(number, history, rng)
        last: Proposal | None = None
        # A small space is told to be exhausted by proposals in vain, for which a child each is enough.
        for _ in range(max(1, self.attempts >> history.repeated)):
            child = self._child(history, rng)
            if child is not None:
                if child.name not in history.names:
                    return child
                last = child
        return last

    @staticmethod
    def build(structure: Mapping[str, Any]) -> nn.Module:
        """Make the network of a proposal's structure; a study then loads its weights."""
        return network_of(structure)

    @staticmethod
    def graph(structure: Mapping[str, Any], weights: Mapping[str, Tensor] | None) -> Graph:
        """Make the graph of a proposal's structure with weights."""
        return Genome.of_data(structure, weights).graph

    @staticmethod
    def features(structure: Mapping[str, Any]) -> dict[str, float]:
        """Describe the network of a proposal's structure by numbers, for `search.SurrogateSpace`."""
        return network_features(structure)

    @property
    def fingerprint(self) -> str:
        """A text that tells this space from others."""
        names = [structure_name(each) if isinstance(each, Graph) else repr(each) for each in self.starts]
        kinds = [type(mutation).__name__ for mutation in self.mutations]
        return f"evolution of {', '.join(names)} by {', '.join(kinds)}"

    # Networks

    def _first(self, number: int, history: History, rng: random.Random) -> Proposal | None:
        """One of the starts, or a mutated copy of one."""
        start = self.starts[number % len(self.starts)]
        made = not isinstance(start, Graph)
        genome = Genome(
            copy.deepcopy(start) if isinstance(start, Graph) else start(number), dict(self.recipe)
        )
        if made or number < len(self.starts):
            return self._proposal(genome, (), "start", None, 0)
        parent, told, keeps = structure_name(genome.graph), [], True
        beyond, base = self._beyond(genome), genome
        for _ in range(self.attempts * (_LONGER if beyond > 1 else 1)):
            mutation = rng.choice(self.mutations) if self.mutations else None
            found = None if mutation is None else tried(mutation, base, rng)
            if found is None or mutation is None:
                continue
            now = self._beyond(found[0])
            if now > 1:  # a start beyond a limit is changed until it keeps it
                if now < beyond:
                    beyond, base, keeps = now, found[0], keeps and mutation.keeps_function
                    told.append(found[1])
                continue
            words = ", ".join(filter(None, [*told, found[1]]))
            kept = keeps and mutation.keeps_function
            proposal = self._proposal(found[0], (parent,), words, kept, 0)
            if proposal is not None and proposal.name not in history.names:
                return proposal
        return self._proposal(genome, (), "start", None, 0)

    def _child(self, history: History, rng: random.Random) -> Proposal | None:
        """A child of one or two parents; None where what was drawn cannot be done."""
        parent = self.select(history, rng)
        genome = _genome(parent)
        parents, told, keeps = [parent.name], [], True
        epochs = parent.epochs
        if rng.random() < self.cross:
            other = self.select(history, rng)
            try:
                genome, words = graft(genome, _genome(other), rng)
            except NaivegraphError:
                return None
            parents, keeps = [parent.name, other.name], False
            told.append(words)
        if self.mutations:
            mutation = rng.choice(self.mutations)
            found = tried(mutation, genome, rng)
            if found is None and not told:
                return None
            if found is not None:
                genome, words = found
                told.append(words)
                keeps = keeps and mutation.keeps_function
        if not self._within(genome):
            return None
        return self._proposal(genome, tuple(parents), ", ".join(filter(None, told)), keeps, epochs)

    def _within(self, genome: Genome) -> bool:
        """Check the limits that need no training."""
        return self._beyond(genome) <= 1

    def _beyond(self, genome: Genome) -> float:
        """The largest cost as a multiple of its limit; 0 without limits."""
        if not self.limits:
            return 0.0
        costs = genome.graph.costs(*self.limits)
        return max(float(costs[name]) / limit for name, limit in self.limits.items())

    def _proposal(
        self, genome: Genome, parents: tuple[str, ...], told: str, keeps: bool | None, epochs: int
    ) -> Proposal | None:
        if not self.inherit and parents:
            start_anew(genome.graph)
            keeps, epochs = False, 0
        try:
            structure, weights = genome.to_data()
        except EditError as error:
            if not parents:
                raise StudyError(f"a start cannot be searched from: {error}") from error
            return None
        name = structure_name(genome.graph)
        if genome.recipe:
            name += f"-{_short(genome.recipe)}"
        return Proposal(structure, name, parents, told, weights, epochs, keeps)


def _check_alike(starts: Sequence[Graph], limits: Mapping[str, float]) -> None:
    """Starts have inputs and outputs of the same kind, and limits are on costs that there are."""
    kinds = {
        (
            tuple((x.dtype, x.ndim, x.shape[1:2]) for x in leaves(graph.example) if isinstance(x, Tensor)),
            tuple((len(shape), shape[1:2]) for shape in output_shapes(graph)),
        )
        for graph in starts
    }
    if len(kinds) > 1:
        raise StudyError(
            "the starts differ in their inputs or outputs: one evaluation could not train them all"
        )
    if starts and limits:
        try:
            starts[0].costs(*limits)
        except EditError as error:
            raise StudyError(f"limits=: {error}") from error


def _genome(candidate: Candidate) -> Genome:
    return Genome.of_data(candidate.structure, candidate.weights())


def _short(recipe: Mapping[str, Any]) -> str:
    return name_of(recipe)[:8]
