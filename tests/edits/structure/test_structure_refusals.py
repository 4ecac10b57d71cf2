"""Edits of the structure which are refused, and every edit there is of some networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.edits.connect import connect
from naivegraph.edits.insert import insert
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.resize_program.strategy import MostNew, Solve
from naivegraph.edits.save.save import save
from naivegraph.edits.structure.merges import is_concatenation
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.graph import concat, input_node, layer
from naivegraph.graph.run.blocks import is_sum
from naivegraph.network import Graph
from tests.machine.structures import (
    InPlace,
    attention,
    batch,
    branches,
    chain,
    check,
    everything,
    in_place,
    residual,
)

REFUSALS: dict[str, tuple[Callable[[], Graph], Callable[[Graph], Any], str]] = {
    "no place": (chain, lambda g: insert(g, nn.ReLU()), "one of after=, before= and edge="),
    "no edge": (chain, lambda g: insert(g, nn.ReLU(), edge=("first", "last")), "does not take anything"),
    "several": (residual, lambda g: insert(g, nn.ReLU(), before="add"), "'add' takes 2 tensors: .*edge="),
    "input size": (
        chain, lambda g: insert(g, nn.Linear(5, 6), after="second", name="l"),
        r"'l' \(Linear\) does not take what 'second' gives \(6 neurons",
    ),
    "output size": (
        chain, lambda g: insert(g, nn.Linear(6, 7), after="second", name="l"),
        r"'l' \(Linear\) gives 7 neurons, and 'act' takes 6: let the layer give 6",
    ),
    "name taken": (chain, lambda g: insert(g, nn.ReLU(), after="second", name="last"), "'last' already"),
    "in place": (
        residual,
        lambda g: insert(g, nn.ReLU(inplace=True), edge=("stem", "one")),
        "works in place, and others",
    ),
    "identity": (
        residual,
        lambda g: insert(g, nn.Conv2d(4, 4, 3), after="stem", identity=True),
        "odd kernel and padding",
    ),
    "identity of what": (
        residual,
        lambda g: insert(g, nn.PReLU(4), after="stem", identity=True),
        "nothing says how a PReLU does",
    ),
    "spatial": (
        residual,
        lambda g: insert(g, nn.MaxPool2d(5), edge=("stem", "add")),
        "would add tensors of the shapes",
    ),
    "input": (chain, lambda g: remove(g, "x"), "the input 'x' of the network cannot be removed"),
    "user": (branches, lambda g: remove(g, "cat"), "takes 3 tensors, and its user 'norm' is neither"),
    "drop": (chain, lambda g: remove(g, "act", reconnect=False), "its user 'last' is neither"),
    "drop the output": (chain, lambda g: remove(g, "last", reconnect=False), "and the network returns"),
    "rank": (residual, lambda g: remove(g, "mean"), "makes a tensor of 2 dimensions of one of 4"),
    "cycle": (branches, lambda g: connect(g, "out", "cat"), "a cycle, cat -> norm -> relu -> out -> cat"),
    "itself": (branches, lambda g: connect(g, "add", "add"), "a cycle, add -> add"),
    "no joint": (chain, lambda g: connect(g, "first", "last"), "'last' is neither a sum nor"),
    "not there": (branches, lambda g: disconnect(g, "a", "add"), "'add' does not take anything from 'a'"),
    "one user": (chain, lambda g: disconnect(g, "act", "last"), "cannot do without 'act'"),
    "unknown": (chain, lambda g: remove(g, "lost"), "no vertex 'lost'; did you mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_leaves_everything_as_it_was(name: str) -> None:
    build, change, message = REFUSALS[name]
    graph = build()
    before, x = everything(graph), batch(graph)
    old = graph(x)
    with pytest.raises(Exception, match=message) as caught:
        change(graph)
    assert isinstance(caught.value, EditError) or name == "unknown"
    assert everything(graph) == before
    assert torch.equal(graph(x), old)


@pytest.mark.parametrize("build", [residual, branches, chain, attention, in_place])
def test_every_removal_is_sound_or_refused_with_all_as_it_was(build: Callable[[], Graph]) -> None:
    graph = build()
    before, x, done = everything(graph), batch(graph), 0
    shape = graph(x).shape
    last = max(number for number, vertex in enumerate(graph) if vertex.kind == "layer")
    for name in [vertex.name for vertex in graph]:
        behind = [vertex.name for vertex in graph].index(name) >= last  # nothing holds the output's size then
        for reconnect in (True, False):
            try:
                edit = remove(graph, name, reconnect=reconnect)
            except EditError:
                pass
            else:
                done += 1
                assert check(graph).shape == shape or behind
                assert name not in graph
                edit.undo()
            assert everything(graph) == before
    assert done >= 4


@pytest.mark.parametrize("build", [residual, branches, attention, in_place])
def test_every_edge_comes_and_goes_or_is_refused(build: Callable[[], Graph]) -> None:
    graph = build()
    names, before, x = [vertex.name for vertex in graph], everything(graph), batch(graph)
    joints = [vertex.name for vertex in graph if is_sum(vertex) or is_concatenation(vertex)]
    old = graph(x)
    for verb, source, target in ((v, s, t) for v in (connect, disconnect) for s in names for t in joints):
        try:
            edit = verb(graph, source, target)
        except EditError:
            assert everything(graph) == before
            continue
        out = check(graph)
        assert out.shape == old.shape
        if verb is connect and is_concatenation(graph[target]):
            torch.testing.assert_close(out, old)
        edit.undo()
        assert everything(graph) == before


def test_a_concatenation_that_is_taken_in_groups_takes_no_part_at_its_end() -> None:
    x = input_node("x", example=torch.randn(2, 4, 5))
    both = concat(x, x.then(nn.ReLU(), name="relu"), name="both")
    mix = layer(nn.Conv1d(8, 4, 1, groups=4), both, name="mix")
    graph = Graph([x], [mix])
    before = everything(graph)
    with pytest.raises(
        InfeasibleError, match="'relu' cannot be connected to 'both': what uses it takes it apart"
    ):
        connect(graph, "relu", "both")
    assert everything(graph) == before


def test_what_works_in_place_never_changes_what_others_use() -> None:
    graph = in_place()
    x = batch(graph)
    given, net = x.clone(), copy.deepcopy(graph.module)
    assert isinstance(net, InPlace)
    remove(graph, "norm")
    remove(graph, "b")  # its ReLU would change what the sum takes
    a = net.a(x)
    y = torch.relu(a)
    expected = net.head(torch.relu(net.c(torch.cat([torch.relu(a + y + y), y], 1))).flatten(1))
    torch.testing.assert_close(check(graph), expected)
    remove(graph, "a", strategy=MostNew(0, Solve()))
    check(graph)
    assert torch.equal(x, given)


def test_a_layer_that_gives_back_what_it_takes_in_eval_mode() -> None:
    graph = residual()
    x = batch(graph)
    old = graph(x)
    insert(graph, nn.Dropout(0.5), edge=("stem", "add"))
    assert torch.equal(check(graph), old)
    assert [v.name for v in graph.inputs_of("add")] == ["dropout", "two"]
    assert [v.name for v in graph.inputs_of("one")] == ["stem"]
    graph.module.train()
    assert not torch.equal(graph(x), graph(x))


def test_a_size_which_nothing_but_the_output_has_is_that_of_what_comes_in_its_place() -> None:
    graph = attention()
    features = graph.run(batch(graph), ["mean_1" if "mean_1" in graph else "mean"])
    remove(graph, "head")
    assert torch.equal(check(graph), *features.values())


def test_a_size_which_would_have_to_equal_itself_and_more_is_refused() -> None:
    x = input_node("x", 4)
    a = layer(nn.Linear(4, 3), x, name="a")
    twice = concat(a, a, name="twice")
    graph = Graph([x], [layer(nn.Linear(6, 2), twice + layer(nn.Linear(4, 6), x, name="b"), name="out")])
    before = everything(graph)
    with pytest.raises(InfeasibleError, match="what 'a' gives is 3 wide and the sum 'add' 6") as caught:
        connect(graph, "a", "add")
    assert "would have to equal itself plus something" in str(caught.value)
    assert everything(graph) == before


def test_a_module_whose_structure_was_edited_is_saved_through_its_graph(tmp_path: Any) -> None:
    graph = chain()
    remove(graph, "second")
    with pytest.raises(EditError, match=r"edited \(remove\), .*: save the graph, or graph.to_module\(\)"):
        save(graph.module, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
