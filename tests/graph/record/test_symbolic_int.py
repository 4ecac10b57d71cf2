from __future__ import annotations

import builtins
import copy
import itertools
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from naivegraph.graph.record.symbolic_int import SymbolicInt, ledger, plain_int, symbolic_ints
from naivegraph.graph.run.interpreter import COMPUTE
from naivegraph.ir.values import Attribute, Compound, Escape, Expression

VALUES = {"a": 7, "b": -3, "c": 2}
KEPT: list[Callable[[Any, Any], Any]] = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.mod,
    lambda x, y: divmod(x, y)[0] * 5 - divmod(x, y)[1],
    lambda x, y: -x + y * 2,
    lambda x, y: sum([x, y, 1]),
]
LEAVING: list[tuple[Callable[[Any], Any], str]] = [
    (lambda n: n / 2, "true division"),
    (lambda n: 2 / n, "true division"),
    (lambda n: n**2, "power"),
    (lambda n: 2**n, "power"),
    (lambda n: float(n), "float"),
    (lambda n: int(n), "int"),
    (lambda n: n * 0.5, "* with float"),
    (lambda n: [1] * n, "* with list"),
    (lambda n: n << 1, "bits"),
    (lambda n: list(range(n)), "range"),
]


@pytest.fixture
def escapes() -> Iterator[list[Escape]]:
    with symbolic_ints() as ledger:
        yield ledger


def _number(name: str) -> SymbolicInt:
    return SymbolicInt(VALUES[name], Attribute("", name))


def _evaluate(expression: Expression, a: int = VALUES["a"]) -> int:
    if isinstance(expression, int):
        return expression
    if isinstance(expression, Attribute):
        return {**VALUES, "a": a}[expression.name]
    assert isinstance(expression, Compound)
    return COMPUTE[expression.operator](_evaluate(expression.left, a), _evaluate(expression.right, a))


@pytest.mark.parametrize("compute", KEPT)
def test_arithmetic_remembers(compute: Callable[[Any, Any], Any], escapes: list[Escape]) -> None:
    for one, two in itertools.permutations(VALUES, 2):
        for left, right in ((_number(one), _number(two)), (_number(one), 5), (5, _number(two))):
            result = compute(left, right)
            assert plain_int(result) == compute(int.__int__(left), int.__int__(right))
            assert isinstance(result, SymbolicInt)
            assert _evaluate(result.expression) == plain_int(result)
    assert escapes == []


@pytest.mark.parametrize(("leave", "how"), LEAVING)
def test_leaving_is_noted(leave: Callable[[Any], Any], how: str, escapes: list[Escape]) -> None:
    result = leave(_number("a"))
    assert result == leave(7)
    assert not isinstance(result, SymbolicInt)
    assert [(expression, reason) for expression, _, reason in escapes] == [(Attribute("", "a"), how)]
    where = escapes[0][1]
    assert where is not None
    assert where[0] == __file__


def test_plain_outside_a_capture() -> None:
    number = _number("a")
    assert type(number + 1) is int
    assert type(-number) is int
    assert list(range(number)) == list(builtins.range(7))


def test_what_is_found_equal_must_stay_so(escapes: list[Escape]) -> None:
    a, b = _number("a"), _number("b")
    assert {7: "seven"}[a] == "seven"
    same = (a == b + 10, a != 7, (a, b) == (7, -3))
    assert same == (True, False, True)
    assert [_evaluate(expression) for expression, _, _ in escapes] == [0] * 5
    assert {how for _, _, how in escapes} == {"a comparison"}
    assert escapes[2][0] == Compound("-", Attribute("", "a"), 7)
    escapes.clear()
    different = (a == 6, a != 8, a == b, a == "a", a != 7.5)
    assert different == (False, True, False, False, True)
    assert escapes == []
    assert [(_evaluate(each.difference), each.least) for each in ledger.comparisons] == [
        (1, 1),
        (1, 1),
        (10, 1),
    ]


@pytest.mark.parametrize("other", [5, 6, 7, 8, 9, 6.5, 7.0, 7.5])
@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_an_order_must_come_out_the_same(
    compare: Callable[[Any, Any], bool], other: float, escapes: list[Escape]
) -> None:
    assert compare(_number("a"), other) is compare(7, other)
    (found,) = ledger.comparisons
    assert _evaluate(found.difference) >= found.least
    for value in range(1, 12):
        same = compare(value, other) is compare(7, other)
        assert (_evaluate(found.difference, value) >= found.least) is same


def test_looks_like_an_int(escapes: list[Escape]) -> None:
    number = _number("a")
    assert "abcdefgh"[number] == "h"
    assert 6 < number < 8
    assert hash(number) == hash(7)
    assert type(copy.deepcopy(number)) is int
    assert type(pickle.loads(pickle.dumps(number))) is int
    assert escapes == []


def test_text_is_an_escape_for_it_may_be_a_key(escapes: list[Escape]) -> None:
    number = _number("a")
    assert f"{number:03d}" == "007"
    assert str(number) == "7"
    assert [how for _, _, how in escapes] == ["text", "text"]
