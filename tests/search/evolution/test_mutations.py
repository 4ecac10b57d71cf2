"""Mutations: those said to keep the function do, networks stay valid, and a seed gives the same child."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph import search
from naivegraph.errors import EditError
from naivegraph.search import Genome, Mutation
from naivegraph.search.evolution.mutation import tried
from tests.search.evolution.networks import output, residual, vectors

MUTATIONS: list[Mutation] = [
    search.wider(),
    search.wider(1.0, 3),
    search.narrower(),
    search.deeper(),
    search.deeper(1),
    search.shallower(),
    search.skip(),
    search.unskip(),
    search.kernel(),
    search.kernel(grow_only=True),
    search.activation(),
    search.chain(search.wider(), search.deeper(), search.skip()),
    search.one_of(search.wider(), search.kernel(), weights=[1, 2]),
    search.chance(0.5, search.narrower()),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("make", [residual, vectors])
def test_children_run_and_keep_what_they_say(mutation: Mutation, make: Callable[[], Genome]) -> None:
    genome = make()
    before, done = output(genome), 0
    names = [vertex.name for vertex in genome.graph]
    for seed in range(6):
        found = tried(mutation, genome, random.Random(seed))
        if found is None:
            continue
        done += 1
        child, told = found
        after = output(child)
        assert after.shape == before.shape
        assert isinstance(told, str)
        if mutation.keeps_function:
            assert torch.allclose(after, before, atol=1e-5), told
        child.graph.lint()
        assert torch.equal(output(genome), before)
    assert [vertex.name for vertex in genome.graph] == names
    impossible = make is vectors and isinstance(mutation, (search.kernel, search.unskip))
    assert bool(done) != impossible


def test_long_lines_of_descent_stay_valid_and_come_back_from_data() -> None:
    rng = random.Random(3)
    genome = residual()
    for _ in range(12):
        mutation = rng.choice(MUTATIONS)
        found = tried(mutation, genome, rng)
        if found is None or len(found[0].graph) > 40:
            continue
        before = output(genome)
        genome, told = found
        if mutation.keeps_function:
            assert torch.allclose(output(genome), before, rtol=1e-3, atol=1e-4), told
    data, weights = genome.to_data()
    again = Genome.of_data(data, weights)
    assert torch.allclose(output(again), output(genome), atol=1e-6)
    optimizer = torch.optim.SGD(again.graph.parameters(), lr=0.1)
    output(again)
    again.graph(next(iter(again.graph.example.values()))).square().sum().backward()
    optimizer.step()
    assert not torch.equal(output(again), output(genome))


def test_a_seed_gives_the_same_child() -> None:
    told = {search.chain(search.wider(), search.skip())(residual(), random.Random(5)) for _ in range(2)}
    assert len(told) == 1


def test_only_the_layers_named_are_asked() -> None:
    for seed in range(4):
        genome = residual()
        search.wider(where="down")(genome, random.Random(seed))
        assert genome.graph.sizes["stem"] == 8
        assert genome.graph.sizes["down"] > 16
    with pytest.raises(EditError, match="kernel: there is no place for it"):
        search.kernel(where=["head", "norm"])(residual(), random.Random(0))
    genome = residual()
    search.activation([nn.SiLU], where=lambda v: v.name == "relu_2")(genome, random.Random(0))
    assert [v.name for v in genome.graph if isinstance(v.target, nn.SiLU)] == ["silu"]


def test_the_recipe_changes_within_bounds() -> None:
    genome, rng = vectors(), random.Random(0)
    for _ in range(20):
        search.learning_rate(1e-3, 1e-2)(genome, rng)
        search.batch_size(16, 64)(genome, rng)
        search.choice("optimizer", ["SGD", "Adam"])(genome, rng)
        assert 1e-3 <= genome.recipe["learning_rate"] <= 1e-2
        assert genome.recipe["batch_size"] in range(16, 65)
        assert genome.recipe["optimizer"] in ("SGD", "Adam")
    data, weights = genome.to_data()
    assert search.Evolution.build(data).recipe == genome.recipe
    assert weights.keys() == genome.graph.module.state_dict().keys()


def test_a_mutation_of_ones_own_takes_ten_lines() -> None:
    import naivegraph as ng

    class Norm(Mutation):
        def __call__(self, genome: Genome, rng: random.Random) -> str:
            name = rng.choice([v.name for v in genome.graph if isinstance(v.target, nn.Conv2d)])
            ng.insert(genome.graph, nn.BatchNorm2d, after=name)
            return f"norm behind {name}"

    found = tried(Norm(), residual(), random.Random(0))
    assert found is not None
    assert found[1].startswith("norm behind")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.wider(0.0), r"by must be a number above 0, not 0\.0"),
        (lambda: search.wider("half"), "by must be a number above 0, not 'half'"),  # type: ignore[arg-type]
        (lambda: search.wider(layers=0), "layers must be a whole number from 1 up, not 0"),
        (lambda: search.wider(where=3), "where=3: give patterns of names"),  # type: ignore[arg-type]
        (lambda: search.kernel(()), "give sizes of kernels to choose from"),
        (lambda: search.kernel((0,)), "a size of a kernel must be a whole number from 1 up"),
        (lambda: search.activation(()), "give classes of layers, such as"),
        (lambda: search.activation(("relu",)), "give classes of layers"),  # type: ignore[arg-type]
        (lambda: search.skip(far=0), "far must be a whole number from 1 up"),
        (lambda: search.chain(), "chain takes mutations, at least one"),
        (lambda: search.chain("wider"), "'wider' is no mutation"),  # type: ignore[arg-type]
        (lambda: search.chance(search.wider(), 0.5), "and then the mutation"),  # type: ignore[arg-type]
        (lambda: search.deeper(2), "kernel=2: give an odd number"),
        (lambda: search.chance(2, search.wider()), "probability=2: give a number from 0 to 1"),
        (lambda: search.one_of(), "one_of takes mutations"),
        (lambda: search.learning_rate(1, 0.1), "learning_rate: give 0 < low <= high"),
        (lambda: search.choice("a", [1]), "a: give at least two values"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(EditError, match=message):
        make()


class Joined(nn.Module):
    """A concatenation of two widths before a grouped convolution, whose groups are a factor of both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1)
        self.group, self.head = nn.Conv2d(24, 16, 3, padding=1, groups=4), nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).relu()
        out: torch.Tensor = self.head(self.group(torch.cat([x, self.two(x)], 1)).relu())
        return out


def normed() -> nn.Module:
    layers = [nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("make", "shape"), [(normed, (2, 6)), (Joined, (2, 3, 4, 4))])
def test_only_layers_grow_whose_new_neurons_change_nothing(
    make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    genome = Genome(ng.capture(make().eval(), torch.randn(shape)))
    before = output(genome)
    for mutation in (search.wider(), search.wider(1.0, 3)):
        found = tried(mutation, genome, random.Random(seed))
        if found is not None:
            assert torch.allclose(output(found[0]), before, atol=1e-5), found[1]


def test_all_layers_grow_where_that_is_asked_for() -> None:
    torch.manual_seed(0)
    genome = Genome(ng.capture(normed().eval(), torch.randn(2, 6)))
    before = output(genome)
    state = {name: value.clone() for name, value in genome.graph.module.state_dict().items()}
    with pytest.raises(EditError, match=r"0 cannot grow without a change .* wider\(keep=False\)"):
        search.wider(where="0")(genome, random.Random(0))
    assert all(torch.equal(state[name], value) for name, value in genome.graph.module.state_dict().items())
    assert torch.equal(output(genome), before)
    mutation = search.wider(where="0", keep=False)
    assert not mutation.keeps_function
    mutation(genome, random.Random(0))
    assert genome.graph.sizes["0"] > 8


def test_the_last_layer_stays() -> None:
    genome = Genome(ng.capture(nn.Linear(3, 3), torch.ones(2, 3)))
    before = output(genome)
    with pytest.raises(EditError, match="shallower"):
        search.shallower()(genome, random.Random(0))
    assert torch.equal(output(genome), before)
    genome.graph.lint()


class Reader(nn.Module):
    """A recurrent layer and a head."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.layer(x)[0][:, -1])
        return out


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LSTM(4, 6, num_layers=2, batch_first=True),
        lambda: nn.GRU(4, 6, batch_first=True),
        lambda: nn.RNN(4, 6, nonlinearity="relu", batch_first=True),
    ],
)
def test_recurrent_networks_grow_and_travel_as_data(layer: Callable[[], nn.RNNBase]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4)
    genome = Genome(ng.capture(Reader(layer()).eval(), x))
    before = genome.graph(x)
    assert "layer 6 to" in search.wider(where="layer")(genome, random.Random(0))
    torch.testing.assert_close(genome.graph(x), before)
    again = Genome.of_data(*genome.to_data())
    torch.testing.assert_close(again.graph(x), genome.graph(x))
    assert again.graph.sizes["layer"] == genome.graph.sizes["layer"] > 6


def test_shallower_keeps_the_shape_of_the_output() -> None:
    for seed in range(6):
        genome = residual()
        shape = output(genome).shape
        search.shallower()(genome, random.Random(seed))
        assert output(genome).shape == shape
    last = Genome(ng.capture(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.ones(1, 4)))
    with pytest.raises(EditError, match="the output would have another shape"):
        search.shallower(where="2")(last, random.Random(0))


def test_an_activation_without_another_to_choose() -> None:
    with pytest.raises(EditError, match="has no other activation to choose"):
        search.activation((nn.GELU,))(
            Genome(ng.capture(nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2)), torch.ones(1, 4))),
            random.Random(0),
        )
