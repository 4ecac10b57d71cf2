"""Inserting, removing, connecting and disconnecting: sizes, function, the way back, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from naivegraph.edits.connect import connect
from naivegraph.edits.insert import insert
from naivegraph.edits.joints import is_concatenation, is_sum
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.resize import resize
from naivegraph.edits.save import save
from naivegraph.edits.strategy import MostNew, Nothing, Solve
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.graph import Graph, capture, concat, input_node, layer


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.two = nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.two(self.act(self.norm(self.one(x))))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Branches(nn.Module):
    """Three branches, concatenated; one of them is summed with the stem, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 3)
        self.a = nn.Linear(3, 2)
        self.b = nn.Linear(3, 3)
        self.c = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(9)
        self.out = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        both = torch.cat([self.a(x), self.b(x) + x, self.c(x)], 1)
        out: Tensor = self.out(torch.relu(self.norm(both)))
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, length, size = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, length, 3, 2, size // 2).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.out(mixed.reshape(batch, length, size))
        out: Tensor = self.head(x.mean(1))
        return out


class InPlace(nn.Module):
    """One ReLU, which works in place, used three times; a sum in place; a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.c = nn.Conv2d(12, 4, 1)
        self.head = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.act(self.norm(self.b(x)))
        z = x + y
        z += y
        z = self.act(z)
        q = self.act(self.c(torch.cat([z, y], 1)))
        out: Tensor = self.head(q.flatten(1))
        return out


def _attention() -> Graph:
    torch.manual_seed(0)
    return capture(Attention().eval(), torch.randn(2, 5, 4))


def _in_place() -> Graph:
    torch.manual_seed(0)
    return capture(_lively(InPlace().eval()), torch.randn(2, 3, 3, 3))


def _residual() -> Graph:
    torch.manual_seed(0)
    return capture(_lively(Residual().eval()), torch.randn(2, 3, 5, 5))


def _branches() -> Graph:
    torch.manual_seed(0)
    return capture(_lively(Branches().eval()), torch.randn(2, 4))


def _chain() -> Graph:
    torch.manual_seed(0)
    x = input_node("x", 4)
    first = layer(nn.Linear(4, 8), x, name="first")
    second = layer(nn.Linear(8, 6), first, name="second")
    return Graph([x], [layer(nn.Linear(6, 3), second.then(nn.ReLU(), name="act"), name="last")])


def _lively(module: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that mixed-up neurons show."""
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and norm.running_mean is not None:
            norm.running_mean.normal_()
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module


def _batch(graph: Graph) -> Tensor:
    (example,) = graph.example.values()
    return torch.randn(3, *example.shape[1:], generator=torch.Generator().manual_seed(1))


def _everything(graph: Graph) -> list[Any]:
    """All that an edit can change, in a form which compares bit for bit."""
    module = graph.module
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return [
        {name: (id(t), t.detach().clone().numpy().tobytes(), tuple(t.shape)) for name, t in tensors.items()},
        {name: (id(m), repr(m), m.training) for name, m in module.named_modules()},
        [(v.name, v.kind, id(v.target), repr(v.args), repr(v.kwargs), repr(v.output)) for v in graph],
        [[(o.func, repr(o.args), repr(o.outputs)) for o in v.operations] for v in graph],
        repr(graph.output), dict(graph.state), graph.rewired,
    ]  # fmt: skip


def _check(graph: Graph) -> Tensor:
    """The graph is sound, runs, trains, exports and copies alike."""
    graph.lint()
    x = _batch(graph)
    out: Tensor = graph(x)
    module = graph.to_module()
    assert torch.equal(module(x), out)
    assert torch.equal(copy.deepcopy(graph)(x), out)
    module(x).sum().backward()
    used = {name for name, p in module.named_parameters() if p.grad is not None}
    assert used
    for vertex in graph:
        target = vertex.target
        if isinstance(target, nn.Linear):
            assert (target.out_features, target.in_features) == tuple(target.weight.shape)
    return out


EDITS: dict[str, tuple[Callable[[], Graph], Callable[[Graph], Any]]] = {
    "insert after": (_residual, lambda g: insert(g, nn.BatchNorm2d, after="stem")),
    "insert before": (_residual, lambda g: insert(g, nn.ReLU(), before="two", name="extra.act")),
    "insert on an edge": (_residual, lambda g: insert(g, nn.BatchNorm2d, edge=("stem", "add"))),
    "insert at the end": (_chain, lambda g: insert(g, nn.LayerNorm, after="last")),
    "insert identity": (_chain, lambda g: insert(g, nn.Linear(6, 6), after="second", identity=True)),
    "remove a norm": (_residual, lambda g: remove(g, "norm")),
    "remove and grow": (_residual, lambda g: remove(g, "one")),
    "remove two of a branch": (_residual, lambda g: remove(g, "two")),
    "remove the first": (_chain, lambda g: remove(g, "first")),
    "remove the last": (_chain, lambda g: remove(g, "last")),
    "remove a sum": (_branches, lambda g: remove(g, "add")),
    "drop a summand": (_residual, lambda g: remove(g, "two", reconnect=False)),
    "drop a part": (_branches, lambda g: remove(g, "a", reconnect=False)),
    "connect to a sum": (_branches, lambda g: connect(g, "a", "add")),
    "connect to a concatenation": (_branches, lambda g: connect(g, "stem", "cat")),
    "disconnect from a sum": (_branches, lambda g: disconnect(g, "stem", "add")),
    "disconnect a middle part": (_branches, lambda g: disconnect(g, "add", "cat")),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_sound_and_undone_bit_for_bit(name: str) -> None:
    build, change = EDITS[name]
    graph = build()
    before, x = _everything(graph), _batch(graph)
    old, costs = graph(x), torch.get_rng_state()
    edit = change(graph)
    assert edit
    assert edit.asked
    assert torch.equal(torch.get_rng_state(), costs) or "insert" in name
    _check(graph)
    assert edit.after.params == sum(p.numel() for p in graph.module.parameters())
    edit.undo()
    assert _everything(graph) == before
    assert torch.equal(graph(x), old)
    with pytest.raises(EditError, match="undone already"):
        edit.undo()


@pytest.mark.parametrize("name", EDITS)
def test_what_was_edited_can_be_resized_and_all_be_undone(name: str) -> None:
    build, change = EDITS[name]
    graph = build()
    before = _everything(graph)
    edit = change(graph)
    between = _everything(graph)
    stem = "stem" if "stem" in graph else "second"
    second = resize(graph, {stem: +2})
    assert second
    assert graph.sizes[stem] == second.change.widths["0"].after
    _check(graph)
    with pytest.raises(EditError, match="edited again since"):
        edit.undo()
    second.undo()
    assert _everything(graph) == between
    edit.undo()
    assert _everything(graph) == before


def test_an_identity_put_in_and_taken_out_keeps_the_function() -> None:
    graph = _residual()
    x = _batch(graph)
    old = graph(x)
    insert(graph, lambda n: nn.Conv2d(n, n, 5, padding=2), after="one", name="same", identity=True)
    torch.testing.assert_close(_check(graph), old, rtol=1e-5, atol=1e-5)
    insert(graph, lambda n: nn.Conv2d(n, n, 3, padding="same", groups=2), before="two", identity=True)
    torch.testing.assert_close(_check(graph), old, rtol=1e-5, atol=1e-5)
    remove(graph, "conv2d")
    remove(graph, "same")
    assert torch.equal(_check(graph), old)


def test_an_inserted_layer_is_used_only_where_it_was_put() -> None:
    graph = _residual()
    net = copy.deepcopy(graph.module)
    assert isinstance(net, Residual)
    extra = nn.Conv2d(4, 4, 1)
    insert(graph, extra, edge=("stem", "add"), name="extra")
    x = _batch(graph)
    stem = net.stem(x)
    expected = net.head((extra(stem) + net.two(net.act(net.norm(net.one(stem))))).mean((2, 3)))
    torch.testing.assert_close(graph(x), expected)
    assert not extra.training
    assert [v.name for v in graph.inputs_of("one")] == ["stem"]


def test_removing_grows_the_smaller_then_shrinks_the_bigger() -> None:
    graph = _chain()
    remove(graph, "second")
    assert graph.sizes == {"x": 4, "first": 8, "act": 8, "last": 3}
    graph = _chain()
    remove(graph, "first")  # the input cannot grow
    assert graph.sizes == {"x": 4, "second": 6, "act": 6, "last": 3}
    assert graph["second"].target.in_features == 4  # type: ignore[union-attr]
    graph = _chain()
    remove(graph, "last")  # nor can the output
    assert graph.sizes == {"x": 4, "first": 8, "second": 3, "act": 3}


def test_a_strategy_decides_how_sizes_are_made_to_fit() -> None:
    graph = _chain()
    remove(graph, "second", strategy=MostNew(0, Solve()))
    assert graph.sizes["first"] == 6
    graph = _chain()
    before = _everything(graph)
    with pytest.raises(InfeasibleError, match=r"'second' cannot be removed: .* 8 wide"):
        remove(graph, "second", strategy=Nothing())
    assert _everything(graph) == before


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
    _check(graph)


def test_a_removed_concatenation_gives_its_parts_to_a_sum() -> None:
    x = input_node("x", 4)
    a, b = layer(nn.Linear(4, 3), x, name="a"), layer(nn.Linear(4, 2), x, name="b")
    graph = Graph(
        [x], [layer(nn.Linear(5, 2), concat(a, b) + layer(nn.Linear(4, 5), x, name="c"), name="out")]
    )
    remove(graph, "cat")
    assert graph.sizes["a"] == graph.sizes["b"] == graph.sizes["c"] == 5
    v = _batch(graph)
    layers = {name: graph.module.get_submodule(name) for name in ("a", "b", "c", "out")}
    expected = layers["out"](layers["a"](v) + layers["b"](v) + layers["c"](v))
    torch.testing.assert_close(_check(graph), expected)


def test_disconnecting_takes_exactly_the_neurons_of_the_edge() -> None:
    graph = _branches()
    net = copy.deepcopy(graph.module)
    assert isinstance(net, Branches)
    disconnect(graph, "add", "cat")
    x = _batch(graph)
    stem = net.stem(x)
    both = torch.cat([net.a(stem), torch.zeros(3, 3), net.c(stem)], 1)
    normed = torch.relu(net.norm(both))
    normed[:, 2:5] = 0  # the dense network, of which these neurons do nothing
    torch.testing.assert_close(_check(graph), net.out(normed))
    assert graph.sizes["cat"] == 6
    assert graph.sizes["add"] == 3


def test_connecting_to_a_concatenation_keeps_the_function() -> None:
    graph = _branches()
    x = _batch(graph)
    old = graph(x)
    edit = connect(graph, "stem", "cat")
    torch.testing.assert_close(_check(graph), old)
    assert graph.sizes["cat"] == 12
    assert edit.change.widths["0"].new == 3
    weight = graph.tensor("out.weight")
    assert not weight[:, 9:].any()
    disconnect(graph, "stem", "cat")
    assert torch.equal(_check(graph), old)


def test_connecting_to_a_sum_aligns_and_adds() -> None:
    graph = _branches()
    old = graph.sizes
    connect(graph, "a", "add")
    assert graph.sizes["a"] == graph.sizes["add"] == graph.sizes["add_2"] == old["add"]
    assert [v.name for v in graph.inputs_of("add_2")] == ["add", "a"]
    assert [v.name for v in graph.inputs_of("cat")] == ["a", "add_2", "c"]
    _check(graph)


def test_what_is_recorded_later_can_be_connected_to_something_earlier() -> None:
    x = input_node("x", 4)
    a, b = (layer(nn.Linear(4, 3), x, name=name) for name in "ab")
    out = layer(nn.Linear(3, 3), a + b, name="out")
    late = layer(nn.Linear(3, 3), layer(nn.Linear(4, 3), x, name="early"), name="late")
    graph = Graph([x], [out * late])
    v, order = _batch(graph), [vertex.name for vertex in graph]
    assert order.index("out") < order.index("late")
    edit = connect(graph, "late", "add")
    m = graph.module.get_submodule
    late_v = m("late")(m("early")(v))
    torch.testing.assert_close(_check(graph), m("out")(m("a")(v) + m("b")(v) + late_v) * late_v)
    edit.undo()
    assert [vertex.name for vertex in graph] == order


REFUSALS: dict[str, tuple[Callable[[], Graph], Callable[[Graph], Any], str]] = {
    "no place": (_chain, lambda g: insert(g, nn.ReLU()), "one of after=, before= and edge="),
    "no edge": (_chain, lambda g: insert(g, nn.ReLU(), edge=("first", "last")), "does not take anything"),
    "several": (_residual, lambda g: insert(g, nn.ReLU(), before="add"), "'add' takes 2 tensors: .*edge="),
    "input size": (
        _chain, lambda g: insert(g, nn.Linear(5, 6), after="second", name="l"),
        r"'l' \(Linear\) does not take what 'second' gives \(6 neurons",
    ),
    "output size": (
        _chain, lambda g: insert(g, nn.Linear(6, 7), after="second", name="l"),
        r"'l' \(Linear\) gives 7 neurons, and 'act' takes 6: let the layer give 6",
    ),
    "name taken": (_chain, lambda g: insert(g, nn.ReLU(), after="second", name="last"), "'last' already"),
    "in place": (
        _residual,
        lambda g: insert(g, nn.ReLU(inplace=True), edge=("stem", "one")),
        "works in place, and others",
    ),
    "identity": (
        _residual,
        lambda g: insert(g, nn.Conv2d(4, 4, 3), after="stem", identity=True),
        "odd kernel and padding",
    ),
    "identity of what": (
        _residual,
        lambda g: insert(g, nn.PReLU(4), after="stem", identity=True),
        "nothing says how a PReLU does",
    ),
    "spatial": (
        _residual,
        lambda g: insert(g, nn.MaxPool2d(5), edge=("stem", "add")),
        "would add tensors of the shapes",
    ),
    "input": (_chain, lambda g: remove(g, "x"), "the input 'x' of the network cannot be removed"),
    "user": (_branches, lambda g: remove(g, "cat"), "takes 3 tensors, and its user 'norm' is neither"),
    "drop": (_chain, lambda g: remove(g, "act", reconnect=False), "its user 'last' is neither"),
    "drop the output": (_chain, lambda g: remove(g, "last", reconnect=False), "and the network returns"),
    "rank": (_residual, lambda g: remove(g, "mean"), "makes a tensor of 2 dimensions of one of 4"),
    "cycle": (_branches, lambda g: connect(g, "out", "cat"), "a cycle, cat -> norm -> relu -> out -> cat"),
    "itself": (_branches, lambda g: connect(g, "add", "add"), "a cycle, add -> add"),
    "no joint": (_chain, lambda g: connect(g, "first", "last"), "'last' is neither a sum nor"),
    "not there": (_branches, lambda g: disconnect(g, "a", "add"), "'add' does not take anything from 'a'"),
    "one user": (_chain, lambda g: disconnect(g, "act", "last"), "cannot do without 'act'"),
    "unknown": (_chain, lambda g: remove(g, "lost"), "no vertex 'lost'; did you mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_leaves_everything_as_it_was(name: str) -> None:
    build, change, message = REFUSALS[name]
    graph = build()
    before, x = _everything(graph), _batch(graph)
    old = graph(x)
    with pytest.raises(Exception, match=message) as caught:
        change(graph)
    assert isinstance(caught.value, EditError) or name == "unknown"
    assert _everything(graph) == before
    assert torch.equal(graph(x), old)


@pytest.mark.parametrize("build", [_residual, _branches, _chain, _attention, _in_place])
def test_every_removal_is_sound_or_refused_with_all_as_it_was(build: Callable[[], Graph]) -> None:
    graph = build()
    before, x, done = _everything(graph), _batch(graph), 0
    shape = graph(x).shape
    for name in [vertex.name for vertex in graph]:
        for reconnect in (True, False):
            try:
                edit = remove(graph, name, reconnect=reconnect)
            except EditError:
                pass
            else:
                done += 1
                assert _check(graph).shape == shape
                assert name not in graph
                edit.undo()
            assert _everything(graph) == before
    assert done >= 4


@pytest.mark.parametrize("build", [_residual, _branches, _attention, _in_place])
def test_every_edge_comes_and_goes_or_is_refused(build: Callable[[], Graph]) -> None:
    graph = build()
    names, before, x = [vertex.name for vertex in graph], _everything(graph), _batch(graph)
    joints = [vertex.name for vertex in graph if is_sum(vertex) or is_concatenation(vertex)]
    old = graph(x)
    for verb, source, target in ((v, s, t) for v in (connect, disconnect) for s in names for t in joints):
        try:
            edit = verb(graph, source, target)
        except EditError:
            assert _everything(graph) == before
            continue
        out = _check(graph)
        assert out.shape == old.shape
        if verb is connect and is_concatenation(graph[target]):
            torch.testing.assert_close(out, old)
        edit.undo()
        assert _everything(graph) == before


def test_what_works_in_place_never_changes_what_others_use() -> None:
    graph = _in_place()
    x = _batch(graph)
    given, net = x.clone(), copy.deepcopy(graph.module)
    assert isinstance(net, InPlace)
    remove(graph, "norm")
    remove(graph, "b")  # its ReLU would change what the sum takes
    a = net.a(x)
    y = torch.relu(a)
    expected = net.head(torch.relu(net.c(torch.cat([torch.relu(a + y + y), y], 1))).flatten(1))
    torch.testing.assert_close(_check(graph), expected)
    remove(graph, "a", strategy=MostNew(0, Solve()))
    _check(graph)
    assert torch.equal(x, given)


def test_a_layer_that_gives_back_what_it_takes_in_eval_mode() -> None:
    graph = _residual()
    x = _batch(graph)
    old = graph(x)
    insert(graph, nn.Dropout(0.5), edge=("stem", "add"))
    assert torch.equal(_check(graph), old)
    assert [v.name for v in graph.inputs_of("add")] == ["dropout", "two"]
    assert [v.name for v in graph.inputs_of("one")] == ["stem"]
    graph.module.train()
    assert not torch.equal(graph(x), graph(x))


def test_a_size_which_nothing_but_the_output_has_is_kept() -> None:
    graph = _attention()
    with pytest.raises(InfeasibleError, match=r"'head' cannot be removed: .*8 wide and what it gives 3"):
        remove(graph, "head")


def test_a_size_which_would_have_to_equal_itself_and_more_is_refused() -> None:
    x = input_node("x", 4)
    a = layer(nn.Linear(4, 3), x, name="a")
    twice = concat(a, a, name="twice")
    graph = Graph([x], [layer(nn.Linear(6, 2), twice + layer(nn.Linear(4, 6), x, name="b"), name="out")])
    before = _everything(graph)
    with pytest.raises(InfeasibleError, match="what 'a' gives is 3 wide and the sum 'add' 6") as caught:
        connect(graph, "a", "add")
    assert "would have to equal itself plus something" in str(caught.value)
    assert _everything(graph) == before


@pytest.mark.parametrize("name", ["remove and grow", "insert after", "connect to a concatenation"])
def test_the_optimizer_follows_and_comes_back(name: str) -> None:
    graph = EDITS[name][0]()
    parameters = list(graph.module.parameters())
    optimizer = torch.optim.Adam(parameters)
    graph(_batch(graph)).sum().backward()
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
    assert {id(p) for p in optimizer.state} == set(states)
    for p, state in optimizer.state.items():
        assert all(torch.equal(value, states[id(p)][key]) for key, value in state.items())


def test_structural_edits_say_that_they_cannot_be_replayed(tmp_path: Any) -> None:
    graph = _chain()
    edit = remove(graph, "second")
    with pytest.raises(EditError, match=r"\(remove\) cannot be replayed yet: save graph.to_module\(\)"):
        edit.to_json()
    with pytest.raises(EditError, match="cannot be replayed"):
        save(graph.module, tmp_path / "net.safetensors")
