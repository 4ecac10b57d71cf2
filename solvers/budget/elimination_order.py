"""The order in which bucket elimination removes the variables, and whether its tables are small."""

import math

from naivegraph.solvers.budget.elimination_tables import Elimination
from naivegraph.solvers.budget.factor_graph import FactorGraph
from naivegraph.solvers.budget.problem import Ints

CELLS = 400_000  # cells of the largest table
_NEARLY = 100  # times as many would be needed to treat every value by itself


def elimination_order(
    factors: FactorGraph, sizes: dict[int, int], fixed: frozenset[int]
) -> list[Elimination]:
    """Choose the order in which to remove the variables in `sizes`: smallest table first.

    Args:
        factors: The functions.
        sizes: The number of runs of each variable to remove.
        fixed: The variables that have a single run and take no part.
    """
    links: list[tuple[str, int, frozenset[int]]] = []
    for t, scope in enumerate(factors.scopes):
        links.append(("term", t, scope - fixed))
    for r, constraint in enumerate(factors.constraints):
        links.append(("constraint", r, frozenset(constraint.parts) - fixed))
    touching: dict[int, set[int]] = {v: set() for v in sizes}
    for i, (_, _, scope) in enumerate(links):
        for v in scope:
            touching[v].add(i)
    # Greedy: removing a variable changes the tables of its neighbours alone, so only these are weighed again.
    candidates = {v: _candidate(factors, v, sizes, [links[i] for i in touching[v]]) for v in sizes}
    steps: list[Elimination] = []
    while candidates:
        v = min(candidates, key=lambda u: (candidates[u].size, u))
        step = candidates.pop(v)
        gone = touching.pop(v)
        links.append(("table", len(steps), frozenset(step.scope)))
        for u in step.scope:
            touching[u] = (touching[u] - gone) | {len(links) - 1}
        for u in step.scope:
            candidates[u] = _candidate(factors, u, sizes, [links[i] for i in touching[u]])
        steps.append(step)
    return steps


def _candidate(
    factors: FactorGraph, v: int, sizes: dict[int, int], links: list[tuple[str, int, frozenset[int]]]
) -> Elimination:
    """Describe the removal of variable `v` as things stand: its bucket, its scope and the size of its table.

    Args:
        factors: The functions.
        v: The variable.
        sizes: The number of runs of each variable.
        links: The functions left that involve it: kind, index and variables of each.
    """
    scope = sorted(set().union(*(s for _, _, s in links)) - {v})
    terms = [i for kind, i, _ in links if kind == "term"]
    constraints = [i for kind, i, _ in links if kind == "constraint"]
    tables = [i for kind, i, _ in links if kind == "table"]
    linear = (
        not constraints
        and all(len(s) == 1 for kind, _, s in links if kind == "table")
        and all(factors.affine(t, v) for t in terms)
    )
    # An equation with a neighbour leaves one run or two of v open, whatever the number of its runs.
    exact = [
        r for r in constraints if factors.constraints[r].high - factors.constraints[r].low < 1e-6 and scope
    ]
    size = math.prod(sizes[u] for u in scope)
    if not linear:
        size *= 2 if exact else sizes[v]
    return Elimination(
        v, tuple(scope), sorted(terms), constraints, tables, linear, exact[0] if exact else None, size
    )


def small_enough(factors: FactorGraph, low: Ints, high: Ints) -> bool:
    """Tell whether tables for a box of positions are small enough with every value, or nearly so.

    Tables that are a little too large lose little by longer runs of values; beyond that they lose much.
    """
    counts = [span[2] for span in factors.spans(low, high)]
    fixed = frozenset(v for v, count in enumerate(counts) if count == 1)
    steps = elimination_order(factors, {v: n for v, n in enumerate(counts) if n > 1}, fixed)
    return max((step.size for step in steps), default=0) <= _NEARLY * CELLS
