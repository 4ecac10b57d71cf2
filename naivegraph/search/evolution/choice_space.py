"""Choices as a space of a study: one of some values for each of some names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.search.evolution.selection import Selection, tournament
from naivegraph.search.study import History, Proposal, name_of

__all__ = ["ChoiceSpace"]


class ChoiceSpace:
    """A space whose structures are dicts with one of some values for each name.

    It is for tables of networks (benchmarks), for networks that are made of numbers and words, and for
    settings of a training. The first structures are drawn at random; from then on most are copies of one that
    `select` chooses, with one entry changed, or with a probability of `further` one more, and so on. They
    start with fresh weights.

    Args:
        choices: The values by name, at least two, as JSON has them.
        build: Makes the network of a structure; without it, the evaluation gets the structure itself.
        canonical: A text of what a structure computes. Structures of one text are one architecture, which is
            trained once; without it, each structure is one of its own.
        select: How a parent is chosen; by default the best of five.
        population: The number of structures drawn before any is changed.
        fresh: The probability with which one is drawn at random later, too.
        further: The probability of each further change.
        attempts: The number of structures tried for one proposal.

    Raises:
        StudyError: There is nothing to choose, or a number makes no sense.

    Example:
        >>> import random
        >>> space = ChoiceSpace({"layers": [2, 4, 8], "activation": ["relu", "gelu"]})
        >>> space.draw(random.Random(0))
        {'layers': 4, 'activation': 'gelu'}
        >>> space.changed({"layers": 2, "activation": "relu"}, random.Random(0))
        {'layers': 2, 'activation': 'gelu'}
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[Any]],
        *,
        build: Callable[[Mapping[str, Any]], Any] | None = None,
        canonical: Callable[[Mapping[str, Any]], str] | None = None,
        select: Selection | None = None,
        population: int = 10,
        fresh: float = 0.1,
        further: float = 0.25,
        attempts: int = 20,
    ) -> None:
        given = choices.values() if isinstance(choices, Mapping) else [None]
        if not all(isinstance(values, Sequence) and not isinstance(values, str) for values in given):
            raise StudyError(f"choices= is a dict of lists, such as {{'layers': [2, 4, 8]}}, not {choices!r}")
        self.choices = {str(name): list(values) for name, values in choices.items()}
        for name, values in self.choices.items():
            _check_values(name, values)
        few = [name for name, values in self.choices.items() if len(values) < 2]
        if not self.choices or few:
            raise StudyError(
                "choices= takes at least two values for each name, such as {'layers': [2, 4, 8]}"
                + (f"; {few[0]!r} has {len(self.choices[few[0]])}" if few else "")
            )
        if not 0 <= fresh <= 1 or not 0 <= further < 1 or population < 1 or attempts < 1:
            raise StudyError(
                "fresh= is from 0 to 1, further= below 1; population= and attempts= are from 1 up"
            )
        if build is not None and not callable(build):
            raise StudyError(f"build= is a function that makes a network of a dict, not {build!r}")
        if build is not None:
            self.build = build  # a study looks whether there is one
        self.canonical = canonical
        self.select = tournament() if select is None else select
        self.population, self.fresh, self.further, self.attempts = population, fresh, further, attempts

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose a structure that was not proposed before, if one is found."""
        last: Proposal | None = None
        for _ in range(self.attempts):
            last = self._proposal(history, rng)
            if last.name not in history.names:
                break
        return last

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """A structure drawn at random."""
        return {name: rng.choice(values) for name, values in self.choices.items()}

    def changed(self, structure: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        """A copy of a structure with one entry changed, or some more."""
        child = dict(structure)
        for name in rng.sample(list(self.choices), len(self.choices)):
            child[name] = rng.choice([value for value in self.choices[name] if value != child[name]])
            if rng.random() >= self.further:
                break
        return child

    def name(self, structure: Mapping[str, Any]) -> str:
        """The name of the architecture of a structure."""
        if self.canonical is None:
            return name_of(structure)
        return name_of({"canonical": self.canonical(structure)})

    def features(self, structure: Mapping[str, Any]) -> dict[str, float]:
        """One for each choice that was made, so that a distance counts those that differ."""
        return {f"{name}={structure[name]!r}": 1.0 for name in self.choices}

    @property
    def fingerprint(self) -> str:
        """A text that tells this space from others."""
        return f"choices {name_of(self.choices)}"

    def _proposal(self, history: History, rng: random.Random) -> Proposal:
        if len(history.names) < self.population or not history.allowed or rng.random() < self.fresh:
            structure = self.draw(rng)
            return Proposal(structure, self.name(structure), (), "drawn")
        parent = self.select(history, rng)
        before = parent.structure
        structure = self.changed(before, rng)
        told = [f"{name} {structure[name]}" for name in self.choices if structure[name] != before[name]]
        return Proposal(structure, self.name(structure), (parent.name,), ", ".join(told))


def _check_values(name: str, values: Sequence[Any]) -> None:
    """Values can be kept as JSON, and are different."""
    try:
        texts = [json.dumps(value, sort_keys=True, allow_nan=False) for value in values]
    except (TypeError, ValueError) as error:
        raise StudyError(f"a value of {name!r} cannot be kept as JSON: {error}") from error
    if len({*texts}) < len(texts):
        raise StudyError(f"{name!r} has a value twice: {values!r}")
