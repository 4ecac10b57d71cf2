"""What an edit tells of the size of every vertex: before, after, which neurons stayed, and why."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.request.requests import Delta


class Small(nn.Module):
    """A convolution, two more with a way around them, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.conv2(torch.relu(self.conv1(x)))
        out: Tensor = self.head(x.flatten(1))
        return out


def _graph() -> ng.Graph:
    torch.manual_seed(0)
    return ng.capture(Small().eval(), torch.randn(1, 3, 2, 2))


def _values(name: str, graph: ng.Graph) -> Tensor:
    found = graph.run(graph.example["x"], [name])[name]
    assert isinstance(found, Tensor)
    return found


def test_kept_neurons_are_those_the_weights_have() -> None:
    graph = _graph()
    weight = graph.module.get_parameter("conv1.weight").detach().clone()
    edit = ng.resize(graph, {"conv1": -2, "stem": +3})
    told = edit.sizes["conv1"]
    kept = [index for run in told.kept for index in run]
    assert (told.before, told.after, told.new, told.why) == (6, 4, 0, "asked: exactly -2")
    assert torch.equal(graph.module.get_parameter("conv1.weight")[:, :8], weight[kept])
    assert (edit.sizes["stem"].kept, edit.sizes["stem"].new) == ((range(0, 8),), 3)
    assert {name: size.after for name, size in edit.sizes.items()} == {
        name: after for name, after in graph.sizes.items() if name not in ("x", "head")
    }


def test_a_flattened_axis_tells_its_own_neurons() -> None:
    graph = _graph()
    worth = torch.ones(8)
    worth[2] = 0.0
    edit = ng.resize(graph, {"stem": -1}, utility={"stem": worth.numpy()})
    assert edit.sizes["stem"].kept == (range(0, 2), range(3, 8))
    assert edit.sizes["flatten"].kept == (range(0, 8), range(12, 32))


def test_why_names_what_it_follows_and_through_what() -> None:
    edit = ng.resize(_graph(), {"stem": +3})
    why = {name: (size.why, size.chain) for name, size in edit.sizes.items()}
    assert why["norm"] == ("follows stem", ())
    assert why["relu"] == ("follows stem through norm", ("norm",))
    assert why["conv2"] == ("follows stem through add", ("norm", "relu", "add"))
    assert "conv1" not in why


def test_inputs_asked_for_are_followed() -> None:
    graph = _graph()
    edit = ng.resize(graph, {graph["conv2"]: (ng.inputs(-2), ng.frozen())})
    assert edit.sizes["relu_1"].why == "follows conv2, input 1"
    assert edit.sizes["conv1"].why == "follows conv2, input 1 through relu_1"
    assert list(edit.asked) == ["conv2"]
    inputs, frozen = edit.asked["conv2"]
    assert inputs.entries == (Delta(-2),)
    assert frozen == ng.frozen()


def test_printed_rows() -> None:
    edit = ng.resize(_graph(), {"conv1": -2})
    rows = [line.split("│") for line in str(edit).splitlines() if "│" in line and "%" not in line]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert cells["conv1"][:2] == ["6", "4"]
    assert cells["conv1"][4] == "asked: exactly -2"
    assert cells["relu_1"][4] == "follows conv1"
    many = nn.Sequential(nn.Linear(3, 8), *(nn.Tanh() for _ in range(20)), nn.Linear(8, 2))
    text = str(ng.resize(ng.capture(many, torch.ones(1, 3)), {"0": +1}))
    assert "... and 9 more" in text


def test_pruning_tells_too_and_prints_widths() -> None:
    net = Small().eval()
    edit = ng.prune(net, torch.randn(1, 3, 2, 2), macs=0.5)
    assert edit.sizes["conv1"].after == net.conv1.out_channels
    assert edit.sizes["conv1"].why == "chosen by utility"
    assert edit.sizes["relu_1"].why == "follows conv1"
    assert "1 width changed" in " ".join(str(edit).split())


def test_structural_edits_tell_sizes_and_who_does_not_know() -> None:
    verbs: tuple[Callable[[ng.Graph], ng.Edit], ...] = (
        lambda graph: ng.remove(graph, "conv1"),
        lambda graph: ng.connect(graph, "conv1", "add"),
        lambda graph: ng.disconnect(graph, "relu", "add"),
        lambda graph: ng.insert(graph, nn.Tanh(), after="conv1"),
    )
    for verb in verbs:
        graph = _graph()
        before = graph.sizes
        edit = verb(graph)
        now = graph.sizes
        told = {name: (size.before, size.after) for name, size in edit.sizes.items() if name in now}
        changed = {
            name: (before[name], now[name]) for name in now if now[name] != before.get(name, now[name])
        }
        assert told == changed
        assert all(size.before == before[name] for name, size in edit.sizes.items())
        assert "forward of Small does not know of this edit" in " ".join(str(edit).split())
        assert "graph.to_module()" in edit.notes[0]
        edit.undo()


def test_nothing_keeps_the_network_alive() -> None:
    graph = _graph()
    module = weakref.ref(graph.module)
    layer = weakref.ref(graph.module.get_submodule("stem"))
    edit = copy.deepcopy(ng.resize(graph, {"stem": +3}))  # the one that was returned holds the way back
    del graph
    gc.collect()
    assert module() is None
    assert layer() is None
    assert edit.sizes["conv2"].why == "follows stem through add"
