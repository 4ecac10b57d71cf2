"""Requests in conflict, an irreducible infeasible set of them, in sentences, with the nearest relaxations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.edits.explain.explain import Explainer, Subject
from naivegraph.edits.explain.explanation import chain_text
from naivegraph.graph import Vertex
from naivegraph.solvers import Backend, Program, irreducible_infeasible_set, solve
from naivegraph.widths import SizeConstraints, Widths
from naivegraph.widths.ties import DimPlace, without_repeats

__all__ = ["ProgramRequest", "Relaxation", "conflict_text", "relaxations"]


@dataclasses.dataclass(frozen=True)
class ProgramRequest:
    """A request whose rows are in a program.

    Attributes:
        name: The name of the request, as its rows have it.
        vertex: The vertex it is about.
        axis: The axis it is about.
        constant: The part of the axis' size without the columns.
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
    """The nearest size for one request that is given up while all others are satisfied."""

    request: ProgramRequest
    size: int

    @property
    def distance(self) -> int:
        """The distance of the size from the one asked for, or else from the present size."""
        return abs(self.size - _aim(self.request))

    def __str__(self) -> str:
        request, name = self.request, self.request.vertex.name
        if self.size == request.axis.length and request.target is not None:
            return f"without {request.name!r}, {name} keeps its size of {self.size}"
        asked = "" if request.target is None or request.target < 1 else f" instead of {request.target}"
        if request.target is not None and request.target < 1:
            asked = ", its least size"
        return f"without {request.name!r}, {name} can be {self.size}{asked}"


def conflict_text(
    widths: Widths,
    constraints: SizeConstraints,
    program: Program,
    requests: Sequence[ProgramRequest],
    *,
    offers: bool = True,
    time_limit: float | None = None,
    backend: str | Backend = "highs",
) -> str:
    """Tell the requests in conflict, their ties, and the nearest sizes that are possible.

    Args:
        widths: The widths of the network.
        constraints: The constraints of its own code and of custom rules.
        program: An infeasible program, with the names of requests on their rows and without concave terms.
        requests: The requests.
        offers: Whether to look for the nearest sizes that are possible.
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
        return "No sizes meet the constraints of the network's own code, whatever the requests."
    if not names:
        return (
            "They can be met together, but no answer was found in the time given, or the strategy looked for "
            "none: Solve(Raise()) does."
        )
    explainer = Explainer(widths, constraints)
    about = [one for one in requests if one.name in names]
    members = [_request(explainer, one) for one in about] + list(_rules(explainer, names))
    others = set(names) - {one.name for one in members}
    members += [_Member(name, name, "", (), (), constraint=True) for name in names if name in others]
    lines = _headline(members)
    if len(members) == 1:
        lines += [line for one in about for line in _alone(explainer, one)]
    else:
        lines += [line for one, two in _pairs(members) for line in _tied(explainer, one, two)]
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
    about: Sequence[ProgramRequest],
    *,
    time_limit: float | None = None,
    backend: str | Backend = "highs",
) -> list[Relaxation]:
    """Give up each request in turn for the nearest size that the others allow; the nearest comes first.

    A size in the direction of the request is preferred to one in the other.
    """
    out = []
    for request in about:
        rest = program.without([request.name])
        columns, factors = list(request.parts), np.array(list(request.parts.values()))
        side, now = _aim(request) - request.constant, request.axis.length - request.constant
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
                size = round(float(factors @ found.values[columns]) + request.constant)
                out.append(Relaxation(request, size))
                break
    return sorted(out, key=lambda one: one.distance)


def _aim(request: ProgramRequest) -> int:
    return request.axis.length if request.target is None else request.target


@dataclasses.dataclass(frozen=True)
class _Member:
    """A request or constraint of an infeasible set, with its text, vertex and widths."""

    name: str
    text: str
    vertex: str
    atoms: tuple[Atom, ...]
    places: tuple[DimPlace, ...]
    constraint: bool = False


def _request(explainer: Explainer, request: ProgramRequest) -> _Member:
    text = f"{request.name} (its size is {request.axis.length})"
    places = _subject(explainer, request).places
    return _Member(
        request.name, text, request.vertex.name, tuple(dict.fromkeys(request.axis.atoms())), places
    )


def _rules(explainer: Explainer, names: Sequence[str]) -> Iterator[_Member]:
    """The members of an infeasible set that are constraints of custom rules."""
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
            yield _Member(reason, f"{reason} (now {now})", rule, tuple(atoms), places, constraint=True)


def _headline(members: Sequence[_Member]) -> list[str]:
    if len(members) == 1:
        return [f"This cannot be done: {members[0].text}."]
    what = "requests and constraints" if any(one.constraint for one in members) else "requests"
    return [f"These {what} cannot be met together:", *(f"  {one.text}" for one in members)]


def _pairs(members: Sequence[_Member]) -> Iterator[tuple[_Member, _Member]]:
    """Pairs of members: all but the widest, each with a wider one that shares neurons, or the one before."""
    wide = sorted(members, key=lambda one: -len(one.atoms))
    for index, two in enumerate(wide[1:], 1):
        shared = [one for one in wide[:index] if set(two.atoms) & set(one.atoms)]
        yield (shared or wide[index - 1 :])[0], two


def _subject(explainer: Explainer, request: ProgramRequest) -> Subject:
    vertex, ties = request.vertex, explainer.ties
    places = ties.outputs_of(vertex)
    atoms = set(request.axis.atoms())
    if not atoms <= {atom for place in places for atom in (ties.axis(place) or request.axis).atoms()}:
        places = ties.inputs_of(vertex)
    return Subject(vertex.name, request.axis, tuple(places))


def _alone(explainer: Explainer, request: ProgramRequest) -> list[str]:
    """The reasons why one request by itself cannot be satisfied."""
    own = request.axis == explainer.widths.output_axis(request.vertex)  # a part of it may come to nothing
    if own and request.target is not None and request.target < 1:
        return [f"The size asked for, {request.target}, is impossible: a size is at least 1."]
    subject = _subject(explainer, request)
    lines = [f"Fixed ({c.reason}): {chain_text(c.chain)}." for c in explainer.causes(subject)]
    constraints_on = explainer.constraints_on(list(dict.fromkeys(request.axis.atoms())))
    lines += [f"What else has a say in its size: {reason}." for reason in dict.fromkeys(constraints_on)]
    if not lines and any(len(set(monomial)) > 1 for monomial in Polynomial.of_axis(request.axis).terms):
        lines.append(
            "Its size is a product of widths, of which none loses useful neurons while others gain new ones."
        )
    return lines


def _tied(explainer: Explainer, one: _Member, two: _Member) -> Iterator[str]:
    """Connection of two members: the path between neurons they share, or the constraints linking them."""
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
    """The fewest constraints that link some widths to others, in order."""
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
