"""Batches are told from their labels by the network's example, and what does not fit is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from naivegraph.calibration import Calibration, check_calibration
from naivegraph.errors import EditError
from naivegraph.network import Graph, capture
from naivegraph.prune import prune
from naivegraph.utility import utilities


class Two(nn.Module):
    """Two inputs: ids and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map ids and mask [batch, length] to [batch, 2]."""
        out: Tensor = self.last((self.table(ids) * mask[..., None]).mean(1))
        return out


X, Y = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.arange(7)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def one() -> Graph:
    return capture(network(), torch.zeros(2, 4))


def two() -> Graph:
    return capture(Two(), (torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5)))


def read(calibration: Calibration) -> Tensor:
    return torch.cat([batch.inputs["input"] for batch in calibration])


@pytest.mark.parametrize(
    "batches",
    [
        X,
        X.numpy(),
        X.double(),
        {"input": X},
        {"input": X, "labels": Y},
        [X[:3], X[3:]],
        [(X[:3], Y[:3]), (X[3:], Y[3:])],
        [{"input": X, "labels": Y}],
        DataLoader(TensorDataset(X), batch_size=3),
        DataLoader(TensorDataset(X, Y), batch_size=3),
    ],
    ids=lambda batches: type(batches).__name__,
)
def test_every_form_gives_the_same_inputs(batches: Any) -> None:
    calibration = Calibration(one(), batches)
    torch.testing.assert_close(read(calibration), X)
    torch.testing.assert_close(read(calibration), X)  # and once more


def test_a_generator_can_be_gone_through_twice() -> None:
    calibration = Calibration(one(), (part for part in torch.split(X, 2)))
    torch.testing.assert_close(read(calibration), X)
    torch.testing.assert_close(read(calibration), X)


def test_several_inputs_come_in_order_or_by_name() -> None:
    ids, mask = torch.zeros(3, 5, dtype=torch.long), torch.ones(3, 5)
    for batches in (
        [(ids, mask)],
        [(ids, mask, torch.arange(3))],
        {"mask": mask, "ids": ids},
        [{"labels": torch.arange(3), "mask": mask, "ids": ids}],
    ):
        (batch,) = Calibration(two(), batches)
        assert batch.samples == 3
        assert torch.equal(batch.inputs["ids"], ids)
        assert torch.equal(batch.inputs["mask"], mask)


def test_a_part_has_its_labels() -> None:
    batches = Calibration(one(), [(X, Y)])
    (batch,) = batches.first(5)
    part = batch.part(1, 3)
    assert (batch.samples, part.samples) == (5, 2)
    assert torch.equal(part.inputs["input"], X[1:3])
    assert part.given[1].tolist() == [1, 2]


def test_the_network_runs_in_eval_mode_and_is_as_before() -> None:
    net = network()
    graph = capture(net, torch.zeros(2, 4))
    net.train()
    with torch.no_grad():
        expected = net[0](X) / np.sqrt(1 + 1e-5)
    calibration = Calibration(graph, X)
    with calibration.evaluating(), torch.no_grad():
        (batch,) = calibration
        torch.testing.assert_close(calibration.run(batch), expected)
    assert net.training
    assert torch.equal(net.get_buffer("1.running_mean"), torch.zeros(3))


def early() -> Iterator[Tensor]:
    yield X
    raise RuntimeError("the disk is gone")


class Shrinking:
    """Batches that are fewer each time."""

    def __init__(self) -> None:
        self.left = 3

    def __iter__(self) -> Iterator[Tensor]:
        self.left -= 1
        return iter([X] * self.left)


@pytest.mark.parametrize(
    ("graph", "batches", "message"),
    [
        (one, None, "calibration= holds no data"),
        (one, "images", "calibration= cannot be a str: give a tensor of samples"),
        (one, 3, "calibration= cannot be a int"),
        (one, [], "calibration= gave no batches"),
        (one, X[:0], "calibration= gave no batches"),
        (one, [X[:0]], r"batch 1 of calibration=: the input 'input' is empty, of shape \(0, 4\)"),
        (
            one,
            [X, X[:, :3]],
            r"batch 2 of calibration=: the input 'input' has shape \(7, 3\), in",
        ),
        (
            one,
            [X[0]],
            r"batch 1 of calibration=: the input 'input' has shape \(4,\), in",
        ),
        (one, [X / 0 * 0], r"batch 1 of calibration=: the input 'input' holds values that are not a number"),
        (one, [(Y, X)], "the input 'input' is of int64, in the example of float32: inputs come first"),
        (one, [{"image": X}], "batch 1 of calibration= has no 'input' among image"),
        (one, [3.0], "batch 1 of calibration= is a float: give a tensor"),
        (one, [("a", X)], "the input 'input' is a str, not a tensor"),
        (two, X, r"batch 1 of calibration= has 1 values for the 2 inputs of the network \(ids, mask\)"),
        (
            two,
            [(torch.zeros(3, 5, dtype=torch.long), torch.ones(2, 5))],
            "batch 1 of calibration= has different numbers of samples: 3 of 'ids', 2 of 'mask'",
        ),
        (one, Shrinking, "gave 14 samples at first and 7 when it was gone through again"),
    ],
)
def test_what_does_not_fit_is_told(graph: Callable[[], Graph], batches: Any, message: str) -> None:
    def twice() -> None:
        calibration = Calibration(graph(), batches() if batches is Shrinking else batches)
        for _ in range(2):
            list(calibration)

    with pytest.raises(EditError, match=message):
        twice()


def test_an_error_of_the_users_own_batches_is_theirs() -> None:
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(Calibration(one(), early()))


def test_a_batch_that_does_not_run_is_named() -> None:
    graph = capture(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
    calibration = Calibration(graph, [torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 3)])
    good, bad = calibration
    assert calibration.run(good).shape == (1, 2)
    with pytest.raises(EditError, match="the network does not run on batch 2 of calibration="):
        calibration.run(bad)


def test_without_a_network_only_the_kind_is_checked() -> None:
    check_calibration(None)
    check_calibration([1, 2])
    with pytest.raises(EditError, match="calibration= cannot be a class"):
        check_calibration(torch.Tensor)


def test_batches_of_tokens_have_lengths_of_their_own() -> None:
    graph = capture(nn.Embedding(10, 4), torch.zeros(2, 3, dtype=torch.long))
    calibration = Calibration(graph, [torch.ones(2, 3, dtype=torch.long), torch.ones(4, 7, dtype=torch.long)])
    assert [tuple(calibration.run(batch).shape) for batch in calibration] == [(2, 3, 4), (4, 7, 4)]


class Nodes(nn.Module):
    """A graph convolution: features of nodes, and the numbers of those at both ends of each edge."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        h = self.first(x).relu()
        out: Tensor = self.last(torch.zeros_like(h).index_add_(0, edges[1], h[edges[0]]))
        return out


def nodes_and_edges(seed: int, nodes: int = 9, edges: int = 20) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(nodes, 3, generator=draw), torch.randint(0, nodes, (2, edges), generator=draw)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_batch_of_nodes_and_edges_is_one_sample(stacked: bool) -> None:
    net = Nodes()
    graphs = [nodes_and_edges(seed, 80 + seed) for seed in range(1 if stacked else 3)]
    data: Any = dict(zip(("x", "edges"), graphs[0], strict=True)) if stacked else graphs
    expected = torch.zeros(8, dtype=torch.float64)
    for x, edges in graphs:
        hidden = net.first(x).relu()
        summed = torch.zeros_like(hidden).index_add_(0, edges[1], hidden[edges[0]])
        gates = torch.ones(8, requires_grad=True)
        (grad,) = torch.autograd.grad(net.last(summed * gates).square().mean(), gates)
        expected += grad.double().square() / 2 / len(graphs)

    def loss(network: Any, batch: Any) -> Tensor:
        """The mean square of the outputs."""
        found: Tensor = network(**batch) if stacked else network(*batch)
        return found.square().mean()

    widths = capture(net, nodes_and_edges(9)).widths
    (values,) = utilities(widths, "fisher", calibration=data, loss=loss).values()
    torch.testing.assert_close(torch.as_tensor(values), expected, rtol=1e-4, atol=1e-9)
    edit = prune(net, nodes_and_edges(9), ratio=0.5, calibration=data)
    assert edit.refit is not None
    assert edit.refit.samples == len(graphs)


def test_samples_that_a_network_has_in_all_inputs_are_counted_still() -> None:
    graph = capture(Nodes(), nodes_and_edges(9))
    (batch,) = Calibration(graph, [nodes_and_edges(1, nodes=2)])
    assert batch.samples == 2


def test_large_values_are_run_fewer_at_once() -> None:
    graph = capture(nn.Conv2d(1, 32, 1), torch.zeros(2, 1, 512, 512))
    stack = torch.zeros(1, 1, 512, 512).expand(130, 1, 512, 512)
    counts = [batch.samples for batch in Calibration(graph, stack)]
    assert sum(counts) == 130
    assert 8 <= counts[0] < 64
    assert counts[0] * (1 + 32) * 512 * 512 * 4 <= 2**30
    small = capture(nn.Conv2d(1, 8, 1), torch.zeros(2, 1, 4, 4))
    assert [b.samples for b in Calibration(small, torch.zeros(130, 1, 4, 4))] == [64, 64, 2]


def test_numbers_of_samples_that_do_not_run_are_told() -> None:
    net = nn.Sequential(nn.Flatten(0), nn.Linear(8, 2))  # the first size counts no samples
    calibration = Calibration(capture(net, torch.zeros(2, 4)), torch.zeros(5, 4))
    (batch,) = calibration
    with pytest.raises(EditError, match=r"batch 1 of calibration= with 5 samples \(the example has 2\): "):
        calibration.run(batch)
