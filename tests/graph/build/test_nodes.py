"""Networks written by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naivegraph.errors import CaptureError, NaivegraphError
from naivegraph.graph import Fixed, Rule, Same, Stack, Ties, call, concat, input_node, layer
from naivegraph.network import Graph
from naivegraph.operators.constraints import LinearConstraint, MultipleConstraint
from naivegraph.widths import relate


def ones(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.ones_(linear.weight)
    return linear


def readme() -> Graph:
    x = input_node("in", 6)
    start = layer(ones(6, 6), x, name="start")
    split = layer(ones(6, 2), start, name="split")
    joined = concat(2 * split, 3 * split, 5 * split, name="joined")
    return Graph([x], [start + joined])


def test_naivenaslib_numbers() -> None:
    graph = readme()
    assert graph(torch.ones(1, 6)).tolist() == [[78, 78, 114, 114, 186, 186]]
    assert [v.name for v in graph] == ["in", "start", "split", "mul", "mul_1", "mul_2", "joined", "add"]
    assert graph.sizes == {
        "in": 6, "start": 6, "split": 2, "mul": 2, "mul_1": 2, "mul_2": 2, "joined": 6, "add": 6
    }  # fmt: skip
    assert graph.checks["another batch"] == graph.checks["train mode"] == "equal"
    assert {w.name: w.size for w in relate(graph).widths} == {}  # the output is that of `start`


def test_the_module_is_a_module_of_its_own() -> None:
    graph = readme()
    module = graph.module
    assert [name for name, _ in module.named_children()][:2] == ["start", "split"]
    twin = copy.deepcopy(module)
    twin(torch.ones(2, 6)).sum().backward()
    assert twin.get_parameter("start.weight").grad is not None
    assert module.get_parameter("start.weight").grad is None
    x = torch.rand(2, 6)
    exported = torch.export.export(module, (x,)).module()
    assert torch.equal(exported(x), module(x))
    assert torch.equal(graph.to_module()(x), graph(x))  # although "in" is a word of Python


def test_operators_compute_what_they_say() -> None:
    x = input_node("x", 3)
    y = input_node("y", 3)
    terms = {"a": x - y, "b": x / y, "c": -x, "d": 2 - x, "e": 2 / x, "f": x + 1, "g": 3 * x, "h": 1 + x * y}
    graph = Graph([x, y], terms)
    a, b = torch.rand(4, 3) + 1, torch.rand(4, 3) + 1
    expected = {
        "a": a - b,
        "b": a / b,
        "c": -a,
        "d": 2 - a,
        "e": 2 / a,
        "f": a + 1,
        "g": 3 * a,
        "h": 1 + a * b,
    }
    found = graph(a, y=b)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_several_inputs_and_outputs_and_what_is_not_used() -> None:
    x, y = input_node("x", 3), input_node("y", 5)
    one = layer(nn.Linear(3, 4), x, name="one")
    two = layer(nn.Linear(5, 4), y, name="two")
    layer(nn.Linear(4, 4), two, name="unused")
    graph = Graph([x, y], [one + two, two])
    assert "unused" not in graph
    assert [v.name for v in graph.inputs] == ["x", "y"]
    first, second = graph(torch.ones(2, 3), torch.ones(2, 5))
    assert torch.equal(second, two.target(torch.ones(2, 5)))  # type: ignore[misc]
    assert first.shape == second.shape
    with pytest.raises(NaivegraphError, match=r"takes the inputs \['x', 'y'\], not \['x', 'z'\]"):
        graph(torch.ones(2, 3), z=torch.ones(2, 5))


def test_a_layer_used_twice_is_one_layer() -> None:
    x = input_node("x", 4)
    shared = nn.Linear(4, 4)
    once = layer(shared, x, name="first")
    graph = Graph([x], [layer(shared, once, name="second")])
    assert [v.name for v in graph] == ["x", "first", "second"]
    assert graph["second"].path == "first"
    assert sum(p.numel() for p in graph.module.parameters()) == 20
    v = torch.rand(3, 4)
    assert torch.equal(graph(v), shared(shared(v)))


def test_blocks_and_parts_of_tuples() -> None:
    x = input_node("x", shape=(2, 5, 4))
    lstm = layer(nn.LSTM(4, 6, batch_first=True), x, name="lstm")
    block = layer(nn.Sequential(nn.Linear(6, 3), nn.ReLU()), lstm[0], name="head")
    graph = Graph([x], block)
    assert [v.name for v in graph] == ["x", "lstm", "head.0", "head.1"]
    assert graph(torch.ones(3, 5, 4)).shape == (3, 5, 3)
    with pytest.raises(TypeError, match="'lstm' has no known length"):
        _one, _two = lstm


@pytest.mark.parametrize(
    ("module", "size", "shape"),
    [
        (nn.Linear(3, 4), 3, (2, 3)),
        (nn.Conv2d(3, 4, 3), 3, (2, 3, 16, 16)),
        (nn.Conv1d(2, 4, 3), 2, (3, 2, 16)),
        (nn.Conv3d(3, 4, 3), 3, (2, 3, 8, 8, 8)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 8, (2, 7, 8)),
        (nn.Embedding(9, 4), 9, (2, 7)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(4), nn.MaxPool2d(4)), 3, (2, 3, 64, 64)),
    ],
)
def test_examples_are_found(module: nn.Module, size: int, shape: tuple[int, ...]) -> None:
    x = input_node("x", size)
    graph = Graph([x], [layer(module, x)])
    assert graph.example["x"].shape == shape


def test_no_example_says_what_was_tried() -> None:
    x = input_node("x", 3)
    with pytest.raises(CaptureError, match=r"shape= or example=(.|\n)*\(2, 3, 16, 16\): RuntimeError"):
        Graph([x], [layer(nn.Linear(5, 2), x)])


def test_names_are_unique_and_lines_are_kept() -> None:
    x = input_node("x", 3)
    one = layer(nn.Linear(3, 3), x)
    graph = Graph([x], [call(torch.Tensor.half, layer(nn.Linear(3, 3), one)).then(torch.relu)])
    assert [v.name for v in graph] == ["x", "linear", "linear_1", "half_1", "relu"]
    where = graph["linear"].where
    assert where is not None
    assert where[0] == __file__
    with pytest.raises(NaivegraphError, match="two nodes are named 'a'"):
        Graph([x], [layer(nn.ReLU(), layer(nn.ReLU(), x, name="a"), name="a")])
    with pytest.raises(NaivegraphError, match="'train' cannot be the name of a layer"):
        Graph([x], [layer(nn.ReLU(), x, name="train")])


def test_errors_of_writing() -> None:
    x, y = input_node("x", 3), input_node("y", 3)
    with pytest.raises(NaivegraphError, match="need the input 'y', which is not given"):
        Graph([x], [x + y])
    with pytest.raises(NaivegraphError, match="'relu' is called on no node"):
        call(torch.relu, torch.ones(1))
    with pytest.raises(NaivegraphError, match="for a function: call"):
        layer(torch.relu, x)  # type: ignore[arg-type]
    with pytest.raises(NaivegraphError, match="parameter of no module"):
        x * nn.Parameter(torch.ones(3))
    with pytest.raises(NaivegraphError, match="a rule is one of 'same'"):
        call(torch.relu, x, rule="sum")
    assert repr(layer(nn.Linear(3, 2), x, name="hidden")) == "'hidden': Linear('x')"


def doubled(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy() * 2)


def summed(*tensors: Tensor) -> Tensor:
    return torch.from_numpy(sum(t.detach().numpy() for t in tensors))


def glued(one: Tensor, two: Tensor) -> Tensor:
    return torch.cat([one, two], dim=1)


def between(function: Any, rule: Any, count: int = 1) -> Graph:
    x = input_node("x", 3)
    hidden = [layer(nn.Linear(3, 8), x, name=f"hidden{i}") for i in range(count)]
    out = call(function, *hidden, rule=rule, name="middle")
    width = 16 if rule == "stack" else 8
    return Graph([x], [layer(nn.Linear(width, 2), out, name="out")])


def copied(x: Tensor) -> Tensor:
    return torch.tensor(x.tolist())


def test_a_function_which_is_not_torch_needs_a_rule() -> None:
    for function in (copied, doubled):
        with pytest.raises(CaptureError, match=r"result of 'middle' .* not made by torch functions.*rule="):
            between(function, None)


@pytest.mark.parametrize(
    ("rule", "function", "count", "widths"),
    [
        ("same", doubled, 1, {"hidden0": 8}),
        ("same", summed, 2, {"hidden0": 8}),
        ("stack", glued, 2, {"hidden0": 8, "hidden1": 8}),
        ("absorb", doubled, 1, {"hidden0": 8}),
        ("fixed", doubled, 1, {}),
    ],
)
def test_declared_rules(rule: str, function: Any, count: int, widths: dict[str, int]) -> None:
    graph = between(function, rule, count)
    assert graph["middle"].kind == "layer"
    related = relate(graph)
    assert {w.name: w.size for w in related.widths} == widths
    columns = related.axes["out.weight"][1]
    if rule == "same":
        assert list(columns.atoms()) == list(related.axes["hidden0.weight"][0].atoms())
    elif rule == "stack":
        assert [a.length for a in columns.atoms()] == [8, 8]
    else:
        assert columns.fixed
    value = torch.rand(4, 3)
    hidden = [graph.module.get_submodule(f"hidden{i}")(value) for i in range(count)]
    assert torch.equal(graph(value), graph.module.get_submodule("out")(function(*hidden)))
    assert torch.equal(graph.to_module()(value), graph(value))


def test_a_rule_that_does_not_hold() -> None:
    x = input_node("x", 3)
    a, b = layer(nn.Linear(3, 8), x), layer(nn.Linear(3, 8), x)
    middle = call(glued, a, b, rule=Same(), name="middle")
    with pytest.raises(CaptureError, match=r"for 'middle': the sizes .* \[8, 8, 16\], not the same"):
        Graph([x], [middle])
    assert Stack().misfit([(2, 3), (2, 4)], [(2, 7)]) == ""
    assert "do not add up to 8" in Stack().misfit([(2, 3), (2, 4)], [(2, 8)])
    assert "no dimension 1" in Same().misfit([(2,)], [(2, 3)])
    assert Fixed().misfit([(2,)], [(3,)]) == ""


class Paired(Rule):
    """As many out as in, in steps of four."""

    def tie(self, ties: Ties) -> None:
        taken, given = ties.inputs[0][1], ties.outputs[0][1]
        ties.equal(taken, given)
        ties.step(taken, 4)
        ties.linear([(1, taken), (-1, given)], low=0, high=0)


def test_a_rule_of_ones_own() -> None:
    related = relate(between(doubled, Paired()))
    assert [w.size for w in related.widths] == [8]
    step, linear = related.relation.constraints
    assert isinstance(step, MultipleConstraint)
    assert (step.where, step.multiple) == ("middle", 4)
    assert isinstance(linear, LinearConstraint)
    assert (linear.low, linear.high) == (0, 0)


def test_functional_dropout_follows_the_mode() -> None:
    x = input_node("x", 8)
    graph = Graph([x], [call(F.dropout, x, 0.5, training=False, name="drop").then(nn.Dropout(0.5))])
    v = torch.ones(4, 8)
    assert torch.equal(graph(v), graph(v)) is False  # written modules start in train mode, as any module
    graph.module.eval()
    assert torch.equal(graph(v), v)


def test_compiled_without_a_warning() -> None:
    graph = readme()
    x = torch.rand(2, 6)
    for module in (graph.module, graph.to_module()):
        assert torch.equal(torch.compile(module, backend="eager", fullgraph=True)(x), graph(x))


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (2, 3, 4), (2, 2)])
def test_examples_of_all_inputs_have_one_batch(sizes: tuple[int, ...]) -> None:
    inputs = [input_node(f"x{i}", size) for i, size in enumerate(sizes)]
    graph = Graph(inputs, [concat(*inputs, name="joined")])
    assert graph.sizes["joined"] == sum(sizes)
    given = [torch.randn(5, size) for size in sizes]
    assert torch.equal(graph(*given), torch.cat(given, 1))


def test_the_batch_is_that_of_an_example() -> None:
    one, two = input_node("one", shape=(4, 2)), input_node("two", 3)
    graph = Graph([one, two], [concat(one, two, name="joined")])
    assert graph.sizes["joined"] == 5
