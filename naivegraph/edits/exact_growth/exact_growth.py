"""Growth of widths that enter the statistics of norms, with the function kept.

A layer norm gives (x - mean) / sqrt(var + eps) * weight + bias. If each of k new entries is the mean of the n
old ones, the mean stays, and the squares of the differences add up as before, but are divided by m = n + k
instead of n: var becomes var * n / m. With eps * n / m, too, everything is divided by a root that is
sqrt(n / m) times as large, which weight * sqrt(n / m) takes back. The new entries are normalised to zero. A
norm by the root of the mean square (Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019)
does the same where new entries are zero. So readers of the norm may start with any weights for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from naivegraph.algebra.axis import Atom
from naivegraph.edits.exact_growth.decisions import Decisions, ScaledNumber
from naivegraph.edits.exact_growth.flow import Flow
from naivegraph.edits.exact_growth.roles import Along, Roles, ShownStates, roles_of
from naivegraph.edits.exact_growth.tensor_state import Kind
from naivegraph.edits.plan.outgoing_weights import KeptGrowth, SilentSums, outgoing, silent_norms
from naivegraph.operators import record_of
from naivegraph.widths.widths import Width, Widths

__all__ = ["ExactGrowth", "exact_growth"]

_RUNS = 50  # more than any network needs; decisions only become more


@dataclasses.dataclass(frozen=True)
class ExactGrowth:
    """Measures by which widths that enter statistics grow with the function kept.

    Attributes:
        kept: The part that a plan needs.
        numbers: The numbers of the code that have to follow, such as the `eps` of norms.
    """

    kept: KeptGrowth = dataclasses.field(default_factory=KeptGrowth)
    numbers: tuple[ScaledNumber, ...] = ()


def exact_growth(widths: Widths, sizes: Mapping[Width, tuple[int, int]]) -> ExactGrowth:
    """Work out how widths can grow with the function kept.

    Args:
        widths: The widths of a graph.
        sizes: Of each width that changes, how many neurons stay and how many come.
    """
    after = {width.atom: stay + come for width, (stay, come) in sizes.items()}
    growing = {width.atom for width, (_, come) in sizes.items() if come}
    shrinking = {width.atom for width, (stay, _) in sizes.items() if stay < width.size}
    entering = _entering(widths, growing)
    if not entering:
        return ExactGrowth(KeptGrowth())
    origins = ShownStates(widths)
    search = _Search(widths, after, growing, shrinking, origins, roles_of(widths, origins, growing))
    return search.run({atom: kind for atom, kind in entering.items() if atom not in shrinking})


def _entering(widths: Widths, growing: Collection[Atom]) -> dict[Atom, Kind]:
    """The widths that enter statistics, with what their new entries had better be."""
    found: dict[Atom, Kind] = {}
    taken, silent = _taken_away(widths), silent_norms(widths, growing)
    for axis, text, operation in widths.relation.measured:
        record = record_of(operation.func)
        centred = (
            (record.norm is not None and record.norm.centred)
            or (record.reduction is not None and record.reduction.centred)
            or id(operation) in taken
        )
        for atom in widths.relation.algebra.resolve(axis).atoms():
            if atom in growing and (text, atom) not in silent and (centred or atom not in found):
                found[atom] = Kind.MEAN if centred else Kind.ZERO
    return found


def _taken_away(widths: Widths) -> set[int]:
    """The operators, by `id`, that take means which are then taken from the tensor itself."""
    means: dict[int, tuple[int, int]] = {}  # by number of a tensor: that of the one averaged, the operator
    found: set[int] = set()
    for run in widths.graph.runs:
        for vertex in run.vertices:
            for operation in vertex.operations:
                operands, record = [stub.id for stub in operation.operands], record_of(operation.func)
                out = operation.outputs[0] if operation.outputs else None
                if out is not None and record.reduction is not None and record.additive:
                    means[out.id] = operands[0], id(operation)
                elif out is not None and len(operands) == 1 and operands[0] in means and record.movement:
                    means[out.id] = means[operands[0]]
                elif (
                    record.additive
                    and len(operands) == 2
                    and means.get(operands[1], (None,))[0] == operands[0]
                ):
                    found.add(means[operands[1]][1])
    return found


class _Search:
    """Search for decisions that all runs confirm; widths for which there are none are left out."""

    def __init__(
        self,
        widths: Widths,
        after: Mapping[Atom, int],
        growing: Collection[Atom],
        shrinking: Collection[Atom],
        origins: ShownStates,
        roles: Roles,
    ) -> None:
        self._widths, self._after = widths, after
        self._growing, self._shrinking = growing, shrinking
        self._origins, self._roles = origins, roles
        self._names = {stub.id: name for name, stub in reversed(widths.graph.state.items())}
        self._reasons: dict[Atom, str] = {}

    def run(self, kinds: dict[Atom, Kind]) -> ExactGrowth:
        """Search, beginning with these kinds of entries."""
        left = dict.fromkeys(kinds, 1)  # how often a width may change its kind
        decisions = Decisions(kinds)
        for _ in range(_RUNS):
            flow = self._flow(decisions)
            if flow.more:
                continue
            failures = flow.failures or self._silenced(flow)
            if not failures:
                return self._found(flow)
            for atom, reason in failures.items():
                self._reasons.setdefault(atom, reason)
                if left[atom]:
                    left[atom] -= 1
                    kinds[atom] = Kind.ZERO if kinds[atom] is Kind.MEAN else Kind.MEAN
                else:
                    del kinds[atom]
            decisions = Decisions(kinds)
        return ExactGrowth(KeptGrowth(reasons=self._reasons))

    def _flow(self, decisions: Decisions) -> Flow:
        flow = Flow(
            self._widths,
            lambda atom: self._after.get(atom, atom.length),
            self._growing,
            self._shrinking,
            decisions,
            self._origins,
            self._roles,
        )
        flow.run()
        return flow

    def _starts(self, decisions: Decisions) -> dict[Along, Kind | None]:
        """The entries that start as zero, as a mean, or (None) as one."""
        kinds = decisions.kinds
        found: dict[Along, Kind | None] = {
            key: kinds[key[2]] for key in self._roles.writers if key[2] in kinds
        }
        shifts = (*self._roles.shifts, *decisions.shifts)
        found.update((key, Kind.ZERO) for key in shifts if key[2] in kinds)
        found.update(dict.fromkeys(decisions.ones))
        return found

    def _silent(self, flow: Flow) -> SilentSums:
        """The sums to which new neurons add nothing, as a factor of theirs is zero."""
        return frozenset(
            (summed, atom)
            for summed in self._widths.relation.summed
            for stub, dim in summed.factors
            for d, atom in flow.along(stub)
            if d == dim and (found := flow.entries(stub, dim, atom)) and found.kind is Kind.ZERO
        )

    def _silenced(self, flow: Flow) -> dict[Atom, str]:
        """The widths of which the entries that a sum would need as zero have to be something else."""
        starts = {(self._names[number], dim, atom) for number, dim, atom in self._starts(flow.decisions)}
        keys = {atom: atom.serial for atom in self._growing}
        atoms = {str(serial): atom for atom, serial in keys.items()}
        found = outgoing(
            self._widths,
            {atom: str(serial) for atom, serial in keys.items()},
            silent=self._silent(flow),
        )
        return {
            atom: f"{each.tensor} writes its neurons and sums over them"
            for each in found
            for key in each.widths
            for dim in each.dims
            if ((name := self._first(each.tensor)), dim, atom := atoms[key]) in starts and name
        }

    def _first(self, name: str) -> str:
        return self._names[self._widths.graph.state[name].id]

    def _found(self, flow: Flow) -> ExactGrowth:
        decisions = flow.decisions
        fills = []
        for (number, dim, atom), kind in self._starts(decisions).items():
            gains = [
                (self._names[gain], d)
                for gain in sorted(decisions.gains.get((number, dim, atom), ()))
                for (other, d, a) in decisions.ones
                if other == gain and a is atom
            ]
            fills.append((self._names[number], dim, atom, kind.value if kind else "one", tuple(gains)))
        scales = {self._names[number]: scale for number, (scale, _) in decisions.scales.items()}
        kept = KeptGrowth(frozenset(decisions.kinds), tuple(fills), scales, self._silent(flow), self._reasons)
        return ExactGrowth(kept, tuple(dict.fromkeys(flow.numbers)))
