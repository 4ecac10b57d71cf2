"""Outgoing weights of new neurons, which start at zero so that the network computes the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.plan.change import Outgoing, Rows
from naivegraph.errors import EditError
from naivegraph.ir.values import Stub
from naivegraph.operators import record_of
from naivegraph.operators.movement import Dims
from naivegraph.operators.relation import Summed, arguments
from naivegraph.widths.provenance.provenance import ParameterEntries, Provenance, ProvenanceTrace, Untraceable
from naivegraph.widths.widths import Width, Widths

__all__ = [
    "KeptGrowth", "SilentSums", "growth_notes", "outgoing", "replacement_notes", "rows_of", "silent_norms",
    "unkept", "whole_copies",
]  # fmt: skip

# Sums to which the new neurons of a width add nothing, whatever the weights are.
SilentSums = frozenset[tuple[Summed, Atom]]


@dataclasses.dataclass(frozen=True)
class KeptGrowth:
    """Starts and factors by which widths that enter statistics grow with the function kept.

    Attributes:
        atoms: These widths.
        fills: Entries that do not start as initialised: the tensor, the dimension and the width, what they
            are ("mean", "zero" or "one"), and the tensors, with a dimension, by which a mean is weighted.
        scales: Factors of tensors, by name.
        silent: Sums to which new neurons add nothing.
        reasons: The reasons why others cannot grow so.
    """

    atoms: frozenset[Atom] = frozenset()
    fills: tuple[tuple[str, int, Atom, str, tuple[tuple[str, int], ...]], ...] = ()
    scales: Mapping[str, float] = dataclasses.field(default_factory=dict)
    silent: SilentSums = frozenset()
    reasons: Mapping[Atom, str] = dataclasses.field(default_factory=dict)


_NOTHING = KeptGrowth()


def outgoing(
    widths: Widths, keys: Mapping[Atom, str], *, copies: bool = False, silent: SilentSums = frozenset()
) -> tuple[Outgoing, ...]:
    """The entries by which new neurons of these widths act on others.

    In a sum over a width they are those of one factor: of weights where there are some, else of the
    parameters that, say, the query of an attention comes from. Sums without a factor that can be traced are
    left out (see `unkept`).

    Args:
        widths: The widths of a graph.
        keys: The key of each width that grows.
        copies: Whether new neurons are copies that share the effect of the original, so that the entries must
            have no other use.
        silent: Sums that need no such entries.

    Raises:
        EditError: For copies: a factor cannot be traced, or its weights have another use.
    """
    found: dict[tuple[str, tuple[int, ...], tuple[int, tuple[int, ...]] | None], dict[str, None]] = {}
    if copies:
        _check_order(widths, keys)
    sums = [each for each in _sums(widths, keys) if each not in silent]
    chosen = [(summed, atom, _chosen(widths, summed, atom, zero=not copies)) for summed, atom in sums]
    traced = {trace.target.id for _, _, trace in chosen if isinstance(trace, ProvenanceTrace)}
    for summed, atom, trace in chosen:
        if isinstance(trace, str):
            if copies:
                raise EditError(f"new neurons cannot be copies: {trace}, at {summed.where}")
            continue
        if copies:
            _check_use(widths, trace, traced, summed)
        for entries in trace.entries():
            if copies and sum(atom in widths.axes[entries.name][dim].atoms() for dim in entries.dims) > 1:
                raise EditError(
                    f"new neurons cannot be copies: {entries.name} has them along several dimensions, "
                    f"summed over at {summed.where}"
                )
            found.setdefault((entries.name, entries.dims, entries.rows), {})[keys[atom]] = None
    return tuple(
        Outgoing(name, dims, tuple(named), _rows(rows)) for (name, dims, rows), named in found.items()
    )


def _check_order(widths: Widths, atoms: Collection[Atom]) -> None:
    """Check that no operator tells a copy, which comes last, from its original by their order."""
    for axis, where in widths.relation.ordered:
        if any(atom in atoms for atom in widths.relation.algebra.resolve(axis).atoms()):
            raise EditError(f"new neurons cannot be copies: their order matters to {where}")


def unkept(
    widths: Widths, atoms: Collection[Atom], kept: KeptGrowth = _NOTHING, *, copies: bool = False
) -> dict[Atom, str]:
    """The widths, of these, whose growth changes what the network computes, with the reason.

    Args:
        widths: The widths of a graph.
        atoms: The widths that grow.
        kept: What lets some of them grow through statistics.
        copies: Whether new neurons are copies.
    """
    out: dict[Atom, str] = {}
    silent = set() if copies else silent_norms(widths, atoms)
    for axis, statistic in widths.relation.statistics:
        for atom in widths.relation.algebra.resolve(axis).atoms():
            if atom in atoms and atom not in kept.atoms and (statistic, atom) not in silent:
                out.setdefault(atom, kept.reasons.get(atom, f"it enters {statistic}"))
    for summed, atom in _sums(widths, atoms):
        if (summed, atom) in kept.silent:
            continue
        trace = _chosen(widths, summed, atom, zero=True)
        if isinstance(trace, str):
            out.setdefault(atom, f"it is summed over at {summed.where}, and {trace}")
    return out


def silent_norms(widths: Widths, atoms: Collection[Atom]) -> set[tuple[str, Atom]]:
    """The statistics, as they are told, and widths of them whose new entries are zero and change nothing.

    These are norms of weights, of which the entries by which new neurons act on others start as zero.

    Args:
        widths: The widths of a graph.
        atoms: The widths that grow.
    """
    measured = [
        (widths.relation.algebra.resolve(axis), text, silenced)
        for axis, text, operation in widths.relation.measured
        if (zeros := record_of(operation.func).zeros) is not None and zeros.silences is not None
        if (silenced := zeros.silences(arguments(operation), frozenset())) is not None
    ]
    if not measured:
        return set()
    traces = [(atom, _chosen(widths, summed, atom, zero=True)) for summed, atom in _sums(widths, atoms)]
    zero = {
        (number, atom)
        for atom, trace in traces
        if not isinstance(trace, str)
        for number in trace.found
        if trace.masks[number] is None
    }
    return {
        (text, atom)
        for axis, text, silenced in measured
        for atom in axis.atoms()
        if (silenced.id, atom) in zero
    }


def whole_copies(widths: Widths, changed: Mapping[Width, tuple[int, int]]) -> set[Atom]:
    """The widths all of whose neurons get equally many copies, which changes none of the means they enter.

    Args:
        widths: The widths of a graph.
        changed: Of widths that change, how many neurons stay and how many come.
    """
    found = {
        width.atom for width, (stay, come) in changed.items() if stay == width.size and come % width.size == 0
    }
    for axis, _, operation in widths.relation.measured:
        atoms = widths.relation.algebra.resolve(axis).atoms()
        record = record_of(operation.func)
        reduction = record.reduction
        mean = record.norm is not None or (reduction is not None and reduction.of_means({}, 1, 2) == 1)
        changing = {width.atom for width in changed}.intersection(atoms)
        if changing and (not mean or not changing <= found):
            found -= changing
    return found


def growth_notes(
    widths: Widths, atoms: Collection[Atom], kept: KeptGrowth = _NOTHING, *, copies: bool = False
) -> tuple[str, ...]:
    """A sentence for each of these widths whose growth changes what the network computes; see `unkept`."""
    return tuple(
        f"The new neurons of {widths.by_atom[atom].name} change what the network computes: {reason}."
        + (_copies_hint(widths, atom) if atom in kept.reasons else "")
        for atom, reason in unkept(widths, atoms, kept, copies=copies).items()
    )


def _copies_hint(widths: Widths, atom: Atom) -> str:
    """A sentence that tells of copies, if they keep what the network computes."""
    width = widths.by_atom[atom]
    try:
        outgoing(widths, {atom: "0"}, copies=True)
    except EditError:
        return ""
    if not width.lives or atom not in whole_copies(widths, {width: (width.size, width.size)}):
        return ""
    return f' With initialise="duplicate" and a multiple of its {width.size} they do not.'


def replacement_notes(widths: Widths, answer: Mapping[Width, tuple[int, int]]) -> tuple[str, ...]:
    """A sentence for each vertex where neurons go and others come, as the factors of its size change apart.

    Args:
        widths: The widths.
        answer: Of widths that change, how many neurons stay and how many come.
    """
    lost = {width.atom for width, (stay, _) in answer.items() if stay < width.size}
    grown = {width.atom for width, (_, come) in answer.items() if come}
    after = {width.atom: stay + come for width, (stay, come) in answer.items()}
    kept = {width.atom: stay for width, (stay, _) in answer.items()}
    out: dict[frozenset[Atom], str] = {}
    for vertex in widths.graph.vertices if lost and grown else ():
        axis = widths.output_axis(vertex)
        atoms = frozenset(axis.atoms())
        if not (atoms & lost and atoms & (grown - lost)) or atoms in out:
            continue
        size = axis.size(lambda atom: after.get(atom, atom.length))
        stay = axis.size(lambda atom: kept.get(atom, atom.length))
        shown = " x ".join(f"{atom.length} -> {after.get(atom, atom.length)}" for atom in axis.atoms())
        out[atoms] = (
            f"{vertex.name} becomes {size} neurons by other factors ({shown}): {axis.length - stay} of its "
            f"{axis.length} neurons go and {size - stay} come in their place, which changes what the network "
            "computes."
        )
    return tuple(out.values())


def rows_of(entries: ParameterEntries) -> Rows:
    """Entries of a parameter as a change stores them."""
    return _rows(entries.rows)


def _rows(rows: tuple[int, tuple[int, ...]] | None) -> Rows:
    return None if rows is None else (rows[0], np.asarray(rows[1], np.int64))


def _sums(widths: Widths, atoms: Collection[Atom]) -> Iterator[tuple[Summed, Atom]]:
    """The sums over each of these widths."""
    for summed in widths.relation.summed:
        for atom in dict.fromkeys(widths.relation.algebra.resolve(summed.axis).atoms()):
            if atom in atoms:
                yield summed, atom


def _provenance(widths: Widths, summed: Summed) -> Provenance:
    """The provenance of the run with this sum."""
    made = (t for t in widths.provenances if any(t.made(stub) for stub, _ in summed.factors))
    return next(made, widths.provenances[0])


def _chosen(widths: Widths, summed: Summed, atom: Atom, *, zero: bool) -> ProvenanceTrace | str:
    """The trace of a factor that can be zero for new neurons, weights first; or the reason why none can.

    Args:
        widths: The widths.
        summed: The sum.
        atom: The width.
        zero: Whether it is to be zero; else it is to be scaled.
    """
    provenance = _provenance(widths, summed)

    def along(stub: Stub, dims: Dims) -> bool:
        """Tell whether the width lies along dimensions of a tensor."""
        axes = widths.relation.axes.get(stub.id, [])
        return any(atom in widths.relation.algebra.resolve(axes[d]).atoms() for d in dims if d < len(axes))

    factors = sorted(summed.factors, key=lambda factor: factor[0].id not in provenance.stateful)
    usable: list[ProvenanceTrace] = []
    reason = "nothing is summed"
    for stub, dim in factors:
        try:
            trace = provenance.trace(stub, dim, along, zero=zero)
            list(trace.entries())
        except Untraceable as error:
            reason = str(error)
            continue
        if stub.id in provenance.stateful:
            return trace
        usable.append(trace)
        try:
            provenance.check_exclusive(trace)
        except Untraceable:
            continue
        return trace
    return usable[0] if usable else reason


def _check_use(widths: Widths, trace: ProvenanceTrace, others: set[int], summed: Summed) -> None:
    try:
        _provenance(widths, summed).check_exclusive(trace, others)
    except Untraceable as error:
        raise EditError(f"new neurons cannot be copies: {error} (summed over at {summed.where})") from error
