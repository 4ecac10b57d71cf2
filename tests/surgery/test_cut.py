"""Cuts: the parts of a network, run one after the other, give what it gives, at every vertex."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.ir.pytree import stubs_in


class Residual(nn.Module):
    """Convolutions with norms, activations in place, a sum in place and a shortcut with a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.short = nn.Conv2d(6, 8, 1, stride=2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 8, 8) to (batch, 4)."""
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(x + self.one(x))
        y = self.two(x)
        y += self.short(x)
        return self.head(F.relu_(y).mean((2, 3)))  # type: ignore[no-any-return]


class Views(nn.Module):
    """A view of a tensor that is changed in place afterwards, through another view, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 4) to (batch, 3)."""
        y = torch.tanh(self.a(x))
        rows, columns = y[:, :3], y[:, 3:]
        columns.mul_(2)
        y = F.relu_(y)
        z = self.b(y)
        z += y
        return self.c(F.hardtanh_(z)) + rows  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention with heads counted by an attribute, and sizes that are read off the input alone."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 2
        self.embed, self.qkv, self.out = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, 5) to (batch, length, 8)."""
        batch, length = x.shape[:2]
        h = self.norm(self.embed(x))
        q, k, v = self.qkv(h).view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return h + self.out(y)  # type: ignore[no-any-return]


class Modes(nn.Module):
    """A network with an activation and a dropout of its own in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 4) to (batch, 3)."""
        h = self.a(x)
        h = h.tanh().neg() if self.training else h.relu()
        return self.c(F.dropout(self.b(h), 0.5, self.training))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A layer that gives a tuple, of which two parts are used."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, 4) to (batch, 3)."""
        y, (h, _) = self.lstm(x)
        return self.head(y.sum(1) + h[0])  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (4, 3, 8, 8)),
    "views": (Views, (5, 4)),
    "attention": (Attention, (3, 7, 5)),
    "modes": (Modes, (5, 4)),
    "recurrent": (Recurrent, (3, 6, 4)),
}
every = pytest.mark.parametrize("kind", NETWORKS)


def network(kind: str) -> tuple[Any, Tensor, ng.Graph]:
    make, shape = NETWORKS[kind]
    net, x = make().eval(), torch.randn(shape)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = torch.randn(6), torch.rand(6) + 0.5
    return net, x, ng.capture(net, x)


def parts_at(graph: ng.Graph, name: str) -> tuple[ng.Graph, ng.Graph, list[str]]:
    """The part before a vertex and the one after it, with what else crosses, as errors tell it."""
    crossing, last = [name], graph.vertices[-1].name
    for _ in graph:
        try:
            after = ng.surgery.cut(graph, inputs=crossing, outputs=[last])
            break
        except ng.EditError as error:
            crossing += missing(str(error))
    first = graph.inputs[0].name
    inside = [each for each in crossing if each != first]
    before = ng.surgery.cut(graph, inputs=[first], outputs=inside)
    return before, after, crossing


def places(graph: ng.Graph) -> list[ng.Vertex]:
    """The vertices at which the network can be cut, in both modes."""
    return [v for v in graph.vertices[1:] if v.name in graph.in_train_mode]


def missing(message: str) -> list[str]:
    """The vertices that a message asks to add."""
    told = re.search(r"add ('.*') to inputs=", message)
    assert told is not None, message
    return [each.strip("'") for each in told.group(1).split(", ")]


@every
@torch.no_grad()
def test_parts_one_after_the_other_are_the_whole(kind: str) -> None:
    net, x, graph = network(kind)
    expected, values = net(x), {name: value.clone() for name, value in net.state_dict().items()}
    for vertex in places(graph):
        before, after, crossing = parts_at(graph, vertex.name)
        found = before(x)
        inside = [name for name in crossing if name != graph.inputs[0].name]
        by_name = {graph.inputs[0].name: x, **(found if len(inside) > 1 else {inside[0]: found})}
        given = [by_name[name] for name in crossing]
        copies = copy.deepcopy(given)
        whole = ng.surgery.cut(graph, inputs=crossing)
        for run in (after, after.module, after.to_module(), whole):
            assert torch.equal(run(*given), expected), vertex.name
        assert all(torch.equal(one, two) for one, two in zip(tensors(given), tensors(copies), strict=True))
        before.lint()
        after.lint()
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())


def tensors(values: Any) -> list[Tensor]:
    """The tensors in nested lists and tuples."""
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in tensors(value)]


@pytest.mark.parametrize("kind", ["residual", "views", "recurrent"])
@torch.no_grad()
def test_hidden_values_go_in_and_out_bit_for_bit_at_every_vertex(kind: str) -> None:
    net, x, graph = network(kind)
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        """Return a hook that keeps a copy of what a layer gave at first, before others change it."""

        def hook(layer: nn.Module, args: Any, result: Any) -> None:
            seen.setdefault(name, copy.deepcopy(result))

        return hook

    for name, module in net.named_children():
        module.register_forward_hook(keep(name))
    output, last = net(x), graph.vertices[-1].name
    first, *others = (vertex.name for vertex in graph)
    values = graph.run(x, others)
    for name in seen.keys() & set(others):
        assert all(map(torch.equal, tensors(values[name]), tensors(seen[name]))), name
    for name in others:
        given = {first: x, name: values[name]}
        before = copy.deepcopy(values[name])
        assert torch.equal(graph.run(given, [last])[last], output), name
        assert all(map(torch.equal, tensors(values[name]), tensors(before))), name


@every
def test_names_and_parameters_are_those_of_the_whole(kind: str) -> None:
    net, _, graph = network(kind)
    known, mine = {vertex.name for vertex in graph}, {id(p) for p in net.parameters()}
    for vertex in places(graph):
        for part in parts_at(graph, vertex.name)[:2]:
            named = {v.name for v in part if v.kind != "input"}
            assert not {n for n in named if not re.search(r"_(clone|copy|before)(_\d+)?$", n)} - known
            assert all(id(p) in mine for p in part.module.parameters())
            assert all(net.get_parameter(n) is p for n, p in part.module.named_parameters())
            assert part.checks["another batch"] == "equal" or kind == "recurrent"


def test_sizes_that_code_reads_off_the_input_are_read_off_what_is_given() -> None:
    net, _, graph = network("attention")
    part = ng.surgery.cut(graph, inputs=["norm"], outputs=["add"])
    hidden = net.norm(net.embed(torch.randn(2, 11, 5)))
    assert torch.equal(part(hidden), graph.run({"norm": hidden, "x": hidden}, ["add"])["add"])


class Positions(nn.Module):
    """A network that makes a mask from the length of what a layer gave before another layer is called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.out = nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, 6)."""
        x = self.embed(ids)
        places = torch.arange(x.shape[1])
        early = (places[:, None] >= places).float()
        return self.out(early @ self.norm(x))  # type: ignore[no-any-return]


def test_a_size_that_is_read_before_the_cut_is_read_off_what_is_given_after_it() -> None:
    net, ids = Positions().eval(), torch.randint(0, 9, (2, 5))
    part = ng.surgery.cut(ng.capture(net, ids), inputs=["norm"])
    longer = torch.randint(0, 9, (3, 7))
    hidden = net.norm(net.embed(longer))
    assert torch.equal(part(hidden), net(longer))
    assert torch.equal(part.module(hidden), net(longer))


def test_a_cut_trains_the_whole_and_follows_its_mode() -> None:
    net, x, graph = network("residual")
    part = ng.surgery.cut(graph, inputs=["stem"], outputs=["linear" if "linear" in graph else "head"])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    weights, mean = net.one.weight.detach().clone(), net.norm.running_mean.clone()
    part.module.train()
    assert net.norm.training
    part(net.stem(x)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net.one.weight, weights)
    assert not torch.equal(net.norm.running_mean, mean)
    net.eval()
    assert torch.equal(part.module.eval()(net.stem(x)), net(x))


def test_another_run_in_train_mode_is_cut_as_well() -> None:
    net, x, graph = network("modes")
    part = ng.surgery.cut(graph, inputs=["a"], outputs=["b"])
    for mode in (True, False, True):
        net.train(mode)
        part.module.train(mode)
        hidden = net.a(x)
        expected = net.b(hidden.tanh().neg() if mode else hidden.relu())
        assert torch.equal(part(hidden), expected)
        assert torch.equal(part.module(hidden), expected)
    with pytest.raises(ng.EditError, match="'relu' is not there in train mode"):
        ng.surgery.cut(graph, inputs=["relu"], outputs=["b"])


def test_pruning_a_part_prunes_the_whole_and_a_copy_does_not() -> None:
    net, x, graph = network("residual")
    apart = ng.surgery.cut(graph, inputs=["stem"], outputs=["head"], copy=True)
    expected = net(x)
    ng.prune(apart, params=0.6)
    assert sum(p.numel() for p in apart.module.parameters()) < sum(p.numel() for p in net.parameters())
    assert torch.equal(net(x), expected)
    part = ng.surgery.cut(graph, inputs=["relu"], outputs=["head"])
    edit = ng.prune(part, params=0.6)
    assert net.head.in_features < 8
    assert part.module.get_submodule("head") is net.head
    hidden = net.relu(net.norm(net.stem(x)))
    assert torch.equal(part(hidden), net(x))
    edit.undo()
    assert torch.equal(net(x), expected)


def test_a_pruned_part_is_saved_and_loaded(tmp_path: Path) -> None:
    _, _, graph = network("residual")
    part = ng.surgery.cut(graph, inputs=["relu"], outputs=["head"], copy=True)
    hidden = torch.randn(2, 6, 8, 8)
    ng.prune(part, params=0.6)
    ng.save(part, tmp_path / "part.safetensors")
    fresh = ng.surgery.cut(graph, inputs=["relu"], outputs=["head"], copy=True)
    loaded = ng.load(fresh.module, tmp_path / "part.safetensors")
    assert torch.equal(loaded(hidden), part(hidden))
    again = ng.Structure.of(part)
    assert stubs_in(part.output)[0].shape == (4, 4)
    assert again is not None


def test_a_part_of_a_part_and_of_an_edited_graph() -> None:
    _, x, graph = network("residual")
    ng.insert(graph, nn.Tanh(), after="norm", name="squash")
    expected = graph(x)
    front = ng.surgery.cut(graph, inputs=["x"], outputs=["squash"])
    back = ng.surgery.cut(graph, inputs=["squash"], outputs=["head"])
    middle = ng.surgery.cut(back, inputs=["relu"], outputs=["relu_1"])
    end = ng.surgery.cut(back, inputs=["relu_1"], outputs=["head"])
    assert torch.equal(back(front(x)), expected)
    relu = graph.run(x, ["relu"])["relu"]
    assert torch.equal(end(middle(relu)), expected)


def test_a_copy_of_a_cut_is_a_network_of_its_own() -> None:
    net, x, graph = network("residual")
    part = ng.surgery.cut(graph, inputs=["relu"], outputs=["relu_1", "head"])
    other = copy.deepcopy(part)
    with torch.no_grad():
        net.head.weight.zero_()
    hidden = graph.run(x, ["relu"])["relu"]
    assert part(hidden).keys() == {"relu_1", "head"}
    assert torch.equal(part(hidden)["head"], net.head.bias.expand(4, 4))
    assert not torch.equal(other(hidden)["head"], net.head.bias.expand(4, 4))


WRONG: list[tuple[Any, Any, str]] = [
    (["one"], ["head"], r"'head' cannot be worked out from 'one' alone: add 'relu' to inputs="),
    (["x", "relu"], ["relu_1"], r"'relu_1' can be worked out without 'x': leave it out of inputs="),
    (["two"], ["stem"], "'stem' does not depend on 'two': no part leads from there to it"),
    (["stm"], ["head"], "no vertex 'stm'; did you mean 'stem'"),
    (["stem"], ["haed"], "no vertex 'haed'; did you mean 'head'"),
    ("stem", ["head"], r"inputs= takes a list of names of vertices, not 'stem'"),
    (["stem"], [], "outputs= names no vertex"),
    (["stem", "stem"], ["head"], "inputs= names 'stem' twice"),
]


@pytest.mark.parametrize(("inputs", "outputs", "message"), WRONG)
def test_what_cannot_be_cut_is_told(inputs: Any, outputs: Any, message: str) -> None:
    net, x, graph = network("residual")
    expected = net(x)
    with pytest.raises(ng.EditError, match=message):
        ng.surgery.cut(graph, inputs=inputs, outputs=outputs)
    assert torch.equal(net(x), expected)
    assert torch.equal(graph(x), expected)


def test_what_the_network_returns_is_returned_whatever_it_is() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> dict[str, Any]:
            """Return the logits, and what a part of the hidden values is in the end."""
            h = self.a(x)
            part = h[:, :2]
            out = self.b(h)
            part.add_(1)
            return {"logits": out, "rest": (part, h)}

    net, x = Pair().eval(), torch.randn(3, 4)
    found = ng.surgery.cut(ng.capture(net, x), inputs=["a"])(net.a(x))
    expected = net(x)
    assert torch.equal(found["logits"], expected["logits"])
    assert torch.equal(found["rest"][0], expected["rest"][0])
    assert torch.equal(found["rest"][1], expected["rest"][1])


def test_an_output_of_the_network_that_the_part_cannot_make_is_told() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            """Return what the first layer gave, too."""
            h = self.a(x)
            return h, self.b(h.tanh())

    graph = ng.capture(Both().eval(), torch.randn(3, 4))
    with pytest.raises(
        ng.EditError, match=r"'a' does not depend on 'tanh'.*; say with outputs= what is wanted"
    ):
        ng.surgery.cut(graph, inputs=["tanh"])
    assert ng.surgery.cut(graph, inputs=["tanh"], outputs=["b"])(torch.randn(2, 6)).shape == (2, 3)


def test_a_network_is_no_graph() -> None:
    with pytest.raises(ng.EditError, match=r"cut takes a graph, ng\.capture\(model, x\), not a Residual"):
        ng.surgery.cut(Residual(), inputs=["x"], outputs=["head"])  # type: ignore[arg-type]
