"""Inserting, removing, connecting and disconnecting: sizes, function, the way back, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from naivegraph.edits.connect import connect
from naivegraph.edits.insert import insert
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_program.strategy import MostNew, Nothing, Solve
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.graph import concat, input_node, layer
from naivegraph.network import Graph, capture
from tests.machine.structures import (
    Branches,
    Residual,
    batch,
    branches,
    chain,
    check,
    everything,
    residual,
)

EDITS: dict[str, tuple[Callable[[], Graph], Callable[[Graph], Any]]] = {
    "insert after": (residual, lambda g: insert(g, nn.BatchNorm2d, after="stem")),
    "insert before": (residual, lambda g: insert(g, nn.ReLU(), before="two", name="extra.act")),
    "insert on an edge": (residual, lambda g: insert(g, nn.BatchNorm2d, edge=("stem", "add"))),
    "insert at the end": (chain, lambda g: insert(g, nn.LayerNorm, after="last")),
    "insert identity": (chain, lambda g: insert(g, nn.Linear(6, 6), after="second", identity=True)),
    "remove a norm": (residual, lambda g: remove(g, "norm")),
    "remove and grow": (residual, lambda g: remove(g, "one")),
    "remove two of a branch": (residual, lambda g: remove(g, "two")),
    "remove the first": (chain, lambda g: remove(g, "first")),
    "remove the last": (chain, lambda g: remove(g, "last")),
    "remove a sum": (branches, lambda g: remove(g, "add")),
    "drop a summand": (residual, lambda g: remove(g, "two", reconnect=False)),
    "drop a part": (branches, lambda g: remove(g, "a", reconnect=False)),
    "connect to a sum": (branches, lambda g: connect(g, "a", "add")),
    "connect to a concatenation": (branches, lambda g: connect(g, "stem", "cat")),
    "disconnect from a sum": (branches, lambda g: disconnect(g, "stem", "add")),
    "disconnect a middle part": (branches, lambda g: disconnect(g, "add", "cat")),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_sound_and_undone_bit_for_bit(name: str) -> None:
    build, change = EDITS[name]
    graph = build()
    before, x = everything(graph), batch(graph)
    old, costs = graph(x), torch.get_rng_state()
    edit = change(graph)
    assert edit
    assert edit.asked
    assert torch.equal(torch.get_rng_state(), costs) or "insert" in name
    check(graph)
    assert edit.after.params == sum(p.numel() for p in graph.module.parameters())
    edit.undo()
    assert everything(graph) == before
    assert torch.equal(graph(x), old)
    with pytest.raises(EditError, match="undone already"):
        edit.undo()


@pytest.mark.parametrize("name", EDITS)
def test_what_was_edited_can_be_resized_and_all_be_undone(name: str) -> None:
    build, change = EDITS[name]
    graph = build()
    before = everything(graph)
    edit = change(graph)
    between = everything(graph)
    stem = "stem" if "stem" in graph else "second"
    second = resize(graph, {stem: +2})
    assert second
    assert graph.sizes[stem] == second.change.widths["0"].after
    check(graph)
    with pytest.raises(EditError, match="edited again since"):
        edit.undo()
    second.undo()
    assert everything(graph) == between
    edit.undo()
    assert everything(graph) == before


def test_an_identity_put_in_and_taken_out_keeps_the_function() -> None:
    graph = residual()
    x = batch(graph)
    old = graph(x)
    insert(graph, lambda n: nn.Conv2d(n, n, 5, padding=2), after="one", name="same", identity=True)
    torch.testing.assert_close(check(graph), old, rtol=1e-5, atol=1e-5)
    insert(graph, lambda n: nn.Conv2d(n, n, 3, padding="same", groups=2), before="two", identity=True)
    torch.testing.assert_close(check(graph), old, rtol=1e-5, atol=1e-5)
    remove(graph, "conv2d")
    remove(graph, "same")
    assert torch.equal(check(graph), old)


def test_what_is_dropped_goes_from_a_chain_of_sums() -> None:
    x = input_node("x", 3)
    gone, kept = layer(nn.Linear(3, 4), x, name="gone"), layer(nn.Linear(3, 4), x, name="kept")
    graph = Graph([x], [layer(nn.Linear(4, 2), (gone + kept) + gone, name="last")])
    expected = graph.module.get_submodule("last")(graph.run([batch(graph)], ["kept"])["kept"])
    before = everything(graph)
    edit = remove(graph, "gone", reconnect=False)
    assert [vertex.name for vertex in graph] == ["x", "kept", "last"]
    assert torch.equal(check(graph), expected)
    edit.undo()
    assert everything(graph) == before


def test_what_is_all_of_a_sum_cannot_be_dropped() -> None:
    x = input_node("x", 3)
    gone = layer(nn.Linear(3, 4), x, name="gone")
    graph = Graph([x], [layer(nn.Linear(4, 2), gone + gone, name="last")])
    before = everything(graph)
    with pytest.raises(EditError, match="nothing would be left of the sum 'add'"):
        remove(graph, "gone", reconnect=False)
    assert everything(graph) == before


def test_an_inserted_layer_is_used_only_where_it_was_put() -> None:
    graph = residual()
    net = copy.deepcopy(graph.module)
    assert isinstance(net, Residual)
    extra = nn.Conv2d(4, 4, 1)
    insert(graph, extra, edge=("stem", "add"), name="extra")
    x = batch(graph)
    stem = net.stem(x)
    expected = net.head((extra(stem) + net.two(net.act(net.norm(net.one(stem))))).mean((2, 3)))
    torch.testing.assert_close(graph(x), expected)
    assert not extra.training
    assert [v.name for v in graph.inputs_of("one")] == ["stem"]


def test_removing_grows_the_smaller_then_shrinks_the_bigger() -> None:
    graph = chain()
    remove(graph, "second")
    assert graph.sizes == {"x": 4, "first": 8, "act": 8, "last": 3}
    graph = chain()
    remove(graph, "first")  # the input cannot grow
    assert graph.sizes == {"x": 4, "second": 6, "act": 6, "last": 3}
    assert graph["second"].target.in_features == 4  # type: ignore[union-attr]
    graph = chain()
    remove(graph, "act")
    remove(graph, "last")  # the output gets the size of what comes in its place
    assert graph.sizes == {"x": 4, "first": 8, "second": 6}


def test_a_strategy_decides_how_sizes_are_made_to_fit() -> None:
    graph = chain()
    remove(graph, "second", strategy=MostNew(0, Solve()))
    assert graph.sizes["first"] == 6
    graph = chain()
    before = everything(graph)
    with pytest.raises(InfeasibleError, match=r"'second' cannot be removed: .* 8 wide"):
        remove(graph, "second", strategy=Nothing())
    assert everything(graph) == before


def test_a_removed_sum_gives_its_summands_to_a_concatenation() -> None:
    x = input_node("x", 4)
    a, b = (layer(nn.Linear(4, 3), x, name=name) for name in "ab")
    total = (a + b).then(nn.Identity(), name="keep")
    graph = Graph(
        [x], [layer(nn.Linear(5, 2), concat(total, layer(nn.Linear(4, 2), x, name="c")), name="out")]
    )
    remove(graph, "keep")
    remove(graph, "add")
    assert [v.name for v in graph.inputs_of("cat")] == ["a", "b", "c"]
    assert graph.sizes["cat"] == graph.sizes["a"] + graph.sizes["b"] + 2
    check(graph)


def test_a_removed_concatenation_gives_its_parts_to_a_sum() -> None:
    x = input_node("x", 4)
    a, b = layer(nn.Linear(4, 3), x, name="a"), layer(nn.Linear(4, 2), x, name="b")
    graph = Graph(
        [x], [layer(nn.Linear(5, 2), concat(a, b) + layer(nn.Linear(4, 5), x, name="c"), name="out")]
    )
    remove(graph, "cat")
    assert graph.sizes["a"] == graph.sizes["b"] == graph.sizes["c"] == 5
    v = batch(graph)
    layers = {name: graph.module.get_submodule(name) for name in ("a", "b", "c", "out")}
    expected = layers["out"](layers["a"](v) + layers["b"](v) + layers["c"](v))
    torch.testing.assert_close(check(graph), expected)


def test_disconnecting_takes_exactly_the_neurons_of_the_edge() -> None:
    graph = branches()
    net = copy.deepcopy(graph.module)
    assert isinstance(net, Branches)
    disconnect(graph, "add", "cat")
    x = batch(graph)
    stem = net.stem(x)
    both = torch.cat([net.a(stem), torch.zeros(3, 3), net.c(stem)], 1)
    normed = torch.relu(net.norm(both))
    normed[:, 2:5] = 0  # the dense network, of which these neurons do nothing
    torch.testing.assert_close(check(graph), net.out(normed))
    assert graph.sizes["cat"] == 6
    assert not {"b", "add"} & {vertex.name for vertex in graph}  # nothing needs them any more


def test_connecting_to_a_concatenation_keeps_the_function() -> None:
    graph = branches()
    x = batch(graph)
    old = graph(x)
    edit = connect(graph, "stem", "cat")
    torch.testing.assert_close(check(graph), old)
    assert graph.sizes["cat"] == 12
    assert edit.change.widths["0"].new == 3
    weight = graph.tensor("out.weight")
    assert not weight[:, 9:].any()
    disconnect(graph, "stem", "cat")
    assert torch.equal(check(graph), old)


def test_connecting_to_a_sum_aligns_and_adds() -> None:
    graph = branches()
    old = graph.sizes
    connect(graph, "a", "add")
    assert graph.sizes["a"] == graph.sizes["add"] == graph.sizes["add_2"] == old["add"]
    assert [v.name for v in graph.inputs_of("add_2")] == ["add", "a"]
    assert [v.name for v in graph.inputs_of("cat")] == ["a", "add_2", "c"]
    check(graph)


def test_what_is_recorded_later_can_be_connected_to_something_earlier() -> None:
    x = input_node("x", 4)
    a, b = (layer(nn.Linear(4, 3), x, name=name) for name in "ab")
    out = layer(nn.Linear(3, 3), a + b, name="out")
    late = layer(nn.Linear(3, 3), layer(nn.Linear(4, 3), x, name="early"), name="late")
    graph = Graph([x], [out * late])
    v, order = batch(graph), [vertex.name for vertex in graph]
    assert order.index("out") < order.index("late")
    edit = connect(graph, "late", "add")
    m = graph.module.get_submodule
    late_v = m("late")(m("early")(v))
    torch.testing.assert_close(check(graph), m("out")(m("a")(v) + m("b")(v) + late_v) * late_v)
    edit.undo()
    assert [vertex.name for vertex in graph] == order


@pytest.mark.parametrize("name", ["remove and grow", "insert after", "connect to a concatenation"])
def test_the_optimizer_follows_and_comes_back(name: str) -> None:
    graph = EDITS[name][0]()
    parameters = list(graph.module.parameters())
    optimizer = torch.optim.Adam(parameters)
    graph(batch(graph)).sum().backward()
    optimizer.step()
    states = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    verbs: dict[str, Callable[[], Any]] = {
        "remove and grow": lambda: remove(graph, "one", optimizer=optimizer),
        "insert after": lambda: insert(graph, nn.BatchNorm2d, after="stem", optimizer=optimizer),
        "connect to a concatenation": lambda: connect(graph, "stem", "cat", optimizer=optimizer),
    }
    edit = verbs[name]()
    now = {id(p) for p in graph.module.parameters()}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == now
    for p, state in optimizer.state.items():
        assert id(p) in now
        assert state["exp_avg"].shape == p.shape
    edit.undo()
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in parameters]
    assert [id(p) for p in optimizer.state] == list(states)
    for p, state in optimizer.state.items():
        assert all(torch.equal(value, states[id(p)][key]) for key, value in state.items())


def test_an_average_follows_edits_of_the_structure() -> None:
    graph = residual()
    module = graph.module
    average: Any = AveragedModel(module)
    average.update_parameters(module)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    edits = [
        insert(graph, lambda n: nn.Linear(n, n), after="head", name="deep.er", optimizer=average),
        remove(graph, "one", optimizer=[average]),
        connect(graph, "two", "add", optimizer=average),
    ]
    assert [n for n, _ in average.module.named_parameters()] == [n for n, _ in module.named_parameters()]
    for name, value in average.module.state_dict().items():
        assert value.shape == module.state_dict()[name].shape
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    first = average.module.deep.er.weight.clone()
    average.update_parameters(module)
    torch.testing.assert_close(average.module.deep.er.weight, first + 0.5)
    for edit in reversed(edits):
        edit.undo()
    for name, value in average.state_dict().items():
        assert value.shape == before[name].shape
    before_all = everything(graph)
    del average.module.norm
    with pytest.raises(EditError, match="averaged model has no module 'norm': is it one of another network"):
        remove(graph, "norm", optimizer=average)
    assert everything(graph) == before_all


def test_names_of_parameters_in_an_optimizer_follow() -> None:
    """Of an optimizer made of `named_parameters()`, whose state can be loaded into a new one."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.named_parameters())
    graph = capture(net, torch.ones(3, 4))
    before = list(optimizer.param_groups[0]["param_names"])
    inserted = insert(graph, nn.BatchNorm1d, after="0", name="norm", optimizer=optimizer)
    removed = remove(graph, "2", optimizer=optimizer)
    (group,) = optimizer.param_groups
    assert group["param_names"] == ["0.weight", "0.bias", "norm.weight", "norm.bias"]
    assert [id(p) for p in group["params"]] == [id(p) for p in graph.module.parameters()]
    graph(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    torch.optim.Adam(graph.module.named_parameters()).load_state_dict(optimizer.state_dict())
    removed.undo()
    inserted.undo()
    assert group["param_names"] == before


def test_the_size_of_a_norm_without_parameters_follows_what_comes_before_it() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.InstanceNorm2d(5), nn.AdaptiveAvgPool2d(1))
    graph = capture(net, torch.randn(2, 3, 4, 4))
    edit = remove(graph, "1")
    assert net.get_submodule("2").num_features == 6
    edit.undo()
    assert net.get_submodule("2").num_features == 5
