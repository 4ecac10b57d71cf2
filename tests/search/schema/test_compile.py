"""Schemas compile: any seed, any operation, the depth asked for; and what is compiled is a graph as any."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph import search
from naivegraph.ir.pytree import stubs_in
from naivegraph.search.schema.feature_shape import FeatureShape
from tests.search.schema.spaces import residual, unet

SPACES: dict[str, tuple[Callable[[], search.Schema], tuple[int, ...]]] = {
    "residual": (residual, (1, 28, 28)),
    "residual with 128 channels at the end": (lambda: residual(128), (1, 28, 28)),
    "unet": (unet, (1, 32, 32)),
    "unet of 28": (lambda: unet(output_padding=(0, 1)), (1, 28, 28)),
    "unet of 31": (lambda: unet(output_padding=(0, 1)), (1, 31, 31)),
    "unet of 31 with a convolution between": (lambda: unet(True, output_padding=(0, 1)), (1, 31, 31)),
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(3))
def test_shapes_are_those_of_torch(name: str, seed: int) -> None:
    make, shape = SPACES[name]
    walk = make().walk(shape, seed=seed, nodes=(12, 24))
    assert 12 <= len(walk) <= 24
    graph = walk.graph(seed)
    seen: dict[str, tuple[int, ...]] = {}
    for vertex in graph.vertices:
        seen[vertex.name.partition(".")[0]] = stubs_in(vertex.output)[0].shape[1:]
    assert {step.name: step.made.sizes for step in walk.steps} == {
        n: s for n, s in seen.items() if n != "input"
    }
    assert graph(torch.randn(3, *shape)).shape[1:] == walk.steps[-1].made.sizes


def test_bounds_hold() -> None:
    for seed in range(20):
        walk = residual(128).walk((1, 28, 28), seed=seed, nodes=(10, 30))
        made = {step.node: step.made for step in walk.steps}
        assert made["pool"].channels == 128
        for step in walk.steps:
            if step.node == "stem":
                assert step.made.channels % 8 == 0
                assert 8 <= step.made.channels <= 64


@pytest.mark.parametrize("nodes", [6, (20, 25), (39, 40)])
def test_the_number_of_nodes_is_as_asked(nodes: int | tuple[int, int]) -> None:
    low, high = nodes if isinstance(nodes, tuple) else (nodes, nodes)
    for seed in range(10):
        assert low <= len(residual().walk((1, 28, 28), seed=seed, nodes=nodes)) <= high


def test_a_seed_gives_one_network_and_seeds_differ() -> None:
    one, two = (residual().compile((1, 28, 28), seed=4, nodes=(8, 16)) for _ in range(2))
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(one(x), two(x))
    names = [search.structure_name(residual().compile((1, 28, 28), seed=s, nodes=(8, 16))) for s in range(6)]
    assert len(set(names)) == 6
    assert search.structure_name(one) == names[4]


def test_random_numbers_of_torch_are_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    residual().compile((1, 28, 28), seed=0, nodes=(6, 9))
    assert torch.equal(torch.rand(1), before)


def test_a_genome_is_json_and_gives_the_walk_again() -> None:
    s = residual()
    walk = s.walk((1, 28, 28), seed=5, nodes=(10, 30))
    genome = json.loads(json.dumps(walk.genome))
    assert str(s.walk((1, 28, 28), genome=genome, nodes=(10, 30))) == str(walk)


class TestAsAnyGraph:
    @pytest.fixture
    def graph(self) -> ng.Graph:
        return residual().compile((1, 28, 28), seed=1, nodes=(8, 14))

    def test_it_can_be_resized(self, graph: ng.Graph) -> None:
        before = graph.sizes["stem.conv"]
        ng.resize(graph, {"stem.conv": +8})
        assert graph.sizes["stem.conv"] == before + 8
        assert graph(torch.randn(2, 1, 28, 28)).shape == (2, 10)

    def test_it_can_be_pruned(self, graph: ng.Graph) -> None:
        edit = ng.prune(graph, macs=0.5)
        assert edit.after["macs"] <= 0.5 * edit.before["macs"]

    def test_it_can_be_saved(self, graph: ng.Graph, tmp_path: Path) -> None:
        ng.prune(graph, macs=0.6)
        ng.save(graph, tmp_path / "net.safetensors")
        again = residual().compile((1, 28, 28), seed=1, nodes=(8, 14))
        ng.load(again, tmp_path / "net.safetensors")
        x = torch.randn(2, 1, 28, 28)
        assert torch.equal(again(x), graph(x))

    def test_its_module_runs_and_prints_its_source(self, graph: ng.Graph) -> None:
        module = graph.to_module()
        x = torch.randn(2, 1, 28, 28)
        assert torch.equal(module(x), graph(x))
        assert "self.stem.conv(" in module.code

    def test_its_module_exports(self, graph: ng.Graph) -> None:
        x = torch.randn(2, 1, 28, 28)
        module = graph.to_module().eval()
        exported = torch.export.export(module, (x,))
        assert torch.allclose(exported.module()(x), module(x), atol=1e-5)

    def test_it_trains(self, graph: ng.Graph) -> None:
        module = graph.to_module().train()
        loss = module(torch.randn(4, 1, 28, 28)).square().mean()
        loss.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


class Scaled(nn.Module):
    """A module of the user's, which halves maps."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(given, made, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x).tanh()
        return out


@dataclasses.dataclass(frozen=True)
class Shuffle(search.NodeOperation):
    """An operation of the user's: channels as pixels."""

    times: int
    word = "shuffle"

    def sizes(self, given: dict[str, FeatureShape], plan: search.SizePlan) -> FeatureShape:
        """Maps as many times as large, of fewer channels."""
        (source,) = given.values()
        channels = plan.channels()
        rule = plan.rule("operation", f"shuffle divides the channels by {self.times**2}")
        plan.model.row(rule, [(1, source.channels), (-(self.times**2), channels)], 0, 0)
        return FeatureShape(channels, tuple(size.times(self.times) for size in source.spatial))

    def build(self, plan: search.LayerPlan) -> nn.Module:
        """The layer of torch."""
        return nn.PixelShuffle(self.times)


IMAGE, VECTOR, TOKENS, LINE, VOLUME = (6, 9, 9), (12,), search.tokens(7, 12), (6, 20), (4, 6, 7, 8)
# An operation, the settings of its node, the input, the shape it gives without what is free.
OPERATIONS = {
    "conv": (search.conv(3), {"channels": 5}, IMAGE, (5, 9, 9)),
    "conv of a kernel per dimension": (search.conv((3, 5), stride=(1, 2)), {"channels": 5}, IMAGE, (5, 9, 5)),
    "conv, dilated": (search.conv(3, dilation=2, padding=0), {"channels": 5}, IMAGE, (5, 5, 5)),
    "conv of lines": (search.conv(5, stride=3), {"channels": 5}, LINE, (5, 7)),
    "conv of volumes": (search.conv(3), {"channels": 5}, VOLUME, (5, 6, 7, 8)),
    "conv, padding per dimension": (search.conv(3, padding=[0, 1]), {"channels": 5}, IMAGE, (5, 7, 9)),
    "conv, padding free": (search.conv(3, stride=2, padding=(0, 2)), {"spatial": 6}, IMAGE, (6, 6, 6)),
    "grouped": (search.grouped(3, groups=3), {"channels": 9}, IMAGE, (9, 9, 9)),
    "grouped, one of several": (search.grouped(3, groups=(4, 3, 5)), {"channels": 9}, IMAGE, (9, 9, 9)),
    "depthwise": (search.depthwise(3, multiplier=2), {}, IMAGE, (12, 9, 9)),
    "conv_transpose": (search.conv_transpose(2), {"channels": 5}, IMAGE, (5, 18, 18)),
    "conv_transpose, output padding": (
        search.conv_transpose(3, stride=3, padding=(0, 1), output_padding=(0, 2)),
        {"channels": 5, "spatial": [26, 28]},
        IMAGE,
        (5, 26, 28),
    ),
    "max_pool": (search.max_pool(3, stride=2, padding=1), {}, IMAGE, (6, 5, 5)),
    "avg_pool": (search.avg_pool(2), {}, VOLUME, (4, 3, 3, 4)),
    "global_pool": (search.global_pool(), {}, IMAGE, (6, 1, 1)),
    "global_pool to a size": (search.global_pool((2, 3)), {}, IMAGE, (6, 2, 3)),
    "upsample": (search.upsample(3), {}, IMAGE, (6, 27, 27)),
    "dense": (search.dense(), {"channels": 4}, VECTOR, (4,)),
    "dense of tokens": (search.dense(bias=False), {"channels": 4}, TOKENS, (7, 4)),
    "flatten": (search.flatten(), {}, IMAGE, (486,)),
    "to_tokens": (search.to_tokens(), {}, IMAGE, (81, 6)),
    "mean": (search.mean(), {}, IMAGE, (6,)),
    "mean of tokens": (search.mean(), {}, TOKENS, (12,)),
    "attention": (search.attention(3), {}, TOKENS, (7, 12)),
    "attention of pixels": (search.attention(2), {}, IMAGE, (6, 9, 9)),
    "own module": (
        search.module(lambda given: nn.Sequential(nn.Conv2d(given, given, 1))),
        {},
        IMAGE,
        (6, 9, 9),
    ),
    "own module, measured": (search.module(Scaled, spatial="measured"), {"channels": 5}, IMAGE, (5, 4, 4)),
    "nothing": (None, {}, IMAGE, (6, 9, 9)),
    "batch norm": (None, {"norm": "batch"}, LINE, (6, 20)),
    "layer norm": (None, {"norm": "layer"}, TOKENS, (7, 12)),
    "layer norm of maps": (None, {"norm": "layer"}, IMAGE, (6, 9, 9)),
    "rms norm": (None, {"norm": "rms"}, VECTOR, (12,)),
    "instance norm": (None, {"norm": "instance"}, IMAGE, (6, 9, 9)),
    "group norm": (search.conv(1), {"norm": search.group_norm(4), "channels": (5, 9)}, IMAGE, (8, 9, 9)),
    "own norm": (None, {"norm": lambda channels: nn.BatchNorm2d(channels)}, IMAGE, (6, 9, 9)),
    "softmax": (None, {"activation": "softmax"}, TOKENS, (7, 12)),
    "own activation": (None, {"activation": nn.Tanh}, IMAGE, (6, 9, 9)),
    "glu": (search.conv(3), {"activation": "glu", "channels": 5}, IMAGE, (5, 9, 9)),
    "swiglu": (search.dense(), {"activation": "swiglu", "channels": 5}, TOKENS, (7, 5)),
    "geglu of what comes": (None, {"activation": "geglu"}, IMAGE, (3, 9, 9)),
    "dropout": (None, {"dropout": 0.3}, IMAGE, (6, 9, 9)),
    "dropout of channels": (None, {"channel_dropout": 0.3}, IMAGE, (6, 9, 9)),
    "own operation": (Shuffle(2), {"channels": 3}, (12, 4, 4), (3, 8, 8)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_gives_what_torch_gives(name: str) -> None:
    operation, settings, shape, expected = OPERATIONS[name]
    s = search.Schema()
    before, node, after = s.node("before"), s.node("it", operation, **settings), s.node("after")  # type: ignore[arg-type]
    before.then(node)
    node.then(after)
    graph = s.compile(shape, nodes=3)  # type: ignore[arg-type]
    size = (shape.length, shape.features) if isinstance(shape, search.TokenShape) else shape
    x = torch.randn(2, *size)  # type: ignore[misc]
    assert graph(x).shape[1:] == expected
    assert graph.to_module()(x).shape[1:] == expected


def test_groups_are_drawn_among_those_that_divide() -> None:
    s = search.Schema()
    s.node("it", search.grouped(3, groups=(4, 3, 5, 2)), channels=9)
    for seed in range(5):
        (layer,) = [m for m in s.compile((6, 4, 4), seed=seed).module.modules() if isinstance(m, nn.Conv2d)]
        assert layer.groups == 3


def test_ports_take_tensors_of_their_own() -> None:
    s = search.Schema()
    query = s.node("query", search.dense(), channels=(8, 32), multiple=8)
    memory = s.node("memory")
    look = s.node("look", search.cross_attention(heads=4))
    last = s.node("last", norm="layer")
    query.then(search.new(look, port="query"))
    memory.then(search.join(look, port="memory"))
    look.then(last)
    graph = s.compile({"query": search.tokens(5, 8), "memory": search.tokens(3, 12)}, nodes=4)
    out = graph(torch.randn(2, 5, 8), torch.randn(2, 3, 12))
    assert out.shape == (2, 5, graph.sizes["query.dense"])


def test_maps_look_at_maps() -> None:
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=8)
    small = s.node("small", search.conv(3, stride=2), channels=12)
    look = s.node("look", search.cross_attention(heads=2), ports=("to", "at"))
    stem.then(search.new(look, port="to"), search.new(small))
    small.then(search.join(look, port="at"))
    graph = s.compile((3, 8, 8))
    assert graph(torch.randn(2, 3, 8, 8)).shape == (2, 8, 8, 8)


@pytest.mark.parametrize(
    ("merge", "function"),
    [
        ("add", lambda a, b, c: a + b + c),
        ("sub", lambda a, b, c: a - b - c),
        ("mul", lambda a, b, c: a * b * c),
        ("max", lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        ("min", lambda a, b, c: torch.minimum(torch.minimum(a, b), c)),
        ("concat", lambda a, b, c: torch.cat([a, b, c], 1)),
    ],
)
def test_merges_compute_what_they_say(merge: str, function: object) -> None:
    s = search.Schema()
    first = s.node("first")
    halves = [s.node(f"half{n}", activation=kind) for n, kind in enumerate(("relu", "tanh"))]
    both = s.node("both", merge=merge, inputs=3)
    first.then(*(search.new(half) for half in halves), search.new(both, priority=1))
    for half in halves:
        half.then(search.join(both, priority=1))
    graph = s.compile((3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(graph(x), function(x, x.relu(), x.tanh()))  # type: ignore[operator]


def test_a_product_with_one_pixel_is_a_gate() -> None:
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=(4, 8))
    squeeze = s.node("squeeze", search.global_pool())
    excite = s.node("excite", search.conv(1), activation="sigmoid")
    gate = s.node("gate", merge="mul", inputs=2)
    stem.then(search.new(gate, priority=1), search.new(squeeze))
    squeeze.then(excite)
    excite.then(search.join(gate))
    walk = s.walk((3, 8, 8))
    assert walk.steps[-1].made.spatial == (8, 8)
    assert walk.steps[-1].made.channels == walk.steps[-2].made.channels
    assert walk.graph()(torch.randn(2, 3, 8, 8)).shape[2:] == (8, 8)


def test_schemas_stand_within_schemas() -> None:
    block = search.Schema()
    squeeze = block.node("squeeze", search.conv(1), growth=search.scale(0.25))
    middle = block.node("middle", search.conv(3), norm="batch", activation="relu")
    squeeze.then(middle)
    middle.then(middle).then(block.node("expand", search.conv(1), channels=(8, 64)))
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=16)
    unit = s.node("unit", block)
    total = s.node("sum", merge="add", inputs=2)
    head = s.node("head", search.global_pool())
    stem.then(search.new(unit), search.new(total, priority=1))
    unit.then(search.join(total))
    total.then(search.new(unit), search.new(total, priority=1)).then(head)
    for seed in range(5):
        walk = s.walk((3, 8, 8), seed=seed, nodes=(10, 20))
        assert 10 <= len(walk) <= 20
        names = [step.name for step in walk.steps]
        assert {"unit.squeeze", "unit_1.squeeze", "unit_1.expand"} <= set(names)
        assert len(set(names)) == len(names)
        assert walk.graph()(torch.randn(2, 3, 8, 8)).shape == (2, 16, 1, 1)


def test_several_ends_are_several_outputs() -> None:
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=4)
    stem.then(search.new(s.node("one", search.mean())), search.new(s.node("two", search.conv(1), channels=2)))
    one, two = s.compile((3, 8, 8))(torch.randn(2, 3, 8, 8))
    assert one.shape == (2, 4)
    assert two.shape == (2, 2, 8, 8)


def test_auto_joins_what_waits_or_makes_a_new_one() -> None:
    s = search.Schema()
    first = s.node("first")
    left, right = s.node("left", activation="relu"), s.node("right", activation="tanh")
    both = s.node("both", merge="add")
    first.then(search.new(left), search.new(right))
    left.then(search.auto(both, priority=2))
    right.then(search.auto(both, priority=2))
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(s.compile((3, 4, 4))(x), x.relu() + x.tanh())


def test_growth_is_a_goal_that_gives_way_to_bounds() -> None:
    s = search.Schema()
    one = s.node("one", search.conv(1), growth=search.scale(3))
    two = s.node("two", search.conv(1), growth=search.scale(3), channels=(None, 20))
    three = s.node("three", search.conv(1), growth=search.linear(5))
    one.then(two)
    two.then(three)
    assert [step.made.channels for step in s.walk((4, 2, 2)).steps] == [12, 20, 25]


def test_weights_decide_how_often_alternatives_are_taken() -> None:
    s = search.Schema()
    first = s.node("first")
    first.then(s.node("often"), weight=9).then(s.node("seldom"), weight=1)
    names = [s.walk((1, 2, 2), seed=seed).steps[-1].node for seed in range(300)]
    assert 0.84 < names.count("often") / 300 < 0.96
