"""A cost: a function of sizes, and how budgets of it are read, checked and shown."""

from __future__ import annotations

import abc
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from naivegraph.algebra.size_product import SizeProduct, sum_of
from naivegraph.errors import EditError

if TYPE_CHECKING:
    from torch import nn

    from naivegraph.algebra.axis import Atom
    from naivegraph.widths import Widths

__all__ = ["Cost", "SizeProduct", "sum_of"]


class Cost(abc.ABC):
    """A cost of running or keeping a network: a sum of products of sizes, or the largest of several sums.

    A subclass names itself and gives the products; an instance of it goes to `register_cost`. What a cost
    depends on besides sizes (the times measured on a device, say) is a matter of its constructor. A cost that
    is a peak (of memory, over time) overrides `sums`, too.

    Attributes:
        name: An identifier, by which budgets ask for it: `ng.prune(model, x, budgets={"macs": 0.5})`.
        title: The heading in tables, and the noun behind a number ("1,024 MACs").
        unit: Its unit, in words.
        counted: Whether every edit and report and `graph.costs()` count it; if not, where it is asked for.

    Example:
        >>> class Activations(Cost):
        ...     name, title, unit = "activations", "activations", "numbers in the outputs of all vertices"
        ...
        ...     def products(self, widths):
        ...         outputs = [stub for vertex in widths.graph for stub in tensors_in(vertex.output)]
        ...         return [SizeProduct(1, tuple(widths.of(stub))) for stub in outputs]
        >>> import torch, naivegraph as ng
        >>> from naivegraph.operators.relation import tensors_in
        >>> from naivegraph.widths import relate
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = ng.capture(net, torch.zeros(10, 4))
        >>> Activations().value(relate(graph)) == 10 * (4 + 8 + 8 + 2)
        True
        >>> edit = ng.prune(net, torch.zeros(10, 4), budgets={Activations(): 0.5})
        >>> edit.after["activations"], net[0].out_features
        (100, 2)
    """

    name: str
    title: str
    unit: str
    counted: bool = False

    @abc.abstractmethod
    def products(self, widths: Widths) -> Iterable[SizeProduct]:
        """The products whose sum is the cost.

        Args:
            widths: The related axes of a graph; `widths.of(stub)` gives those of any tensor in it,
                `widths.parameters()` those of parameters, `widths.contractions` multiply-accumulates.
        """

    def sums(self, widths: Widths) -> Iterable[Iterable[SizeProduct]]:
        """The sums of products of which the largest is the cost; by default one, that of `products`.

        Budgets need only those that are large: the others are left out until sizes are found for which one
        of them exceeds the budget.
        """
        return [self.products(widths)]

    def corrected(
        self, widths: Widths, count: Callable[[Atom], int] | None, gone: frozenset[str] = frozenset()
    ) -> Mapping[int, Iterable[SizeProduct]]:
        """Sums known better, for these sizes, than those of `sums`, by their places there; by default none.

        A search that has found sizes within all `sums` goes on with these, where they exceed the budget.
        """
        return {}

    def value(
        self,
        widths: Widths,
        count: Callable[[Atom], int] | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> int | float:
        """The cost with `count(width.atom)` neurons of each width, by default as many as now.

        Args:
            widths: The related axes of a graph.
            count: The number of neurons of each width by its atom.
            gone: The names of the vertices that leave the graph.
        """
        return max((sum_of(products, count, gone) for products in self.sums(widths)), default=0)

    def of_module(self, module: nn.Module) -> int | float | None:
        """The cost of a module, if it is known without a run; else None."""
        return None

    def check_budget(self, budget: Any) -> None:
        """Check a budget, before anything is run.

        Raises:
            EditError: It is neither a fraction above 0 and at most 1.0 nor a whole number.
        """
        real = isinstance(budget, numbers.Real) and not isinstance(budget, bool)
        if not real or not math.isfinite(budget) or budget <= 0 or (budget > 1 and budget != int(budget)):
            raise EditError(
                f"{self.name}={budget!r} is no budget: give a fraction above 0 and at most 1.0, "
                f"or a whole number of {self.name}"
            )

    def limit(self, budget: float, now: int | float) -> int | float:
        """The most that a budget allows: a float up to 1.0 is a fraction of the present cost `now`."""
        if isinstance(budget, numbers.Integral) or budget > 1:
            return int(budget)
        allowed = float(budget) * now
        return math.floor(allowed + 1e-9) if isinstance(now, int) else allowed

    def format(self, value: int | float) -> str:
        """A value as tables and messages show it, without `title`."""
        return f"{value:,}"

    def parse(self, text: str) -> int | float:
        """A value or a budget from text: 0.5, 2e9, 2,000,000.

        Raises:
            EditError: It is no number.
        """
        plain = text.strip().replace(",", "")
        try:
            return int(plain) if plain.isdecimal() and int(plain) > 1 else float(plain)
        except ValueError as error:
            raise EditError(f"{self.name} is to be a number, but is {text!r}") from error
