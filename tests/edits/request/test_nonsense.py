"""Arguments that make no sense: each is told with what to give instead, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged

X = torch.ones(2, 4)
# Nonsense is what types forbid.
untyped: Any = ng


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def _huge_kernel() -> Any:
    image = torch.ones(1, 2, 8)
    return ng.resize_kernel(ng.capture(nn.Sequential(nn.Conv1d(2, 2, 3)), image), {"0": 10**30})


CALLS: list[tuple[str, str, Callable[[Any, Any], Any]]] = [
    # what the message says, of which the call: with a network and its graph
    (
        "resize of a network",
        "its example, ng.resize(model, x,",
        lambda m, g: untyped.resize(m, {"0": -1}),
    ),
    ("resize of nothing", "or a network and its example, ng.resize(", lambda m, g: untyped.resize(None, X)),
    ("resize of a class", "Linear is a class", lambda m, g: untyped.resize(nn.Linear, X, {"0": -1})),
    ("resize of a list", "not a list", lambda m, g: untyped.resize([m], X, {"0": -1})),
    ("an example twice", "has its example already", lambda m, g: untyped.resize(g, X, {"0": -1})),
    ("an example in a tuple", "leave an example out", lambda m, g: untyped.explain(g, (X,), "0")),
    ("keyword inputs twice", "leave kwargs= out", lambda m, g: untyped.remove(g, "1", kwargs={"input": X})),
    ("resize_kernel of a network", "its example", lambda m, g: untyped.resize_kernel(m, {"0": 3})),
    ("insert into a network", "its example", lambda m, g: untyped.insert(m, nn.ReLU(), after="0")),
    ("remove from a network", "its example", lambda m, g: untyped.remove(m, "1")),
    ("connect in a network", "its example", lambda m, g: untyped.connect(m, "0", "1")),
    ("disconnect in a network", "its example", lambda m, g: untyped.disconnect(m, "0", "1")),
    ("explain of a network", "its example", lambda m, g: untyped.explain(m, "0")),
    ("a vertex by number", "found by its name, a string, not by 0", lambda m, g: untyped.remove(g, 0)),
    (
        "explain by number",
        "explain takes a vertex, its name or a parameter's, not 0",
        lambda m, g: untyped.explain(g, 0),
    ),
    ("requests as a list", "asked for is a dict by vertex", lambda m, g: untyped.resize(g, ["0"])),
    ("kernels as a list", "sizes is a dict by vertex", lambda m, g: untyped.resize_kernel(g, ["0"])),
    ("a huge kernel", "(at most 65,536)", lambda m, g: _huge_kernel()),
    (
        "a size of None",
        "a size must be a whole number from 1 up, not None",
        lambda m, g: untyped.resize(g, {"0": untyped.size(None)}),
    ),
    (
        "half a size",
        "a size must be a whole number from 1 up, not 8.5",
        lambda m, g: untyped.resize(g, {"0": untyped.size(8.5)}),
    ),
    (
        "a multiple of a word",
        "must be a whole number from 1 up, not 'x'",
        lambda m, g: untyped.resize(g, {"0": untyped.multiple("x")}),
    ),
    ("a huge change", "from -2147483648 up to 2147483648", lambda m, g: untyped.resize(g, {"0": 10**30})),
    (
        "bounds the wrong way round",
        "upper bound of a size must be a whole number from 5 up",
        lambda m, g: untyped.resize(g, {"0": untyped.between(5, 2)}),
    ),
    (
        "no upper bound above zero",
        "from 1 up, not 0",
        lambda m, g: untyped.resize(g, {"0": untyped.between(0, 0)}),
    ),
    (
        "a strategy by name",
        "strategy='raise': give one of ng.strategy",
        lambda m, g: untyped.resize(g, {"0": -1}, strategy="raise"),
    ),
    (
        "initialise by number",
        'initialise=0: give "layer"',
        lambda m, g: untyped.resize(g, {"0": 1}, initialise=0),
    ),
    (
        "a seed of None",
        "seed must be a whole number from 0 up, not None",
        lambda m, g: untyped.resize(g, {"0": 1}, seed=None),
    ),
    ("no layer", "layer=None: give a torch.nn.Module", lambda m, g: untyped.insert(g, None, after="0")),
    ("an edge of one", "edge='0': give two vertices", lambda m, g: untyped.insert(g, nn.ReLU(), edge="0")),
    (
        "a number for a name",
        "name=3: give a string",
        lambda m, g: untyped.insert(g, nn.ReLU(), after="0", name=3),
    ),
    (
        "replay on nothing",
        "a torch.nn.Module or a graph is needed, not None",
        lambda m, g: untyped.replay(None, "[]"),
    ),
    ("layers of a replay", "layers is a dict of layers", lambda m, g: untyped.replay(g, "[]", layers=True)),
    (
        "save of nothing",
        "a torch.nn.Module or a graph is needed, not None",
        lambda m, g: untyped.save(None, Path()),
    ),
    ("save to nothing", "the path of a file is needed, not None", lambda m, g: untyped.save(m, None)),
    (
        "load into nothing",
        "a torch.nn.Module or a graph is needed, not None",
        lambda m, g: untyped.load(None, Path()),
    ),
    ("load from nothing", "the path of a file is needed, not None", lambda m, g: untyped.load(m, None)),
    ("run for one name", "takes a list of names of vertices, not '0'", lambda m, g: g.run(X, "0")),
    ("run for nothing", "takes a list of names of vertices, not None", lambda m, g: g.run(X, None)),
    (
        "inputs that are none",
        "are nodes made by ng.input_node, not 3",
        lambda m, g: untyped.Graph(3, [untyped.input_node("x", 3)]),
    ),
    (
        "a request for a node",
        "made by ng.input_node, not [Inputs(exactly +2)]",
        lambda m, g: untyped.Graph([untyped.inputs(2)], untyped.input_node("x", 3)),
    ),
    (
        "a layer on a request",
        "'linear' is called on no node, but on (Inputs(exactly -2)): start from ng.input_node(",
        lambda m, g: untyped.layer(nn.Linear(2, 3), untyped.inputs(-2)),
    ),
    ("a node made like a request", "is ng.inputs(-2, None)", lambda m, g: untyped.input_node(-2, None)),
    ("a request made like a node", "ng.input_node('x', 3) makes", lambda m, g: untyped.inputs("x", 3)),
    (
        "a node for a request",
        "input 'x' of size 3 is no request: give a number such as -8",
        lambda m, g: untyped.resize(g, {"0": untyped.input_node("x", 3)}),
    ),
    ("keyword arguments that are none", "kwargs takes a dict", lambda m, g: untyped.capture(m, X, X)),
    ("keyword arguments of inspect", "kwargs takes a dict", lambda m, g: untyped.inspect(m, X, 3)),
    ("keyword arguments of prune", "kwargs takes a dict", lambda m, g: untyped.prune(m, X, X, macs=0.5)),
    (
        "keep by number",
        "keep takes module paths, glob patterns and modules, not int",
        lambda m, g: untyped.prune(m, X, macs=0.5, keep=3),
    ),
    (
        "no gap",
        "gap must be a number from 0 up, not None",
        lambda m, g: untyped.prune(m, X, macs=0.5, gap=None),
    ),
    (
        "time below zero",
        "time_limit must be a number from 0 up, not -1",
        lambda m, g: untyped.prune(m, X, macs=0.5, time_limit=-1),
    ),
    (
        "progress that is none",
        "progress=True: give a function",
        lambda m, g: untyped.prune(m, X, macs=0.5, progress=True),
    ),
    (
        "a loss that is none",
        "loss=3: give a function of the network",
        lambda m, g: untyped.prune(m, X, macs=0.5, loss=3),
    ),
    (
        "a huge step",
        "round_to must be a whole number from 1 up to",
        lambda m, g: untyped.prune(m, X, macs=0.5, round_to=10**30),
    ),
]


@pytest.mark.parametrize(("message", "call"), [each[1:] for each in CALLS], ids=[each[0] for each in CALLS])
def test_it_is_told_and_nothing_changes(message: str, call: Callable[[Any, Any], Any]) -> None:
    model = network()
    graph = ng.capture(model, X)
    before, vertices = snapshot(model), [(v.name, repr(v.args), repr(v.output)) for v in graph]
    with pytest.raises(ng.NaivegraphError) as caught:
        call(model, graph)
    assert message in str(caught.value)
    assert unchanged(model, before)
    assert [(v.name, repr(v.args), repr(v.output)) for v in graph] == vertices
