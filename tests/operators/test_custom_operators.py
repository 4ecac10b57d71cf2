"""Operators that torch.library defines: unknown until they have a record, which their contract checks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.extend import Operator, OperatorContract, Sample, register_operator, temporary_registrations
from naivegraph.ir.values import Operation
from naivegraph.network import capture
from naivegraph.operators import record_of
from naivegraph.operators.movement import PLACED, TURNED, Arguments
from naivegraph.operators.pointwise import pointwise
from naivegraph.operators.relation import Relation
from naivegraph.operators.shapes import FakeResult, row_major
from naivegraph.operators.sources import first
from naivegraph.operators.zeros import KEPT, PASSED
from naivegraph.widths import relate
from tests.operators.samples.make import real

LIBRARY: Any = torch.library.Library("naivegraph_tests", "DEF")  # type: ignore[no-untyped-call]
OPS = torch.ops.naivegraph_tests


def define(schema: str, function: Any) -> Any:
    """The operator of a schema, whose results on meta tensors are those of its function."""
    name = schema.split("(")[0]
    LIBRARY.define(schema)
    LIBRARY.impl(name, function, "CompositeExplicitAutograd")
    return getattr(OPS, name)


twice = define("twice(Tensor x) -> Tensor", lambda x: 2 * x)
thrice = define("thrice(Tensor x) -> Tensor", lambda x: 3 * x)
swap_halves = define("swap_halves(Tensor x) -> Tensor", lambda x: torch.cat(x.chunk(2, 1)[::-1], 1))
mean_free = define("mean_free(Tensor x) -> Tensor", lambda x: x - x.mean(1, keepdim=True))


def halves_swapped(r: Relation, op: Operation, a: Arguments) -> None:
    """Two halves of as many neurons each, in the other order."""
    axes = list(r.of(a["x"]))
    one, two = r.algebra.cut(axes[1], axes[1].length // 2)
    r.algebra.unify(one, two)
    axes[1] = r.algebra.concatenate([two, one])
    r.set(op.outputs[0], axes)


def coupled(r: Relation, op: Operation, a: Arguments) -> None:
    """Every neuron enters the mean."""
    axes = r.of(a["x"])
    r.couple(axes[1], "a mean")
    r.set(op.outputs[0], axes)


def transposed(x: Tensor) -> FakeResult:
    return FakeResult(tuple(x.shape)[::-1], row_major(x.shape[::-1]), x.dtype)


def like(x: Tensor) -> FakeResult:
    return FakeResult(tuple(x.shape), row_major(x.shape), x.dtype)


register_operator(twice, Operator(pointwise, zeros=KEPT, sources=first(), shapes={"default": like}))
register_operator(swap_halves.default, Operator(halves_swapped, zeros=PASSED, movement=PLACED))


class TestTwice(OperatorContract):
    operator = twice
    samples: ClassVar = [Sample(real(2, 3)), Sample(real(4, 2, 3))]


class TestSwapHalves(OperatorContract):
    operator = swap_halves
    samples: ClassVar = [Sample(real(2, 6)), Sample(real(3, 4, 2))]


@pytest.fixture
def for_a_while() -> Iterator[None]:
    """What is registered is forgotten after the test."""
    with temporary_registrations():
        yield


def broken(operator: Any, record: Operator) -> OperatorContract:
    register_operator(operator, record, replace=True)
    contract = OperatorContract()
    contract.operator = operator  # type: ignore[misc]
    contract.samples = [Sample(real(2, 6)), Sample(real(3, 4, 5))]  # type: ignore[misc]
    return contract


@pytest.mark.parametrize(
    ("operator", "record", "test", "message"),
    [
        (mean_free, Operator(pointwise), "axes", "that are not its own"),
        (mean_free, Operator(pointwise), "neurons_go", "without the last neurons of"),
        (thrice, Operator(pointwise), "zeros", "state its zeros="),
        (thrice, Operator(pointwise), "sources", "state its sources="),
        (mean_free, Operator(coupled, zeros=PASSED), "zeros", "the result is not zero"),
        (thrice, Operator(pointwise, movement=PLACED), "movement", "does not only move elements"),
        (mean_free, Operator(coupled, shapes={"default": transposed}), "shapes", "is inferred for"),
    ],
)
@pytest.mark.usefixtures("for_a_while")
def test_a_wrong_record_fails(operator: Any, record: Operator, test: str, message: str) -> None:
    contract = broken(operator, record)
    with pytest.raises(AssertionError, match=message):
        getattr(contract, f"test_{test}")()


@pytest.mark.usefixtures("for_a_while")
def test_a_movement_that_goes_elsewhere_fails() -> None:
    contract = broken(swap_halves, Operator(halves_swapped, zeros=PASSED, movement=TURNED))
    with pytest.raises((AssertionError, KeyError)):
        contract.test_movement()


def test_without_a_record_the_contract_says_how_to_give_one() -> None:
    contract = OperatorContract()
    contract.operator = thrice  # type: ignore[misc]
    contract.samples = []  # type: ignore[misc]
    with pytest.raises(AssertionError, match="call register_operator with it and an Operator"):
        contract.test_is_registered()


class WithOperator(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(5, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [twice, swap_halves])
def test_a_network_is_pruned_through_an_operator_with_a_record(function: Any) -> None:
    torch.manual_seed(0)
    net, x = WithOperator(function).double(), torch.randn(4, 5, dtype=torch.float64)
    zeroed = copy.deepcopy(net)
    ng.prune(net, x, ratio=0.5)
    assert net.first.weight.shape == (6, 5)
    kept = [(zeroed.first.weight == row).all(1).nonzero().item() for row in net.first.weight]
    gone = sorted(set(range(12)) - {int(index) for index in kept})
    with torch.no_grad():
        zeroed.first.weight[gone], zeroed.first.bias[gone] = 0.0, 0.0
    torch.testing.assert_close(net(x), zeroed(x))
    if function is swap_halves:
        assert {index % 6 for index in gone} == {index for index in gone if index < 6}


@pytest.mark.usefixtures("for_a_while")
def test_until_then_everything_stays_and_the_reason_names_the_way() -> None:
    net, x = WithOperator(thrice).eval(), torch.randn(4, 5)
    report = str(ng.inspect(net, x))
    assert "No rule for naivegraph_tests.thrice" in report
    fixed = relate(capture(net, x)).fixed()
    (reason,) = [axis.reason for axis in fixed if (axis.name, axis.dim) == ("first.weight", 0)]
    assert "naivegraph.extend.register_operator" in reason
    register_operator(thrice, Operator(pointwise, zeros=KEPT, sources=first()))
    assert record_of(thrice.default).zeros is KEPT
    ng.prune(net, x, ratio=0.5)
    assert net.first.weight.shape == (6, 5)
