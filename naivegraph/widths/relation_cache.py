"""The widths of a graph that were found last, for as long as all that they were worked out from is the same.

Several edits are tried on one graph, or on copies of it, and each begins with the widths. They are kept with
the graph, its copies share them, and whatever brings a graph up to date with its network drops them. Besides,
they are taken only while the graph has the very objects that they were worked out from, which are replaced
and never changed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable, Iterable
from typing import Any

from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording

__all__ = ["Evidence", "keep_widths", "known_widths"]


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that widths are worked out from.

    Attributes:
        objects: What vertices call and return, which counts as the same only if it is the same object.
        values: The rest, which is compared.
    """

    objects: tuple[Any, ...]
    values: tuple[Hashable, ...]

    @classmethod
    def of(cls, graph: Recording, overlaps: Iterable[tuple[str, str]]) -> Evidence | None:
        """Gather it; None if rules of the user's own are part of it.

        Args:
            graph: The graph.
            overlaps: The names of parameters and buffers that share memory, in pairs.
        """
        vertices = [vertex for run in graph.runs for vertex in run.vertices]
        if any(isinstance(vertex.target, CustomFunction) for vertex in vertices):
            return None
        objects = [part for vertex in vertices for part in (vertex.operations, vertex.output)]
        module = graph.module
        return cls(
            (*objects, *(run.output for run in graph.runs)),
            (
                tuple([vertex.name for vertex in vertices]),
                tuple([tuple([vertex.name for vertex in run.inputs]) for run in graph.runs]),
                tuple([tuple(run.left_behind.items()) for run in graph.runs]),
                tuple([(name, stub.id, stub.shape) for name, stub in graph.state.items()]),
                tuple(parameters_of(module)),
                tuple(unsaved_buffers(module)),
                tuple(overlaps),
                graph.rewired,
            ),
        )

    def same(self, other: Evidence) -> bool:
        """Tell whether it is the same."""
        return (
            self.values == other.values
            and len(self.objects) == len(other.objects)
            and all(one is two for one, two in zip(self.objects, other.objects, strict=True))
        )


def known_widths(graph: Recording, key: Hashable, evidence: Evidence) -> Any:
    """The widths found before for this key, if they still hold; else None."""
    kept = graph.found.get(key)
    if kept is None or not evidence.same(kept[0]):
        return None
    widths, binds = kept[1:]
    if widths.relation.algebra.binds != binds:  # cut further since, for those who asked for them then
        return None
    found = copy.copy(widths)
    found.graph = graph
    return found


def keep_widths(graph: Recording, key: Hashable, evidence: Evidence, widths: Any) -> None:
    """Keep widths for those who ask for them next."""
    graph.found[key] = evidence, widths, widths.relation.algebra.binds
