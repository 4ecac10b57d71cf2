"""Explanations: the facts in them, on networks whose ties are known by construction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.explain.conflicts import ProgramRequest, conflict_text, relaxations
from naivegraph.edits.explain.explain import explain
from naivegraph.edits.explain.explanation import Cause, Explanation, Ripple
from naivegraph.errors import NaivegraphError
from naivegraph.network import Graph, capture
from naivegraph.solvers import Program
from naivegraph.widths import constraints_of, relate


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(size, size, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(size)
        self.conv2 = nn.Conv2d(size, size, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(torch.relu(self.bn1(self.conv1(x))))
        return y


class Joined(nn.Module):
    """A concatenation of 8 and 6."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 6), nn.Linear(14, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c(torch.cat([self.a(x), self.b(x)], 1))
        return y


class Halves(nn.Module):
    """The two halves of `a` go to different layers, and only the chunk makes them equal."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 6), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p, q = self.a(x).chunk(2, -1)
        return self.b(p), self.c(q)


class Written(nn.Module):
    """A size is written out in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x).view(-1, 288))
        return y


class Attention(nn.Module):
    """Three heads of eight from one fused projection; a norm in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(10), nn.Linear(10, 72), nn.Linear(24, 10)
        self.first, self.last, self.heads, self.head = nn.Linear(5, 10), nn.Linear(10, 2), 3, 8

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        shape = (x.shape[0], x.shape[1], 3, self.heads, self.head)
        q, k, v = self.qkv(self.norm(x)).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        y = self.out(y.transpose(1, 2).flatten(2))
        result: Tensor = self.last(x + y)
        return result


class Unknown(nn.Module):
    """An exponential of a matrix: no rule says what becomes of the neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(torch.block_diag(self.a(x)))  # type: ignore[no-untyped-call]
        return y


def residual() -> Graph:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    return capture(net, torch.zeros(1, 3, 8, 8))


def about(net: nn.Module, name: str, *shape: int) -> Explanation:
    return explain(capture(net, torch.zeros(*shape)), name)


def test_residual_chain_goes_through_the_additions_in_order() -> None:
    found = explain(residual(), "0")
    assert (found.size, found.widths) == (8, {"0": 8})
    ties = dict(found.tied_with)
    assert ties["1.conv1"] == ("0", "1.conv1")
    assert ties["1.conv2"] == ("0", "1.add", "1.conv2")
    assert ties["2.conv2"] == ("0", "1.add", "2.add", "2.conv2")
    assert ties["5"] == ("0", "1.add", "2.add", "3", "4", "5")
    assert "1.bn1" not in ties
    assert "0 -> 1.add -> 2.add -> 2.conv2" in str(found)


def test_a_square_layer_does_not_tie_its_inputs_to_its_outputs() -> None:
    found = explain(residual(), "1.conv1")
    assert dict(found.tied_with) == {
        "1.bn1": ("1.conv1", "1.bn1"),
        "1.conv2": ("1.conv1", "1.bn1", "1.relu", "1.conv2"),
    }
    assert [(tie.layer, tie.role) for tie in found.parts[0].tied_with] == [
        ("1.bn1", "both"),
        ("1.conv2", "input"),
    ]


def test_everything_along_the_residual_changes_by_one() -> None:
    found = explain(residual(), "0")
    assert found.fixed_reason is None
    (nearest,) = found.nearest
    assert (nearest.smaller, nearest.larger, nearest.least, nearest.because) == (7, 9, 1, ())
    assert Ripple("2.conv1", "input", 8, 9) in found.ripples
    assert Ripple("2.conv2", "output", 8, 9) in found.ripples
    assert all(ripple.layer != "1.bn1" for ripple in found.ripples)
    assert "any number from 1" in str(found)


def test_an_addition_in_place_is_part_of_the_chain() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            y += self.b(x)
            z: Tensor = self.c(y)
            return z

    assert dict(about(Added(), "a", 1, 4).tied_with) == {"b": ("a", "add_", "b"), "c": ("a", "add_", "c")}
    assert dict(about(Added(), "add_", 1, 4).tied_with)["c"] == ("add_", "c")


def test_outputs_are_told_with_the_way_to_them() -> None:
    found = explain(residual(), "5")
    assert found.parts[0].output == ("5", "the network's output")
    assert found.fixed_reason is None
    assert (found.nearest[0].smaller, found.nearest[0].larger) == (3, 5)
    told = "outputs of the network, which ng.prune keeps and ng.resize may change: 5 -> the network's output."
    assert told in str(found)
    through = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Tanh())
    assert about(through, "0", 1, 4).parts[0].output == ("0", "1", "2", "the network's output")
    assert "outputs of the network" not in str(explain(residual(), "0"))


def test_fixed_by_an_input_added_to_it() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(torch.relu(self.a(x) + x))
            return y

    (cause,) = about(Skips(), "relu", 1, 4).fixed
    assert cause == Cause("an input of the network (x)", ("relu", "add", "x"))


def test_concatenation_is_a_sum_of_two() -> None:
    found = about(Joined(), "cat", 1, 4)
    assert (found.size, found.made_of, found.widths) == (14, "8 + 6", {"a": 8, "b": 6})
    assert ("a", ("cat", "a")) in found.tied_with
    nearest = found.nearest[0]
    # An empty half is allowed only as long as the layer that makes it still has an output.
    assert (nearest.smaller, nearest.larger, nearest.least) == (13, 15, 2)
    assert dict(about(Joined(), "a", 1, 4).tied_with) == {"c": ("a", "cat", "c")}


def test_chunk_makes_steps_of_two_and_says_where() -> None:
    found = about(Halves(), "a", 1, 4)
    assert found.made_of == "4 + 4"
    nearest = found.nearest[0]
    assert (nearest.smaller, nearest.larger, nearest.least) == (6, 10, 2)
    (reason,) = nearest.because
    assert reason == found.constraints[0]
    assert "chunk" in reason
    assert "test_explain.py:" in reason
    assert set(found.ripples) == {Ripple("b", "input", 4, 5), Ripple("c", "input", 4, 5)}
    assert "6 or 10" in str(found)


def test_a_written_size_is_named_with_its_line() -> None:
    found = about(Written(), "a", 1, 3, 8, 8)
    assert found.nearest == ()
    assert found.fixed_reason is not None
    assert "288" in found.fixed_reason
    assert "test_explain.py:" in found.fixed_reason
    assert found.fixed_reason in str(found)


def test_fused_attention_is_a_product_and_each_factor_may_vary() -> None:
    found = about(Attention(), "qkv", 1, 4, 5)
    assert (found.size, found.made_of) == (72, "3 x 3 x 8")
    assert sorted(found.widths.values()) == [3, 8]
    chain = dict(found.tied_with)["out"]
    assert chain[0] == "qkv"
    assert chain[-1] == "out"
    assert chain.index("reshape") < chain.index("unbind") < chain.index("flatten")
    # One more head adds 3 x 8 neurons, one more in each head 3 x 3.
    assert [(way.smaller, way.larger) for way in found.nearest] == [(48, 96), (63, 81)]
    assert Ripple("out", "input", 24, 32) in found.ripples
    assert found.fixed == (
        Cause("single indices are taken, at unbind", ("qkv", "reshape", "permute", "unbind")),
    )


def test_a_norm_is_named_where_it_couples() -> None:
    found = about(Attention(), "first", 1, 4, 5)
    assert found.parts[0].coupled == ("a layer norm at norm",)
    assert "a layer norm at norm" in str(found)
    assert dict(found.tied_with)["out"] == ("first", "add", "out")


def test_an_operator_without_a_rule_is_named() -> None:
    found = about(Unknown(), "a", 4, 4)
    (cause,) = found.fixed
    assert "has no rule" in cause.reason
    assert cause.chain[0] == "a"
    assert "block_diag" in cause.reason
    assert "block_diag" in cause.chain[-1]


def test_parameters_and_vertices_can_be_asked_about() -> None:
    graph = residual()
    assert str(explain(graph, "1.conv1.weight")) == str(explain(graph, graph["1.conv1"]))
    assert explain(graph, "1.conv1.weight").name == "1.conv1"
    with pytest.raises(NaivegraphError, match=r"no vertex or parameter '1\.conv'; did you mean '1\.conv"):
        explain(graph, "1.conv")
    with pytest.raises(NaivegraphError, match="not one of this graph"):
        explain(graph, residual()["0"])


# Conflicts


def posed(graph: Graph, sizes: dict[str, int]) -> tuple[Program, list[ProgramRequest]]:
    """A program with one column per width, and a request for the size of each vertex."""
    widths = relate(graph)
    program = Program()
    columns = {width.atom: program.column(width.name, 1, 100) for width in widths}
    for index, row in enumerate(constraints_of(widths).width_constraints):
        parts = {columns[m[0]]: float(c) for m, c in row.polynomial.terms.items() if m}
        side = -float(row.polynomial.terms.get((), 0))
        program.row(f"row {index}", list(parts), list(parts.values()), lower=side, upper=side)
    wanted = []
    for name, size in sizes.items():
        axis = widths.output_axis(graph[name])
        parts = {columns[atom]: 1.0 for atom in axis.atoms()}
        fixed = axis.length - sum(atom.length for atom in axis.atoms())
        request = f"{name}: exactly {size} wide"
        program.row(request, list(parts), 1.0, lower=size - fixed, upper=size - fixed, request=request)
        wanted.append(ProgramRequest(request, graph[name], axis, fixed, parts, size))
    return program, wanted


def text(graph: Graph, sizes: dict[str, int]) -> str:
    widths = relate(graph)
    program, wanted = posed(graph, sizes)
    # Atoms differ from one relating to the next: those of the requests must be those explained.
    wanted = [
        ProgramRequest(w.name, w.vertex, widths.output_axis(w.vertex), w.constant, w.parts, w.target)
        for w in wanted
    ]
    return conflict_text(widths, constraints_of(widths), program, wanted)


def test_conflict_names_the_requests_their_chain_and_the_nearest_way_out() -> None:
    found = text(residual(), {"0": 12, "1.conv1": 5, "2.conv2": 9})
    assert "0: exactly 12 wide" in found
    assert "2.conv2: exactly 9 wide" in found
    assert "1.conv1" not in found
    assert "0 -> 1.add -> 2.add -> 2.conv2" in found
    assert "0 can be 9 instead of 12" in found
    assert "2.conv2 can be 12 instead of 9" in found


def test_conflict_of_a_sum_puts_the_cheapest_first() -> None:
    graph = capture(Joined(), torch.zeros(1, 4))
    found = text(graph, {"a": 3, "b": 3, "cat": 8})
    assert "cat can be 6 instead of 8" in found
    assert "a can be 5 instead of 3" in found
    assert "cat -> a" in found
    assert "cat -> b" in found
    program, wanted = posed(graph, {"a": 1, "b": 100, "cat": 3})
    # Giving up `a` is not enough: b alone is larger than the whole.
    found_sizes = [(one.request.vertex.name, one.size) for one in relaxations(program, wanted)]
    assert found_sizes == [("b", 2), ("cat", 101)]


def test_conflict_of_one_request_says_what_the_code_demands() -> None:
    found = text(capture(Halves(), torch.zeros(1, 4)), {"a": 9})
    assert "a: exactly 9 wide" in found
    assert "chunk" in found
    assert "a can be 10 instead of 9" in found


def test_what_is_no_conflict_is_told_as_such() -> None:
    assert "can be met together" in text(residual(), {"0": 12})


def test_the_present_size_is_no_offer() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(torch.relu(self.a(x) + x))
            return y

    found = text(capture(Skips(), torch.zeros(1, 4)), {"a": 5})
    assert "a: exactly 5 wide (its size is 4)" in found
    assert "without 'a: exactly 5 wide', a keeps its size of 4" in found
    assert "instead" not in found
    assert "an input of the network (x)" in found


def test_an_offer_moves_the_way_that_was_asked_for() -> None:
    """Of 6 and 10, both next to 8, only one is larger."""
    found = text(capture(Halves(), torch.zeros(1, 4)), {"a": 9})
    assert "a can be 10 instead of 9" in found
    assert "a can be 6 instead of 7" in text(capture(Halves(), torch.zeros(1, 4)), {"a": 7})


@pytest.mark.parametrize(("change", "size"), [(-8, 0), (-11, -3)])
def test_an_impossible_size_is_told_as_a_size(change: int, size: int) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    graph = ng.capture(net, torch.ones(1, 4))
    told = (
        rf"asked for, {size}, is impossible: a size is at least 1\.\n"
        rf"The nearest that can be done: without '0: exactly {change}', 0 can be 1, its least size\."
    )
    with pytest.raises(ng.InfeasibleError, match=told):
        ng.resize(graph, {"0": change}, strategy=ng.strategy.Solve())
