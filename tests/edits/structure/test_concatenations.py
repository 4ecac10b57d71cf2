"""Edges to and from concatenations: where a part comes, which one goes, and what follows in size."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.machine.structures import check, everything, lively


class Maps(nn.Module):
    """Maps of three branches, read by a norm and a convolution, by a flatten, and by a sum."""

    def __init__(self, reader: str) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.mix = nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3)
        self.each, self.flat, self.beside = nn.Conv2d(6, 6, 1, groups=6), nn.Linear(96, 5), nn.Conv2d(3, 6, 1)
        self.reader = reader

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both, other = torch.cat([self.a(x), self.b(x)], 1), self.c(x)
        if self.reader == "norm":
            return self.mix(torch.relu(self.norm(both))), other
        if self.reader == "groups":
            return self.mix(self.each(both)), other
        if self.reader == "flatten":
            return self.flat(both.flatten(1)), other
        return self.mix(torch.relu(both + self.beside(x))), other


READERS = ["norm", "groups", "flatten", "sum"]


def maps(reader: str) -> tuple[ng.Graph, Tensor]:
    x = torch.randn(2, 3, 4, 4)
    return ng.capture(lively(Maps(reader).eval()), x), x


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("position", [0, 1, 2, None])
def test_a_part_comes_at_any_place_and_the_function_is_kept(
    reader: str, position: int | None, tmp_path: Path
) -> None:
    graph, x = maps(reader)
    fresh, before, old = copy.deepcopy(graph.module), everything(graph), graph(x)
    edit = ng.connect(graph, "c", "cat", position=position)
    at = 2 if position is None else position
    names = ["a", "b"]
    names.insert(at, "c")
    assert [vertex.name for vertex in graph.inputs_of("cat")] == names
    graph.lint()
    torch.testing.assert_close(graph(x), old)
    start = [0, 2, 6][at]
    # Of the new neurons alone nothing is read yet, and what there was is read as before.
    weights = {"norm": "mix", "groups": "mix", "flatten": "flat", "sum": "mix"}
    weight = graph.tensor(f"{weights[reader]}.weight")
    per = 16 if reader == "flatten" else 1
    assert weight.shape[1] == 9 * per
    assert not weight[:, start * per : (start + 3) * per].any()
    kept = torch.cat([weight[:, : start * per], weight[:, (start + 3) * per :]], 1)
    assert torch.equal(kept, fresh.get_submodule(weights[reader]).weight)  # type: ignore[arg-type]
    ng.save(graph, tmp_path / "net.safetensors")
    loaded: Any = ng.load(fresh, tmp_path / "net.safetensors")
    torch.testing.assert_close(loaded(x), graph(x), rtol=0, atol=0)
    edit.undo()
    assert everything(graph) == before


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["a", "b"])
def test_what_used_a_part_that_goes_loses_its_neurons(reader: str, name: str) -> None:
    graph, x = maps(reader)
    dense: Any = copy.deepcopy(graph.module)
    with torch.no_grad():  # the oracle: neurons that the readers do not see
        start, stop = {"a": (0, 2), "b": (2, 6)}[name]
        per = 16 if reader == "flatten" else 1
        (dense.flat if reader == "flatten" else dense.mix).weight[:, start * per : stop * per] = 0
    before = everything(graph)
    edit = ng.disconnect(graph, name, "cat")
    torch.testing.assert_close(graph(x), dense(x))
    edit.undo()
    assert everything(graph) == before


class Held(nn.Module):
    """A concatenation in a sum with the input, whose size it cannot change, or with the network's output."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 5), nn.Linear(8, 3), nn.Linear(8, 4)
        self.norm, self.beside, self.how = nn.LayerNorm(8), nn.Linear(8, 8), how

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = torch.cat([self.a(x), self.b(x)], 1)
        other: Tensor = self.c(x).sum()
        if self.how == "input":
            return x + both + other
        out: Tensor = self.norm(both) if self.how == "output" else self.beside(x) + both
        return out + other


HOLDERS = ["input", "output", "residual"]


@pytest.mark.parametrize("how", HOLDERS)
def test_where_a_size_is_held_parts_and_the_new_one_shrink_by_utility(how: str) -> None:
    x = torch.randn(4, 8)
    graph = ng.capture(Held(how), x)
    before = everything(graph)
    utility: dict[str, Any] = {"a": [9, 1, 8, 2, 7], "b": [6, 3, 5], "c": [4.5, 9, 0.5, 6]}
    edit = ng.connect(graph, "c", "cat", utility=utility, position=1)
    assert graph.sizes["cat"] == 8
    kept = {name: edit.sizes[name].kept for name in "abc"}
    # The oracle: the eight best of all twelve, as every one of them is worth what it was told to be.
    assert kept == {"a": (range(0, 1), range(2, 3), range(4, 5)), "b": (range(0, 1), range(2, 3)),
                    "c": (range(0, 2), range(3, 4))}  # fmt: skip
    assert graph(x).shape == (4, 8)
    assert check(graph).shape == (3, 8)
    edit.undo()
    assert everything(graph) == before


@pytest.mark.parametrize("how", HOLDERS)
def test_where_a_size_is_held_the_other_parts_grow(how: str) -> None:
    x = torch.randn(4, 8)
    graph = ng.capture(Held(how), x)
    before = everything(graph)
    edit = ng.disconnect(graph, "a", "cat")
    assert (graph.sizes["b"], graph.sizes["cat"]) == (8, 8)
    assert check(graph).shape == (3, 8)
    edit.undo()
    assert everything(graph) == before
    edit = ng.remove(graph, "b", reconnect=False)
    assert (graph.sizes["a"], graph.sizes["cat"]) == (8, 8)
    edit.undo()
    assert everything(graph) == before


def test_the_choice_where_sizes_are_held_is_the_best_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        graph = ng.capture(Held("input"), torch.randn(4, 8))
        values = {
            n: torch.randn(size, generator=generator).abs() for n, size in zip("abc", (5, 3, 4), strict=True)
        }
        edit = ng.connect(graph, "c", "cat", utility=values)
        got = sum(
            float(values[name][list(itertools.chain(*edit.sizes[name].kept))].sum())
            for name in "abc"
            if name in edit.sizes
        ) + sum(float(values[name].sum()) for name in "abc" if name not in edit.sizes)
        best = {n: values[n].sort(descending=True).values.cumsum(0) for n in "abc"}
        sizes = itertools.product(range(1, 6), range(1, 4), range(1, 5))
        top = max(float(best["a"][i - 1] + best["b"][j - 1] + best["c"][k - 1])
                  for i, j, k in sizes if i + j + k == 8)  # fmt: skip
        # Keeping sizes still counts, too, so that the choice may be a little below what is best alone.
        assert got >= 0.9 * top


def test_nothing_fits_where_all_sizes_are_held() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x], 1) + torch.cat([x.exp(), x.sin()], 1)

    graph = ng.capture(Fixed(), torch.randn(2, 4))
    before = everything(graph)
    with pytest.raises(ng.InfeasibleError, match="'exp' cannot be connected to 'cat'"):
        ng.connect(graph, "exp", "cat")
    with pytest.raises(ng.InfeasibleError, match="'exp' cannot be disconnected from 'cat_1'"):
        ng.disconnect(graph, "exp", "cat_1")
    assert everything(graph) == before


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 2), nn.Linear(4, 3), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        out: Tensor = self.out(torch.cat([a, self.b(x), a], 1))
        return out


@pytest.mark.parametrize(
    ("edge", "gone"), [(0, slice(0, 2)), (1, slice(5, 7)), (-1, slice(5, 7)), (-2, slice(0, 2))]
)
def test_which_of_equal_edges_goes_can_be_said(edge: int, gone: slice) -> None:
    x = torch.randn(3, 4)
    graph = ng.capture(Twice(), x)
    dense: Any = copy.deepcopy(graph.module)
    before = everything(graph)
    with torch.no_grad():
        dense.out.weight[:, gone] = 0
    edit = ng.disconnect(graph, "a", "cat", edge=edge)
    torch.testing.assert_close(graph(x), dense(x))
    assert graph["out"].target.in_features == 5  # type: ignore[union-attr]
    edit.undo()
    assert everything(graph) == before


def test_one_of_several_outputs_of_a_vertex_goes() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 6), nn.Linear(4, 2), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.a(x).chunk(2, 1)
            out: Tensor = self.out(torch.cat([two, self.b(x), one], 1))
            return out

    x = torch.randn(3, 4)
    for edge, gone in ((0, slice(0, 3)), (1, slice(5, 8))):
        graph = ng.capture(Halves(), x)
        dense: Any = copy.deepcopy(graph.module)
        with torch.no_grad():
            dense.out.weight[:, gone] = 0
        ng.disconnect(graph, "chunk", "cat", edge=edge)
        torch.testing.assert_close(graph(x), dense(x))


REFUSED: dict[str, tuple[Callable[[ng.Graph], Any], str]] = {
    "no such edge": (lambda g: ng.disconnect(g, "a", "cat", edge=2), "there are 2 edges from 'a' to 'cat'"),
    "one edge": (lambda g: ng.disconnect(g, "b", "cat", edge=1), "edge=1: there is one edge"),
    "no number": (lambda g: ng.disconnect(g, "b", "cat", edge=True), "edge=True"),
    "no place": (lambda g: ng.connect(g, "b", "cat", position=4), "position must be a whole number from 0"),
    "negative": (lambda g: ng.connect(g, "b", "cat", position=-1), "position must be a whole number from 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_edge_or_a_place_that_is_not_there_is_told(name: str) -> None:
    graph = ng.capture(Twice(), torch.randn(3, 4))
    before = everything(graph)
    change, message = REFUSED[name]
    with pytest.raises(ng.EditError, match=message):
        change(graph)
    assert everything(graph) == before


def test_a_sum_has_no_places() -> None:
    graph = ng.capture(Maps("sum").eval(), torch.randn(2, 3, 4, 4))
    with pytest.raises(ng.EditError, match="position=0: 'add' is a sum"):
        ng.connect(graph, "a", "add", position=0)


def test_tokens_of_another_width_are_made_to_fit_before_they_are_listed() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.out = (
                nn.Linear(4, 6),
                nn.Linear(4, 6),
                nn.Linear(4, 8),
                nn.Linear(6, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            every = torch.cat([self.a(x), self.b(x)], 1)
            out: Tensor = self.out(every.mean(1)) + self.c(x).sum()
            return out

    x = torch.randn(2, 5, 4)
    graph = ng.capture(Tokens(), x)
    before = everything(graph)
    edit = ng.connect(graph, "c", "cat")
    assert graph.sizes["a"] == graph.sizes["b"] == graph.sizes["c"] == 8
    net: Any = graph.module
    every = torch.cat([net.a(x), net.b(x), net.c(x)], 1)
    torch.testing.assert_close(graph(x), net.out(every.mean(1)) + net.c(x).sum())
    edit.undo()
    assert everything(graph) == before


def test_an_optimizer_follows_a_part_in_the_middle() -> None:
    x = torch.randn(3, 4)
    graph = ng.capture(Twice(), x)
    optimizer = torch.optim.Adam(graph.module.parameters())
    graph(x).sum().backward()
    optimizer.step()
    weight = graph.tensor("out.weight")
    old = optimizer.state[weight]["exp_avg"].clone()
    ng.connect(graph, "b", "cat", position=1, optimizer=optimizer)
    now = optimizer.state[weight]["exp_avg"]
    assert not now[:, 2:5].any()
    assert torch.equal(torch.cat([now[:, :2], now[:, 5:]], 1), old)


def test_an_empty_part_as_of_a_cache_at_its_start_can_go() -> None:
    class Cached(nn.Module):
        """Torch lets an empty vector be concatenated with tensors of any shape."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            kept = torch.tensor([])
            out: Tensor = self.b(torch.cat([kept, self.a(x)], dim=-1))
            return out

    net, x = Cached(), torch.randn(2, 3, 4)
    graph = ng.capture(net, x)
    edit = ng.disconnect(graph, "tensor", "cat")
    assert torch.equal(graph(x), net.b(net.a(x)))
    edit.undo()
    ng.connect(graph, "a", "cat")
    assert graph.sizes["cat"] == 12
    assert torch.equal(graph(x)[..., :2], net.b(torch.cat([net.a(x)] * 2, -1)))
