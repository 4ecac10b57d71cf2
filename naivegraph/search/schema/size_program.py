"""The program that decides all sizes of a walk at once: channels, free paddings, output paddings."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from naivegraph.errors import SchemaError
from naivegraph.search.schema.feature_shape import KnownShape
from naivegraph.search.schema.size_model import SizeModel, SizeRow, SizeTerm
from naivegraph.search.schema.walk_steps import WalkStep
from naivegraph.solvers import Program, solve

__all__ = ["add_rows", "decide_sizes"]

_GAP = 0.02
_PADDING_WEIGHT = 0.05  # beside a deviation of channels by all of their number


def decide_sizes(
    model: SizeModel, steps: Sequence[WalkStep], inputs: Sequence[KnownShape]
) -> list[int] | None:
    """A value for each size, nearest to what growth functions ask for; None where there is none."""
    if all(low == high for low, high in zip(model.lower, model.upper, strict=True)):
        return list(model.lower)
    program = Program()
    columns = [str(number) for number in range(len(model.names))]
    program.columns(columns, np.array(model.lower, float), np.array(model.upper, float))
    add_rows(program, model, [row for row in model.rows if not _implied(model, row)])
    _add_goals(program, _goals(model, steps, inputs))
    solution = solve(program, gap=_GAP)
    if solution.values is None:
        return None
    return [int(value) for value in solution.values[: len(columns)].round()]


def add_rows(program: Program, model: SizeModel, rows: Sequence[SizeRow], owned: bool = False) -> None:
    """Add rows to a program whose first columns are the sizes.

    Args:
        program: The program.
        model: The sizes.
        rows: Some of its rows.
        owned: Whether each row carries the name of its rule.
    """
    lengths = [len(row.indices) for row in rows]
    program.rows(
        np.concatenate([[0], np.cumsum(lengths)]),
        [index for row in rows for index in row.indices],
        [float(factor) for row in rows for factor in row.factors],
        [-np.inf if row.lower is None else row.lower for row in rows],
        [np.inf if row.upper is None else row.upper for row in rows],
        [str(number) for number in range(len(rows))],
        requests=[str(row.owner) for row in rows] if owned else None,
    )


def _implied(model: SizeModel, row: SizeRow) -> bool:
    """Tell whether a row holds whatever values the intervals leave."""
    least = most = 0
    for index, factor in zip(row.indices, row.factors, strict=True):
        low, high = model.lower[index], model.upper[index]
        least += factor * (low if factor > 0 else high)
        most += factor * (high if factor > 0 else low)
    return (row.lower is None or least >= row.lower) and (row.upper is None or most <= row.upper)


Goal = tuple[SizeTerm, SizeTerm, float, float]  # a size, another, the factor wanted between them, the weight


def _goals(model: SizeModel, steps: Sequence[WalkStep], inputs: Sequence[KnownShape]) -> list[Goal]:
    """The wishes of growth functions, and of paddings.

    A growth function is asked about the channels that are expected to come in: those that earlier steps wish
    for, within the intervals.
    """
    expected = {-1 - number: float(known.channels) for number, known in enumerate(inputs)}
    goals: list[Goal] = []
    for number, step in enumerate(steps):
        low, high = model.interval(step.made.channels)
        given = next(iter(step.given.values())).channels
        coming = [expected[source] for source in next(iter(step.sources.values()))]
        base = sum(coming) if len(coming) > 1 and given.index not in _indices(step) else coming[0]
        if step.free and low != high:
            factor = _factor(step, max(base, 1.0))
            goals.append((step.made.channels, given, factor, 1 / max(factor * base, 1.0)))
            base *= factor
        elif model.fixed(given) and low != high:
            base = (low * high) ** 0.5
        expected[number] = min(max(base, low), high)
        for term, wanted in step.preferred:
            if not model.fixed(term):
                goals.append((term, SizeTerm(-1, wanted), 1.0, _PADDING_WEIGHT))
    return goals


def _indices(step: WalkStep) -> set[int]:
    return {shape.channels.index for shapes in step.arrived.values() for shape in shapes}


def _factor(step: WalkStep, base: float) -> float:
    """The factor that a step's growth function asks for.

    Raises:
        SchemaError: It is no positive number.
    """
    growth = step.growing.growth
    if growth is None:
        return 1.0
    factor = growth(base, random.Random(f"growth {step.index}"))
    if not (isinstance(factor, (int, float)) and 0 < factor < float("inf")):
        raise SchemaError(
            f"{step.growing.name}: its growth function returned {factor!r} for {base:g} channels"
        )
    return float(factor)


def _add_goals(program: Program, goals: Sequence[Goal]) -> None:
    """Have the objective lose with the distance of each size from its factor times another."""
    names = [f"goal {number}" for number in range(len(goals))]
    weights = [-weight for *_, weight in goals]
    off = program.columns(names, 0.0, np.inf, integer=False, objective=weights)
    indices: list[int] = []
    values: list[float] = []
    starts, lower = [0], []
    for column, (term, other, factor, _) in zip(off, goals, strict=True):
        for sign in (1.0, -1.0):
            indices += [column, term.index]
            values += [1.0, -sign * term.factor]
            lower.append(0.0)
            if other.index < 0:
                lower[-1] = -sign * factor * other.factor
            else:
                indices.append(other.index)
                values.append(sign * factor * other.factor)
            starts.append(len(indices))
    sides = [f"{name} {side}" for name in names for side in ("below", "above")]
    program.rows(starts, indices, values, lower, np.inf, sides)
