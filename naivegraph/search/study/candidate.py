"""Networks of a study: where they come from, what was measured, and the networks themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from naivegraph.errors import StudyError
from naivegraph.search.study.result import Result
from naivegraph.search.study.store import Store
from naivegraph.search.study.weight_files import read_weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Candidate", "Lineage"]


@dataclass(frozen=True)
class Lineage:
    """The origin of a network, as it is written.

    Attributes:
        number: The number of the proposal, from 0.
        name: The name of the architecture.
        parents: Names of those it was made of.
        mutation: What was done to them.
        inherited: Epochs behind the weights it starts from.
        keeps_function: It computes what its parent does, before any training; None if not known.
        starts: Weights to start from are stored.
    """

    number: int
    name: str
    parents: tuple[str, ...] = ()
    mutation: str = ""
    inherited: int = 0
    keeps_function: bool | None = None
    starts: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as data for JSON."""
        return {**asdict(self), "parents": list(self.parents)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Lineage:
        """Read it from data."""
        known = {item.name: data[item.name] for item in fields(cls)}
        return cls(**{**known, "parents": tuple(known["parents"])})


@dataclass(frozen=True)
class Candidate:
    """A network of a study and what is known of it.

    Attributes:
        lineage: Where it comes from.
        result: Of the highest rung that it has been on.
        rungs: Epochs at the end of each rung of the study.
    """

    lineage: Lineage
    result: Result
    _store: Store
    _space: Any
    rungs: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of the architecture."""
        return self.lineage.name

    @property
    def epochs(self) -> int:
        """Epochs behind its weights, those of its parents counted."""
        done = self.rungs[self.result.rung] if self.rungs else self.result.rung + 1
        return self.lineage.inherited + done

    @property
    def values(self) -> Mapping[str, float]:
        """All that was measured."""
        return self.result.values

    @property
    def structure(self) -> dict[str, Any]:
        """The data of which the space makes the network."""
        return self._store.structure(self.name)

    def weights(self) -> dict[str, Tensor] | None:
        """The state dict after the highest rung; None if none was stored.

        Raises:
            StudyError: The file is lost or damaged; its result is set aside, and the next run makes both.
        """
        if not self.result.weights:
            return None
        path = self._store.weights_path(self.name, self.result.rung)
        try:
            weights = read_weights(path)
            reason = "it is missing"
        except ValueError as error:
            weights, reason = None, str(error)
        if weights is None:
            for file in (path, self._store.result_path(self.name, self.result.rung)):
                self._store.move_aside(file)
            raise StudyError(
                f"the weights of network {self.name!r}, {path}, are lost ({reason}). Its result is set "
                "aside, so that the next run evaluates it again"
            )
        return weights

    def module(self) -> Any:
        """Make the network, with its weights.

        Raises:
            StudyError: The space makes no networks.
        """
        build = getattr(self._space, "build", None)
        if build is None:
            raise StudyError("this space makes no networks: it has no build(structure)")
        network = build(self.structure)
        weights = self.weights()
        if weights is not None:
            network.load_state_dict(weights)
        return network

    @property
    def graph(self) -> Any:
        """The network as a graph, from a space that makes graphs.

        Raises:
            StudyError: It does not; `module()` may do.
        """
        make = getattr(self._space, "graph", None)
        if make is None:
            raise StudyError("this space makes no graphs: it has no graph(structure, weights); take module()")
        return make(self.structure, self.weights())

    def __repr__(self) -> str:
        """Show its name and values."""
        told = ", ".join(f"{name}={value:.6g}" for name, value in self.values.items())
        return f"<Candidate {self.name}: {self.result.status}{', ' if told else ''}{told}>"
