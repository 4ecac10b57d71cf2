"""A model of the results so far, by which the most promising of several proposals is chosen."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from naivegraph.errors import StudyError
from naivegraph.search.evolution.gaussian_process import (
    Floats,
    GaussianProcess,
    expected_improvement,
    normal_scores,
)
from naivegraph.search.study import Candidate, History, Proposal, Space
from naivegraph.search.study.result_order import Ranking

__all__ = ["SurrogateSpace"]


class _Described(Space, Protocol):
    """A space whose structures have features."""

    def features(self, structure: Mapping[str, Any]) -> Mapping[str, float]:
        """Numbers by name, alike for structures that are; a name that is missing counts as zero."""
        ...


class _Evaluated(Protocol):
    """Networks with results: a study, or its history."""

    ranking: Ranking

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The networks."""
        ...


class SurrogateSpace:
    """A space that asks another one for several proposals, and proposes the most promising of them.

    A Gaussian process of the results so far says how promising each is: its expected improvement. That is
    evolution with a surrogate (Jin, "Surrogate-assisted evolutionary computation", Swarm and Evolutionary
    Computation 2011) or, seen from the other side, Bayesian optimisation by mutation (White et al.,
    "BANANAS", AAAI 2021). Of several objectives, one weighted sum of Chebyshev after another is improved
    (Knowles, "ParEGO", IEEE TEC 2006). It pays where an evaluation costs far more than `candidates`
    proposals do.

    Args:
        space: A space with `features(structure)`, such as `search.Evolution` or `search.ChoiceSpace`.
        candidates: The number of proposals to choose from.
        population: The number of networks before the model is asked.
        every: The number of results after which the model is made anew.

    Raises:
        StudyError: The space has no features, or a number makes no sense.

    Example:
        >>> from naivegraph import search
        >>> choices = search.ChoiceSpace({"layers": [2, 4, 8], "width": [8, 16, 32]})
        >>> space = search.SurrogateSpace(choices, candidates=10)
    """

    def __init__(
        self, space: _Described, *, candidates: int = 30, population: int = 20, every: int = 5
    ) -> None:
        if not callable(getattr(space, "propose", None)) or not callable(getattr(space, "features", None)):
            raise StudyError(
                f"a surrogate needs a space with propose(history, rng) and features(structure) -> dict of "
                f"numbers; {type(space).__name__} lacks one of them"
            )
        if candidates < 1 or population < 2 or every < 1:
            raise StudyError("candidates= and every= are from 1 up; population= from 2 up")
        self.space, self.candidates, self.population, self.every = space, candidates, population, every
        for name in ("build", "graph"):  # a study looks whether there are such
            if hasattr(space, name):
                setattr(self, name, getattr(space, name))
        self._features: dict[str, Mapping[str, float]] = {}
        self._model: tuple[object, _Model] | None = None

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose the one with the greatest expected improvement of several that are new."""
        allowed = history.allowed
        known = len(allowed) - len(allowed) % self.every if len(allowed) > self.every else len(allowed)
        if len(history.names) < self.population or known < 2:
            return self.space.propose(history, rng)
        found: dict[str, Proposal] = {}
        last: Proposal | None = None
        for _ in range(self.candidates):
            last = self.space.propose(history, rng)
            if last is not None and last.name not in history.names:
                found.setdefault(last.name, last)
        if len(found) < 2:
            return next(iter(found.values()), last)
        model = self._model_of(allowed[:known], history.ranking)
        promising = model.improvement([self._proposed(each, allowed) for each in found.values()])
        return list(found.values())[int(np.argmax(promising))]

    def recommended(self, study: _Evaluated) -> Candidate | None:
        """The network that is best by the first objective once most of the noise is taken from results.

        The best result of many is mostly one that had luck; the model knows what its neighbours reached. But
        it knows networks by their features alone, so a part of what it takes for noise is what a network
        reaches for reasons of its own.

        Args:
            study: A study (or history) of this space.

        Returns:
            A network within all limits; None if there is none.
        """
        allowed = [each for each in study.candidates if study.ranking.allowed(each.result)]
        if len(allowed) < 3:
            return min(allowed, key=lambda each: study.ranking.key(each.result), default=None)
        gains = -np.array([study.ranking.losses(each.result)[0] for each in allowed])
        scores = normal_scores(gains)
        model = _Model([self._known(each) for each in allowed], scores)
        noise = scores - model.process.fitted
        return allowed[int(np.argmax(scores - _LUCK * noise))]

    @property
    def fingerprint(self) -> str:
        """A text that tells this space from others."""
        given = getattr(self.space, "fingerprint", type(self.space).__qualname__)
        return f"surrogate of {given() if callable(given) else given}"

    def _model_of(self, candidates: Sequence[Candidate], ranking: Ranking) -> _Model:
        """The model of some results; made once for the proposals that know no others."""
        key = [(each.name, each.result) for each in candidates]
        if self._model is None or self._model[0] != key:
            losses = np.array([ranking.losses(each.result) for each in candidates])
            gains = _gains(losses, random.Random(f"weights {len(candidates)}"))
            self._model = key, _Model([self._known(each) for each in candidates], gains)
        return self._model[1]

    def _known(self, candidate: Candidate) -> Mapping[str, float]:
        """Features of an evaluated network, with the epochs it was trained for."""
        if candidate.name not in self._features:
            self._features[candidate.name] = self.space.features(candidate.structure)
        return {**self._features[candidate.name], _EPOCHS: math.log2(1 + candidate.epochs)}

    def _proposed(self, proposal: Proposal, allowed: Sequence[Candidate]) -> Mapping[str, float]:
        """Features of a proposal, with the epochs that it will have behind it first."""
        epochs = proposal.inherited + (allowed[0].rungs or (1,))[0]
        return {**self.space.features(proposal.structure), _EPOCHS: math.log2(1 + epochs)}


_EPOCHS = "log2 epochs"
_LUCK = 0.75  # of what the features of a network do not explain


class _Model:
    """A Gaussian process on features by name."""

    def __init__(self, rows: Sequence[Mapping[str, float]], gains: Floats) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        self.columns = {name: number for number, name in enumerate(names)}
        self.process = GaussianProcess(self._matrix(rows), gains)
        self.best = float(gains.max())

    def improvement(self, rows: Sequence[Mapping[str, float]]) -> Floats:
        """The expected improvement of each."""
        return expected_improvement(*self.process(self._matrix(rows)), self.best)

    def _matrix(self, rows: Sequence[Mapping[str, float]]) -> Floats:
        """Rows of known features; a last column is as long as all that no known network has."""
        matrix = np.zeros((len(rows), len(self.columns) + 1))
        for row, features in enumerate(rows):
            for name, value in features.items():
                if name in self.columns:
                    matrix[row, self.columns[name]] = value
                else:
                    matrix[row, -1] = math.hypot(matrix[row, -1], value)
        return matrix


def _gains(losses: Floats, rng: random.Random) -> Floats:
    """A gain for each row of losses; of several, by the largest weighted place and a little of their sum."""
    if losses.shape[1] == 1:
        return normal_scores(-losses[:, 0])
    drawn = np.array([-math.log(1 - rng.random()) for _ in range(losses.shape[1])])
    places = np.stack([_places(column) for column in losses.T], axis=1) * (drawn / drawn.sum())
    return normal_scores(-(places.max(axis=1) + 0.05 * places.sum(axis=1)))


def _places(losses: Floats) -> Floats:
    """The place of each loss, from 0 for the best to 1 for the worst."""
    _, places = np.unique(losses, return_inverse=True)
    return np.asarray(places.reshape(len(losses)) / max(1, int(places.max())), np.float64)
