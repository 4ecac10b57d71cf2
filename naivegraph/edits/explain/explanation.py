"""An explanation of a size as data, and the sentences that tell it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from naivegraph.edits.explain.nearest_sizes import Nearest
from naivegraph.errors import EditError
from naivegraph.picture import NetworkPicture, Pictured
from naivegraph.picture.graph_picture import graph_picture, grouped
from naivegraph.picture.picture_data import COLOURS, Ink, PictureGroup
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.tables import as_html
from naivegraph.widths.ties import OUTPUT, Role

__all__ = ["Cause", "Explanation", "Ripple", "SizePart", "Tie", "chain_text"]

_MOST = 8  # lines of one list before the rest is only counted
_ENDS = 3  # vertices told at either end of a long chain
_PASSES = {
    "input": "takes them in",
    "output": "has them as its outputs",
    "both": "passes them on",
    "own": "has them",
}
_SIDE = {"input": "the inputs of ", "output": "the outputs of ", "both": "", "own": ""}


class Tie(NamedTuple):
    """Another layer that shares a width, the vertices through which the two are tied, and the layer's side.

    `role` tells whether its inputs, its outputs or both have the width.
    """

    layer: str
    chain: tuple[str, ...]
    role: Role


class Cause(NamedTuple):
    """Reason why neurons are fixed, and the vertices from the one explained to the one that fixes them."""

    reason: str
    chain: tuple[str, ...]


class Ripple(NamedTuple):
    """Size of another layer that changes with the one explained."""

    layer: str
    role: Role
    before: int
    after: int


@dataclasses.dataclass(frozen=True)
class SizePart:
    """One of the widths that a size is made of.

    Attributes:
        name: The width's name: the layer whose output it is.
        size: Its number of neurons.
        tied_with: The other layers that share it, nearest first.
        held: Why the network's own code does not let it change; None if it does.
        coupled: The statistics that its neurons enter.
        output: The vertices from the one explained to the network's output, if its neurons are outputs of the
            network, which `prune` keeps and `resize` may change; else empty.
    """

    name: str
    size: int
    tied_with: tuple[Tie, ...]
    fixed_by_code: str | None
    coupled: tuple[str, ...]
    output: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(Pictured):
    """The result of `explain`; printed, it is sentences.

    Attributes:
        name: The vertex or parameter.
        size: Its number of neurons.
        made_of: The size as a sum of products, such as `"3 x 12 x 64"`.
        parts: The widths in it.
        fixed: The reasons why (some of) its neurons are fixed.
        constraints: The constraints of the network's own code and of custom rules on its sizes, in words.
        nearest: The nearest sizes it can take, one entry for each way in which it can change.
        ripples: The other sizes that change when it takes the first of them, one size up (or down).
    """

    name: str
    size: int
    made_of: str
    parts: tuple[SizePart, ...]
    fixed: tuple[Cause, ...]
    constraints: tuple[str, ...]
    nearest: tuple[Nearest, ...]
    ripples: tuple[Ripple, ...]
    _related: RelatedGraph | None = dataclasses.field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_related": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        parts = [_counted(self)]
        if self.tied_with:
            layers = len(dict(self.tied_with))
            parts.append(f"shared with {layers} other layer{'s' * (layers != 1)}")
        if not self.nearest:
            parts.append("cannot change")
        for way in self.nearest[:1]:
            sizes = [str(size) for size in (way.smaller, way.larger) if size is not None]
            parts.append(f"next {' or '.join(sizes)}")
        return f"Explanation({self.name}: {', '.join(parts)})"

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        return as_html([str(self)])

    def picture(self) -> NetworkPicture:
        """The network as a picture in which the vertices stand out that this size is tied to, or fixed by.

        `explanation.page("why.html")` writes it as a page, `explanation.svg("why.svg")` as SVG.

        Raises:
            EditError: This is a copy, which knows no network.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> picture = ng.explain(net, torch.ones(1, 4), "0").picture()
            >>> [(vertex.name, vertex.group) for vertex in picture.vertices][1:4]
            [('0', 'asked about'), ('1', 'on the way'), ('2', 'shares its neurons')]
        """
        if self._related is None:
            raise EditError("a copy of an explanation has no picture: make it of the one ng.explain returned")
        return _picture(self, self._related)

    @property
    def widths(self) -> dict[str, int]:
        """The sizes of the widths in it, by name."""
        return {part.name: part.size for part in self.parts}

    @property
    def tied_with(self) -> list[tuple[str, tuple[str, ...]]]:
        """All other layers that share a width with it, each with the chain of vertices that ties them."""
        return [(tie.layer, tie.chain) for part in self.parts for tie in part.tied_with]

    @property
    def fixed_reason(self) -> str | None:
        """The reason why its size cannot change at all; None if it can."""
        if self.nearest:
            return None
        fixed_by_code = [part.fixed_by_code for part in self.parts if part.fixed_by_code is not None]
        return next(iter([*fixed_by_code, *(cause.reason for cause in self.fixed), *self.constraints]), None)


_ASKED = PictureGroup("asked about", COLOURS[4])
_SHARES = PictureGroup("shares its neurons", COLOURS[0])
_FIXES = PictureGroup("fixes it", Ink("#fee2e2", "#b91c1c"))
_WAY = PictureGroup("on the way", COLOURS[7])


def _picture(found: Explanation, related: RelatedGraph) -> NetworkPicture:
    picture = graph_picture(related)
    names = {vertex.name for vertex in picture.vertices}
    groups: dict[str, str] = {}
    notes: dict[str, tuple[str, ...]] = {}

    def mark(chain: Sequence[str], end: PictureGroup, note: str) -> None:
        """Colour a chain of vertices, whose last one may be a parameter's name or the network's output."""
        for name in chain:
            if name in names:
                groups.setdefault(name, _WAY.name)
        last = "output" if chain[-1] == OUTPUT else chain[-1]
        if last in names:
            groups[last] = end.name
            notes[last] = (*notes.get(last, ()), note)

    for part in found.parts:
        for tie in part.tied_with:
            mark(tie.chain, _SHARES, f"It {_PASSES[tie.role]}: {chain_text(tie.chain)}.")
        if part.output:
            mark(part.output, _SHARES, f"They are outputs of the network: {chain_text(part.output)}.")
    for cause in found.fixed:
        mark(cause.chain, _FIXES, f"{cause.reason}: {chain_text(cause.chain)}.")
    mark((found.name,), _ASKED, f"{_counted(found)}.")
    shown = grouped(picture, groups, (_ASKED, _SHARES, _FIXES, _WAY), notes)
    return dataclasses.replace(
        shown,
        title=f"{picture.title}: {found.name}",
        about=tuple(line for line in _lines(found) if not line.startswith(" ")),
    )


def chain_text(chain: Sequence[str]) -> str:
    """A chain of vertices, the middle of a long one left out.

    Example:
        >>> chain_text(["conv1", "bn1", "add"])
        'conv1 -> bn1 -> add'
        >>> chain_text(list("abcdefghij"))
        'a -> b -> c -> (4 more) -> h -> i -> j'
    """
    if len(chain) > 2 * _ENDS + 2:
        left = len(chain) - 2 * _ENDS
        chain = [*chain[:_ENDS], f"({left} more)", *chain[-_ENDS:]]
    return " -> ".join(chain)


def _lines(found: Explanation) -> Iterator[str]:
    whole = found.made_of == str(found.size)
    yield f"{found.name} has {_counted(found)}{'' if whole else f': {found.made_of}'}."
    for part in found.parts:
        yield from _part(found, part)
    yield from _causes(found)
    yield from _constraints(found)
    if not found.nearest:
        yield "Its size cannot change."
    for way in found.nearest:
        yield _nearest(found, way)
    yield from _ripples(found)


def _counted(found: Explanation) -> str:
    return f"{found.size} neuron{'s' * (found.size != 1)}"


def _part(found: Explanation, part: SizePart) -> Iterator[str]:
    alone = len(found.parts) == 1 and part.size == found.size
    who = "These neurons" if alone else f"The {part.size} of {part.name!r}"
    if not part.tied_with:
        yield f"{who} are shared with no other layer."
    else:
        layers = len({tie.layer for tie in part.tied_with})
        yield f"{who} are shared with {layers} other layer{'s' * (layers != 1)}:"
        yield from _listed([_tie(tie) for tie in part.tied_with])
    if part.output:
        yield (
            f"They are outputs of the network, which ng.prune keeps and ng.resize may change: "
            f"{chain_text(part.output)}."
        )
    if part.coupled:
        yield (
            f"They enter {_joined(_few(part.coupled))} together, so when one goes or comes, what the others "
            "give changes slightly."
        )


def _tie(tie: Tie) -> str:
    return f"{tie.layer} {_PASSES[tie.role]}: {chain_text(tie.chain)}"


def _causes(found: Explanation) -> Iterator[str]:
    for cause in found.fixed:
        what = "Part of it is fixed" if found.parts else "It is fixed"
        yield f"{what} ({cause.reason}): {chain_text(cause.chain)}."


def _constraints(found: Explanation) -> Iterator[str]:
    if found.constraints:
        yield "The network's own code, or a rule declared for it, has a say in its size:"
        yield from _listed(found.constraints)


def _nearest(found: Explanation, way: Nearest) -> str:
    it = f"By changing {way.varying[0]!r} alone it" if len(found.nearest) > 1 else "It"
    next_below = way.smaller is None or way.smaller == way.size - 1
    if next_below and way.larger == way.size + 1:
        return f"{it} can be any number from {way.least}."
    sizes = [str(size) for size in (way.smaller, way.larger) if size is not None]
    missing = ", but no smaller" if way.smaller is None else ", but no larger" if way.larger is None else ""
    because = f", because {_joined(way.because)}" if way.because else ""
    return f"{it} can next be {' or '.join(sizes)}{missing}{because}. Its least size is {way.least}."


def _ripples(found: Explanation) -> Iterator[str]:
    if not found.nearest:
        return
    first = found.nearest[0]
    size = first.larger if first.larger is not None else first.smaller
    if found.ripples:
        yield f"With {size} instead of {found.size}, these change too:"
        yield from _listed([_ripple(ripple) for ripple in found.ripples])


def _ripple(ripple: Ripple) -> str:
    return f"{_SIDE[ripple.role]}{ripple.layer}: {ripple.before} -> {ripple.after}"


def _listed(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_MOST]:
        yield f"  {line}"
    if len(lines) > _MOST:
        yield f"  and {len(lines) - _MOST} more"


def _few(words: Sequence[str]) -> list[str]:
    return list(words) if len(words) <= _ENDS else [*words[: _ENDS - 1], f"{len(words) - _ENDS + 1} more"]


def _joined(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
