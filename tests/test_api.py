"""The table of the API: every verb, on a graph and on a network with its example, each form of utility."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged

# Many calls are made with what types forbid.
untyped: Any = ng


class Net(nn.Module):
    """A stem, two branches that are concatenated, and a sum that is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.left = nn.Conv2d(6, 4, 5, padding=2)
        self.right = nn.Conv2d(6, 5, 1)
        self.head = nn.Conv2d(9, 2, 1)
        self.skip = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 4, 4) to (batch, 2, 4, 4)."""
        hidden = torch.relu(self.norm(self.stem(x)))
        out: Tensor = self.head(torch.cat([self.left(hidden), self.right(hidden)], 1)) + self.skip(x)
        return out


IMAGE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def network() -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.norm.weight.copy_(torch.rand(6) + 0.5)
    return net


def loss(model: Any) -> Tensor:
    out: Tensor = model(IMAGE).square().mean()
    return out


@dataclasses.dataclass(frozen=True)
class Verb:
    """A call of one verb.

    Attributes:
        name: The verb.
        call: Makes the call, of a graph or of a network with its example.
        about: A layer whose neurons (of kernels: entries) it chooses among, if it takes a utility.
        chooses: Whether something of it must go in this call, so that the utility decides.
    """

    name: str
    call: Callable[..., Any]
    about: str = ""
    chooses: bool = True

    def __str__(self) -> str:
        return self.name


VERBS = [
    Verb("prune", lambda *first, **more: untyped.prune(*first, macs=0.6, **more), "stem"),
    Verb("resize", lambda *first, **more: untyped.resize(*first, {"stem": -3}, **more), "stem"),
    # The output of the network keeps its 2 neurons, so that what comes there instead has to shrink.
    Verb("remove", lambda *first, **more: untyped.remove(*first, "head", **more), "left"),
    Verb("connect", lambda *first, **more: untyped.connect(*first, "stem", "add", **more), "stem"),
    Verb(
        "disconnect",
        lambda *first, **more: untyped.disconnect(*first, "right", "cat", **more),
        "right",
        False,
    ),
    Verb("resize_kernel", lambda *first, **more: untyped.resize_kernel(*first, {"left": 3}, **more), "left"),
    Verb("insert", lambda *first, **more: untyped.insert(*first, nn.BatchNorm2d, after="stem", **more)),
    Verb("branch", lambda *first, **more: untyped.branch(*first, "stem", "norm", **more)),
    Verb("duplicate", lambda *first, **more: untyped.duplicate(*first, "norm", **more)),
    Verb("can", lambda *first, **more: untyped.can(*first, "remove", "left", **more)),
    Verb("explain", lambda *first, **more: untyped.explain(*first, "left", **more)),
    Verb("inspect", lambda *first, **more: untyped.inspect(*first, **more)),
]
CHOOSING = [verb for verb in VERBS if verb.about]
OF_NEURONS = [verb for verb in CHOOSING if verb.name != "resize_kernel"]
FIRSTS = ["graph", "network"]


class Call:
    """A verb on a fresh network, or its graph."""

    def __init__(self, verb: Verb, first: str) -> None:
        self.verb, self.net = verb, network()
        self.first: tuple[Any, ...] = (self.net, IMAGE)
        if first == "graph":
            self.first = (ng.capture(self.net, IMAGE),)

    def __call__(self, **more: Any) -> dict[str, Any]:
        """All that an edit made of the network, or what a question was answered, as it can be compared."""
        answer = self.verb.call(*self.first, **more)
        if not isinstance(answer, ng.Edit):
            return {"told": str(answer)}
        return {"json": answer.to_json(), **self.net.state_dict()}

    @property
    def layer(self) -> nn.Conv2d:
        """The layer whose neurons are chosen."""
        found = self.net.get_submodule(self.verb.about)
        assert isinstance(found, nn.Conv2d)
        return found

    def values(self) -> Tensor:
        """What the layer's neurons (or the entries of its kernels) are worth."""
        if self.verb.name == "resize_kernel":
            return torch.arange(self.layer.weight.numel()).reshape(self.layer.weight.shape).double() % 7 + 1
        return torch.arange(1.0, self.layer.out_channels + 1).double()


@functools.cache
def expected(verb: Verb, utility: Any = None) -> dict[str, Any]:
    """What the verb makes of the graph with a utility's name or number; "values" are those by the vertex."""
    call = Call(verb, "graph")
    if utility == "values":
        return call(utility={call.first[0][verb.about]: call.values()})
    return call(utility=utility, loss=loss) if verb.about else call()


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[key]) if isinstance(value, Tensor) else value == two[key]
        for key, value in one.items()
    )


# The first argument


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_graph_and_a_network_with_its_example_give_the_same(verb: Verb) -> None:
    assert same(expected(verb), Call(verb, "network")())
    for first in ((), {"x": IMAGE}), ((IMAGE,), None):
        call = Call(verb, "network")
        call.first = call.net, first[0]
        assert same(expected(verb), call(kwargs=first[1]))


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_an_edit_of_a_network_has_a_graph_that_runs(verb: Verb) -> None:
    net = network()
    edit = verb.call(net, IMAGE)
    if isinstance(edit, ng.Edit) and edit.change.structure is not None:
        assert edit.graph is not None
        assert edit.graph.rewired
        assert edit.graph.module is net
        assert torch.equal(edit.graph.to_module()(IMAGE), edit.graph(IMAGE))
        assert any("edit.graph.to_module()" in note for note in edit.notes)
        edit.undo()
    elif isinstance(edit, ng.Edit):
        net(IMAGE)
        edit.undo()
    assert torch.equal(net(IMAGE), network()(IMAGE))


WRONG_FIRST: list[tuple[str, Callable[[Net, ng.Graph], tuple[Any, ...]], str]] = [
    (
        "nothing",
        lambda net, graph: (None, IMAGE),
        "takes a graph, .*, or a network and its example, .* not None",
    ),
    ("a list", lambda net, graph: ([net], IMAGE), "takes a graph, .* not a list"),
    ("a function", lambda net, graph: (net.forward, IMAGE), "takes a graph, .* not a method"),
    (
        "a class",
        lambda net, graph: (Net, IMAGE),
        r"Net is a class; make a network of it first: Net\(\.\.\.\)",
    ),
    ("a graph and an example", lambda net, graph: (graph, IMAGE), "a graph has its example already"),
]


@pytest.mark.parametrize(("first", "message"), [w[1:] for w in WRONG_FIRST], ids=[w[0] for w in WRONG_FIRST])
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_wrong_first_argument_is_told(verb: Verb, first: Any, message: str) -> None:
    net = network()
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        verb.call(*first(net, ng.capture(net, IMAGE)))
    assert unchanged(net, before)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.name not in ("prune", "inspect")], ids=str)
def test_a_network_without_an_example_is_told(verb: Verb) -> None:
    with pytest.raises(ng.EditError, match=rf"its example, ng\.{verb.name}\(model, x, \.\.\.\)"):
        verb.call(network())


# The same names and defaults

DEFAULTS = {"utility": None, "loss": None, "strategy": None, "backend": "highs", "optimizer": None}


@pytest.mark.parametrize("verb", [*VERBS, Verb("capture", print), Verb("save", print), Verb("replay", print)])
def test_the_same_thing_has_the_same_name_and_default(verb: Verb) -> None:
    parameters = inspect.signature(getattr(ng, verb.name)).parameters
    assert next(iter(parameters)) == "model"
    for name, default in DEFAULTS.items():
        if name in parameters:
            assert parameters[name].default == default
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    if verb.about:
        assert {"utility", "loss", "optimizer"} <= parameters.keys()


def test_star_imports_shadow_nothing() -> None:
    assert not set(ng.__all__) & set(dir(builtins))


# Forms of utility

FORMS: dict[str, Callable[[Call, Tensor], Any]] = {
    "list": lambda call, values: {call.verb.about: values.tolist()},
    "array": lambda call, values: {call.verb.about: values.numpy()},
    "array of integers": lambda call, values: {call.verb.about: values.numpy().astype(np.int32)},
    "tensor": lambda call, values: {call.verb.about: values},
    "tensor with a gradient": lambda call, values: {call.verb.about: values.float().requires_grad_()},
    "tensor of halves": lambda call, values: {call.verb.about: values.bfloat16()},
    "by layer": lambda call, values: {call.layer: values},
    "function": lambda call, values: lambda vertex: values if vertex.name == call.verb.about else None,
    "in two parts": lambda call, values: {call.verb.about: values - 1, call.layer: 1},
    "nothing of another": lambda call, values: {call.verb.about: values, "norm": None},
}
FORMS_OF_NEURONS: dict[str, Callable[[Call, Tensor], Any]] = {
    "by width": lambda call, values: {width_of(call): values},
    "of all widths": lambda call, values: ng.OfWidths(lambda widths: {call.verb.about: values}),
    "of all widths, by width": lambda call, values: ng.OfWidths(
        lambda widths: {width: values for width in widths if width.name == call.verb.about}
    ),
}
TABLE = [(verb, form) for verb in CHOOSING for form in FORMS] + [
    (verb, form) for verb in OF_NEURONS for form in FORMS_OF_NEURONS
]


def width_of(call: Call) -> ng.Width:
    return next(w for w in ng.inspect(call.net, IMAGE).widths if w.name == call.verb.about)


@pytest.mark.parametrize(("verb", "form"), TABLE, ids=str)
def test_every_form_of_the_same_utility_gives_the_same_edit(verb: Verb, form: str) -> None:
    for kind in FIRSTS:
        call = Call(verb, kind)
        make = (FORMS | FORMS_OF_NEURONS)[form]
        assert same(expected(verb, "values"), call(utility=make(call, call.values())))


@pytest.mark.parametrize("verb", CHOOSING, ids=str)
def test_a_utility_decides(verb: Verb) -> None:
    told = [
        Call(verb, "graph")(utility={verb.about: sign * Call(verb, "graph").values()}) for sign in (1, -1)
    ]
    assert same(*told) is not verb.chooses


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize("name", ["l1", "l2", "magnitude", "bn_scale", "taylor", "random"])
@pytest.mark.parametrize("verb", CHOOSING, ids=str)
def test_every_name_is_known_everywhere(verb: Verb, name: str, kind: str) -> None:
    call = Call(verb, kind)
    if verb.name == "resize_kernel" and name == "bn_scale":
        with pytest.raises(ng.EditError, match=r"'bn_scale' gives no finite values for .* left\.weight"):
            call(utility=name)
        return
    assert same(expected(verb, name), call(utility=name, loss=loss))
    if verb.name == "resize_kernel":
        assert same(expected(verb, name), Call(verb, kind)(utility={"left": name}, loss=loss))
    else:
        of_all = ng.OfWidths(lambda widths: dict.fromkeys(widths, name))
        assert same(expected(verb, name), Call(verb, kind)(utility=of_all, loss=loss))


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize("verb", CHOOSING, ids=str)
def test_a_number_is_one_for_all(verb: Verb, kind: str) -> None:
    for zero in (0.0, np.float32(0), torch.zeros(()), lambda vertex: 0):
        assert same(expected(verb, 0), Call(verb, kind)(utility=zero))


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize("verb", OF_NEURONS, ids=str)
def test_none_is_the_default_of_the_verb(verb: Verb, kind: str) -> None:
    default = "l2" if verb.name == "prune" else "magnitude"
    for nothing in (None, {}, {"stem": None}, lambda vertex: None, {"stem": default}):
        assert same(expected(verb, default), Call(verb, kind)(utility=nothing))


# What does not fit

WRONG: list[tuple[str, Callable[[Call], Any], str]] = [
    ("a name", lambda call: "l3", "no utility 'l3' among l2, .*; did you mean 'l2' or 'l1'"),
    ("a name inside", lambda call: {call.verb.about: "l3"}, "no utility 'l3' among"),
    (
        "a vertex",
        lambda call: {"stm": 1.0},
        "names 'stm', which is no vertex, width or layer; did you mean 'stem'",
    ),
    ("a key", lambda call: {3: 1.0}, "utility= has an entry for 3, which is no vertex"),
    ("another graph", lambda call: {ng.capture(network(), IMAGE)["stem"]: 1.0}, "'stem' of another graph"),
    (
        "another network",
        lambda call: {network().stem: 1.0},
        "Conv2d, which the network does not call as a layer",
    ),
    ("a length", lambda call: {call.verb.about: [1.0, 2.0]}, r"has shape \(2,\), not \("),
    ("not finite", lambda call: {call.verb.about: call.values() / 0}, "is not finite"),
    ("a number not finite", lambda call: float("nan"), "utility= nan is not finite"),
    ("an object", lambda call: {call.verb.about: object()}, "cannot be a object: give a list"),
    ("ragged", lambda call: {call.verb.about: [[1.0], [1.0, 2.0]]}, "cannot be a list: give a list"),
    ("a dict from a function", lambda call: lambda vertex: {"stem": 1.0}, "cannot be a dict: give a list"),
    ("a list for all", lambda call: [1.0, 2.0], "utility= cannot be a list: give a criterion's name"),
    (
        "a tensor for all",
        lambda call: call.values(),
        "utility= cannot be a Tensor: .* a dict by vertex or width",
    ),
    ("a flag", lambda call: True, "utility= cannot be a bool"),
    (
        "no values",
        lambda call: {call.verb.about: call.values().to("meta")},
        "cannot be a tensor without values",
    ),
    ("a class", lambda call: ng.OfWidths, "utility= cannot be OfWidths"),
    ("taylor alone", lambda call: "taylor", "needs loss="),
]


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize(("make", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
@pytest.mark.parametrize("verb", CHOOSING, ids=str)
def test_a_utility_that_does_not_fit_is_told(verb: Verb, make: Any, message: str, kind: str) -> None:
    call = Call(verb, kind)
    before, made = snapshot(call.net), make(call)
    vertices = [repr(vertex.args) for vertex in call.first[0]] if kind == "graph" else []
    with pytest.raises(ng.EditError, match=message):
        call(utility=made)
    assert unchanged(call.net, before)
    if kind == "graph":
        assert [repr(vertex.args) for vertex in call.first[0]] == vertices


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"backend": "higs"}, "no solver 'higs' can be used here; there are: .*did you mean 'highs'"),
    ({"backend": 3}, "backend=3: give a solver's name"),
    ({"strategy": "raise"}, "strategy='raise': give one of ng.strategy"),
    ({"strategy": ng.strategy.Raise}, r"strategy=Raise is a class: give Raise\(\.\.\.\)"),
    ({"loss": 3}, "loss=3: give a function of the network"),
    ({"optimizer": "Adam"}, "optimizer= takes torch optimizers"),
]


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize(("option", "message"), OPTIONS, ids=[str(o[0]) for o in OPTIONS])
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_wrong_option_is_told(verb: Verb, option: dict[str, Any], message: str, kind: str) -> None:
    if not option.keys() <= inspect.signature(getattr(ng, verb.name)).parameters.keys():
        return
    call = Call(verb, kind)
    before = snapshot(call.net)
    with pytest.raises(ng.EditError, match=message):
        call(**option)
    assert unchanged(call.net, before)


@pytest.mark.parametrize(
    "verb", [v for v in VERBS if "backend" in inspect.signature(getattr(ng, v.name)).parameters], ids=str
)
def test_another_solver_gives_the_same(verb: Verb) -> None:
    pytest.importorskip("pulp")
    assert same(expected(verb), Call(verb, "graph")(backend="pulp:CBC"))


def test_no_strategy_is_told() -> None:
    with pytest.raises(ng.EditError, match=r"Solve\(otherwise='raise'\): give a strategy, such as Raise\(\)"):
        untyped.strategy.Solve("raise")
    with pytest.raises(ng.EditError, match=r"Warn\(then=Raise\): give a strategy"):
        untyped.strategy.Warn(ng.strategy.Raise)
    with pytest.raises(ng.EditError, match=r"TimeLimit\(otherwise=3\): give a strategy"):
        untyped.strategy.TimeLimit(3, otherwise=3)
    with pytest.raises(ng.EditError, match="TimeLimit's seconds must be a number from 0 up, not 'x'"):
        untyped.strategy.TimeLimit("x")
    with pytest.raises(ng.EditError, match="the most new neurons must be a whole number from 0 up, not -1"):
        ng.strategy.MostNew(-1)
    graph = ng.capture(network(), IMAGE)
    with pytest.raises(ng.EditError, match="the strategy gave 3: it must give a Decision"):
        untyped.resize(graph, {"stem": -1}, strategy=lambda attempt: 3)


NAMES: list[Callable[[ng.Graph], Any]] = [
    lambda g: ng.resize(g, {"stm": -1}),
    lambda g: ng.resize_kernel(g, {"stm": 3}),
    lambda g: ng.remove(g, "stm"),
    lambda g: ng.connect(g, "stm", "add"),
    lambda g: ng.disconnect(g, "left", "stm"),
    lambda g: ng.branch(g, "stm", "head"),
    lambda g: ng.insert(g, nn.ReLU(), after="stm"),
    lambda g: ng.insert(g, nn.ReLU(), edge=("stm", "norm")),
    lambda g: ng.explain(g, "stm"),
    lambda g: ng.explain(g, "stm.weight"),
    lambda g: ng.prune(g, ratio=0.5, keep="stm"),
    lambda g: g["stm"],
    lambda g: g.run(IMAGE, ["stm"]),
]


@pytest.mark.parametrize("call", NAMES)
def test_a_name_that_does_not_exist_is_told_with_the_nearest(call: Callable[[ng.Graph], Any]) -> None:
    with pytest.raises(ng.EditError, match=r"'stm.*'.*did you mean '.*stem"):
        call(ng.capture(network(), IMAGE))
