"""Every test of the contract of costs catches a cost that is wrong in its way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from torch import nn

from naivegraph.errors import EditError
from naivegraph.extend import Cost, CostContract, SizeProduct, run_contract
from naivegraph.widths import Widths


class Weights(Cost):
    """A cost that is right: entries of parameters."""

    name, title, unit = "weights", "weights", "entries of parameters"

    def products(self, widths: Widths) -> Iterable[SizeProduct]:
        return [SizeProduct(1, tuple(axes)) for axes in widths.parameters().values()]


class _Nameless(Weights):
    unit = " "


class _OfNow(Weights):
    """Right for the present sizes alone."""

    def products(self, widths: Widths) -> Iterable[SizeProduct]:
        return [SizeProduct(int(Weights().value(widths)), ())]


class _Default(Weights):
    """Without sizes it counts one thing more."""

    def value(
        self,
        widths: Widths,
        count: Callable[[Any], int] | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> int | float:
        return super().value(widths, count) + (count is None)


class _Rewarding(Weights):
    """One neuron more costs less."""

    def value(
        self,
        widths: Widths,
        count: Callable[[Any], int] | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> int | float:
        return 10_000 - super().value(widths, count)


class _Negative(Weights):
    def products(self, widths: Widths) -> Iterable[SizeProduct]:
        axes = next(iter(widths.parameters().values()))
        return [*super().products(widths), SizeProduct(-1, tuple(axes))]


class _OtherOfModule(Weights):
    def of_module(self, module: nn.Module) -> int | float | None:
        return len(list(module.parameters()))


class _Rounded(Weights):
    def format(self, value: int | float) -> str:
        return f"{float(value):.1e}"


class _Tolerant(Weights):
    def parse(self, text: str) -> int | float:
        try:
            return super().parse(text)
        except EditError:
            return 0


class _Anything(Weights):
    def check_budget(self, budget: Any) -> None:
        if not math.isfinite(budget if isinstance(budget, (int, float)) else 1):
            super().check_budget(budget)


class _Twice(Weights):
    def limit(self, budget: float, now: int | float) -> int | float:
        return 2 * super().limit(budget, now)


CAUGHT: dict[str, list[tuple[type[Cost], str]]] = {
    "test_has_names": [(_Nameless, "unit is ' '")],
    "test_counts_networks_of_other_sizes": [(_OfNow, r"convolutions with \[\d, \d\]: \d+ told, \d+ counted")],
    "test_the_present_sizes_are_the_default": [(_Default, "convolutions: .* with its sizes given")],
    "test_never_falls_as_a_size_grows": [(_Rewarding, r"convolutions: .* with \[1, 4\], .* with \[2, 4\]")],
    "test_has_no_negative_terms": [(_Negative, "convolutions: -1")],
    "test_a_module_tells_the_same": [(_OtherOfModule, "convolutions: .* of the module")],
    "test_shown_values_are_read_back": [(_Rounded, "convolutions: .* is shown as")],
    "test_nonsense_is_refused": [
        (_Anything, "not refused, but None"),
        (_Tolerant, "not refused, but 0"),
    ],
    "test_budgets": [(_Twice, "convolutions: .* is not half of")],
}


def test_there_is_a_wrong_cost_for_every_test() -> None:
    assert set(CAUGHT) == {name for name in vars(CostContract) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("name", "cost", "says"),
    [(name, cost, says) for name, wrong in CAUGHT.items() for cost, says in wrong],
)
def test_a_wrong_cost_is_caught(name: str, cost: type[Cost], says: str) -> None:
    contract = type("Wrong", (CostContract,), {"cost": cost()})()
    with pytest.raises(AssertionError, match=says):
        getattr(contract, name)()


def test_without_a_flaw_it_passes() -> None:
    contract = type("Right", (CostContract,), {"cost": Weights()})
    assert run_contract(contract) == tuple(sorted(CAUGHT))
