"""What `graph.sizes` counts at a vertex is what a request for that vertex changes."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.request.requests import RequestLike
from naivegraph.edits.resize_program.strategy import Solve
from naivegraph.network import Graph, capture
from naivegraph.widths import relate
from tests.machine.random_graphs import Attention, random_case


def attention() -> Graph:
    """Three heads of four, so that no two sizes are the same."""
    torch.manual_seed(0)
    return capture(Attention(5, 3, 4, fused=False).eval(), torch.randn(2, 7, 5))


def inner(graph: Graph) -> dict[str, int]:
    return {name: graph.module.get_submodule(name).out_features for name in ("q", "k", "v")}  # type: ignore[misc]


def test_every_size_is_the_length_of_the_axis_a_request_is_about() -> None:
    for seed in range(30):
        case = random_case(random.Random(seed))
        widths = relate(case.graph, free_outputs=True)
        lengths = {v.name: widths.output_axis(v).length for v in case.graph if v.name in case.graph.sizes}
        assert lengths == case.graph.sizes, f"{seed}, {case.about}"


@pytest.mark.parametrize(
    ("request_", "head"),
    [(-1, 3), (+2, 6), (ng.relaxed(-2), 2), (ng.multiple(3), 3), (ng.size(5), 5), (ng.between(1, 2), 2)],
)
def test_where_heads_lie_apart_a_request_is_about_their_size(request_: RequestLike, head: int) -> None:
    graph = attention()
    assert graph.sizes["view"] == graph.sizes["scaled_dot_product_attention"] == 4
    assert ng.resize(graph, {"view": request_}, utility=0)
    assert graph.sizes["view"] == graph.sizes["view_1"] == head
    assert inner(graph) == {"q": 3 * head, "k": 3 * head, "v": 12}


def test_where_heads_are_joined_a_request_is_about_all_of_them() -> None:
    graph = attention()
    assert graph.sizes["q"] == 12
    assert ng.resize(graph, {"q": -4})
    assert inner(graph) == {"q": 8, "k": 8, "v": 8}
    assert graph.sizes["view"] == 4


def test_a_size_that_cannot_change_is_refused_though_another_dimension_could() -> None:
    class Scores(nn.Module):
        """Attention whose scores, one per head and pair of positions, are a vertex."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(5, 12) for _ in range(3))
            self.out = nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (p(x).view(2, 7, 3, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
            mixed = ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2)
            out: Tensor = self.out(mixed.reshape(2, 7, -1))
            return out

    graph = capture(Scores().eval(), torch.randn(2, 7, 5))
    assert graph.sizes["softmax"] == 7
    with pytest.raises(ng.InfeasibleError, match="softmax: exactly -1"):
        ng.resize(graph, {"softmax": -1}, strategy=Solve())


def test_utility_is_told_per_neuron_that_is_counted() -> None:
    graph = attention()
    worth = {"scaled_dot_product_attention": [1.0, 0.1, 0.2, 1.0]}
    edit = ng.resize(graph, {"scaled_dot_product_attention": -2}, utility=worth)
    assert [width.kept.tolist() for width in edit.change.widths.values()] == [[0, 3]]
    assert inner(graph) == {"q": 12, "k": 12, "v": 6}


@pytest.mark.parametrize("utility", [None, 0.0, {"a": 1.0}, {"cat": 2.0, "a": 0.0}])
def test_what_nothing_is_said_of_keeps_still(utility: ng.Utility) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 6), nn.Linear(14, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(torch.cat([self.a(x), self.b(x)], 1))
            return out

    graph = capture(Joined(), torch.randn(2, 4))
    assert ng.resize(graph, {"a": -2}, utility=utility)
    assert graph.sizes == {"x": 4, "a": 6, "b": 6, "cat": 12, "c": 3}


def test_the_input_asked_for_is_the_one_taken() -> None:
    """A vertex that gives several tensors of different sizes: each input is its own."""

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.few, self.more = 2, 7
            self.first = nn.Linear(4, 9)
            self.second = nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.first(x).split([self.few, self.more], 1)
            out: Tensor = self.second(right) + left
            return out

    graph = capture(Parts().eval(), torch.randn(3, 4))
    assert ng.resize(graph, {"second": ng.inputs(-3)})
    second = graph.module.get_submodule("second")
    assert isinstance(second, nn.Linear)
    assert second.in_features == 4
    assert graph.sizes["first"] == 6


def test_an_input_counts_neurons_where_its_first_layer_wants_them() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(torch.cat([x, x.relu()], 1))
            return out

    graph = capture(Twice().eval(), torch.randn(2, 3, 8))
    assert graph.sizes == {"x": 3, "relu": 3, "cat": 6, "conv": 2}


def test_neurons_are_those_of_the_operand_that_is_not_broadcast() -> None:
    class Scaled(nn.Module):
        """A layer whose output is scaled by a number per sample."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            out: Tensor = self.b(torch.einsum("bi,bi->b", y, y)[:, None] * y)
            return out

    graph = capture(Scaled(), torch.randn(3, 6))
    assert graph.sizes["mul"] == 12
    edit = ng.resize(graph, {"mul": -3})
    assert (edit.sizes["mul"].before, edit.sizes["mul"].after) == (12, 9)
    assert graph.sizes["a"] == graph.sizes["mul"] == 9


def test_what_is_looked_up_by_indices_has_its_neurons_where_it_had_them() -> None:
    class Messages(nn.Module):
        """Each edge takes what the nodes at its ends have."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.message = nn.Linear(3, 8), nn.Linear(17, 8)

        def forward(self, x: Tensor, ends: Tensor, edges: Tensor) -> Tensor:
            x = self.a(x)
            message = self.message(torch.cat([x[ends[0]], x[ends[1]], edges], 1))
            out: Tensor = torch.zeros_like(x).index_add(0, ends[1], message)
            return out

    inputs = torch.randn(7, 3), torch.randint(0, 7, (2, 14)), torch.randn(14, 1)
    graph = capture(Messages(), inputs)
    assert graph.sizes["cat"] == 17
    assert [graph.sizes[v.name] for v in graph.inputs_of("cat")] == [8, 8, 1]
    edit = ng.transfer.adapters(graph, "message", size=2, kind="lora")
    assert [tuple(p.shape) for p in graph.module.get_submodule("message_lora").parameters()] == [
        (2, 17),
        (8, 2),
    ]
    edit.undo()
