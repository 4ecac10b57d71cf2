"""Crossover: a child computes what its two parts compute, and can be edited."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph import search
from naivegraph.search import Genome
from naivegraph.search.evolution.graft import _joined
from naivegraph.search.evolution.graft_segments import Segment, segments
from naivegraph.search.evolution.mutation import NothingToDoError, tried
from tests.search.evolution.networks import image, output, residual, vectors


def line(sizes: tuple[int, ...], seed: int) -> Genome:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for taken, given in itertools.pairwise(sizes):
        layers += [nn.Linear(taken, given), nn.ReLU()]
    return Genome(ng.capture(nn.Sequential(*layers).eval(), torch.randn(4, sizes[0])))


def test_segments_lie_between_places_that_every_way_passes() -> None:
    found = segments(residual().graph)
    assert Segment(("relu",), "add") in found
    assert Segment(("relu",), "relu_1") in found  # past which the skip goes
    assert Segment(("inner",), "add") not in found  # the skip comes in, too
    assert all(s.exit != "x" and len(s.entries) <= 3 for s in found)


def test_the_child_computes_what_its_parts_do() -> None:
    one, two = line((5, 8, 8, 3), 0), line((5, 8, 8, 8, 3), 1)
    child = _joined(one.graph, two.graph, Segment(("1",), "3"), Segment(("3",), "5"))
    x = torch.randn(4, 5)
    host = [one.graph.module.get_submodule(str(i)) for i in range(6)]
    donor = two.graph.module.get_submodule("4")
    expected = host[5](host[4](donor(host[1](host[0](x))).relu()))
    assert torch.equal(child(x), expected)


def test_sizes_at_the_seams_are_made_equal_with_what_stays_zeroed_elsewhere() -> None:
    one, two = line((5, 8, 8, 3), 0), line((5, 6, 6, 3), 1)
    child = _joined(one.graph, two.graph, Segment(("1",), "3"), Segment(("1",), "3"))
    assert child(torch.randn(4, 5)).shape == (4, 3)
    assert one.graph.sizes["0"] == 8
    assert two.graph.sizes["0"] == 6


def test_most_pairs_with_alike_seams_give_children_that_run_and_can_be_edited() -> None:
    rng = random.Random(0)
    parents = [residual(8, 0), residual(6, 1)]
    for seed in range(6):
        found = search.skip()
        child = residual(8 + seed % 3, seed)
        found(child, rng)
        search.wider()(child, rng)
        parents.append(child)
    done = 0
    for _ in range(16):
        one, two = rng.sample(parents, 2)
        before = output(one)
        child, told = search.graft(one, two, rng)
        assert torch.equal(output(one), before)
        assert output(child).shape == before.shape, told
        assert tried(search.wider(), child, rng) is not None, told
        again = Genome.of_data(*child.to_data())
        assert torch.allclose(output(again), output(child), atol=1e-5), told
        done += 1
    assert done == 16


class Pair(nn.Module):
    """A network of two inputs, which meet in a cross attention, or in a sum."""

    def __init__(self, width: int, layers: int, attend: bool) -> None:
        super().__init__()
        self.query, self.memory = nn.Linear(5, width), nn.Linear(7, width)
        self.deep = nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])
        self.attend, self.out = attend, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        query, memory = self.query(x).relu(), self.deep(self.memory(y)).tanh()
        if self.attend:
            met = (query @ memory.transpose(1, 2)).softmax(-1) @ memory
        else:
            met = query + memory.mean(1, keepdim=True)
        out: torch.Tensor = self.out(met)
        return out


def two_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(2)
    return torch.randn(2, 4, 5, generator=made), torch.randn(2, 6, 7, generator=made)


def pair(width: int, layers: int, attend: bool, seed: int) -> Genome:
    torch.manual_seed(seed)
    return Genome(ng.capture(Pair(width, layers, attend).eval(), two_inputs()))


def test_segments_with_several_inputs() -> None:
    one, two = pair(8, 1, False, 0), pair(8, 2, True, 1)
    found = segments(one.graph)
    assert Segment(("relu", "tanh"), "out") in found
    assert Segment(("x", "y"), "out") in found
    child = _joined(one.graph, two.graph, Segment(("relu", "tanh"), "out"), Segment(("relu", "tanh"), "out"))
    x, y = two_inputs()
    host: Any = one.graph.module
    donor: Any = two.graph.module
    query, memory = host.query(x).relu(), host.deep(host.memory(y)).tanh()
    expected = donor.out((query @ memory.transpose(1, 2)).softmax(-1) @ memory)
    torch.testing.assert_close(child(x, y), expected)


def test_what_comes_in_at_alike_seams_can_change_places() -> None:
    def joined(first: nn.Linear, second: nn.Linear, last: nn.Linear) -> Genome:
        class Branches(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one, self.two, self.last = first, second, last

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                out: torch.Tensor = self.last(self.one(x).relu() - self.two(x).tanh())
                return out

        return Genome(ng.capture(Branches().eval(), torch.randn(4, 5)))

    parents = [joined(nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 3)) for _ in range(2)]
    crossed = _joined(
        parents[0].graph,
        parents[1].graph,
        Segment(("relu", "tanh"), "last"),
        Segment(("tanh", "relu"), "last"),
    )
    x = torch.randn(4, 5)
    host: Any = parents[0].graph.module
    donor: Any = parents[1].graph.module
    expected = donor.last(host.two(x).tanh() - host.one(x).relu())
    torch.testing.assert_close(crossed(x), expected)


def test_networks_of_several_inputs_have_children_that_run_and_can_be_edited() -> None:
    rng = random.Random(1)
    parents = [pair(8, 1, False, 0), pair(6, 2, True, 1), pair(10, 3, True, 2), pair(8, 2, False, 3)]
    several = 0
    for _ in range(24):
        one, two = rng.sample(parents, 2)
        before = one.graph(*two_inputs())
        child, told = search.graft(one, two, rng)
        several += " and " in told
        assert torch.equal(one.graph(*two_inputs()), before)
        assert child.graph(*two_inputs()).shape == (2, 4, 3), told
        assert tried(search.wider(), child, rng) is not None, told
        again = Genome.of_data(*child.to_data())
        torch.testing.assert_close(again.graph(*two_inputs()), child.graph(*two_inputs()), msg=told)
    assert several >= 5


def test_networks_without_alike_seams_are_told() -> None:
    rows = Genome(ng.capture(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), torch.randn(2, 5, 6)))
    with pytest.raises(NothingToDoError, match="no seams of the two networks are alike"):
        search.graft(rows, vectors(), random.Random(0))


def test_parts_keep_their_state_and_buffers() -> None:
    one, two = residual(8, 0), residual(8, 1)
    two.graph.module.get_buffer("norm.running_mean").fill_(0.5)
    child = _joined(one.graph, two.graph, Segment(("stem",), "relu"), Segment(("stem",), "relu"))
    means = [value for name, value in child.module.named_buffers() if name.endswith("running_mean")]
    assert [float(mean[0]) for mean in means] == [0.5]
    assert child(image()).shape == (2, 5)


class Noisy(nn.Module):
    """A network that calls another function in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.one(x)
        out: torch.Tensor = self.two(inner.sin() if self.training else inner)
        return out


def test_what_trains_by_other_calls_is_not_joined_without_them() -> None:
    one, two = (Genome(ng.capture(Noisy(), torch.randn(2, 4))) for _ in range(2))
    with pytest.raises(NothingToDoError, match="calls other functions in train mode cannot be joined"):
        search.graft(one, two, random.Random(0))


@pytest.mark.parametrize("seed", range(8))
def test_no_child_has_an_output_of_another_shape(seed: int) -> None:
    torch.manual_seed(seed)
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    two = Genome(ng.capture(flat.eval(), image()))  # what it flattens comes in multiples of 36
    one = residual(8, seed)
    for attempt in range(4):
        try:
            child, told = search.graft(one, two, random.Random(f"{seed} {attempt}"))
        except NothingToDoError:
            continue
        assert output(child).shape == output(one).shape, told
