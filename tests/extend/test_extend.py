"""All that can be added from outside, added through `naivegraph.extend` alone, and used together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph import extend
from naivegraph.operators.registry import RECORDS

pytestmark = pytest.mark.usefixtures("for_a_while")


@pytest.fixture
def library() -> Iterator[None]:
    """The operator `mylib_test::twice`."""
    with torch.library._scoped_library("mylib_test", "DEF") as made:
        made.define("twice(Tensor x) -> Tensor")
        made.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
        yield


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.ops.mylib_test.twice(self.first(x)))
        return out


class Fours(extend.Rule):
    def tie(self, ties: extend.Ties) -> None:
        ties.equal(ties.inputs[0][1], ties.outputs[0][1])
        ties.step(ties.inputs[0][1], 4)


class Outgoing(extend.Cost):
    name, title, unit = "outgoing", "outgoing weights", "entries of parameters beside biases"

    def products(self, widths: ng.Widths) -> Iterable[extend.SizeProduct]:
        weights = (axes for axes in widths.parameters().values() if len(axes) > 1)
        return [extend.SizeProduct(1, tuple(axes)) for axes in weights]


class Nearest(extend.Strategy):
    def __init__(self) -> None:
        self.attempts = 0

    def __call__(self, attempt: extend.Attempt) -> extend.Decision | None:
        self.attempts += 1
        return ng.strategy.Solve(ng.strategy.Relax(ng.strategy.Solve()))(attempt)


class Asked(extend.HighsBackend):
    name = "asked"
    programs = 0

    def open(self, arrays: extend.Arrays) -> extend.Session:
        Asked.programs += 1
        return super().open(arrays)


@pytest.fixture
def registered(library: None, for_a_while: None) -> None:
    twice = extend.Operator(extend.pointwise, zeros=extend.KEPT)
    extend.register_operator(torch.ops.mylib_test.twice, twice)
    extend.register_rule("fours", Fours())
    last = extend.OfWidths(lambda widths: {width: range(width.size) for width in widths})
    extend.register_criterion("last", last)
    extend.register_cost(Outgoing())
    extend.register_backend(Asked)


def test_before_it_is_registered_an_operator_fixes_what_it_touches(library: None) -> None:
    report = str(ng.inspect(Doubled(), torch.ones(1, 4)))
    assert "No rule for mylib_test.twice (at twice): all that it touches is fixed" in report
    assert "naivegraph.extend.register_operator" in report


def test_pruning_takes_an_operator_a_criterion_and_a_cost(registered: None) -> None:
    model = Doubled().eval()
    x = torch.randn(3, 4)
    kept = model.first.weight[6:].detach().clone()
    with torch.no_grad():
        model.last.weight[:, :6] = 0
    before = model(x)
    edit = ng.prune(model, x, budgets={"outgoing": 0.5}, utility="last", backend="asked")
    assert edit.after["outgoing"] == 6 * (4 + 2)
    assert torch.equal(model.first.weight, kept)
    torch.testing.assert_close(model(x), before)


def test_resizing_takes_a_rule_a_strategy_and_a_solver(registered: None) -> None:
    x = ng.input_node("x", 3)
    hidden = ng.layer(nn.Linear(3, 8), x, name="hidden")
    stepped = ng.call(torch.ops.mylib_test.twice, ng.call(torch.sigmoid, hidden, rule="fours"))
    graph = ng.Graph([x], [ng.layer(nn.Linear(8, 2), stepped, name="last")])
    strategy, asked = Nearest(), Asked.programs
    edit = ng.resize(graph, {"hidden": -3}, utility="last", strategy=strategy, backend="asked")
    assert edit.sizes["hidden"].kept == (range(4, 8),)
    assert strategy.attempts == 1
    assert Asked.programs > asked


def test_what_was_registered_for_a_while_is_gone(library: None) -> None:
    with extend.temporary_registrations():
        extend.register_operator(torch.ops.mylib_test.twice, extend.Operator(extend.pointwise))
        extend.register_rule("fours", Fours())
        extend.register_cost(Outgoing())
        extend.register_backend(Asked)
    assert torch.ops.mylib_test.twice not in RECORDS
    assert "asked" not in extend.backends()
    with pytest.raises(ng.NaivegraphError, match="not 'fours'"):
        ng.call(torch.sigmoid, ng.input_node("x", 3), rule="fours")
    with pytest.raises(ng.EditError, match="there is no cost 'outgoing'"):
        ng.prune(nn.Linear(3, 3), torch.ones(1, 3), budgets={"outgoing": 0.5})


def test_every_way_in_is_told_with_its_contract() -> None:
    """The table at the top of the package, against what there is."""
    rows = [row for row in str(extend.__doc__).splitlines() if row.startswith("| ")][1:]
    told = set(re.findall(r"`(\w+)`", "\n".join(rows)))
    for name in extend.__all__:
        if name.startswith("register_") or name.endswith("Contract"):
            assert name in told, name
    classes = {name for name in told if name[0].isupper()}
    assert classes <= set(extend.__all__)
    assert len(rows) == 8
