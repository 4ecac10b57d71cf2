"""The history of copies, of networks with a common part, and of parts that are gone: files can be loaded."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def body() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))


class Whole(nn.Module):
    """A body beside a shortcut, between two layers."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.part, self.head = nn.Linear(4, 4), part, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out: Tensor = self.head(x + self.part(x))
        return out


def whole() -> Whole:
    return Whole(body()).eval()


def another(part: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), part, nn.Linear(4, 3)).eval()


def loads(net: nn.Module | ng.Graph, path: Path, expected: Tensor) -> None:
    """A file of the network makes it of a fresh one."""
    ng.save(net, path)
    fresh = ng.capture(whole(), X) if isinstance(net, ng.Graph) else whole()
    assert torch.equal(ng.load(fresh, path)(X), expected)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("by", ["another whole", "the part", "a part of the part and then another whole"])
def test_a_copy_knows_the_edits_of_its_part(how: str, by: str, tmp_path: Path) -> None:
    net = whole()
    if by != "another whole":
        ng.resize(net.part, X, {"0": -1})
    if by != "the part":
        ng.resize(another(net.part), X, {"1.0": +2})
    copied = COPIES[how](net)
    assert history_of(copied) == history_of(net)
    loads(copied, tmp_path / "copy", net(X))
    ng.resize(copied, X, {"part.0": -1})  # and goes on from there
    assert history_of(copied)[:-1] == history_of(net)
    loads(copied, tmp_path / "edited", copied(X))
    twice = COPIES[how](copied)
    loads(twice, tmp_path / "twice", copied(X))


@pytest.mark.parametrize("by", ["another whole", "the part"])
def test_a_file_tells_what_happened_to_a_part_that_is_gone(by: str, tmp_path: Path) -> None:
    net = whole()
    if by == "another whole":
        ng.resize(another(net.part), X, {"1.0": +2})
    else:
        ng.resize(net.part, X, {"0": +2})
    graph = ng.capture(net, X)
    ng.resize(graph, {"part.0": -1})
    ng.remove(graph, "part")
    loads(graph, tmp_path / "net", graph(X))
    ng.replay(ng.capture(whole(), X), history_of(net))
    loads(copy.deepcopy(graph), tmp_path / "copy", graph(X))


@pytest.mark.parametrize("by", ["another whole", "the part", "the whole"])
def test_a_doubled_block_is_not_told_to_have_been_edited_before(by: str, tmp_path: Path) -> None:
    net = whole()
    if by == "another whole":
        ng.resize(another(net.part), X, {"1.0": +2})
    elif by == "the part":
        ng.resize(net.part, X, {"0": +2})
    graph = ng.capture(net, X)
    if by == "the whole":
        ng.resize(graph, {"part.0": +2})
    ng.duplicate(graph, "part")
    ng.resize(graph, {"part_2.0": -1})
    assert len(history_of(net)) == 3
    loads(graph, tmp_path / "net", graph(X))


def test_a_layer_that_was_edited_before_it_is_inserted_is_inserted_as_it_is(tmp_path: Path) -> None:
    layer, graph = body(), ng.capture(whole(), X)
    first = ng.resize(layer, X, {"0": +2})
    given = copy.deepcopy(layer)
    edit = ng.insert(graph, layer, after="stem", name="new")
    ng.resize(graph, {"part.0": -1}).undo()
    assert len(history_of(graph.module)) == 1
    ng.save(graph, tmp_path / "net")
    loaded = ng.load(ng.capture(whole(), X), tmp_path / "net", layers={"new": given})
    assert torch.equal(loaded(X), graph(X))
    with pytest.raises(ng.EditError, match="undo the later edits first, the last one first: Whole: insert"):
        first.undo()
    edit.undo()
    first.undo()
    assert history_of(layer) == []
    assert layer[0].out_features == 6
