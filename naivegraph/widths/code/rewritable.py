"""Numbers of a network's code that an exported module keeps as attributes, so that they can change.

In the user's own code a size is written in some way: as a literal, an attribute that other code reads too,
the size of another tensor. Code made of a graph need not write it that way.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph.export.to_module import SIZES, Arguments, Sizes
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Attribute, Compound, DimSize, Expression
from naivegraph.ir.vertex import Vertex
from naivegraph.widths.code.constraint_kinds import SizeArgument
from naivegraph.widths.code.function_sizes import sizes_of, value_of
from naivegraph.widths.code.size_solver import SizeSolver
from naivegraph.widths.relate_graph import relate

__all__ = ["rewritable"]


class _Literal(int):
    """A number at one place of the code, as an object of its own."""


def rewritable(graph: Recording, other: Sizes) -> tuple[dict[str, Arguments], Sizes]:
    """The arguments of functions, with attributes where a number would fix a size that is free otherwise.

    Args:
        graph: A graph.
        other: Such attributes of another run of the same network, whose values stay.

    Returns:
        The arguments by name of the vertex, without any other attributes; and the attributes (of a module at
        `SIZES`) with their values.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = capture(net, torch.zeros(1, 4))
        >>> rewritable(graph, {})
        ({}, {})
    """
    rewriting = _Rewriting(graph, other)
    for vertex in graph.vertices:
        if vertex.kind == "function":
            rewriting.vertex(vertex)
    return rewriting.arguments, rewriting.numbers


class _Rewriting:
    """The arguments rewritten so far, and the attributes in them."""

    def __init__(self, graph: Recording, other: Sizes) -> None:
        self._other = other
        self._widths = relate(graph)
        self._solver = SizeSolver(self._widths, {})
        self.arguments: dict[str, Arguments] = {}
        self.numbers: Sizes = {}

    def vertex(self, vertex: Vertex) -> None:
        """Rewrite the arguments of a function."""
        args, kwargs = map_leaves((vertex.args, vertex.kwargs), self._placed)
        placed = dataclasses.replace(vertex, args=args, kwargs=kwargs)
        sized = {
            id(part)
            for constraint in sizes_of(self._widths, placed)
            if isinstance(constraint, SizeArgument) and self._constrains(constraint)
            # a bound that is counted from the end stands in an expression
            for part in (constraint.value, getattr(constraint.value, "right", None))
        }

        def own(leaf: Any) -> Any:
            """Return an expression with attributes for a size, and any other number as a plain int."""
            if id(leaf) in sized and isinstance(leaf, (int, DimSize, Compound)):
                return self._own(leaf, vertex.name)
            return int(leaf) if isinstance(leaf, _Literal) else leaf

        self.arguments[vertex.name] = map_leaves((args, kwargs), own)

    def _placed(self, leaf: Any) -> Any:
        """A number of the code as an object of its own, with the present values of attributes."""
        if isinstance(leaf, bool) or not isinstance(leaf, (int, DimSize, Attribute, Compound)):
            return leaf
        value = self._written(leaf)
        return _Literal(value) if isinstance(value, int) else dataclasses.replace(value)

    def _written(self, value: Expression) -> int | DimSize | Compound:
        """An expression in sizes of the run's tensors, all else being numbers."""
        if isinstance(value, Compound):
            left, right = self._written(value.left), self._written(value.right)
            if not isinstance(left, int) or not isinstance(right, int):
                return Compound(value.operator, left, right)
        elif isinstance(value, DimSize) and not isinstance(value.tensor, str):
            return value
        return value_of(self._widths, value)

    def _constrains(self, constraint: SizeArgument) -> bool:
        """Tell whether a number constrains sizes that the operators leave free."""
        size = Polynomial.of_axis(constraint.axis)
        if not size.degree or value_of(self._widths, constraint.value) != constraint.axis.length:
            return False
        value = self._solver.read(constraint.value)
        return value is None or bool((value - size).terms)

    def _own(self, value: Expression, name: str) -> Expression:
        """The expression with attributes for all parts in it that do not depend on inputs."""
        if not self._live(value):
            base = "".join(letter if letter.isalnum() else "_" for letter in name)
            base = f"_{base}" if base[0].isdigit() else base
            size = value_of(self._widths, value)
            names = (Attribute(SIZES, f"{base}_size_{number}") for number in itertools.count())
            attribute = next(a for a in names if a not in self.numbers and self._other.get(a, size) == size)
            self.numbers[attribute] = size
            return attribute
        if isinstance(value, Compound):
            return Compound(value.operator, self._own(value.left, name), self._own(value.right, name))
        return value

    def _live(self, value: Expression) -> bool:
        """Tell whether an input's size may be in the expression, which then is computed in every run.

        A size that is made of widths alone, with no number among them, is the network's own.
        """
        if isinstance(value, Compound):
            return self._live(value.left) or self._live(value.right)
        if not isinstance(value, DimSize):
            return False
        size = self._solver.read(value)
        return size is None or any(factor != 1 or not atoms for atoms, factor in size.terms.items())
