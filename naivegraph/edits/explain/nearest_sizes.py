"""The nearest sizes that an axis can take, and the widths that change with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.solvers import Backend, Program, solve
from naivegraph.utility.ranking import required
from naivegraph.widths import SizeConstraints

__all__ = ["Nearest", "nearest_sizes"]


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest sizes that an axis can take when some of its widths change.

    Attributes:
        varying: The names of the widths that change; the others of a product stay as they are.
        size: The present size.
        smaller: The nearest smaller size; None if there is none.
        larger: The nearest larger size; None if there is none.
        least: The least size of all.
        because: The reasons for steps of more than one, in words.
        changed: The new sizes of all widths that change when the axis takes the larger size, else the
            smaller one.
    """

    varying: tuple[str, ...]
    size: int
    smaller: int | None
    larger: int | None
    least: int
    because: tuple[str, ...]
    changed: Mapping[Atom, int]


def nearest_sizes(
    axis: Axis, constraints: SizeConstraints, backend: str | Backend = "highs"
) -> list[Nearest]:
    """The nearest sizes of an axis, one entry for each way in which it can change.

    A sum of widths changes in one way: by any of them. In a product (heads times head size) each factor is a
    way of its own, with the others fixed; factors that cannot change at all are left out.
    """
    out = []
    for varying, fixed in _directions(axis, constraints):
        found = _Sizes(Polynomial.of_axis(axis).with_constants(fixed), constraints, fixed, backend).nearest(
            varying
        )
        if found.smaller is not None or found.larger is not None:
            out.append(found)
    return out


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """Predicate of atoms that keep their size."""

    constraints: SizeConstraints
    others: frozenset[Atom] = frozenset()

    def __call__(self, atom: Atom) -> bool:
        return (
            atom in self.others
            or atom in self.constraints.fixed
            or atom not in self.constraints.widths.by_atom
        )


def _directions(axis: Axis, constraints: SizeConstraints) -> Iterator[tuple[list[Atom], _Fixed]]:
    """The widths that vary together, each with the others to fix so that the size is linear in them."""
    size = Polynomial.of_axis(axis).with_constants(_Fixed(constraints))
    if size.degree == 1:
        yield [atom for atom in dict.fromkeys(axis.atoms()) if (atom,) in size.terms], _Fixed(constraints)
    factors = {atom for monomial in size.terms if len(monomial) > 1 for atom in monomial}
    for factor in dict.fromkeys(atom for atom in axis.atoms() if atom in factors):
        fixed = _Fixed(constraints, frozenset(factors - {factor}))
        if size.with_constants(fixed).degree == 1:
            yield [factor], fixed


class _Sizes:
    """The sizes of the widths that an axis is made of, and of all that constraints link to them."""

    def __init__(
        self, size: Polynomial, constraints: SizeConstraints, fixed: _Fixed, backend: str | Backend
    ) -> None:
        self._backend = backend
        self._size, self._constraints, self._fixed = size, constraints, fixed
        self._now = size.value(_length)
        self._rows, self._atoms = _linked(size.atoms(), constraints, fixed)
        least = _smallest(self._atoms, constraints)
        self._room = [
            atom.length - max(least[atom], len(required(constraints.must_stay.get(atom))))
            for atom in self._atoms
        ]
        self._sums = _sums(self._atoms, constraints)

    def nearest(self, varying: list[Atom]) -> Nearest:
        """Solve for the sizes next to the present one."""
        up, down = self._beyond(self._rows, +1), self._beyond(self._rows, -1)
        larger, smaller = self._value(up), self._value(down)
        names = self._constraints.widths.by_atom
        least = self._value(self._solve(self._rows, -np.inf, np.inf, -1))
        return Nearest(
            tuple(names[atom].name for atom in varying),
            self._now,
            smaller,
            larger,
            self._now if least is None else least,
            tuple(self._because(larger, smaller)),
            {a: n for a, n in (up or down or {}).items() if n != a.length},
        )

    def _value(self, sizes: Mapping[Atom, int] | None) -> int | None:
        return None if sizes is None else self._size.value(lambda atom: sizes.get(atom, atom.length))

    def _beyond(self, rows: list[WidthConstraint], way: int) -> dict[Atom, int] | None:
        """The sizes at which the axis is next to its present size, above or below."""
        return self._solve(rows, 1, np.inf, -1) if way > 0 else self._solve(rows, -np.inf, -1, +1)

    def _solve(
        self, rows: list[WidthConstraint], lower: float, upper: float, toward: int
    ) -> dict[Atom, int] | None:
        """The sizes with the least (or most) change of the axis within bounds, and of widths among those.

        Each width has two columns: the neurons more, and the neurons fewer than now.
        """
        program = Program()
        count = len(self._atoms)
        more = program.columns([f"more {i}" for i in range(count)], 0, np.inf)
        fewer = program.columns([f"fewer {i}" for i in range(count)], 0, self._room)
        place = {atom: (more[i], fewer[i]) for i, atom in enumerate(self._atoms)}

        def parts(polynomial: Polynomial) -> tuple[list[int], list[float]]:
            """Return the columns of a linear polynomial, with their coefficients."""
            terms = [(place[m[0]], float(c)) for m, c in polynomial.terms.items() if m]
            return [i for both, _ in terms for i in both], [v for _, c in terms for v in (c, -c)]

        for index, row in enumerate(rows):
            size = row.polynomial.with_constants(self._fixed)
            now, (columns, factors) = size.value(_length), parts(size)
            low, high = -np.inf if row.low is None else row.low, np.inf if row.high is None else row.high
            if row.multiple > 1:
                low = high = 0
                columns.append(program.column(f"multiple {index}", -np.inf, np.inf))
                factors.append(-float(row.multiple))
            program.row(f"row {index}", columns, factors, lower=low - now, upper=high - now)
        for index, total in enumerate(self._sums):
            program.row(f"sum {index}", *parts(total), lower=1 - total.value(_length))
        columns, factors = parts(self._size)
        program.row("change", columns, factors, lower=lower, upper=upper)
        program.set_objective(columns, [toward * factor for factor in factors])
        best = solve(program, backend=self._backend)
        if best.values is None:
            return None
        reached = round(float(np.dot(factors, best.values[columns])))
        program.row("reached", columns, factors, lower=reached, upper=reached)
        program.set_objective([*more, *fewer], [-1.0] * (2 * count))
        still = solve(program, backend=self._backend)
        values = best.values if still.values is None else still.values
        return {a: a.length + round(values[more[i]] - values[fewer[i]]) for i, a in enumerate(self._atoms)}

    def _because(self, larger: int | None, smaller: int | None) -> Iterator[str]:
        """The reasons for steps longer than one: neurons that count several times, or constraints."""
        steps = [None if size is None else abs(size - self._now) for size in (larger, smaller)]
        times = math.gcd(*(c for m, c in self._size.terms.items() if m))
        if times > 1:
            yield f"each neuron counts {times} times there"
        if all(step in (None, times) for step in steps):
            return
        for row in self._rows:
            rest = [other for other in self._rows if other is not row]
            for way, step in zip((+1, -1), steps, strict=True):
                found = self._value(self._beyond(rest, way))
                if step is not None and found is not None and abs(found - self._now) < step:
                    yield row.reason
                    break


def _length(atom: Atom) -> int:
    return atom.length


def _linked(
    atoms: Iterable[Atom], constraints: SizeConstraints, fixed: _Fixed
) -> tuple[list[WidthConstraint], list[Atom]]:
    """The constraints that reach some atoms, directly or through others, and all atoms in them."""
    found = dict.fromkeys(atom for atom in atoms if not fixed(atom))
    left = [
        (row, [atom for atom in row.polynomial.atoms() if not fixed(atom)])
        for row in constraints.width_constraints
    ]
    rows: list[WidthConstraint] = []
    grew = True
    while grew:
        reached = [pair for pair in left if any(atom in found for atom in pair[1])]
        left = [pair for pair in left if not any(atom in found for atom in pair[1])]
        rows += [row for row, _ in reached]
        found.update(dict.fromkeys(atom for _, inside in reached for atom in inside))
        grew = bool(reached)
    return rows, list(found)


def _smallest(atoms: list[Atom], constraints: SizeConstraints) -> dict[Atom, int]:
    """The least size of each atom: one where it stands alone or in a product, else zero."""
    out = dict.fromkeys(atoms, 0)
    for axes in constraints.widths.axes.values():
        for axis in axes:
            for term in axis.terms:
                if len(axis.terms) == 1 or len(term) > 1:
                    out.update((atom, 1) for atom in Axis((term,), 0).atoms() if atom in out)
    return out


def _sums(atoms: list[Atom], constraints: SizeConstraints) -> list[Polynomial]:
    """The sizes, where linear, of all axes of parameters that add up widths, one of these at least."""
    wanted = set(atoms)
    axes = dict.fromkeys(axis for axes in constraints.widths.axes.values() for axis in axes)
    found = [Polynomial.of_axis(axis) for axis in axes if len(axis.terms) > 1]
    left = [size.with_constants(lambda atom: atom not in wanted) for size in found]
    return [size for size in left if size.degree == 1]
