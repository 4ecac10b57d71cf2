"""Rules that hold pass their contract, and every test of it catches one that is wrong in its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import naivegraph as ng
from naivegraph.extend import Absorb, Rule, RuleContract, Stack, Ties, register_rule, run_contract


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


class Fours(Rule):
    """Along dimension 1 in fours, and the first neuron stays."""

    def tie(self, ties: Ties) -> None:
        ties.equal(ties.inputs[0][1], ties.outputs[0][1])
        ties.step(ties.inputs[0][1], 4)
        ties.neurons(ties.inputs[0][1], [0], keep=True)


class Halves(Rule):
    """Two inputs, of which the second has twice as many neurons as the first; both are returned joined."""

    def tie(self, ties: Ties) -> None:
        first, second = ties.inputs[0][1], ties.inputs[1][1]
        ties.joined(ties.outputs[0][1], [first, second])
        ties.linear([(2, first), (-1, second)], low=0, high=0)


# -- rules that hold --


class TestSame(RuleContract):
    rule = "same"

    def function(self, x: Any, y: Any) -> Any:
        return x + y, torch.sin(x) * y

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 6), numbers(2, 6)), (numbers(1, 3, 4, 4), numbers(1, 3, 4, 4))]


class TestStack(RuleContract):
    rule = Stack(dim=-1)

    def function(self, *tensors: Any) -> Any:
        return torch.cat(tensors, -1)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 5), numbers(2, 3)), (numbers(2, 3, 4),)]


class TestAbsorb(RuleContract):
    rule = Absorb()

    def function(self, x: Any) -> Any:
        return x.square().sum(1)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 5),), (numbers(2, 3, 4),)]


class TestFixed(RuleContract):
    rule = "fixed"

    def function(self, x: Any) -> Any:
        return x.flip(1)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 5),)]


class TestFours(RuleContract):
    rule = Fours()

    def function(self, x: Any) -> Any:
        assert x.shape[1] % 4 == 0
        return {"twice": 2 * x}["twice"]

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 8),), (numbers(2, 4, 3),)]


class TestHalves(RuleContract):
    rule = Halves()

    def function(self, x: Any, y: Any) -> Any:
        assert 2 * x.shape[1] == y.shape[1]
        return torch.cat([x, y], 1)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 3), numbers(2, 6))]


class TestPicked(RuleContract):
    """A tensor of indices among the inputs, of which nothing may change."""

    class OfTheTable(Rule):
        def tie(self, ties: Ties) -> None:
            ties.equal(ties.inputs[0][1], ties.outputs[0][1])

    rule = OfTheTable()

    def function(self, table: Any, rows: Any) -> Any:
        return table[rows]

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(4, 3), torch.tensor([0, 3, 3]))]


class TestSoftmax(RuleContract):
    """The sizes are right, but neurons at zero count in the others' values."""

    rule = "same"
    exact = False

    def function(self, x: Any) -> Any:
        return x.softmax(1)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 5),)]


# -- and rules that do not --


class _Wrong(RuleContract):
    rule: ClassVar[str | Rule] = "same"

    def function(self, x: Any) -> Any:
        return 2 * x

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        return [(numbers(2, 4),)]


class _Transposed(_Wrong):
    class Swapped(Rule):
        def tie(self, ties: Ties) -> None:
            ties.equal(ties.inputs[0][1], ties.outputs[0][0])

    rule = Swapped()


class _Forgetful(_Wrong):
    class Once(Rule):
        def __init__(self) -> None:
            self.asked = 0

        def tie(self, ties: Ties) -> None:
            self.asked += 1
            ties.equal(ties.inputs[0][1], ties.outputs[0][1])
            ties.step(ties.inputs[0][1], self.asked)

    def __init__(self) -> None:
        self.rule = self.Once()  # type: ignore[misc]


class _Stuck(_Wrong):
    class FourOnly(Rule):
        def tie(self, ties: Ties) -> None:
            ties.equal(ties.inputs[0][1], ties.outputs[0][1])
            ties.linear([(1, ties.inputs[0][1])], low=4, high=4)

    rule = FourOnly()


class _Cut(_Wrong):
    def function(self, x: Any) -> Any:
        return torch.nn.functional.pad(x, (0, 4 - x.shape[1]))  # four, whatever came in


class _Averaged(_Wrong):
    def function(self, x: Any) -> Any:
        return x - x.mean(1, keepdim=True)


class _Reversed(_Wrong):
    def function(self, x: Any) -> Any:
        return x.flip(1)


class _Remembers(_Wrong):
    def __init__(self) -> None:
        self.least = 100

    def function(self, x: Any) -> Any:
        self.least = min(self.least, x.shape[1])
        return x * self.least

    exact = False


class _Misfit(_Wrong):
    class LastStays(Rule):
        def tie(self, ties: Ties) -> None:
            ties.equal(ties.inputs[0][1], ties.outputs[0][1])
            ties.neurons(ties.inputs[0][1], [1, 3], keep=True)

    rule = LastStays()


CAUGHT: dict[str, list[tuple[type[RuleContract], str]]] = {
    "test_holds_for_the_examples": [
        (
            _Transposed,
            "dimension 1 of input 0 and dimension 0 of output 0 are said to be equal, and are 4 and 2",
        )
    ],
    "test_says_the_same_twice": [(_Forgetful, r"steps were first .*, and then ")],
    "test_something_can_change": [(_Stuck, "no other sizes meet all that the rule says")],
    "test_outputs_have_the_sizes_it_states": [
        (_Cut, r"for inputs \[\(2, 1\)\] the rule says \[\(2, 1\)\], and they are \[\(2, 4\)\]"),
    ],
    "test_neurons_taken_out_are_neurons_at_zero": [
        (_Averaged, r"example 0: after .*before_0_1.* the network differs by "),
        (_Reversed, r"example 0: after .*before_0_1.* the network differs by "),
    ],
    "test_growing_keeps_the_function": [(_Averaged, "the network differs by ")],
    "test_undo_brings_everything_back": [(_Remembers, "the network gives something else once .* is undone")],
    "test_holds_after_a_change": [(_Misfit, "before_0_1 cannot change again: .* there are 3 neurons, not")],
}


def test_there_is_a_wrong_rule_for_every_test() -> None:
    assert set(CAUGHT) == {name for name in vars(RuleContract) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("name", "contract", "says"),
    [(name, contract, says) for name, wrong in CAUGHT.items() for contract, says in wrong],
)
def test_a_wrong_rule_is_caught(name: str, contract: type[RuleContract], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        getattr(contract(), name)()


def test_without_a_flaw_it_passes() -> None:
    assert run_contract(_Wrong) == tuple(sorted(CAUGHT))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match=r"RuleContract needs a method examples\(self\)"):
        RuleContract().test_holds_for_the_examples()

    class NoFunction(RuleContract):
        rule = "same"

        def examples(self) -> Sequence[tuple[Tensor, ...]]:
            return [(numbers(2, 4),)]

    with pytest.raises(TypeError, match=r"NoFunction needs a method function\(self, \*tensors\)"):
        NoFunction().test_holds_for_the_examples()
    with pytest.raises(TypeError, match="run_contract takes a class with tests"):
        run_contract(Fours)


# -- registering by name --


@pytest.mark.usefixtures("for_a_while")
def test_a_rule_is_found_by_its_name() -> None:
    rule = Fours()
    register_rule("fours", rule)
    register_rule("fours", rule)  # the same again is no clash
    x = ng.input_node("x", 3)
    hidden = ng.layer(torch.nn.Linear(3, 8), x, name="hidden")
    graph = ng.Graph([x], [ng.call(torch.sigmoid, hidden, rule="fours").then(torch.nn.Linear(8, 2))])
    ng.resize(graph, {"hidden": ng.relaxed(+3)})
    assert graph.sizes["hidden"] == 12
    with pytest.raises(
        ng.NaivegraphError, match="there is a rule 'fours' already; replace=True takes this one"
    ):
        register_rule("fours", Fours())
    register_rule("fours", Fours(), replace=True)
    with pytest.raises(ng.NaivegraphError, match=r"a rule is one of 'same', .*'fours' or a Rule, not 'four'"):
        ng.call(torch.sigmoid, x, rule="four")


def test_what_is_no_rule_is_not_registered() -> None:
    with pytest.raises(
        ng.NaivegraphError, match=r"register_rule takes a Rule, .*\(the class; make one of it\)"
    ):
        register_rule("fours", Fours)  # type: ignore[arg-type]
    with pytest.raises(ng.NaivegraphError, match="the name of a rule is a string that is not empty, not ''"):
        register_rule("", Fours())
    with pytest.raises(ng.NaivegraphError, match="there is a rule 'same' already"):
        register_rule("same", Fours())
