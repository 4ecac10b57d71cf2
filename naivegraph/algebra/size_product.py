"""Numbers times products of sizes, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from naivegraph.algebra.axis import Atom, Axis

__all__ = ["SizeProduct", "sum_of"]


class SizeProduct(NamedTuple):
    """A number times the product of the sizes of resolved axes; it is from 0 up where there are axes.

    Attributes:
        coefficient: The number.
        axes: The axes.
        where: The names of the vertices it is for; without all of them in the graph there is no such cost.
            Empty if it stays whatever leaves the graph.
    """

    coefficient: int | float
    axes: tuple[Axis, ...]
    where: tuple[str, ...] = ()

    def goes_with(self, gone: frozenset[str]) -> bool:
        """Tell whether there is no such cost without these vertices."""
        return bool(self.where) and gone.issuperset(self.where)


def sum_of(
    products: Iterable[SizeProduct],
    count: Callable[[Atom], int] | None = None,
    gone: frozenset[str] = frozenset(),
) -> int | float:
    """The sum of products with `count(atom)` neurons of each width, by default as many as now.

    Args:
        products: The products.
        count: The number of neurons of each width.
        gone: The names of the vertices that leave the graph.
    """
    total: int | float = 0
    for product in products:
        if gone and product.goes_with(gone):
            continue
        number = product.coefficient
        for axis in product.axes:
            number *= axis.length if count is None or axis.fixed else axis.size(count)
        total += number
    return total
