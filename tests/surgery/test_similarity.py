"""Similarity of layers against the formulas of the papers, written out with numpy on all data at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import naivegraph as ng

Matrix = npt.NDArray[np.float64]


class Net(nn.Module):
    """Convolutions with activations in place, and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, 2, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 6, 6) to (batch, 5)."""
        x = self.relu(self.b(self.relu(self.a(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


X = torch.randn(80, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def graphs() -> tuple[ng.Graph, ng.Graph]:
    return ng.capture(Net(6).eval(), X[:2]), ng.capture(Net(9).eval(), X[:2])


def hsic(estimator: str, k: Matrix, m: Matrix) -> float:
    """The formulas as they stand in the papers, with sums over samples written as products of matrices."""
    n = len(k)
    ones, h = np.ones(n), np.eye(n) - 1 / n
    if estimator == "gretton":
        return float(np.trace(k @ h @ m @ h) / (n - 1) ** 2)
    if estimator == "lange":
        one, other = h @ k @ h, h @ m @ h
        total = sum(one[i, j] * other[i, j] for i in range(n) for j in range(i))
        return float(2 * total / (n * (n - 3)))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    whole = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float(np.trace(k @ m) + whole - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def gram(value: Tensor) -> Matrix:
    rows = value.detach().double().flatten(1).numpy()
    return np.asarray(rows @ rows.T)


def cka(estimator: str, one: list[Matrix], other: list[Matrix]) -> float:
    """The ratio of means over batches of one size."""
    pairs = [*zip(one, other, strict=True)]
    between = np.mean([hsic(estimator, k, m) for k, m in pairs])
    alone = [np.mean([hsic(estimator, k, k) for k in each]) for each in (one, other)]
    return float(between / np.sqrt(alone[0] * alone[1]))


@pytest.mark.parametrize("estimator", ["gretton", "song", "lange"])
@pytest.mark.parametrize("size", [80, 20])
def test_every_entry_is_that_of_the_formula(estimator: Any, size: int) -> None:
    a, b = graphs()
    found = ng.surgery.similarity(a, b, DataLoader(X, batch_size=size), estimator=estimator)  # type: ignore[arg-type]
    assert (found.first, found.second) == (("a", "b", "head"), ("a", "b", "head"))
    assert found.samples == 80
    for one in found.first:
        for other in found.second:
            grams = [
                [gram(graph.run(part, [name])[name]) for part in X.split(size)]  # type: ignore[no-untyped-call]
                for graph, name in ((a, one), (b, other))
            ]
            assert found[one, other] == pytest.approx(cka(estimator, *grams), abs=1e-5)


def test_a_layer_is_like_itself_rotated_and_unlike_noise() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8))[0]
    nets = [nn.Sequential(nn.Linear(8, 8, bias=False)).eval() for _ in range(2)]
    with torch.no_grad():
        nets[1].get_parameter("0.weight").copy_(3 * rotation @ nets[0].get_parameter("0.weight"))
    one, other = (ng.capture(net, x[:2]) for net in nets)
    assert ng.surgery.similarity(one, other, x)["0", "0"] == pytest.approx(1, abs=1e-4)
    other = ng.capture(Noise().eval(), x[:2])
    assert abs(ng.surgery.similarity(one, other, x, second="frac")["0", "frac"]) < 0.05


class Noise(nn.Module):
    """A layer that gives what has nothing to do with what it takes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 8) to (batch, 8)."""
        return torch.frac(x.abs() * 12345.678)


def test_batches_without_bias_come_close_to_all_samples_at_once() -> None:
    torch.manual_seed(0)
    a, b = graphs()
    x = torch.randn(2048, 3, 6, 6)
    whole = ng.surgery.similarity(a, b, [x]).values
    for size in (64, 256):
        batches = ng.surgery.similarity(a, b, DataLoader(x, batch_size=size)).values  # type: ignore[arg-type]
        assert float((batches - whole).abs().max()) < 0.02
        biased = ng.surgery.similarity(a, b, DataLoader(x, batch_size=size), estimator="gretton").values  # type: ignore[arg-type]
        assert float((batches - whole).abs().max()) < float((biased - whole).abs().max())


def test_labels_are_left_aside_and_a_shuffled_loader_is_read_once() -> None:
    a, b = graphs()
    loader = DataLoader(TensorDataset(X, torch.arange(80)), batch_size=40, shuffle=True)
    assert ng.surgery.similarity(a, b, loader).samples == 80
    assert ng.surgery.similarity(a, a, loader)["a", "a"] == pytest.approx(1, abs=1e-6)


def test_a_small_last_batch_and_a_layer_that_is_constant_do_no_harm() -> None:
    a, b = graphs()
    whole = ng.surgery.similarity(a, b, [X[:60]])
    assert torch.equal(ng.surgery.similarity(a, b, [X[:60], X[60:62]]).values, whole.values)
    with torch.no_grad():
        b.module.get_parameter("a.weight").zero_()
    assert ng.surgery.similarity(a, b, [X])["b", "a"] == 0


def test_patterns_a_table_and_a_picture() -> None:
    a, b = graphs()
    found = ng.surgery.similarity(a, b, X, first=["relu*"], second=["a", "head"])
    assert found.first == ("relu", "relu_1")
    assert found.matches().keys() == {"relu", "relu_1"}
    text = found.table()
    assert f"{found['relu_1', 'head']:.2f}" in text
    assert "CKA (Song), 80 samples" in text
    assert "1 a, 2 head" in text
    picture = str(found.plot())
    assert picture.count("<rect") == 1 + 4
    assert f"relu_1, head: {found['relu_1', 'head']:.3f}" in picture
    assert "relu_1" in found._repr_html_()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"measure": "cca"}, "measure='cca': give 'cka'"),
    ({"estimator": "sung"}, "estimator='sung': give one of 'gretton', 'song', 'lange'; did you mean 'song'"),
    ({"first": "haed"}, "first= names 'haed', and the graph has no such vertex; did you mean 'head'"),
    ({"second": [3]}, "second= takes names or patterns, not 3"),
    ({"second": []}, "second= names no vertex"),
    ({"data": []}, "data= gave no batches"),
    ({"data": [X[:3], X[3:6]]}, "data= gave no batch of 4 samples or more"),
    ({"data": [X[:, :2]]}, "batch 1 of data=: the input 'x' has shape"),
]


@pytest.mark.parametrize(("other", "message"), WRONG, ids=[str(w[0])[:20] for w in WRONG])
def test_what_cannot_be_compared_is_told(other: dict[str, Any], message: str) -> None:
    a, b = graphs()
    given: dict[str, Any] = {"data": X, **other}
    with pytest.raises(ng.EditError, match=message):
        ng.surgery.similarity(a, b, given.pop("data"), **given)


def test_names_that_were_not_compared_and_networks_are_told() -> None:
    a, b = graphs()
    found = ng.surgery.similarity(a, b, X)
    with pytest.raises(ng.EditError, match="'haed' was not compared; did you mean 'head'"):
        found["haed", "a"]
    with pytest.raises(ng.EditError, match=r"similarity takes graphs, ng\.capture\(model, x\), not a Net"):
        ng.surgery.similarity(a.module, b, X)  # type: ignore[arg-type]


class Windows(nn.Module):
    """A layer sees four windows of each sample as rows of their own, and a weight is normed by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 8, 4) to (batch, 2)."""
        windows = self.b(self.a(x).reshape(len(x) * 4, 2, 6))
        out = windows.reshape(len(x), 8, 6).mean(1)
        weight = nn.functional.normalize(self.head.weight, dim=1)
        return nn.functional.linear(out, weight)


def test_layers_whose_rows_are_no_samples_are_left_out_or_named() -> None:
    graph, x = ng.capture(Windows(), torch.randn(2, 8, 4)), torch.randn(32, 8, 4)
    found = ng.surgery.similarity(graph, graph, x)
    assert found.first == ("a",)
    torch.testing.assert_close(found.values.diagonal(), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ng.EditError, match="'b', which gives 8 rows on the example of 2 samples"):
        ng.surgery.similarity(graph, graph, x, first="b")
    with pytest.raises(ng.EditError, match="'normalize', which gives the same whatever the inputs are"):
        ng.surgery.similarity(graph, graph, x, first="normalize")
