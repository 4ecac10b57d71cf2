"""Concatenations that lose parts or get one: the sizes of what they give, run by run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from naivegraph.algebra.axis import Atom, Axis, Term, product, single, total
from naivegraph.edits.structure.merges import concatenation_dim
from naivegraph.edits.structure.vertices import output_of
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import is_empty_part, parts_of
from naivegraph.ir.values import Stub
from naivegraph.operators.relation import Relation

__all__ = ["Joint"]


class Joint:
    """A concatenation as it will be, for the relation of the sizes of a graph.

    What it gives is a run of neurons for each part. The runs of parts that stay are those of the parts; a
    part that goes has a run of its own, which can end, whatever becomes of the part; and one that comes has
    an empty run at its place, which grows.

    Args:
        vertex: The concatenation.
        gone: The indices of the parts that go.
        position: The index of the part that comes; None if none does.
        source: What comes.

    Attributes:
        stand_in: What stands for it in the recording that is related.
        coming: The run of the part that comes, of no neurons yet; None where it has no place, as what uses
            the concatenation takes it apart there.
        in_rows: Whether neurons come in rows of several there, as the groups of a convolution.
    """

    def __init__(
        self,
        vertex: Vertex,
        gone: Collection[int] = (),
        position: int | None = None,
        source: Stub | None = None,
    ) -> None:
        self.vertex, self.gone, self.position, self.source = vertex, gone, position, source
        self.parts: list[Stub] = parts_of(vertex)
        self.out, self.dim = output_of(vertex), concatenation_dim(vertex)
        self.stand_in = dataclasses.replace(vertex, operations=[], args=(), kwargs={})
        self.coming: Axis | None = None
        self.in_rows = False
        self._runs: list[Axis] = []

    @property
    def _beside(self) -> int | None:
        """The index of the part at whose run the new one grows: the one before it, or else after it."""
        if self.position is None:
            return None
        places = (*range(self.position - 1, -1, -1), *range(self.position, len(self.parts)))
        return next((place for place in places if not is_empty_part(self.parts[place])), None)

    def run(self, index: int) -> Axis:
        """The run of one part in what it gives; not resolved."""
        return self._runs[index]

    def relate(self, relation: Relation) -> None:
        """Set the axes of what it gives."""
        stay = [
            relation.of(p) for i, p in enumerate(self.parts) if i not in self.gone and not is_empty_part(p)
        ]
        own = {*self.gone, self._beside}
        self._runs = [self._run_of(part, i in own, relation) for i, part in enumerate(self.parts)]
        out = [
            relation.algebra.concatenate(self._runs)
            if dim == self.dim
            else relation.broadcast([[axes[dim]] for axes in stay])[0]
            for dim in range(len(self.out.shape))
        ]
        relation.set(self.out, out)

    def _run_of(self, part: Stub, own: bool, relation: Relation) -> Axis:
        """The axis of a part along which it is concatenated, or one of the same length that nothing ties."""
        if is_empty_part(part):
            return total(())
        return single(Atom(part.shape[self.dim], relation.where)) if own else relation.of(part)[self.dim]

    def settle(self, relation: Relation) -> None:
        """Make a place for the part that comes, once all that uses the concatenation is related.

        The run beside it is one of its own until then. Its first or last factor is cut in two: what there is,
        and the neurons that come. Then it is the run of its part.
        """
        if self._beside is None:
            return
        resolve, algebra = relation.algebra.resolve, relation.algebra
        run, part = resolve(self._runs[self._beside]), relation.of(self.parts[self._beside])[self.dim]
        place = 0 if self.position is not None and self.position <= self._beside else -1
        term = run.terms[place] if run.terms else ()
        atom = term[0] if term else 1
        if isinstance(atom, Atom) and not atom.alone and run.atoms().count(atom) == 1:
            parts = [part for part in self.parts if not is_empty_part(part)]
            given = [*parts, *([self.source] if self.source else [])]
            if atom not in {each for stub in given for each in resolve(relation.of(stub)[self.dim]).atoms()}:
                rest, new = Atom(atom.length, relation.where), Atom(0, relation.where)
                pair: list[Term] = [(new,), (rest,)] if place == 0 else [(rest,), (new,)]
                algebra.bind(atom, total(pair))
                self.coming, self.in_rows = total(product((new, *term[1:]))), len(term) > 1
                terms = list(run.terms)
                terms[place] = (rest, *term[1:])
                run = resolve(total(terms))
        algebra.unify(part, run)
