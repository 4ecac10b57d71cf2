"""Repair of decoded networks: the nearest that is one, by a mixed-integer program.

The shares that a decoder gives to neurons, edges, operators and skips are utilities, as logarithms of odds.
The program finds the valid structure of the largest sum, so that edges speak for their neurons, too.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.progress import working
from naivegraph.solvers import Program, solve
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.validity import given_to

__all__ = ["repair"]

_SHARE = 1e-4  # the share that one of 0 or 1 counts as, so that odds are finite

_Array = npt.NDArray[np.float64]


def repair(frame: Frame, tokens: Tensor, *, packed: bool = True) -> Networks:
    """Make networks of what a decoder gives, each the nearest that is valid.

    Args:
        frame: The frame.
        tokens: `[n, tokens, features]`, as of `Networks.tokens`; operators, presence, edges and skips are
            shares from 0 to 1.
        packed: Whether the neurons of a layer fill its places from the front, as they do in networks that
            `generate` makes; if not, any neurons may be there.

    Returns:
        The networks. Operators, neurons and skips are those of the program; of the edges between neurons
        that are there those with a share above .5; numbers as decoded.

    Raises:
        ValueError: The tokens are of another shape, or not finite.
        EditError: The solver failed.

    Example:
        >>> frame = Frame("dense", inputs=2, outputs=1, depth=2, width=3)
        >>> broken = torch.full((1, len(frame.places), frame.size), 0.5)
        >>> Networks.from_tokens(frame, broken).valid().item(), repair(frame, broken).valid().item()
        (False, True)
    """
    soft = Networks.from_tokens(frame, tokens, soft=True)
    found = Networks.from_tokens(frame, tokens)
    operator, presence = found.operator.clone(), torch.zeros_like(soft.presence, dtype=torch.bool)
    skips = None if soft.skips is None else torch.zeros_like(soft.skips, dtype=torch.bool)
    with working(f"repairing {len(soft)} networks"):
        for number in range(len(soft)):
            structure = _Structure(_Utilities.of(soft[number]), packed).solved()
            operator[number] = torch.from_numpy(structure.operator)
            presence[number, :-1, : frame.width] = torch.from_numpy(structure.presence)
            presence[number, -1, : frame.outputs] = True
            if skips is not None:
                skips[number, :-1] = torch.from_numpy(structure.skips)
    made = found.replaced(operator=operator, presence=presence, **({} if skips is None else {"skips": skips}))
    possible = presence[..., None] & given_to(made)[:, :, None]
    return made.replaced(edges=(soft.edges > 0.5) & possible)


@dataclasses.dataclass(frozen=True)
class _Utilities:
    """Utilities of the structure of one network, in logarithms of odds.

    Attributes:
        frame: The frame.
        operator: Of each operator in place of none, `[depth, activations]`.
        presence: `[depth, width]`.
        edges: Of an edge from a neuron, or an input, to a neuron, `[depth, width, W_in]`.
        last: Of a neuron, if its layer is the last one, by its edges to the head, `[width]`.
        bare: Of no hidden layer, by the edges from inputs to the head.
        skips: `[depth]`.
    """

    frame: Frame
    operator: _Array
    presence: _Array
    edges: _Array
    last: _Array
    bare: float
    skips: _Array

    @classmethod
    def of(cls, soft: Networks) -> _Utilities:
        """Those of a batch of one."""
        frame, size = soft.frame, soft.frame.width
        shares = soft.shares()[0].double()
        logs = (shares / shares.sum(-1, keepdim=True).clamp_min(_SHARE)).clamp(_SHARE, 1).log()
        edges = _odds(soft.edges[0])
        # An edge that is missing speaks against the neurons at its ends as far as edges are the rule.
        there = (soft.presence[0] > 0.5) & (soft.operator[0] != 0)[:, None]
        pairs = there[..., None] & given_to(soft)[0][:, None]
        density = ((soft.edges[0] > 0.5) & pairs).sum() / pairs.sum().clamp_min(1)
        rule = max(0.0, float(_odds(density)))
        edges = edges.clamp_min(-rule)
        head = edges[-1, : frame.outputs, :size].sum(0)
        skips = torch.zeros(frame.depth) if soft.skips is None else _odds(soft.skips[0, :-1])
        return cls(
            frame,
            (logs[:-1, 1 : frame.head] - logs[:-1, :1]).numpy(),
            _odds(soft.presence[0, :-1, :size]).numpy(),
            edges[:-1, :size].numpy(),
            head.numpy(),
            float(edges[-1, : frame.outputs, : frame.inputs].sum()),
            skips.numpy(),
        )


@dataclasses.dataclass(frozen=True)
class _Answer:
    """A structure that is valid.

    Attributes:
        operator: The numbers of the operators, `[depth + 1]`.
        presence: `[depth, width]`.
        skips: `[depth]`.
    """

    operator: npt.NDArray[np.int64]
    presence: npt.NDArray[np.bool_]
    skips: npt.NDArray[np.bool_]


class _Structure:
    """The program for the structure of one network."""

    def __init__(self, utilities: _Utilities, packed: bool) -> None:
        self._of, self._frame, self._program = utilities, utilities.frame, Program()
        depth, width = self._frame.depth, self._frame.width
        bare = np.where(np.arange(depth) == 0, -utilities.bare, 0.0)
        self._layers = self._columns("layer", (depth,), bare)
        self._operators = self._columns("operator", utilities.operator.shape, utilities.operator)
        presence = utilities.presence.copy()
        presence[0] += utilities.edges[0, :, : self._frame.inputs].sum(1)  # inputs are always there
        self._neurons = self._columns("neuron", (depth, width), presence)
        self._relate_layers()
        for layer in range(depth if packed else 0):
            for before, after in itertools.pairwise(self._neurons[layer].tolist()):
                self._program.row(f"{after} after {before}", [after, before], [1.0, -1.0], upper=0)
        for layer in range(1, depth):
            self._add_pairs(layer)
        for layer in range(depth):
            self._add_last(layer)
        self._skips = self._added_skips()

    def solved(self) -> _Answer:
        """Solve it."""
        solution = solve(self._program)
        if solution.values is None:
            raise EditError(f"no structure was found: {solution.outcome.sentence} {solution.detail}")
        chosen = solution.values > 0.5
        there = chosen[self._layers]
        operator = np.append(
            np.where(there, chosen[self._operators].argmax(1) + 1, 0), self._frame.head
        ).astype(np.int64)
        return _Answer(operator, chosen[self._neurons], chosen[self._skips])

    def _columns(
        self, name: str, shape: tuple[int, ...], utilities: _Array, *, integer: bool = True
    ) -> npt.NDArray[np.int64]:
        """Add columns from 0 to 1; return their numbers, in that shape."""
        count = int(np.prod(shape))
        names = [f"{name} {number}" for number in range(count)]
        added = self._program.columns(names, 0, 1, integer=integer, objective=utilities.reshape(-1))
        return np.arange(added.start, added.stop).reshape(shape)

    def _row(
        self,
        name: str,
        columns: list[int],
        values: list[float],
        *,
        lower: float = -np.inf,
        upper: float = np.inf,
    ) -> None:
        self._program.row(name, columns, values, lower=lower, upper=upper)

    def _relate_layers(self) -> None:
        """Layers fill the places from the front; each has one operator, and a neuron at least."""
        for layer, column in enumerate(self._layers.tolist()):
            operators, neurons = self._operators[layer].tolist(), self._neurons[layer].tolist()
            self._program.row(
                f"operator of {layer}",
                [*operators, column],
                [1.0] * len(operators) + [-1.0],
                lower=0,
                upper=0,
            )
            self._program.row(
                f"neurons of {layer}", [*neurons, column], [1.0] * len(neurons) + [-1.0], lower=0
            )
            for neuron in neurons:
                self._program.row(f"{neuron} in {layer}", [neuron, column], [1.0, -1.0], upper=0)
            if layer:
                before = int(self._layers[layer - 1])
                self._program.row(f"{layer} after {layer - 1}", [column, before], [1.0, -1.0], upper=0)

    def _add_pairs(self, layer: int) -> None:
        """A column for each pair of neurons of two layers: 1 where both are there."""
        width = self._frame.width
        utilities = self._of.edges[layer, :, :width]
        pairs = self._columns(f"pair of {layer},", utilities.shape, utilities, integer=False)
        for after in range(width):
            for before in range(width):
                ends = int(self._neurons[layer, after]), int(self._neurons[layer - 1, before])
                self._both(int(pairs[after, before]), ends, float(utilities[after, before]))

    def _add_last(self, layer: int) -> None:
        """A column for each neuron: 1 where it is there and its layer is the last one."""
        last = self._columns(f"last {layer},", (self._frame.width,), self._of.last, integer=False)
        follower = int(self._layers[layer + 1]) if layer + 1 < self._frame.depth else None
        for place, column in enumerate(last.tolist()):
            neuron = int(self._neurons[layer, place])
            if self._of.last[place] > 0:
                self._program.row(f"{column} there", [column, neuron], [1.0, -1.0], upper=0)
                if follower is not None:
                    self._program.row(f"{column} last", [column, follower], [1.0, 1.0], upper=1)
            else:
                columns, values = [column, neuron], [1.0, -1.0]
                if follower is not None:
                    columns, values = [*columns, follower], [*values, 1.0]
                self._program.row(f"{column} last", columns, values, lower=0)

    def _both(self, pair: int, ends: tuple[int, int], utility: float) -> None:
        """A pair is 1 just where both ends are; of the two sides of that, the one that its utility needs."""
        if utility > 0:
            for end in ends:
                self._program.row(f"{pair} needs {end}", [pair, end], [1.0, -1.0], upper=0)
        else:
            self._program.row(f"{pair} of both", [pair, *ends], [1.0, -1.0, -1.0], lower=-1)

    def _added_skips(self) -> npt.NDArray[np.int64]:
        """A column for each skip, which needs a layer with the neurons of the one before."""
        depth, width = self._frame.depth, self._frame.width
        if not self._frame.residual:
            return np.zeros(0, dtype=np.int64)
        skips = self._columns("skip", (depth,), self._of.skips)
        for layer, skip in enumerate(skips.tolist()):
            self._program.row(f"skip {layer}", [skip, int(self._layers[layer])], [1.0, -1.0], upper=0)
            for place in range(max(width, self._frame.inputs if layer == 0 else 0)):
                self._alike(layer, place, skip)
        return skips

    def _alike(self, layer: int, place: int, skip: int) -> None:
        """With the skip, a place has a neuron just where the layer before has one, or an input is."""
        own = [int(self._neurons[layer, place])] if place < self._frame.width else []
        if layer == 0:
            given = float(place < self._frame.inputs)
            signs = [1.0] * len(own)
            self._program.row(f"{skip} no more at {place}", [*own, skip], [*signs, 1.0], upper=given + 1)
            self._program.row(f"{skip} no less at {place}", [*own, skip], [*signs, -1.0], lower=given - 1)
            return
        both = [*own, int(self._neurons[layer - 1, place])]
        self._program.row(f"{skip} no more at {place}", [*both, skip], [1.0, -1.0, 1.0], upper=1)
        self._program.row(f"{skip} no less at {place}", [*both, skip], [1.0, -1.0, -1.0], lower=-1)


def _odds(shares: Tensor) -> Tensor:
    """Logarithms of the odds of shares."""
    return shares.double().clamp(_SHARE, 1 - _SHARE).logit()
