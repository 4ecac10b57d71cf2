"""The tests that every cost has to pass, for authors of costs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from naivegraph.algebra.axis import Atom
from naivegraph.costs.cost import Cost
from naivegraph.errors import EditError
from naivegraph.graph.verify.verify import record_verified
from naivegraph.widths import Widths, relate

__all__ = ["CostContract"]

# A network made with these sizes, one per width in the order of the widths, and an example for it.
SizedNetwork = Callable[[Sequence[int]], tuple[nn.Module, tuple[Any, ...]]]


class CostContract:
    """The promises of a `Cost`; a subclass in a test file names the cost, and pytest finds the tests.

    Attributes:
        cost: The cost under test.
        networks: By name, the numbers of neurons of a small network, and a function that makes it with any
            such numbers.
        cases: The number of random sizes to compare.

    Example:
        >>> from naivegraph.costs import cost_named
        >>> class TestMacs(CostContract):
        ...     cost = cost_named("macs")
        >>> TestMacs().test_counts_networks_of_other_sizes()
    """

    cost: ClassVar[Cost]
    networks: ClassVar[dict[str, tuple[tuple[int, ...], SizedNetwork]]]
    cases: ClassVar[int] = 10

    def test_has_names(self) -> None:
        """A name, a title and a unit, in words."""
        for what in ("name", "title", "unit"):
            text = getattr(self.cost, what)
            _expect(isinstance(text, str) and bool(text.strip()), f"{what} is {text!r}")
        _expect(self.cost.name.isidentifier(), f"{self.cost.name!r} is no identifier")

    def test_counts_networks_of_other_sizes(self) -> None:
        """The cost predicted for other sizes is the cost of a network made with these sizes."""
        for name, sizes, widths in self._related():
            rng = random.Random(name)
            for _ in range(self.cases):
                chosen = [rng.randint(1, size) for size in sizes]
                told = self.cost.value(widths, _counter(widths, chosen))
                counted = self.cost.value(self._widths(name, chosen))
                _expect(_equal(told, counted), f"{name} with {chosen}: {told} told, {counted} counted")

    def test_the_present_sizes_are_the_default(self) -> None:
        """Without sizes the cost is that of the network as it is."""
        for name, sizes, widths in self._related():
            told, counted = self.cost.value(widths), self.cost.value(widths, _counter(widths, sizes))
            _expect(_equal(told, counted), f"{name}: {told} of the network, {counted} with its sizes given")

    def test_never_falls_as_a_size_grows(self) -> None:
        """Budgets are met from below, so one neuron more never costs less."""
        for name, sizes, widths in self._related():
            for index, size in enumerate(sizes):
                for number in range(1, size):
                    fewer, more = list(sizes), list(sizes)
                    fewer[index], more[index] = number, number + 1
                    low, high = (self.cost.value(widths, _counter(widths, n)) for n in (fewer, more))
                    _expect(low <= high, f"{name}: {low} with {fewer}, {high} with {more}")

    def test_has_no_negative_terms(self) -> None:
        """The search for the best sizes needs coefficients from 0 up, except of what no size is in."""
        for name, _, widths in self._related():
            for product in itertools.chain(*self.cost.sums(widths)):
                least = 0 if product.axes else -float("inf")
                _expect(least <= product.coefficient < float("inf"), f"{name}: {product.coefficient}")

    def test_a_module_tells_the_same(self) -> None:
        """A cost that is known without a run is the one that the run gives."""
        for name, sizes, widths in self._related():
            told = self.cost.of_module(self.networks[name][1](sizes)[0])
            counted = self.cost.value(widths)
            _expect(told is None or _equal(told, counted), f"{name}: {told} of the module, {counted}")

    def test_shown_values_are_read_back(self) -> None:
        """The text of a value means the value."""
        for name, _, widths in self._related():
            value = self.cost.value(widths)
            for each in (value, value * 1_000_003):
                read = self.cost.parse(self.cost.format(each))
                _expect(_equal(read, each), f"{name}: {each} is shown as {self.cost.format(each)}: {read}")

    def test_nonsense_is_refused(self) -> None:
        """Texts and budgets that mean nothing give an EditError which names the cost."""
        for text in ("", "many", "0.5x"):
            _refused(self.cost, lambda text=text: self.cost.parse(text))  # type: ignore[misc]
        for budget in (0, -1.0, float("nan"), float("inf"), True, [0.5]):
            _refused(self.cost, lambda budget=budget: self.cost.check_budget(budget))  # type: ignore[misc]

    def test_budgets(self) -> None:
        """A fraction is one of the present cost, a number above 1 is itself."""
        for name, _, widths in self._related():
            now = self.cost.value(widths)
            self.cost.check_budget(0.5)
            limit = self.cost.limit(0.5, now)
            _expect(0.5 * now - 1 < limit <= 0.5 * now * (1 + 1e-12), f"{name}: {limit} is not half of {now}")
            _expect(_equal(self.cost.limit(1.0, now), now), f"{name}: all of {now} is not {now}")

    def _related(self) -> Iterator[tuple[str, tuple[int, ...], Widths]]:
        for name, (sizes, _) in self.networks.items():
            yield name, sizes, self._widths(name, sizes)

    def _widths(self, name: str, sizes: Sequence[int]) -> Widths:
        module, args = self.networks[name][1](sizes)
        widths = relate(record_verified(module.eval(), args, {}, False))
        found = [width.size for width in widths]
        _expect(found == list(sizes), f"{name} made with the sizes {list(sizes)} has {found}")
        return widths


def _counter(widths: Widths, sizes: Sequence[int]) -> Callable[[Atom], int]:
    return dict(zip((width.atom for width in widths), sizes, strict=True)).__getitem__


def _equal(one: float, two: float) -> bool:
    """Exactly for whole numbers, else but for rounding."""
    whole = isinstance(one, int) and isinstance(two, int)
    return one == two if whole else abs(one - two) <= 1e-9 * max(abs(one), abs(two))


def _refused(cost: Cost, call: Callable[[], object]) -> None:
    try:
        found = call()
    except EditError as error:
        _expect(cost.name in str(error), f"the message does not name the cost: {error}")
    else:
        raise AssertionError(f"not refused, but {found!r}")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _convolutions(sizes: Sequence[int]) -> tuple[nn.Module, tuple[Tensor]]:
    first, second = sizes
    layers = [
        nn.Conv2d(3, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(second, 5),
    ]  # fmt: skip
    return nn.Sequential(*layers), (torch.zeros(2, 3, 9, 9),)


class _Branches(nn.Module):
    """Two branches side by side, and a sum around what follows them."""

    def __init__(self, left: int, right: int, inside: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, left), nn.Linear(4, right)
        self.inside = nn.Linear(left + right, inside)
        self.outside = nn.Linear(inside, left + right)
        self.head = nn.Linear(left + right, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4) in, (batch, 3) out."""
        both = torch.cat([self.left(x), self.right(x)], dim=-1)
        out: Tensor = self.head(both + self.outside(self.inside(both).relu()))
        return out


CostContract.networks = {
    "convolutions": ((6, 4), _convolutions),
    "branches": ((4, 3, 5), lambda sizes: (_Branches(*sizes), (torch.zeros(2, 4),))),
}
