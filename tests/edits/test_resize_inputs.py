"""Inputs of a network take more or fewer channels where that is asked for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng


class Of(nn.Module):
    """Layers by name, and a forward that is a function of them and of the inputs."""

    def __getattr__(self, name: str) -> Any:
        """Give a layer."""
        return super().__getattr__(name)

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._forward(self, *args, **kwargs)


class Patches(nn.Module):
    """A vision transformer of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend to the patches."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.places
        out: torch.Tensor = self.head(self.block(tokens)[:, 0])
        return out


class ReadsSize(nn.Module):
    """A network whose code reads the number of channels off its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten the batch and the channels, and take them apart again."""
        batch, channels, height, width = x.shape
        x = torch.tanh(x.reshape(batch * channels, height * width)).reshape(batch, channels, height, width)
        out: torch.Tensor = self.conv(x)
        return out


class Auxiliary(nn.Module):
    """A head on the input that train mode alone uses."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

    def forward(self, x: torch.Tensor) -> Any:
        """Give both in train mode."""
        return (self.main(x), self.aux(x)) if self.training else self.main(x)


def _stem() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))


IMAGE = torch.Size((2, 3, 8, 8))
# The network, the shape of its input, and the dimension of its neurons.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "convolutions": (_stem, IMAGE, 1),
    "normed first": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), IMAGE, 1),
    "depthwise first": (lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 1)), IMAGE, 1),
    "residual": (
        lambda: Of(
            lambda m, x: m.last(x + m.conv(x).relu()), conv=nn.Conv2d(3, 3, 1), last=nn.Conv2d(3, 2, 1)
        ),
        IMAGE,
        1,
    ),
    "concatenated": (
        lambda: Of(
            lambda m, x: m.last(torch.cat([m.conv(x), x], 1)),
            conv=nn.Conv2d(3, 4, 1),
            last=nn.Conv2d(7, 2, 1),
        ),
        IMAGE,
        1,
    ),
    "patches": (Patches, IMAGE, 1),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), IMAGE, 1),
    "two layers": (
        lambda: Of(lambda m, x: m.a(x) * m.b(x), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1)),
        IMAGE,
        1,
    ),
    "table": (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), (5, 6), 1),
    "sequence": (lambda: Of(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(3, 4, batch_first=True)), (2, 5, 3), 2),
    "signal": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.PReLU(4)), (2, 3, 9), 1),
    "code that reads sizes": (ReadsSize, IMAGE, 1),
    "another head in train mode": (Auxiliary, IMAGE, 1),
}


def _input(graph: ng.Graph) -> str:
    return graph.inputs[0].name


@pytest.mark.parametrize("name", NETWORKS)
def test_new_channels_of_an_input_change_nothing_whatever_they_hold(name: str) -> None:
    """The layers that read it follow, with weights of zero; undo takes the example back, too."""
    make, shape, dim = NETWORKS[name]
    net, x = make().eval(), torch.randn(shape)
    graph, before = ng.capture(net, x), net(x)
    edit = ng.resize(graph, {_input(graph): +2})
    more = torch.cat([x, torch.randn(x.narrow(dim, 0, 2).shape)], dim)
    torch.testing.assert_close(net(more), before)
    torch.testing.assert_close(graph(more), before)
    assert graph.sizes[_input(graph)] == shape[dim] + 2
    assert graph.example[_input(graph)].shape == more.shape
    assert edit.sizes[_input(graph)].new == 2
    assert edit.after.params == sum(p.numel() for p in net.parameters())
    assert ng.explain(graph, _input(graph)).size == shape[dim] + 2
    graph.lint()
    ng.inspect(graph)
    edit.undo()
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    torch.testing.assert_close(graph(x), before, rtol=0, atol=0)
    torch.testing.assert_close(graph.example[_input(graph)], x)


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_channels_of_an_input_are_as_if_the_others_were_zero(name: str) -> None:
    """Those of least utility go."""
    make, shape, dim = NETWORKS[name]
    if name in ("normed first", "depthwise first"):
        pytest.skip("a channel of zeros is not zero behind a bias")
    net, x = make().eval(), torch.randn(shape)
    zeroed = x.clone()
    whole: Any = copy.deepcopy(net)
    graph = ng.capture(net, x)
    utility = {_input(graph): [1.0, -1.0, *[2.0] * (shape[dim] - 2)]}
    ng.resize(graph, {_input(graph): -1}, utility=utility)
    kept = [0, *range(2, shape[dim])]
    zeroed.select(dim, 1).zero_()
    if name == "residual":  # what is added to the input has a bias of its own
        whole.conv.weight.data[1], whole.conv.bias.data[1] = 0, 0
    torch.testing.assert_close(net(x.index_select(dim, torch.tensor(kept))), whole(zeroed))


@pytest.mark.parametrize("name", ["convolutions", "patches", "residual", "another head in train mode"])
def test_the_size_of_an_input_is_saved_replayed_copied_and_pickled(name: str, tmp_path: Path) -> None:
    """A fresh network takes the new input afterwards."""
    make, shape, _ = NETWORKS[name]
    net, x = make().eval(), torch.randn(shape)
    fresh, graph = copy.deepcopy(net), ng.capture(net, x)
    other = ng.capture(copy.deepcopy(net), x)
    edit = ng.resize(graph, {_input(graph): +1})
    more = torch.randn(shape[0], 4, *shape[2:])
    ng.save(graph, tmp_path / "net.safetensors")
    torch.testing.assert_close(ng.load(make().eval(), tmp_path / "net.safetensors")(more), net(more))
    ng.replay(other, edit.to_json())
    torch.testing.assert_close(other(more), net(more))
    assert other.example[_input(other)].shape[1] == 4
    ng.replay(fresh, edit)
    torch.testing.assert_close(fresh(more), net(more))
    for again in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))) if name != "residual" else ():
        ng.resize(again, {_input(again): -2})
        assert again.example[_input(again)].shape[1] == 2


def test_a_graph_of_another_structure_is_loaded_with_the_input_it_was_captured_with(tmp_path: Path) -> None:
    """The fresh network takes the old input; the edits then change it."""
    graph = ng.capture(_stem().eval(), torch.randn(IMAGE))
    ng.resize(graph, {"input": +2})
    ng.insert(graph, nn.BatchNorm2d, after="0", name="norm")
    ng.resize(graph, {"input": -1, "norm": -2})
    ng.save(graph, tmp_path / "net.safetensors")
    more = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(ng.load(_stem().eval(), tmp_path / "net.safetensors")(more), graph(more))


def test_an_input_is_asked_for_as_the_input_of_a_layer() -> None:
    """Only the one that is asked for changes."""

    def forward(net: Any, one: torch.Tensor, two: torch.Tensor) -> Any:
        """Read both."""
        return net.a(one) + net.b(two)

    net = Of(forward, a=nn.Linear(4, 3), b=nn.Linear(5, 3)).eval()
    one, two = torch.randn(2, 4), torch.randn(2, 5)
    graph, before = ng.capture(net, (one, two)), net(one, two)
    ng.resize(graph, {"b": ng.inputs(+2)})
    assert (net.a.in_features, net.b.in_features) == (4, 7)
    torch.testing.assert_close(net(one, torch.cat([two, torch.ones(2, 2)], 1)), before)
    ng.resize(graph, {"a": ng.inputs(ng.size(2)), "b": ng.inputs(-3)})
    assert (net.a.in_features, net.b.in_features) == (2, 4)


def test_inputs_that_are_added_change_together() -> None:
    """One of them is asked for, and both have to."""

    def forward(net: Any, one: torch.Tensor, two: torch.Tensor) -> Any:
        """Add both."""
        return net.a(one + two)

    net = Of(forward, a=nn.Linear(4, 3)).eval()
    one, two = torch.randn(2, 4), torch.randn(2, 4)
    graph, before = ng.capture(net, (one, two)), net(one, two)
    names = [vertex.name for vertex in graph.inputs]
    with pytest.raises(ng.InfeasibleError, match="an input of the network"):
        ng.resize(graph, {names[0]: +1}, strategy=ng.strategy.Solve())
    ng.resize(graph, {names[0]: +1, names[1]: +1})
    more = [torch.cat([each, torch.ones(2, 1)], 1) for each in (one, two)]
    torch.testing.assert_close(net(*more), before)


@pytest.mark.parametrize("nested", ["tuple", "dict"])
def test_tensors_inside_an_input_are_resized_alone(nested: str) -> None:
    """Each by the layer that reads it; the first by the input's name."""

    def forward(net: Any, both: Any) -> Any:
        """Read both."""
        one, two = both.values() if isinstance(both, dict) else both
        return net.a(one) + net.b(two)

    def pack(one: torch.Tensor, two: torch.Tensor) -> Any:
        """Nest them."""
        return {"one": one, "two": two} if nested == "dict" else (one, two)

    net = Of(forward, a=nn.Linear(4, 3), b=nn.Linear(5, 3)).eval()
    one, two = torch.randn(2, 4), torch.randn(2, 5)
    graph, before = ng.capture(net, (pack(one, two),)), net(pack(one, two))
    ng.resize(graph, {"b": ng.inputs(+1)})
    two = torch.cat([two, torch.ones(2, 1)], 1)
    torch.testing.assert_close(graph(pack(one, two)), before)
    ng.resize(graph, {_input(graph): +1})
    torch.testing.assert_close(graph(pack(torch.cat([one, torch.ones(2, 1)], 1), two)), before)


def test_an_input_that_is_an_output_changes_it_where_it_is_asked_for() -> None:
    """As a size that must follow does."""
    net = Of(lambda m, x: (m.conv(x), x.relu()), conv=nn.Conv2d(3, 2, 1)).eval()
    x = torch.randn(IMAGE)
    graph, before = ng.capture(net, x), net(x)
    ng.resize(graph, {_input(graph): +1})
    first, second = net(torch.cat([x, x[:, :1]], 1))
    torch.testing.assert_close(first, before[0])
    torch.testing.assert_close(second[:, :3], before[1])


def test_a_written_graph_takes_another_input() -> None:
    """Its inputs have names."""
    x = ng.input_node("x", 3)
    graph = ng.Graph([x], [ng.layer(nn.Linear(3, 4), x, name="linear")])
    given = torch.randn(2, 3)
    before = graph(given)
    ng.resize(graph, {"x": +2})
    torch.testing.assert_close(graph(torch.cat([given, given[:, :2]], 1)), before)


def test_indices_are_no_neurons() -> None:
    """They are refused, and the network is as before."""
    net = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    graph = ng.capture(net, torch.randint(7, (2, 5)))
    with pytest.raises(ng.EditError, match=r"'input' cannot be resized: it holds numbers of type int64"):
        ng.resize(graph, {"input": +1})
    with pytest.raises(ng.EditError, match=r"resize the layer that reads it"):
        ng.resize(graph, {"0": ng.inputs(+1)})
    assert graph.sizes["1"] == 2


def test_a_size_that_the_code_insists_on_stays() -> None:
    """The message says where."""

    class Strict(nn.Module):
        """A network that checks its input."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Write the channels out."""
            out: torch.Tensor = self.conv(x.view(-1, 3, 64).tanh().view(-1, 3, 8, 8))
            return out

    net, x = Strict(), torch.randn(IMAGE)
    graph = ng.capture(net, x)
    with pytest.raises(ng.InfeasibleError, match="its size is written as 3"):
        ng.resize(graph, {"x": +1}, strategy=ng.strategy.Solve())
    assert net.conv.in_channels == 3
    assert graph.example["x"].shape == IMAGE


def test_inputs_stay_unless_they_are_asked_for() -> None:
    """Neither pruning nor growth nor utility alone changes them."""
    net, x = _stem(), torch.randn(IMAGE)
    net.eval()
    graph = ng.capture(net, x)
    ng.resize(graph, {"0": +2, "input": ng.frozen()})
    ng.resize(graph, utility={"0": [-1.0] * 3 + [1.0] * 7})
    ng.prune(graph, params=0.5)
    ng.prune(graph, ratio=0.5, keep=["input"])
    assert graph.sizes["input"] == 3
    assert net[0].in_channels == 3


def test_the_example_of_train_mode_follows_an_input() -> None:
    """The head that train mode alone uses takes the new channels."""
    net, x = Auxiliary().eval(), torch.randn(IMAGE)
    graph = ng.capture(net, x)
    edit = ng.resize(graph, {"x": +1})
    assert graph.training is not None
    assert graph.training.example["x"].shape == (2, 4, 8, 8)
    more = torch.randn(2, 4, 8, 8)
    net.train()
    torch.testing.assert_close(graph(more), net(more))
    net.eval()
    edit.undo()
    assert graph.training is not None
    assert graph.training.example["x"].shape == IMAGE


def test_an_input_that_the_code_cuts_into_equal_parts_grows_in_each() -> None:
    """Old channels stay in the part they were in."""
    net = Of(
        lambda m, x: m.a(x.chunk(2, 1)[0]) - m.b(x.chunk(2, 1)[1]), a=nn.Conv2d(2, 4, 1), b=nn.Conv2d(2, 4, 1)
    )
    x = torch.randn(2, 4, 5, 5)
    graph, before = ng.capture(net, x), net(x)
    ng.resize(graph, {_input(graph): +2})
    new = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(net(torch.cat([x[:, :2], new, x[:, 2:], new], 1)), before)


def test_an_input_that_only_a_mean_reads_grows_with_a_note() -> None:
    """No weight reads it, so it changes what the network computes."""
    net = Of(lambda m, x: m.last(x.mean(1).flatten(1)), last=nn.Linear(64, 2))
    graph = ng.capture(net, torch.randn(IMAGE))
    edit = ng.resize(graph, {_input(graph): +1})
    assert graph.sizes[_input(graph)] == 4
    assert "it enters a mean" in edit.notes[0]


def test_training_and_optimizer_follow_an_input() -> None:
    """Undo that keeps training keeps what the old channels learned."""
    net, x = _stem(), torch.randn(IMAGE)
    first: Any = net[0]
    graph = ng.capture(net.eval(), x)
    optimizer = torch.optim.Adam(net.parameters())

    def step(channels: int) -> None:
        """Train once."""
        optimizer.zero_grad()
        net(torch.randn(2, channels, 8, 8)).square().sum().backward()
        optimizer.step()

    step(3)
    edit = ng.resize(graph, {"input": +1}, optimizer=optimizer)
    step(4)
    trained = first.weight[:, :3].clone()
    edit.undo(keep_training=True)
    torch.testing.assert_close(first.weight, trained, rtol=0, atol=0)
    assert graph.example["input"].shape == IMAGE
    step(3)
