"""Why requests cannot be met together, in sentences, and the least that has to give way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from naivegraph.edits.explain import Explainer, Subject
from naivegraph.edits.wording import chain_text
from naivegraph.graph import Vertex
from naivegraph.solvers import Program, conflict, solve
from naivegraph.widths import Demands, Widths
from naivegraph.widths.axis import Atom, Axis
from naivegraph.widths.ties import once

__all__ = ["Relaxation", "Wanted", "conflict_text", "relaxations"]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A request whose rows are in a program.

    Attributes:
        name: The name of the request, as its rows have it.
        vertex: The vertex it is about.
        axis: The axis it is about.
        constant: What the axis' size is apart from the columns.
        parts: The factor of each column in the axis' size.
        target: The size asked for; None for a bound, a multiple and the like.
    """

    name: str
    vertex: Vertex
    axis: Axis
    constant: float
    parts: Mapping[int, float]
    target: int | None


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """What can be had if one request gives way and all others are met: the nearest size for it."""

    wanted: Wanted
    size: int

    @property
    def distance(self) -> int:
        """How far that is from what was asked, or from the present size where no size was asked."""
        return abs(self.size - _aim(self.wanted))

    def __str__(self) -> str:
        asked = "" if self.wanted.target is None else f" instead of {self.wanted.target}"
        return f"without {self.wanted.name!r}, {self.wanted.vertex.name} can be {self.size}{asked}"


def conflict_text(
    widths: Widths,
    demands: Demands,
    program: Program,
    wanted: Sequence[Wanted],
    *,
    time_limit: float | None = None,
) -> str:
    """Tell which requests are in conflict, what ties them, and what could be done instead.

    Args:
        widths: The widths of the network.
        demands: What its own code demands.
        program: An infeasible program, with the names of requests on their rows and without concave terms.
        wanted: The requests.
        time_limit: Seconds for each search; None for no limit.

    Raises:
        ValueError: The program is feasible, or has concave terms.
        TimeoutError: The time limit was reached before anything was known.
    """
    if program.terms:
        raise ValueError("a conflict is looked for in a program without concave terms")
    try:
        names = conflict(program, time_limit=time_limit)
    except ValueError:
        return "No sizes meet what the network's own code demands, whatever is asked for."
    if not names:
        raise ValueError("these requests can be met together")
    about = [next(one for one in wanted if one.name == name) for name in names]
    lines = _headline(about)
    explainer = Explainer(widths, demands)
    if len(about) == 1:
        lines += _alone(explainer, about[0])
    else:
        lines += [line for one, two in _pairs(about) for line in _tied(explainer, one, two)]
    found = relaxations(program, about, time_limit=time_limit)
    if found:
        lines.append(f"The nearest that can be done: {found[0]}.")
        lines += [f"Or: {other}." for other in found[1:]]
    else:
        lines.append("Other requests are in conflict, too, so that giving up one of these is not enough.")
    return "\n".join(lines)


def relaxations(
    program: Program, about: Sequence[Wanted], *, time_limit: float | None = None
) -> list[Relaxation]:
    """Give up each request in turn for the nearest size that the others leave it; the nearest comes first."""
    out = []
    for wanted in about:
        rest = program.without([wanted.name])
        columns, factors = list(wanted.parts), np.array(list(wanted.parts.values()))
        side = _aim(wanted) - wanted.constant
        distance = rest.column("distance to what was asked", 0, np.inf, integer=False)
        rest.row("not further above", [*columns, distance], [*factors, -1.0], upper=side)
        rest.row("not further below", [*columns, distance], [*factors, 1.0], lower=side)
        rest.set_objective([distance], [-1.0])
        found = solve(rest, time_limit=time_limit)
        if found.values is not None:
            out.append(Relaxation(wanted, round(float(factors @ found.values[columns]) + wanted.constant)))
    return sorted(out, key=lambda one: one.distance)


def _aim(wanted: Wanted) -> int:
    return wanted.axis.length if wanted.target is None else wanted.target


def _headline(about: Sequence[Wanted]) -> list[str]:
    if len(about) == 1:
        return [f"This cannot be done: {about[0].name} (its size is {about[0].axis.length})."]
    lines = [f"  {one.name} (its size is {one.axis.length})" for one in about]
    return ["These requests cannot be met together:", *lines]


def _pairs(about: Sequence[Wanted]) -> Iterator[tuple[Wanted, Wanted]]:
    """Every request but the widest with a wider one that shares neurons with it, else with the one before."""
    wide = sorted(about, key=lambda one: -len(set(one.axis.atoms())))
    for index, two in enumerate(wide[1:], 1):
        atoms = set(two.axis.atoms())
        shared = [one for one in wide[:index] if atoms & set(one.axis.atoms())]
        yield (shared or wide[index - 1 :])[0], two


def _subject(explainer: Explainer, wanted: Wanted) -> Subject:
    vertex, ties = wanted.vertex, explainer.ties
    places = ties.output(vertex)
    atoms = set(wanted.axis.atoms())
    if not atoms <= {atom for place in places for atom in (ties.axis(place) or wanted.axis).atoms()}:
        places = ties.given(vertex)
    return Subject(vertex.name, wanted.axis, tuple(places))


def _alone(explainer: Explainer, wanted: Wanted) -> list[str]:
    """Why one request by itself cannot be met."""
    subject = _subject(explainer, wanted)
    lines = [f"Fixed ({c.reason}): {chain_text(c.chain)}." for c in explainer.causes(subject)]
    demanded = explainer.demanded(list(dict.fromkeys(wanted.axis.atoms())))
    return lines + [f"The network's own code: {reason}." for reason in dict.fromkeys(demanded)]


def _tied(explainer: Explainer, one: Wanted, two: Wanted) -> Iterator[str]:
    """How two requests have to do with each other."""
    first, second = _subject(explainer, one), _subject(explainer, two)
    chains = []
    for atom in dict.fromkeys(a for a in one.axis.atoms() if any(a is b for b in two.axis.atoms())):
        ways = explainer.ties.ways(first.places, atom)
        chains += [once((first.name, *ways[p], second.name)) for p in second.places if p in ways]
    if chains:
        yield f"They share neurons: {chain_text(min(chains, key=len))}."
        return
    for reason in _linking(explainer.demands, set(one.axis.atoms()), set(two.axis.atoms())):
        yield f"{first.name} and {second.name} are linked by the network's own code: {reason}."


def _linking(demands: Demands, start: set[Atom], goal: set[Atom]) -> list[str]:
    """The fewest demands which link some widths to others, in order."""
    reached: dict[Atom, list[str]] = {atom: [] for atom in start}
    for _ in range(len(demands.rows)):
        for row, atom in itertools.product(demands.rows, list(reached)):
            atoms = list(row.polynomial.atoms())
            if atom in atoms:
                for other in atoms:
                    if len(reached.get(other, demands.rows)) > len(reached[atom]) + 1:
                        reached[other] = [*reached[atom], row.reason]
        found = [reached[atom] for atom in goal if atom in reached]
        if found:
            return min(found, key=len)
    return []
