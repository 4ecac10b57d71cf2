"""Sizes that declared rules limit: steps, neurons that stay or go, coupled sizes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.request.requests import Delta, Request, Size
from naivegraph.edits.resize_program.resize_program import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Raise, Solve
from naivegraph.ir.custom_rule import CustomFunction, Rule, Ties
from naivegraph.utility import utilities
from naivegraph.widths import constraints_of, relate
from tests.edits.resize_program.exhaustive import away
from tests.machine.correspond import Floats

Said = Callable[[Ties], None]
NEW = 6


class Says(Rule):
    """Takes its inputs in any size along dimension 1, within what some functions say."""

    def __init__(self, *said: Said) -> None:
        self.said = said

    def tie(self, ties: Ties) -> None:
        for tensor in ties.inputs:
            ties.free(tensor[1])
        for say in self.said:
            say(ties)


class Same(Rule):
    """What it returns has the neurons of what it takes, within what some functions say."""

    def __init__(self, *said: Said) -> None:
        self.said = said

    def tie(self, ties: Ties) -> None:
        for one, two in zip(ties.inputs[0], ties.outputs[0], strict=True):
            ties.equal(one, two)
        for say in self.said:
            say(ties)


def step(number: int, multiple: int) -> Said:
    return lambda ties: ties.step(ties.inputs[number][1], multiple)


def neurons(number: int, indices: Sequence[int], *, keep: bool) -> Said:
    return lambda ties: ties.neurons(ties.inputs[number][1], indices, keep=keep)


def linear(one: int, two: int, low: int | None, high: int | None) -> Said:
    return lambda ties: ties.linear([(one, ties.inputs[0][1]), (two, ties.inputs[1][1])], low=low, high=high)


def two_layers(*said: Said, a: int = 4, b: int = 3) -> ng.Graph:
    """Two layers whose outputs a function of the user's takes in."""
    torch.manual_seed(0)
    x = ng.input_node("x", 3)
    layers = [ng.layer(nn.Linear(3, size), x, name=name) for name, size in (("a", a), ("b", b))]

    def both(one: Tensor, two: Tensor) -> Tensor:
        return (one.sum(1, keepdim=True) + two.sum(1, keepdim=True)).expand(-1, 5)

    taken = ng.call(both, *layers, rule=Says(*said), name="both")
    return ng.Graph([x], [ng.layer(nn.Linear(5, 2), taken, name="last")])


def one_layer(*said: Said, size: int = 8) -> ng.Graph:
    """A layer, a function of the user's that keeps its neurons, and another layer."""
    torch.manual_seed(0)
    x = ng.input_node("x", 4)
    a = ng.layer(nn.Linear(4, size), x, name="a")
    twice = ng.call(lambda given: given * 2, a, rule=Same(*said), name="twice")
    return ng.Graph([x], [ng.layer(nn.Linear(size, 3), twice, name="b")])


# -- against exhaustive search --


@dataclasses.dataclass
class Limited:
    """Random limits of the sizes `a` and `b`, as rules and as a check of one choice for both.

    A check comes with the numbers of the layers it is about: one that takes no part is not checked.
    """

    said: list[Said]
    fine: list[tuple[set[int], Callable[[Any, Any], bool]]]

    def met(self, pair: Sequence[Any], moving: set[int]) -> bool:
        return all(check(*pair) for about, check in self.fine if about & moving)

    @staticmethod
    def random(rng: np.random.Generator, sizes: Sequence[int]) -> Limited:
        out = Limited([], [])
        for kind in rng.choice(["step", "stay", "go", "linear"], int(rng.integers(1, 4)), replace=False):
            out.add(kind, rng, sizes)
        return out

    def add(self, kind: str, rng: np.random.Generator, sizes: Sequence[int]) -> None:
        number = int(rng.integers(2))
        if kind == "step":
            multiple = int(rng.integers(2, 4))
            self.said.append(step(number, multiple))
            self.fine.append(({number}, lambda *both: sum(both[number]) % multiple == 0))
        elif kind in ("stay", "go"):
            count, keep = int(rng.integers(1, sizes[number])), kind == "stay"
            chosen = [int(i) for i in rng.choice(sizes[number], count, replace=False)]
            self.said.append(neurons(number, chosen, keep=keep))
            self.fine.append(({number}, lambda *both: all(both[number][i] == keep for i in chosen)))
        else:
            one, two = (int(n) for n in rng.choice([-2, -1, 1, 2], 2))
            low = one * sizes[0] + two * sizes[1] + int(rng.integers(-2, 3))
            high = [low, low + 1, None][int(rng.integers(3))]
            self.said.append(linear(one, two, low, high))
            top = np.inf if high is None else high
            check = lambda *both: bool(low <= one * sum(both[0]) + two * sum(both[1]) <= top)  # noqa: E731
            self.fine.append(({0, 1}, check))


def _choices(values: Floats) -> list[tuple[int, ...]]:
    """Which neurons stay, and the number of new ones."""
    return [
        (*stay, new)
        for stay in itertools.product((0, 1), repeat=len(values))
        for new in range(NEW)
        if sum(stay) + new
    ]


def _best(
    limits: Limited, values: Sequence[Floats], asked: dict[int, Request], moving: set[int]
) -> tuple[float, float] | None:
    """How far requests are missed and what the best answer is worth, of all there are."""
    sizes = [len(v) for v in values]
    each = [_choices(v) if i in moving else [(*([1] * len(v)), 0)] for i, v in enumerate(values)]
    both = [pair for pair in itertools.product(*each) if limits.met(pair, moving)]
    missed, still = [], []
    for index, request in asked.items():
        assert isinstance(request, (Delta, Size))
        target = request.size if isinstance(request, Size) else sizes[index] + request.delta
        if request.relaxed:
            both = [p for p in both if target == sizes[index] or sum(p[index]) != sizes[index]]
            missed.append((index, target))
        else:
            both = [p for p in both if sum(p[index]) == target]
    if not both:
        return None
    counts = np.array([[sum(one) for one in pair] for pair in both])
    worth = np.zeros(len(both))
    for index in moving:
        some = np.abs(values[index])
        worth += [np.dot(p[index][:-1], values[index]) - 0.1 * some.min() * p[index][-1] for p in both]
        target = max(sizes[index] - int((values[index] < 0).sum()), 1)
        if (index, True) not in [(i, r.relaxed) for i, r in asked.items()]:  # type: ignore[union-attr]
            still.append((counts[:, index], target, some.max() / target))
    worth -= away(still, len(both))
    far = away([(counts[:, i], target, 1.0) for i, target in missed], len(both))
    least = float(far.min())
    return least, float(worth[far <= least + 1e-9].max())


def _attempt(graph: ng.Graph, asked: dict[str, Request], told: Any = "magnitude") -> Attempt:
    widths = relate(graph, free_outputs=True)
    axis_requests = tuple(AxisRequest(graph[n], widths.output_axis(graph[n]), r) for n, r in asked.items())
    values = utilities(widths, told, default="magnitude")
    return Attempt(widths, constraints_of(widths), axis_requests, values, lambda utility: values)


@pytest.mark.parametrize("seed", range(60))
def test_limited_sizes_are_as_good_as_exhaustive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(2, 5, 2)]
    limits = Limited.random(rng, sizes)
    values = [rng.normal(0.7, 1.0, size) for size in sizes]
    asked: dict[int, Request] = {}
    for index in range(2):
        if index == 0 or rng.random() < 0.3:
            asked[index] = Delta(max(int(rng.integers(-2, 3)), 1 - sizes[index]), bool(rng.random() < 0.6))
    graph = two_layers(*limits.said, a=sizes[0], b=sizes[1])
    linked = any(
        row.rule and len(list(row.polynomial.atoms())) == 2
        for row in constraints_of(relate(graph)).width_constraints
    )
    expected = _best(limits, values, asked, {0, 1} if linked else set(asked))
    requests = {"ab"[i]: request for i, request in asked.items()}
    answer = _attempt(graph, requests, dict(zip("ab", values, strict=True))).solve()[0]
    assert (answer is None) == (expected is None)
    if answer is None or expected is None:
        return
    assert answer.certificate.value == pytest.approx(expected[1], abs=1e-6)


# -- in words --


@pytest.mark.parametrize(
    ("graph", "asked", "told"),
    [
        (
            lambda: one_layer(step(0, 4)),
            {"a": Delta(-1)},
            ["a: exactly -1 (its size is 8)", "twice says a is a multiple of 4", "a -> twice", "a can be 4"],
        ),
        (
            lambda: two_layers(linear(1, -2, 0, 0), a=4, b=2),
            {"a": Delta(+1)},
            ["both says a - 2*b = 0 (now a is 4, b is 2)", "a can be 6 instead of 5"],
        ),
        (
            lambda: two_layers(linear(1, -1, 1, 1), a=4, b=3),
            {"a": Delta(+1), "b": Delta(-1)},
            ["a: exactly +1", "b: exactly -1", "both says a - b = 1", "b can be 4 instead of 2"],
        ),
        (
            lambda: one_layer(neurons(0, [0, 5], keep=True)),
            {"a": Size(1)},
            ["twice says neurons 0, 5 of a must stay", "a can be 2 instead of 1"],
        ),
        (
            lambda: one_layer(neurons(0, [6], keep=False), neurons(0, [6, 7], keep=True)),
            {"a": Delta(-2, relaxed=True)},
            ["twice says neuron 6 of a must go", "twice says neurons 6, 7 of a must stay"],
        ),
    ],
)
def test_a_conflict_names_the_rule_s_vertex(
    graph: Callable[[], ng.Graph], asked: dict[str, Request], told: list[str]
) -> None:
    with pytest.raises(ng.InfeasibleError) as found:
        Solve(Raise())(_attempt(graph(), asked))
    assert [part for part in told if part not in str(found.value)] == []


def test_a_rule_that_is_not_to_blame_is_not_named() -> None:
    with pytest.raises(ng.InfeasibleError) as found:
        Solve(Raise())(_attempt(one_layer(step(0, 4)), {"a": (Size(4)), "b": Size(2), "twice": Size(8)}))
    assert "a: exactly 4 wide" in str(found.value)
    assert "twice: exactly 8 wide" in str(found.value)
    assert "multiple" not in str(found.value)
    assert "b:" not in str(found.value)


def test_explain_tells_the_sizes_a_rule_leaves() -> None:
    found = ng.explain(one_layer(step(0, 4)), "a")
    assert found.constraints == ("the rule declared for twice says a is a multiple of 4",)
    assert (found.nearest[0].smaller, found.nearest[0].larger, found.nearest[0].least) == (4, 12, 4)
    assert found.nearest[0].because == found.constraints
    coupled = ng.explain(two_layers(linear(1, -2, 0, 0), a=4, b=2), "a")
    assert (coupled.nearest[0].smaller, coupled.nearest[0].larger) == (2, 6)
    assert [(r.layer, r.before, r.after) for r in coupled.ripples] == [("b", 2, 3)]
    least = ng.explain(one_layer(neurons(0, [1, 2, 3], keep=True)), "a").nearest[0].least
    assert least == 3


# -- in place --


def _weight(graph: ng.Graph) -> Tensor:
    return graph.module.get_parameter("a.weight").detach()


def test_a_resize_moves_by_steps_and_undoes() -> None:
    graph = one_layer(step(0, 4))
    x = torch.randn(2, 4)
    before = graph(x)
    with pytest.warns(UserWarning, match="a: exactly -3"):
        edit = ng.resize(graph, {"a": -3})
    assert graph.sizes["a"] == 4
    edit.undo()
    assert torch.equal(graph(x), before)
    ng.resize(graph, {"a": +4})
    assert graph.sizes["a"] == 12
    assert torch.allclose(graph(x), before, atol=1e-6)


def test_neurons_that_must_stay_or_go_do_so() -> None:
    graph = one_layer(neurons(0, [0], keep=True), neurons(0, [7], keep=False))
    weight = _weight(graph).clone()
    worth = np.array([-9.0, 1, 2, 3, 4, 5, 6, 100])
    ng.resize(graph, {"a": -4}, utility={"a": worth})
    assert torch.equal(_weight(graph), weight[[0, 4, 5, 6]])


def test_without_utility_marked_neurons_are_chosen_too() -> None:
    graph = one_layer(neurons(0, [6], keep=True), neurons(0, [0, 1], keep=False))
    weight = _weight(graph).clone()
    ng.resize(graph, {"a": -5}, utility=0)
    assert torch.equal(_weight(graph), weight[[2, 3, 6]])


def test_a_product_of_widths_keeps_its_steps() -> None:
    """Heads times head size: the shorter keeps still, so that the size is linear in the other."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 12), nn.Linear(12, 2)
            self.each = CustomFunction(lambda x: x * 2, Same(step(0, 4)))
            self.head, self.place = nn.Parameter(torch.ones(3, 1)), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            y = self.each(self.first(x)).reshape(x.shape[0], *self.head.shape[:1], *self.place.shape)
            return self.last((y * self.head + self.place).flatten(1))  # type: ignore[no-any-return]

    graph = ng.capture(Heads(), torch.randn(2, 3))
    edit = ng.resize(graph, {"first": ng.relaxed(+2)})
    assert edit
    assert graph.sizes["first"] % 4 == 0


def test_prune_keeps_steps_and_marks() -> None:
    torch.manual_seed(0)
    for seed in range(4):
        graph = one_layer(step(0, 3), neurons(0, [2, 5], keep=True), neurons(0, [0, 11], keep=False), size=12)
        weight = _weight(graph).clone()
        ng.prune(graph.module, torch.zeros(2, 4), params=0.9 - 0.15 * seed)
        after = _weight(graph)
        stays = [i for i in range(12) if any(torch.equal(weight[i], row) for row in after)]
        assert len(after) == len(stays) == (9, 6, 6, 3)[seed]
        assert {2, 5} <= set(stays)
        assert not {0, 11} & set(stays)


def test_prune_meets_coupled_sizes() -> None:
    graph = two_layers(linear(1, -2, 0, 0), a=16, b=8)
    ng.prune(graph.module, torch.zeros(2, 3), params=0.7)
    a, b = (graph.module.get_parameter(f"{name}.weight") for name in "ab")
    assert len(a) == 2 * len(b) < 16


def test_prune_holds_a_sum_that_cannot_be_told_in_steps() -> None:
    def total(ties: Ties) -> None:
        ties.step(ties.inputs[0][1], 5)

    torch.manual_seed(0)
    x = ng.input_node("x", 3)
    parts = [ng.layer(nn.Linear(3, size), x, name=name) for name, size in (("a", 6), ("b", 4))]
    joined = ng.call(lambda given: given * 2, ng.concat(*parts), rule=Same(total), name="twice")
    hidden = ng.layer(nn.Linear(10, 20), joined, name="hidden")
    graph = ng.Graph([x], [ng.layer(nn.Linear(20, 2), hidden, name="last")])
    edit = ng.prune(graph.module, torch.zeros(2, 3), params=0.6)
    assert graph.module.get_parameter("hidden.weight").shape[1] == 10
    assert any("twice says" in note and "multiple of 5" in note for note in edit.notes)


# -- structure --


def test_alignment_meets_the_rules_or_names_them() -> None:
    def graph(*said: Said) -> ng.Graph:
        torch.manual_seed(0)
        x = ng.input_node("x", 3)
        a = ng.call(
            lambda given: given * 2, ng.layer(nn.Linear(3, 4), x, name="a"), rule=Same(*said), name="twice"
        )
        b, c = ng.layer(nn.Linear(3, 4), x, name="b"), ng.layer(nn.Linear(3, 6), x, name="c")
        return ng.Graph([x], [ng.layer(nn.Linear(4, 2), a + b, name="last"), ng.layer(nn.Linear(6, 2), c)])

    made = graph(step(0, 4))
    ng.connect(made, "c", "add")
    assert made.sizes["a"] == made.sizes["c"] == 8 or made.sizes["a"] == made.sizes["c"] == 4
    held = graph(lambda ties: ties.linear([(1, ties.inputs[0][1])], low=4, high=4), step(0, 4))
    ng.connect(held, "c", "add")
    assert held.sizes["a"] == held.sizes["c"] == 4
    stuck = graph(
        neurons(0, [0, 1, 2, 3], keep=True), lambda ties: ties.linear([(1, ties.inputs[0][1])], high=3)
    )
    sizes = dict(stuck.sizes)
    with pytest.raises(ng.InfeasibleError, match="twice says"):
        ng.connect(stuck, "c", "add")
    assert stuck.sizes == sizes


def test_what_a_function_makes_of_new_neurons_is_told() -> None:
    graph = two_layers()
    given = torch.randn(2, 3)
    before = graph(given)
    edit = ng.resize(graph, {"a": +1})
    note = "The new neurons of a change what the network computes: it enters what both makes of any size."
    assert edit.notes == (note,)
    assert not torch.allclose(graph(given), before)
    kept = one_layer()
    assert ng.resize(kept, {"a": +1}).notes == ()


def test_two_inputs_of_the_same_neurons_are_told_apart() -> None:
    """Nothing is said of the second, so nothing of either may change."""

    class First(Rule):
        def tie(self, ties: Ties) -> None:
            ties.free(ties.inputs[0][1])

    x = ng.input_node("x", 3)
    a = ng.layer(nn.Linear(3, 4), x, name="a")
    both = ng.call(lambda one, two: (one * two).sum(1, keepdim=True), a, a.then(nn.ReLU()), rule=First())
    graph = ng.Graph([x], [both])
    with pytest.raises(ng.InfeasibleError, match="not said to change by First"):
        ng.resize(graph, {"a": -1}, strategy=Solve(Raise()))


def test_a_dimension_that_shrank_to_one_neuron_stays() -> None:
    """The linear layer after it sees it through a view, which does not tell it from a dimension of one."""
    x = ng.input_node("x", example=torch.randn(2, 8, 3))
    rows = ng.layer(nn.Linear(2, 2), ng.call(torch.movedim, x, 0, -1), name="rows")
    back = ng.call(torch.movedim, rows, -1, 0)
    columns = ng.layer(nn.Linear(8, 8), ng.call(torch.movedim, back, 1, -1), name="columns")
    last = ng.layer(nn.Linear(3, 3), ng.call(torch.movedim, columns, -1, 1), name="last")
    graph = ng.Graph([x], [last])
    ng.resize(graph, {"rows": -1})
    assert graph.sizes["rows"] == 1
    with pytest.raises(ng.InfeasibleError, match="one neuron, seen as a dimension of its own or none"):
        ng.resize(graph, {"rows": +1}, strategy=Solve(Raise()))
