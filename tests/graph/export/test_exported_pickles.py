"""Modules made of graphs, and graphs, through pickle: whatever their code calls."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng


class Called(nn.Module):
    """Two layers with a function of the features in between."""

    def __init__(self, between: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(4, 6), nn.Linear(6, 2), between
        self.codebook = nn.Buffer(torch.randn(6, 3))

    def forward(self, x: Tensor, scale: float = 1.0, tree: Any = ()) -> Tensor:
        out: Tensor = self.last(BETWEEN[self.between](self, self.first(x)) * scale)
        return out


def written(net: Any, h: Tensor) -> Tensor:
    out = torch.zeros(h.shape[0], 6)
    out[:, :3] = h[:, :3].relu()
    out[:, 3:] += h[:, 3:]
    return out


def pooled(net: Any, h: Tensor) -> Tensor:
    out: Tensor = F.max_pool1d(h[:, None], 3, stride=1, padding=1)[:, 0]
    return out + F.adaptive_avg_pool1d(h[:, None], 6)[:, 0]


def quantised(net: Any, h: Tensor) -> Tensor:
    nearest = torch.cdist(h, net.codebook.t()).argmin(1)
    if net.training:
        net.codebook.data.mul_(0.99)
    return F.embedding(nearest, net.codebook.t()) + h


BETWEEN: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "plain": lambda net, h: h.relu(),
    "sizes alone": lambda net, h: h + torch.ones(h.shape[0], 1) * torch.tensor(h.shape[0]),
    "written into": written,
    # torch.fx would load the zeros as a constant.
    "scratch": lambda net, h: h + torch.zeros(6).add_(h.mean(0)),
    "pooling": pooled,
    "state in train mode": quantised,
    "divided": lambda net, h: torch.div(torch.ones(()), h.exp()),
    "a getter": lambda net, h: h.mT.mT + h.T.T.real,
}
X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_loaded_computes_the_same_and_can_be_edited(between: str, edited: bool) -> None:
    net = Called(between).eval()
    expected = net(X)
    if edited:
        graph = ng.capture(net, X)
        ng.insert(graph, nn.Tanh(), after="first")
        expected = graph(X)
    else:
        graph = ng.capture(net, X)
    made = graph.to_module()
    loaded = pickle.loads(pickle.dumps(made))
    again = pickle.loads(pickle.dumps(loaded))
    for each in (loaded, again):
        assert torch.equal(each(X), expected)
        assert torch.equal(each(X), expected)
        assert not each.training
        assert list(each.state_dict()) == list(made.state_dict())
        assert [str(node) for node in each.graph.nodes] == [str(node) for node in made.graph.nodes]
        mine, other = copy.deepcopy(made).train(), copy.deepcopy(each).train()
        for rows in (X[:3], X):  # the second on what the first left
            torch.testing.assert_close(other(rows), mine(rows))
    edit = ng.prune(again, X, ratio=0.5)
    assert again(X).shape == expected.shape
    edit.undo()
    assert torch.equal(again(X), loaded(X))


def test_arguments_that_are_no_tensors_come_along() -> None:
    net = Called("plain").eval()
    tree: dict[int, Any] = {0: (1, 2), 2: [None, "leaf"]}
    made = ng.capture(net, (X,), {"scale": 2.0, "tree": tree}).to_module()
    expected = net(X, 2.0)
    for each in (made, pickle.loads(pickle.dumps(made))):
        assert torch.equal(each(X), expected)
        assert torch.equal(each(X, scale=2.0, tree={0: (1, 2), 2: [None, "leaf"]}), expected)
        with pytest.raises(ng.NaivegraphError, match=r"with 2\.0 for the argument 'scale', not 3\.0"):
            each(X, scale=3.0)
        with pytest.raises(ng.NaivegraphError, match=r"for the argument 'tree', not \{0: 5\}"):
            each(X, tree={0: 5})


class Packed(nn.Module):
    """A recurrent network on sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out: Tensor = self.head(nn.utils.rnn.pad_packed_sequence(self.rnn(rows)[0], batch_first=True)[0])
        return out


def test_graphs_with_packed_sequences_are_pickled() -> None:
    inputs = torch.randn(3, 5, 4), torch.tensor([5, 2, 4])
    net = Packed().eval()
    graph = ng.capture(net, inputs)
    other = pickle.loads(pickle.dumps(graph))
    assert torch.equal(other(*inputs), net(*inputs))
    assert torch.equal(other.to_module()(*inputs), net(*inputs))
    assert ng.prune(other, ratio=0.5) == ng.prune(graph, ratio=0.5)
    assert torch.equal(other(*inputs), graph(*inputs))


def test_graphs_with_functions_that_others_made_are_pickled() -> None:
    net = Called("pooling").eval()
    graph = ng.capture(net, X)
    assert "torch.nn.functional.max_pool1d" in graph.to_module().code
    assert torch.equal(pickle.loads(pickle.dumps(graph))(X), net(X))
