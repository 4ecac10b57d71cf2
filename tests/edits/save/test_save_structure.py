"""Networks of edited structure saved and loaded."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of
from naivegraph.network import Graph
from tests.edits.save.test_replay import alike, mixed
from tests.edits.save.test_save import described
from tests.edits.structure.test_structure import EDITS
from tests.machine.invariants import same_tensors
from tests.machine.random_graphs import random_case
from tests.machine.steps import STEPS, draw, take
from tests.machine.structures import batch, branches, everything, in_place, residual
from tests.machine.walk import Walk


@pytest.mark.parametrize("name", EDITS)
def test_saved_equals_loaded(name: str, tmp_path: Path) -> None:
    build, change = EDITS[name]
    graph = build()
    change(graph)
    with torch.no_grad():  # as if trained since
        for tensor in graph.module.state_dict().values():
            tensor.add_(1)
    expected = graph(batch(graph))
    networks: list[Graph | nn.Module] = [graph, graph.to_module(), copy.deepcopy(graph.to_module())]
    for number, saved in enumerate(networks):
        path = tmp_path / str(number)
        ng.save(saved, path)
        fresh = build()
        written = type(fresh.module).__name__ == "BuiltModule"
        target: Any = fresh if written else fresh.module
        before = everything(fresh)
        loaded = ng.load(target, path)
        assert everything(fresh) == before
        assert torch.equal(loaded(batch(graph)), expected)
        if written:
            with pytest.raises(
                ng.LoadError, match="is of a graph written by hand: load it into such a graph"
            ):
                ng.load(fresh.module, path)
    ng.load(loaded, path)  # it is the saved one already
    ng.save(loaded, tmp_path / "again")
    assert torch.equal(ng.load(target, tmp_path / "again")(batch(graph)), expected)


def test_mixed_edits_and_edits_of_what_was_exported(tmp_path: Path) -> None:
    graph = residual()
    x = batch(graph)
    ng.prune(graph.module, x, ratio=0.7)
    graph.refresh()
    mixed_edits = mixed(graph)
    assert len(mixed_edits) == 7
    small = graph.to_module()
    ng.prune(small, x, params=0.8)
    second = ng.capture(copy.deepcopy(small), x)
    ng.insert(second, lambda n: nn.Linear(n, n), after="head", name="last")
    last = second.to_module()
    edit = ng.prune(last, x, params=0.9)
    assert edit
    for network in (graph, small, second, last):
        ng.save(network, tmp_path / "net")
        loaded = ng.load(residual().module, tmp_path / "net")
        assert torch.equal(loaded(x), network(x))
        again = ng.load(ng.capture(residual().module, x), tmp_path / "net")
        assert torch.equal(again(x), network(x))
    with pytest.raises(ng.LoadError, match="was edited already, not as in"):
        ng.load(graph.module, tmp_path / "net")
    with pytest.raises(ng.LoadError, match="was edited already, not as in"):
        ng.load(residual().to_module(), tmp_path / "net")


class Inputs(nn.Module):
    """Takes everything a forward can take."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 5)
        self.b = nn.Linear(5, 2)

    def forward(self, x: Tensor, scale: float, *more: Tensor, flip: bool = False, **named: Any) -> Any:
        for each in more:
            x = x + each
        x = torch.relu(self.a(x)) * scale + named["extra"]["deep"][0]
        return {"out": self.b(x.flip(0) if flip else x)}


def test_arguments_of_every_kind_are_written(tmp_path: Path) -> None:
    x, y, z = torch.randn(3, 2, 3).unbind()
    named = {"extra": {"deep": (torch.randn(2, 5), None)}}
    args: tuple[Any, ...] = (x, 0.5, y, z)
    model = Inputs()
    graph = ng.capture(model, args, {"flip": True, **named})
    ng.insert(graph, nn.LayerNorm, after="a", name="norm")
    ng.save(graph, tmp_path / "net")
    assert len(load_file(tmp_path / "net")) == 6 + 4
    loaded = ng.load(Inputs(), tmp_path / "net")
    expected = graph(*args, flip=True, **named)["out"]
    values = [x, y, z, named["extra"]["deep"][0]]
    names = [node.name for node in loaded.graph.nodes if node.op == "placeholder"]  # type: ignore[union-attr]
    assert names == ["x", "more_0", "more_1", "extra", "scale", "flip"]  # tensors first, then plain values
    assert torch.equal(loaded(values[0], values[1], values[2], named["extra"])["out"], expected)
    assert torch.equal(loaded(*values[:3], named["extra"], scale=0.5, flip=True)["out"], expected)


class Box:
    def __init__(self, value: Tensor) -> None:
        self.value = value


class Boxed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 5)

    def forward(self, box: Box) -> Tensor:
        out: Tensor = self.a(box.value)
        return out


def test_an_example_that_cannot_be_written_is_asked_for(tmp_path: Path) -> None:
    box = Box(torch.randn(2, 3))
    graph = ng.capture(Boxed(), box)
    ng.insert(graph, nn.BatchNorm1d, after="a", name="norm")
    ng.save(graph, tmp_path / "net")
    with pytest.raises(
        ng.LoadError, match=r"how to run the network \(an example input holds .*Box, .*ng.capture"
    ):
        ng.load(Boxed(), tmp_path / "net")
    loaded = ng.load(ng.capture(Boxed(), box), tmp_path / "net")
    assert torch.equal(loaded(box), graph(box))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precisions_and_buffers(dtype: torch.dtype, tmp_path: Path) -> None:
    graph = residual()
    model, x = graph.module.to(dtype), batch(graph).to(dtype)
    graph = ng.capture(model, x)
    ng.insert(graph, lambda n: nn.BatchNorm2d(n).to(dtype), after="stem")
    graph.tensor("batchnorm2d.running_mean").normal_()
    ng.save(graph, tmp_path / "net")
    loaded = ng.load(residual().module.to(dtype), tmp_path / "net")
    assert torch.equal(loaded(x), graph(x))
    with pytest.raises(ng.LoadError, match="another network"):
        ng.load(residual().module.to(torch.float16), tmp_path / "net")


def test_another_network_and_changed_descriptions(tmp_path: Path) -> None:
    graph = residual()
    ng.remove(graph, "norm")
    ng.save(graph, tmp_path / "net")
    other = branches()
    before = everything(other)
    with pytest.raises(ng.LoadError, match="saved from another network"):
        ng.load(other.module, tmp_path / "net")
    with pytest.raises(ng.LoadError, match="saved from another network: the graph has no vertex 'one'"):
        ng.load(other, tmp_path / "net")
    assert everything(other) == before
    changes: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
        (lambda d: d.pop("origins"), "damaged|edited already|another network"),
        (lambda d: d.update(origins=[3]), "description of the edits in .* is damaged"),
        (lambda d: d["origins"][0].update(edits=["x"]), "is damaged"),
        (lambda d: d["origins"][0].update(example={"what": 3}), "the example in .* is damaged"),
        (lambda d: d["origins"][0].update(example={"value": 3}), "the example in .* is damaged"),
        (lambda d: d.update(edits=d["origins"][0]["edits"]), "edited after all graphs"),
        (lambda d: d["origins"][0].update(edits=[]), "saved from another network: the file lacks norm"),
    ]
    for change, message in changes:
        ng.save(graph, tmp_path / "net")
        described(tmp_path / "net", change)
        fresh = residual()
        before = everything(fresh)
        with pytest.raises(ng.LoadError, match=message):
            ng.load(fresh.module, tmp_path / "net")
        assert everything(fresh) == before


def test_a_graph_whose_sizes_alone_were_edited_is_loaded_in_place(tmp_path: Path) -> None:
    graph = in_place()
    ng.resize(graph, {"a": +2})
    ng.save(graph, tmp_path / "net")
    fresh = in_place()
    assert ng.load(fresh, tmp_path / "net") is fresh.module
    alike(graph, fresh)
    model = in_place().module
    assert ng.load(model, tmp_path / "net") is model
    assert history_of(model) == history_of(graph.module)


@pytest.mark.parametrize("seed", range(8))
def test_random_edits_saved_and_loaded(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    walk = Walk(rng, random_case(rng))
    steps = tuple(kind for kind in STEPS if kind not in ("replay", "insert block"))
    for _ in range(10):
        take(walk, draw(rng, steps))
    ng.save(walk.graph, tmp_path / "net")
    with torch.no_grad():  # the numbers of the fresh network do not matter
        for parameter in walk.fresh.module.parameters():
            parameter.zero_()
    loaded = ng.load(walk.fresh, tmp_path / "net")
    same_tensors(loaded(walk.x), walk.graph(walk.x))
    state = walk.graph.to_module().state_dict()
    assert list(loaded.state_dict()) == list(state) or not walk.graph.rewired
    for name, value in loaded.state_dict().items():
        if name in state:
            assert torch.equal(value, state[name])
