"""Samplers of Optuna as a space of a study."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.optional_package import optional_package
from naivegraph.search.evolution.choice_space import ChoiceSpace
from naivegraph.search.study import History, Proposal

__all__ = ["OptunaSpace"]


class OptunaSpace:
    """A space of choices among which a sampler of Optuna draws, by the results so far.

    Optuna keeps nothing: for each proposal the sampler gets the history anew, so a study's folder stays the
    truth, and proposals are a function of history and seed. Samplers that look at values of trials alone work
    so (TPE, Gaussian processes, random); those that keep notes of their own with each trial (NSGA-II,
    CMA-ES) start from nothing every time and are of no use here: take `search.nsga2` for fronts.

    Args:
        space: The choices, with what makes and names their networks.
        sampler: Makes a sampler of a seed; by default `optuna.samplers.TPESampler`.
        attempts: The number of draws for one proposal.

    Raises:
        MissingPackageError: Optuna is not installed (`pip install 'naivegraph[optuna]'`).
        StudyError: The space is not one of choices.
    """

    def __init__(
        self, space: ChoiceSpace, sampler: Callable[[int], Any] | None = None, *, attempts: int = 5
    ) -> None:
        if not isinstance(space, ChoiceSpace):
            raise StudyError(f"Optuna's samplers draw from a search.ChoiceSpace, not from {space!r}")
        if attempts < 1:
            raise StudyError(f"attempts={attempts}: give a number from 1 up")
        self.space, self.sampler, self.attempts = space, sampler, attempts
        self._optuna = _package()
        if hasattr(space, "build"):
            self.build = space.build  # a study looks whether there is one

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose what the sampler draws; something it does not know yet, if it draws that."""
        study = self._study(history, rng.getrandbits(32))
        last: Proposal | None = None
        for _ in range(self.attempts):
            trial = study.ask(self._distributions)
            drawn = {name: self.space.choices[name][place] for name, place in trial.params.items()}
            last = Proposal(drawn, self.space.name(drawn), (), "sampled")
            if last.name not in history.names:
                break
        return last

    @property
    def fingerprint(self) -> str:
        """A text that tells this space from others."""
        return f"Optuna on {self.space.fingerprint}"

    @property
    def _distributions(self) -> dict[str, Any]:
        # By place: a value may be a list, which Optuna does not take.
        kind = self._optuna.distributions.CategoricalDistribution
        return {name: kind(range(len(values))) for name, values in self.space.choices.items()}

    def _study(self, history: History, seed: int) -> Any:
        """A study of Optuna in memory, with all results and a sampler of this seed."""
        optuna = self._optuna
        make = self.sampler or (lambda number: optuna.samplers.TPESampler(seed=number))
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            ways = [
                {"max": "maximize", "min": "minimize"}[way] for way in history.ranking.objectives.values()
            ]
            study = optuna.create_study(directions=ways, sampler=make(seed))
        finally:
            optuna.logging.set_verbosity(before)
        distributions = self._distributions
        trials = []
        for found in history.allowed:
            structure = found.structure
            trials.append(
                optuna.trial.create_trial(
                    params={name: self.space.choices[name].index(structure[name]) for name in distributions},
                    distributions=distributions,
                    values=[found.values[name] for name in history.ranking.objectives],
                )
            )
        study.add_trials(trials)
        return study


def _package() -> Any:
    return optional_package("optuna", "optuna", "search.OptunaSpace")
