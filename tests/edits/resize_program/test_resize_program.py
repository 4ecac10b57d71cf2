"""The program of a resize: products of widths, the code's constraints, what keeps still, how large it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from naivegraph.edits.request.requests import Between, Delta, Frozen, Multiple, Request, Size
from naivegraph.edits.resize_program.resize_program import AxisRequest, ResizeProgram
from naivegraph.edits.resize_program.strategy import Attempt, Decision
from naivegraph.network import capture
from naivegraph.solvers import Outcome
from naivegraph.utility import utilities
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from tests.edits.resize_program.exhaustive import away, choices
from tests.machine.correspond import Floats, Net, Node

NEW = 6
RequestLike = Mapping[str, Request] | None
Values = Mapping[Width, Floats] | None


class Heads(nn.Module):
    """A layer of heads times head size, a weight per head, one per place inside a head."""

    def __init__(self, heads: int = 3, each: int = 2) -> None:
        super().__init__()
        self.heads, self.each = heads, each
        self.first, self.last = nn.Linear(3, heads * each), nn.Linear(heads * each, 2)
        self.head, self.place = nn.Parameter(torch.ones(heads, 1)), nn.Parameter(torch.ones(each))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).reshape(x.shape[0], self.heads, self.each)
        return self.last((y * self.head + self.place).flatten(1))  # type: ignore[no-any-return]


class Halves(nn.Module):
    """Two halves of a layer, of which one is added to another layer and the other only averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.other, self.last = nn.Linear(3, 6), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.both(x).chunk(2, 1)
        return self.last(one * two.mean(1, keepdim=True) + self.other(x))  # type: ignore[no-any-return]


class Attempts:
    """Resizes of one network that are tried and not carried out."""

    def __init__(self, net: nn.Module, example: Tensor) -> None:
        self.graph = capture(net.eval(), example, verify=False)
        self.widths: Widths = relate(self.graph, free_outputs=True)
        self.constraints: SizeConstraints = constraints_of(self.widths)

    def axis_request(self, name: str, request: Request) -> AxisRequest:
        vertex = self.graph[name]
        return AxisRequest(vertex, self.widths.output_axis(vertex), request)

    def attempt(self, asked: RequestLike = None, values: Values = None, new: int | None = None) -> Attempt:
        axis_requests = tuple(self.axis_request(name, request) for name, request in (asked or {}).items())
        return Attempt(self.widths, self.constraints, axis_requests, values, lambda utility: None, new)

    def posed(self, asked: RequestLike = None, values: Values = None) -> ResizeProgram:
        return self.attempt(asked, values).program()

    def solve(self, asked: RequestLike = None, values: Values = None) -> tuple[Decision | None, Outcome]:
        return self.attempt(asked, values).solve()

    def sizes(self, answer: Decision | None) -> dict[str, int]:
        assert answer is not None
        return {w.name: len(kept) + answer.new[w] for w, kept in answer.kept.items()}


# -- products --


def _best_of_all(heads: Floats, places: Floats, request: Delta, *, plain: bool) -> float | None:
    """The best worth of `Heads` over all choices of heads, of places and of new ones.

    The sizes of all vertices keep still: the two layers' products, the three results of one place per neuron,
    and the weights of heads. No useful head goes where places come, and no useful place where heads come.
    """
    parts = []
    for values in (heads, places):
        some = np.abs(values[values != 0])
        size, worth = choices(values, NEW, 1e-3 if plain or not len(some) else 0.1 * float(some.min()))
        new = np.tile(np.arange(NEW + 1), len(size) // (NEW + 1))
        parts.append((size, worth, new, size - new >= (values >= 0).sum()))
    grids = np.meshgrid(*(np.arange(len(size)) for size, *_ in parts), indexing="ij")
    (h, worth_h, new_h, all_h), (d, worth_d, new_d, all_d) = (
        [each[grid.ravel()] for each in part] for part, grid in zip(parts, grids, strict=True)
    )
    largest = [1.0, 1.0] if plain else [float(np.abs(v).max()) for v in (heads, places)]
    good = [max(int((v >= 0).sum()), 1) for v in (heads, places)]
    count_h, count_d = (int((v >= 0).sum()) for v in (heads, places))
    now, both = len(heads) * len(places), np.asarray(h * d, dtype=np.int64)
    product = (both, max(count_h * count_d, 1), max(largest) / max(count_h * count_d, 1))
    d, h = np.asarray(d, dtype=np.int64), np.asarray(h, dtype=np.int64)
    place, head = (d, good[1], largest[1] / good[1]), (h, good[0], largest[0] / good[0])
    terms = [product, *([] if request.relaxed else [product]), place, place, place, head]
    target = now + request.delta
    fine = (h >= 1) & (d >= 1) & (all_h | (new_d == 0)) & (all_d | (new_h == 0))
    missed = np.abs(both - target).astype(float)
    fine &= (both != now) if request.relaxed else (both == target)
    if not fine.any():
        return None
    worth = worth_h + worth_d - away(terms, len(both))
    missed[~fine] = np.inf
    return float(worth[missed == missed.min()].max())


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("delta", [-5, -3, -2, -1, 1, 2, 3, 6])
def test_a_product_of_widths_is_as_good_as_exhaustive_search(delta: int, relaxed: bool, plain: bool) -> None:
    attempts = Attempts(Heads(), torch.randn(2, 3))
    rng = np.random.default_rng([delta + 10, relaxed])
    values = {w: np.zeros(w.size) if plain else rng.normal(0.5, 1, w.size) for w in attempts.widths}
    by_name = {w.name: v for w, v in values.items()}
    request = Delta(delta, relaxed)
    answer, _ = attempts.solve({"first": request}, None if plain else values)
    expected = _best_of_all(by_name["head"], by_name["place"], request, plain=plain)
    assert (answer is None) == (expected is None)
    if answer is not None and expected is not None:
        sizes = attempts.sizes(answer)
        assert max(sizes["head"] - 3, sizes["place"] - 2) < NEW
        assert answer.certificate.value == pytest.approx(expected, abs=1e-6)
        if not relaxed:
            assert sizes["head"] * sizes["place"] == 6 + delta


def test_a_product_of_three_widths() -> None:
    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shape = (2, 3, 4)
            self.first, self.last = nn.Linear(3, 24), nn.Linear(24, 2)
            self.a, self.b = nn.Parameter(torch.ones(2, 1, 1)), nn.Parameter(torch.ones(3, 1))
            self.c = nn.Parameter(torch.ones(4))
            self.x, self.y, self.z = self.shape

        def forward(self, given: Tensor) -> Tensor:
            cube = self.first(given).reshape(given.shape[0], self.x, self.y, self.z)
            return self.last((cube * self.a * self.b * self.c).flatten(1))  # type: ignore[no-any-return]

    attempts = Attempts(Cube(), torch.randn(2, 3))
    sizes = attempts.sizes(attempts.solve({"first": Size(30)})[0])
    assert (sizes["a"], sizes["b"], sizes["c"]) in {(2, 3, 5), (2, 5, 3), (5, 2, 3), (3, 2, 5)}
    # 29 is prime: neurons would have to go for new ones to come.
    assert attempts.solve({"first": Size(29)})[1] is Outcome.INFEASIBLE


def test_a_product_counted_in_several_axes_has_its_columns_once() -> None:
    posed = Attempts(Heads(), torch.randn(2, 3)).posed({"first": Delta(2)})
    products = {name.split(" digit")[0] for name in posed.program.column_names if "digit" in name}
    assert products == {"product 0"}


# -- constraints of the code --


def test_what_the_code_makes_equal_stays_equal() -> None:
    attempts = Attempts(Halves(), torch.randn(2, 3))
    assert attempts.constraints.width_constraints
    answer, _ = attempts.solve({"both": Delta(2)})
    assert set(attempts.sizes(answer).values()) == {4}
    assert attempts.solve({"both": Delta(1)})[1] is Outcome.INFEASIBLE
    nearest = attempts.sizes(attempts.solve({"both": Delta(-1, relaxed=True)})[0])
    assert set(nearest.values()) == {2}


def test_what_is_tied_may_grow_by_the_same_factor() -> None:
    """A layer of 3 that is asked to be 30 ties one of 6 that must become 60."""
    attempts = Attempts(Halves(), torch.randn(2, 3))
    answer, _ = attempts.solve({"other": Size(30)})
    assert set(attempts.sizes(answer).values()) == {30}


# -- what keeps still --


def test_depthwise_convolutions_stay_depthwise() -> None:
    net = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Conv1d(4, 4, 1, groups=4), nn.Flatten(), nn.Linear(8, 2))
    attempts = Attempts(net, torch.randn(2, 3, 2))
    posed = attempts.posed({"0": Delta(4)})
    assert [width.size for width in posed.in_scope] == [4]
    assert not any("product" in name for name in posed.program.column_names)
    assert attempts.sizes(attempts.solve({"0": Delta(4)})[0]) == {"0": 8}


def test_outputs_take_part_as_any_other_size() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    attempts = Attempts(net, torch.randn(2, 3))
    values = {w: -np.ones(w.size) for w in attempts.widths}
    assert attempts.sizes(attempts.solve(None, values)[0]) == {"0": 1, "1": 1}
    assert attempts.sizes(attempts.solve({"1": Delta(1)}, values)[0]) == {"1": 6}


def test_a_layer_keeps_a_neuron_though_all_its_widths_are_shared() -> None:
    """Two concatenations are added: the second layer of four has half of either neighbour's neurons."""
    parts = [Node("linear", (0,), size) for size in (2, 2, 2, 1, 2, 2, 1)]
    both = [Node("cat", (1, 2, 3), 6), Node("cat", (4, 5, 6, 7), 6), Node("add", (8, 9), 6)]
    net = Net([Node("input", (), 3), *parts, *both, Node("linear", (10,), 2)])
    attempts = Attempts(net, net.example())
    told = {net.vertex_name(10): [1.0, -1.0, -2.0, 1.0, 1.0, 1.0]}
    values = utilities(attempts.widths, told, default=0)
    assert len(attempts.widths) == 7
    answer, _ = attempts.solve(None, values)
    sizes = {w.atom: len(answer.kept[w]) for w in attempts.widths} if answer else {}
    axis = attempts.widths.output_axis(attempts.graph[net.vertex_name(5)])
    assert [sizes[atom] for atom in axis.atoms()] == [1, 0]


def test_without_requests_what_is_negative_goes_and_nothing_comes() -> None:
    net = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    attempts = Attempts(net, torch.randn(2, 3))
    values = {w: np.ones(w.size) for w in attempts.widths}
    first, second = attempts.widths.widths[:2]
    values[first][[1, 4]] = -2.0
    answer, _ = attempts.solve(None, values)
    assert answer is not None
    assert answer.kept[first].tolist() == [0, 2, 3, 5]
    assert answer.kept[second].tolist() == [0, 1, 2, 3, 4]
    assert not any(answer.new.values())


def test_among_equals_the_first_neurons_stay() -> None:
    attempts = Attempts(nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), torch.randn(2, 3))
    first = attempts.widths.widths[0]
    values = {w: np.ones(w.size) for w in attempts.widths}
    values[first][:] = [1, 3, 1, 2, 1, 3]
    for count, kept in [(1, [1]), (2, [1, 5]), (3, [1, 3, 5]), (4, [0, 1, 3, 5]), (5, [0, 1, 2, 3, 5])]:
        answer, _ = attempts.solve({"0": Size(count)}, values)
        assert answer is not None
        assert answer.kept[first].tolist() == kept


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (Multiple(50), 50),
        (Between(40), 40),
        (Between(1, 3), 3),
        (Frozen(), 6),
        (Size(1000), 1000),
    ],
)
def test_bounds_and_multiples(request_: Request, size: int) -> None:
    attempts = Attempts(nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), torch.randn(2, 3))
    assert attempts.sizes(attempts.solve({"0": request_})[0]) == {"0": size}


def test_the_same_may_be_asked_of_one_vertex_twice() -> None:
    attempts = Attempts(nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), torch.randn(2, 3))
    twice = attempts.axis_request("0", Delta(1, relaxed=True))
    posed = ResizeProgram(attempts.widths, attempts.constraints, [twice, twice], None, None)
    assert posed.nearness is not None


# -- how large it is --


def test_the_program_is_as_large_for_wide_networks_as_for_narrow_ones() -> None:
    shapes = []
    for n in (8, 800):
        net = nn.Sequential(nn.Linear(3, n), nn.BatchNorm1d(n), nn.Linear(n, 2 * n), nn.Linear(2 * n, 2))
        attempts = Attempts(net, torch.randn(2, 3))
        values = {w: np.random.default_rng(0).normal(1, 1, w.size) for w in attempts.widths}
        arrays = attempts.posed({"0": Delta(-2)}, values).program.arrays()
        shapes.append((len(arrays.cost), int(arrays.integer.sum()), arrays.rows.count))
    assert shapes[0] == shapes[1]
    assert shapes[0][1] == 2
