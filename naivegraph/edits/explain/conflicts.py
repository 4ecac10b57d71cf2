"""Why requests cannot be met together, in sentences, and the least that has to give way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.edits.explain.explain import Explainer, Subject
from naivegraph.edits.explain.explanation import chain_text
from naivegraph.graph import Vertex
from naivegraph.solvers import Backend, Program, irreducible_infeasible_set, solve
from naivegraph.widths import SizeConstraints, Widths
from naivegraph.widths.ties import DimPlace, without_repeats

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
        wanted, name = self.wanted, self.wanted.vertex.name
        if self.size == wanted.axis.length and wanted.target is not None:
            return f"without {wanted.name!r}, {name} keeps its size of {self.size}"
        asked = "" if wanted.target is None else f" instead of {wanted.target}"
        if wanted.target is not None and wanted.target < 1:
            asked = ", its least size"
        return f"without {wanted.name!r}, {name} can be {self.size}{asked}"


def conflict_text(
    widths: Widths,
    constraints: SizeConstraints,
    program: Program,
    wanted: Sequence[Wanted],
    *,
    offers: bool = True,
    time_limit: float | None = None,
    backend: str | Backend = "highs",
) -> str:
    """Tell which requests are in conflict, what ties them, and what could be done instead.

    Args:
        widths: The widths of the network.
        constraints: What its own code demands.
        program: An infeasible program, with the names of requests on their rows and without concave terms.
        wanted: The requests.
        offers: Whether to look for what could be done instead.
        time_limit: Seconds for each search; None for no limit.
        backend: The solver.

    Raises:
        ValueError: The program has concave terms.
        TimeoutError: The time limit was reached before anything was known.
    """
    if program.terms:
        raise ValueError("a conflict is looked for in a program without concave terms")
    try:
        names = irreducible_infeasible_set(program, backend=backend, time_limit=time_limit)
    except ValueError:
        return "No sizes meet what the network's own code demands, whatever is asked for."
    if not names:
        return "They can be met together, but no answer was found in the time given."
    explainer = Explainer(widths, constraints)
    about = [one for one in wanted if one.name in names]
    parties = [_request(explainer, one) for one in about] + list(_rules(explainer, names))
    others = set(names) - {one.name for one in parties}
    parties += [_Party(name, name, "", (), (), limit=True) for name in names if name in others]
    lines = _headline(parties)
    if len(parties) == 1:
        lines += [line for one in about for line in _alone(explainer, one)]
    else:
        lines += [line for one, two in _pairs(parties) for line in _tied(explainer, one, two)]
    if not offers:
        return "\n".join(lines)
    found = relaxations(program, about, time_limit=time_limit, backend=backend)
    if found:
        lines.append(f"The nearest that can be done: {found[0]}.")
        lines += [f"Or: {other}." for other in found[1:]]
    elif about:
        lines.append("Other requests are in conflict, too, so that giving up one of these is not enough.")
    return "\n".join(lines)


def relaxations(
    program: Program,
    about: Sequence[Wanted],
    *,
    time_limit: float | None = None,
    backend: str | Backend = "highs",
) -> list[Relaxation]:
    """Give up each request in turn for the nearest size that the others leave it; the nearest comes first.

    A size that moves the way that was asked for is preferred to one that does not.
    """
    out = []
    for wanted in about:
        rest = program.without([wanted.name])
        columns, factors = list(wanted.parts), np.array(list(wanted.parts.values()))
        side, now = _aim(wanted) - wanted.constant, wanted.axis.length - wanted.constant
        distance = rest.column("distance to what was asked", 0, np.inf, integer=False)
        rest.row("not further above", [*columns, distance], [*factors, -1.0], upper=side)
        rest.row("not further below", [*columns, distance], [*factors, 1.0], lower=side)
        rest.set_objective([distance], [-1.0])
        moving = rest.copy()
        if side > now:
            moving.row("larger", columns, factors, lower=now + 1)
        elif side < now:
            moving.row("smaller", columns, factors, upper=now - 1)
        for tried in (moving, rest):
            found = solve(tried, backend=backend, time_limit=time_limit)
            if found.values is not None:
                size = round(float(factors @ found.values[columns]) + wanted.constant)
                out.append(Relaxation(wanted, size))
                break
    return sorted(out, key=lambda one: one.distance)


def _aim(wanted: Wanted) -> int:
    return wanted.axis.length if wanted.target is None else wanted.target


@dataclasses.dataclass(frozen=True)
class _Party:
    """A request or a limit: how it is told, the vertex it is about, its widths and where they are."""

    name: str
    text: str
    vertex: str
    atoms: tuple[Atom, ...]
    places: tuple[DimPlace, ...]
    limit: bool = False


def _request(explainer: Explainer, wanted: Wanted) -> _Party:
    text = f"{wanted.name} (its size is {wanted.axis.length})"
    places = _subject(explainer, wanted).places
    return _Party(wanted.name, text, wanted.vertex.name, tuple(dict.fromkeys(wanted.axis.atoms())), places)


def _rules(explainer: Explainer, names: Sequence[str]) -> Iterator[_Party]:
    """What declared rules demand, of those demands that are in conflict."""
    constraints, ties = explainer.constraints, explainer.ties
    found: dict[tuple[str, str], dict[Atom, None]] = {}
    for row in constraints.width_constraints:
        found.setdefault((row.reason, row.rule), {}).update(dict.fromkeys(row.polynomial.atoms()))
    for marks in (constraints.must_stay, constraints.must_go):
        for atom, some in marks.items():
            for mark in some:
                found.setdefault((mark.reason, mark.rule), {})[atom] = None
    for (reason, rule), atoms in found.items():
        if rule and reason in names:
            vertex = explainer.widths.graph[rule]
            now = ", ".join(f"{explainer.widths.by_atom[atom].name} is {atom.length}" for atom in atoms)
            places = (*ties.inputs_of(vertex), *ties.outputs_of(vertex))
            yield _Party(reason, f"{reason} (now {now})", rule, tuple(atoms), places, limit=True)


def _headline(parties: Sequence[_Party]) -> list[str]:
    if len(parties) == 1:
        return [f"This cannot be done: {parties[0].text}."]
    what = "requests and limits" if any(one.limit for one in parties) else "requests"
    return [f"These {what} cannot be met together:", *(f"  {one.text}" for one in parties)]


def _pairs(parties: Sequence[_Party]) -> Iterator[tuple[_Party, _Party]]:
    """Each but the widest with a wider one that shares neurons with it, else with the one before."""
    wide = sorted(parties, key=lambda one: -len(one.atoms))
    for index, two in enumerate(wide[1:], 1):
        shared = [one for one in wide[:index] if set(two.atoms) & set(one.atoms)]
        yield (shared or wide[index - 1 :])[0], two


def _subject(explainer: Explainer, wanted: Wanted) -> Subject:
    vertex, ties = wanted.vertex, explainer.ties
    places = ties.outputs_of(vertex)
    atoms = set(wanted.axis.atoms())
    if not atoms <= {atom for place in places for atom in (ties.axis(place) or wanted.axis).atoms()}:
        places = ties.inputs_of(vertex)
    return Subject(vertex.name, wanted.axis, tuple(places))


def _alone(explainer: Explainer, wanted: Wanted) -> list[str]:
    """Why one request by itself cannot be met."""
    own = wanted.axis == explainer.widths.output_axis(wanted.vertex)  # a part of it may come to nothing
    if own and wanted.target is not None and wanted.target < 1:
        return [f"The size asked for, {wanted.target}, is impossible: a size is at least 1."]
    subject = _subject(explainer, wanted)
    lines = [f"Fixed ({c.reason}): {chain_text(c.chain)}." for c in explainer.causes(subject)]
    demanded = explainer.demanded(list(dict.fromkeys(wanted.axis.atoms())))
    return lines + [f"What else has a say in its size: {reason}." for reason in dict.fromkeys(demanded)]


def _tied(explainer: Explainer, one: _Party, two: _Party) -> Iterator[str]:
    """How two parties to a conflict have to do with each other."""
    chains = []
    for atom in [atom for atom in one.atoms if atom in two.atoms]:
        ways = explainer.ties.paths(one.places, atom)
        chains += [without_repeats((one.vertex, *ways[p], two.vertex)) for p in two.places if p in ways]
    if chains:
        shortest = min(chains, key=len)
        if len(shortest) > 1:
            yield f"They share neurons: {chain_text(shortest)}."
        return
    for reason in _linking(explainer.constraints, set(one.atoms), set(two.atoms)):
        yield f"{one.vertex} and {two.vertex} are linked: {reason}."


def _linking(constraints: SizeConstraints, start: set[Atom], goal: set[Atom]) -> list[str]:
    """The fewest demands which link some widths to others, in order."""
    reached: dict[Atom, list[str]] = {atom: [] for atom in start}
    for _ in range(len(constraints.width_constraints)):
        for row, atom in itertools.product(constraints.width_constraints, list(reached)):
            atoms = list(row.polynomial.atoms())
            if atom in atoms:
                for other in atoms:
                    if len(reached.get(other, constraints.width_constraints)) > len(reached[atom]) + 1:
                        reached[other] = [*reached[atom], row.reason]
        found = [reached[atom] for atom in goal if atom in reached]
        if found:
            return min(found, key=len)
    return []
