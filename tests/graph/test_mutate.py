"""Single changes of a graph's structure."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph import concat, input_node, layer
from naivegraph.graph.list_argument import add_part, parts_of, remove_part
from naivegraph.graph.mutate import add_vertex, remove_vertex, replace_argument, set_output
from naivegraph.network import Graph, capture
from naivegraph.undo import UndoLog
from naivegraph.widths import relate
from tests.graph.verify.test_shape_prop import described


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.two = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.two(torch.cat([self.norm(self.one(x))], dim=1)))


def graph_of_block() -> Graph:
    torch.manual_seed(0)
    return capture(Block().eval(), torch.randn(3, 4))


def check(graph: Graph) -> Tensor:
    """The graph runs, and its module runs, copies, trains and exports alike."""
    graph.refresh()
    graph.lint()
    assert graph.rewired
    x = torch.randn(5, 4)
    out: Tensor = graph(x)
    module = graph.to_module()
    twin = copy.deepcopy(module)
    assert torch.equal(twin(x), out)
    exported = torch.export.export(module, (x,)).module()
    assert torch.equal(exported(x), out)
    module(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    assert torch.equal(copy.deepcopy(graph)(x), out)
    return out


def test_add_a_layer_and_use_it() -> None:
    graph = graph_of_block()
    before, tree = described(graph), list(dict(graph.module.named_modules()))
    x = torch.randn(5, 4)
    old = graph(x)
    made = graph["norm"].output
    prelu = nn.PReLU(6)
    undo, undo_use = UndoLog(), UndoLog()
    vertex = add_vertex(graph, "extra.act", prelu, (made,), undo=undo)
    cat = graph["cat"]
    replace_argument(graph, cat, made, vertex.output, undo=undo_use)
    check(graph)
    assert graph.sizes["extra.act"] == 6
    assert torch.equal(graph.tensor("extra.act.weight"), prelu.weight)
    assert "extra.act.weight" in graph.state
    assert [p.name for p in graph.inputs_of(cat)] == ["extra.act"]
    block = graph.module
    assert isinstance(block, Block)
    expected = x + torch.relu(block.two(prelu(block.norm(block.one(x)))))
    assert torch.equal(graph(x), expected)
    assert {w.name: w.size for w in relate(graph)} == {"one": 6}
    undo_use.undo()
    undo.undo()
    graph.lint()
    assert not graph.rewired
    assert list(dict(graph.module.named_modules())) == tree
    graph.refresh()
    assert described(graph) == before
    assert torch.equal(graph(x), old)


def test_an_in_place_layer_becomes_part_of_the_chain() -> None:
    graph = graph_of_block()
    made = graph["norm"].output
    vertex = add_vertex(graph, "act", nn.ReLU(inplace=True), (made,))
    replace_argument(graph, graph["cat"], made, vertex.output)
    check(graph)
    assert vertex.output.id == made.id
    assert [w.size for w in relate(graph)] == [6]


def test_add_a_function_and_return_it() -> None:
    graph = graph_of_block()
    x = torch.randn(2, 4)
    old = graph(x)
    vertex = add_vertex(graph, "twice", torch.mul, (graph.output, 2))
    undo = UndoLog()
    set_output(graph, vertex.output, undo=undo)
    check(graph)
    assert torch.equal(graph(x), 2 * old)
    undo.undo()
    assert torch.equal(graph(x), old)


def test_remove_a_layer() -> None:
    graph = graph_of_block()
    x = torch.randn(5, 4)
    old, before = graph(x), described(graph)
    block = graph.module
    assert isinstance(block, Block)
    norm, made = block.norm, graph["norm"].output
    undo = UndoLog()
    remove_vertex(graph, graph["norm"], {made.id: graph["one"].output}, undo=undo)
    check(graph)
    assert "norm" not in graph
    assert "norm.weight" not in graph.state
    assert list(dict(block.named_children())) == ["one", "two"]
    assert torch.equal(graph(x), x + torch.relu(block.two(block.one(x))))
    undo.undo()
    assert list(dict(block.named_children())) == ["one", "norm", "two"]
    assert block.norm is norm
    graph.refresh()
    assert described(graph) == before
    assert torch.equal(graph(x), old)


def test_a_layer_used_twice_stays_while_it_is_used() -> None:
    x = input_node("x", 4)
    shared = nn.Linear(4, 4)
    first = layer(shared, x, name="first")
    graph = Graph([x], [layer(shared, first, name="second")])
    remove_vertex(graph, graph["first"], {graph["first"].output.id: graph["x"].output})
    check(graph)
    assert "first.weight" in graph.state
    v = torch.randn(3, 4)
    assert torch.equal(graph(v), shared(v))


def test_parts_of_a_concatenation() -> None:
    x = input_node("x", 4)
    a, b = layer(nn.Linear(4, 2), x, name="a"), layer(nn.Linear(4, 3), x, name="b")
    graph = Graph([x], [concat(a, b, name="cat")])
    cat, v = graph["cat"], torch.randn(2, 4)
    undo = UndoLog()
    add_part(graph, cat, graph["a"].output, undo=undo)
    check(graph)
    assert graph.sizes["cat"] == 7
    assert torch.equal(graph(v)[:, 5:], graph(v)[:, :2])
    undo.undo()
    assert [stub.id for stub in parts_of(cat)] == [graph["a"].output.id, graph["b"].output.id]
    remove_part(graph, cat, 0)
    graph.refresh()
    assert torch.equal(graph(v), graph.module.get_submodule("b")(v))
    with pytest.raises(EditError, match="1 parts; part 0 cannot be removed"):
        remove_part(graph, cat, 0)
    with pytest.raises(EditError, match="'a' does not take one list"):
        add_part(graph, graph["a"], graph["b"].output)


def test_one_use_of_several_is_replaced() -> None:
    x = input_node("x", 4)
    a, b = layer(nn.Linear(4, 4), x, name="a"), layer(nn.Linear(4, 4), x, name="b")
    graph = Graph([x], [concat(a, a, name="cat"), b])
    one, two = graph["a"].output, graph["b"].output
    replace_argument(graph, graph["cat"], one, two, occurrence=1)
    assert parts_of(graph["cat"]) == [one, two]
    with pytest.raises(EditError, match=r"uses the tensor .* 1 times"):
        replace_argument(graph, graph["cat"], one, two, occurrence=1)


def test_what_cannot_be_leaves_everything() -> None:
    graph = graph_of_block()
    before, tree = described(graph), list(dict(graph.module.named_modules()))
    late = graph.output
    with pytest.raises(NaivegraphError, match=r"'norm' uses the tensor .* before anything made it"):
        replace_argument(graph, graph["norm"], graph["one"].output, late)
    with pytest.raises(NaivegraphError, match=r"'cat' uses the tensor .* before anything made it"):
        remove_vertex(graph, graph["norm"])
    with pytest.raises(EditError, match="has a vertex 'norm' already"):
        add_vertex(graph, "norm", nn.ReLU(), (late,))
    with pytest.raises(NaivegraphError, match=r"'one.weight' cannot be the name of a layer"):
        add_vertex(graph, "one.weight", nn.ReLU(), (late,))
    with pytest.raises(EditError, match="cannot be at position 1"):
        add_vertex(graph, "act", nn.ReLU(), (late,), at=1)
    with pytest.raises(EditError, match="the input 'x' of the network"):
        remove_vertex(graph, graph["x"])
    assert described(graph) == before
    assert list(dict(graph.module.named_modules())) == tree
    assert not graph.rewired
    graph.lint()


def test_lint_names_what_does_not_hold() -> None:
    graph = graph_of_block()
    del graph.state["one.bias"]
    with pytest.raises(NaivegraphError, match=r"'one' has a parameter 'one.bias' the graph does not know"):
        graph.lint()
    graph = graph_of_block()
    graph.example = {}
    with pytest.raises(NaivegraphError, match="no example of its input 'x'"):
        graph.lint()
    graph = graph_of_block()
    del graph.module._modules["norm"]
    with pytest.raises(NaivegraphError, match="module 'norm', which the network does not have"):
        graph.lint()
