"""Graphs, edits and reports go through pickle and to other processes, all of which decide the same."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph import input_node, layer
from naivegraph.network import Graph
from tests.networks.plain import ALL, Network, by_name


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def torch_saved(value: Any) -> Any:
    stored = io.BytesIO()
    torch.save(value, stored)
    stored.seek(0)
    return torch.load(stored, weights_only=False)


def cloud(value: Any) -> Any:
    return pickle.loads(pytest.importorskip("cloudpickle").dumps(value))


class Getters(nn.Module):
    """Attributes of tensors are read, and a constant is added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b((self.a(x).mT.mT + self.a(x).T.T).real + torch.full((1,), 0.5))
        return out


@pytest.mark.parametrize("way", [pickled, torch_saved, cloud])
@pytest.mark.parametrize("network", ALL, ids=str)
def test_a_graph_through_pickle_is_the_same_graph(network: Network, way: Callable[[Any], Any]) -> None:
    model, inputs = network.make()
    graph = ng.capture(model, inputs)
    other = way(graph)
    other.lint()
    assert torch.equal(other(*inputs), graph(*inputs))
    assert ng.prune(other, ratio=0.6) == ng.prune(graph, ratio=0.6)
    assert torch.equal(other(*inputs), graph(*inputs))
    for mine, its in zip(model.state_dict().values(), other.module.state_dict().values(), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("way", [pickled, torch_saved, cloud, copy.deepcopy])
def test_a_graph_that_was_rewired_and_reads_attributes(way: Callable[[Any], Any]) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    graph = ng.capture(Getters().eval(), x)
    ng.insert(graph, nn.ReLU(), after="a")
    other = way(graph)
    assert torch.equal(other(x), graph(x))
    assert torch.equal(other.to_module()(x), graph(x))
    assert ng.resize(other, {"a": -2}) == ng.resize(graph, {"a": -2})
    assert torch.equal(other(x), graph(x))


def test_a_graph_written_by_hand_and_a_report() -> None:
    x = input_node("x", 3)
    graph = Graph([x], [layer(nn.Linear(3, 8), x, name="hidden").then(nn.ReLU())])
    assert pickled(graph).sizes == graph.sizes
    model, inputs = by_name("Block").make()
    report = ng.inspect(model, inputs)
    assert str(pickled(report)) == str(report)


def test_the_tensors_of_an_edited_network_load_with_weights_only() -> None:
    model, inputs = by_name("Residual").make()
    edit = ng.prune(model, inputs, ratio=0.5)
    stored = io.BytesIO()
    torch.save({"state": model.state_dict(), "edit": edit.to_json()}, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=True)
    again, _ = by_name("Residual").make()
    ng.replay(again, loaded["edit"])
    again.load_state_dict(loaded["state"])
    assert torch.equal(again(*inputs), model(*inputs))
    stored = io.BytesIO()
    torch.save(edit, stored)
    stored.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        torch.load(stored, weights_only=True)


def _search(graph: Graph, share: float, answers: Any) -> None:
    edit = ng.prune(graph, ratio=share)
    answers.put((share, pickle.dumps((edit, graph))))


def test_spawned_processes_prune_a_graph_each_in_its_own_way() -> None:
    model, inputs = by_name("Residual").make()
    graph = ng.capture(model, inputs)
    spawning = multiprocessing.get_context("spawn")
    answers = spawning.Queue()
    shares = (0.5, 0.75)
    processes = [spawning.Process(target=_search, args=(graph, share, answers)) for share in shares]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=240) for _ in shares)
    for process in processes:
        process.join(60)
    for share in shares:
        edit, other = pickle.loads(found[share])
        mine = ng.prune(graph, ratio=share)
        assert edit == mine
        assert torch.equal(other(*inputs), graph(*inputs))
        mine.undo()


_DECIDE = """
import json, naivegraph as ng
from tests.networks.plain import by_name
out = {}
for name in ("Residual", "Block", "Grouped", "TiedEmbeddings"):
    for how in ({"ratio": 0.5}, {"params": 0.5}):
        model, inputs = by_name(name).make()
        out[f"{name} {how}"] = ng.prune(model, inputs, **how).to_json()
    graph = ng.capture(*by_name(name).make())
    first = next(width.name for width in ng.inspect(*by_name(name).make()).free)
    out[name] = ng.resize(graph, {first: ng.relaxed(+2)}).to_json()
print(json.dumps(out))
"""


def test_processes_with_other_hash_seeds_decide_the_same() -> None:
    told = [
        subprocess.Popen(
            [sys.executable, "-c", _DECIDE],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, two = (json.loads(process.communicate(timeout=240)[0].splitlines()[-1]) for process in told)
    assert one == two


def test_a_compiled_network_is_compiled_for_every_size() -> None:
    compiled: list[int] = []

    def backend(graph: Any, example: Any) -> Any:
        compiled.append(1)
        return graph.forward

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 2)), torch.randn(3, 4)
    fast = torch.compile(model, backend=backend)
    graph = ng.capture(model, x, verify=False)
    for _ in range(12):
        ng.resize(graph, {"0": -1})
        before = len(compiled)
        assert torch.equal(fast(x), model(x))
        assert len(compiled) == before + 1


class Powers(nn.Module):
    """Operators of tensors that torch writes in Python, under names of other functions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.a(x) ** 2
        out **= 1.5
        result: Tensor = self.b(2.0 - (1.0 / (1.0 + out)) // 0.1)
        return result


@pytest.mark.parametrize("send", [pickled, torch_saved])
def test_operators_written_in_python_are_pickled(send: Callable[[Any], Any]) -> None:
    x = torch.randn(3, 4)
    graph = ng.capture(Powers(), x)
    again = send(graph)
    assert torch.equal(again(x), graph(x))
    assert [vertex.target for vertex in again if vertex.kind == "function"] == [
        vertex.target for vertex in graph if vertex.kind == "function"
    ]
