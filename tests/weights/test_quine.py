"""Networks that predict their own weights, and the three kinds of fixed points."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.weights import Quine, quine
from naivegraph.weights.fixed_point import fixed_point, spectral_radius


def _body(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 1)
    return nn.Sequential(*layers).double()


@pytest.fixture(scope="module")
def solved() -> Quine:
    q = quine(_body(), dim=16)
    q.solve(seconds=120, tolerance=1e-6)
    return q


def _by_hand(q: Quine) -> torch.Tensor:
    """The predictions, one address after another, by the network itself."""
    with torch.no_grad():
        return torch.stack([q.gain * q.module(code[None])[0, 0] for code in q.codes()])


def test_a_true_quine(solved: Quine) -> None:
    report = solved.report()
    weights = torch.cat([each.detach().double().reshape(-1) for each in solved.module.parameters()])
    assert report.kind == "true"
    assert report.loss <= 1e-6
    assert report.mean_share <= 0.3
    assert 0.7 - 1e-3 <= report.norm_kept <= 1.5 + 1e-3
    torch.testing.assert_close(_by_hand(solved), weights, rtol=0, atol=1e-3)
    assert "a true fixed point" in str(report)


def test_the_spectral_radius_is_that_of_numpy() -> None:
    q = quine(_body(), dim=16)
    weights = torch.cat([each.detach().double().reshape(-1) for each in q.module.parameters()])
    matrix = torch.func.jacrev(q._map())(weights)
    largest = np.abs(np.linalg.eigvals(matrix.numpy())).max()
    assert q.report().radius == pytest.approx(largest, rel=1e-6)


def test_the_spectral_radius_of_many_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naivegraph.weights.fixed_point._DENSE", 1000)
    made = torch.Generator().manual_seed(0)
    matrix = torch.randn(1200, 1200, generator=made, dtype=torch.float64) / 1200**0.5
    matrix = matrix + matrix.T
    largest = np.abs(np.linalg.eigvalsh(matrix.numpy())).max()
    found = spectral_radius(lambda w: matrix @ w, torch.ones(1200, dtype=torch.float64))
    assert found == pytest.approx(largest, rel=0.03)


def test_zero_is_no_success() -> None:
    q = quine(_body(), dim=16, gain=1.0)
    report = q.solve(seconds=60, tolerance=1e-8, norm=None)
    assert report.kind == "zero"
    assert "a zero fixed point (the weights nearly vanished), no true one" in str(report)


def test_constant_is_no_success() -> None:
    constant = torch.full((317,), 0.5)
    report = fixed_point(lambda w: w * 0 + 0.5, constant, start=float(constant.norm()))
    assert report.kind == "constant"
    assert "(all weights nearly alike), no true one" in str(report)


def test_after_a_resize_it_is_solved_again(solved: Quine) -> None:
    for delta in (-2, 2):
        edit = ng.resize(solved.graph, {"0": delta})
        assert edit
        assert solved.report().kind == "none"
        assert solved.solve(seconds=120, tolerance=1e-4).kind == "true"


def test_without_matrices() -> None:
    q = quine(_body(3), dim=16)
    before = q.report()
    after = q.solve(seconds=60, tolerance=1e-2 * before.loss, dense=False)
    assert after.loss <= 1e-2 * before.loss


def test_regeneration_replaces_weights_by_predictions() -> None:
    q = quine(_body(1), dim=16)
    predicted = q.predictions()
    changes = q.regenerate()
    weights = torch.cat([each.detach().double().reshape(-1) for each in q.module.parameters()])
    torch.testing.assert_close(weights, predicted, rtol=1e-6, atol=1e-6)
    assert len(changes) == 1
    assert changes[0] > 0


def test_the_network_keeps_its_type_and_mode() -> None:
    body = nn.Sequential(
        nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 1)
    ).train()
    q = quine(body, dim=16)
    first = q.predictions()
    assert torch.equal(first, q.predictions())
    q.solve(seconds=1)
    assert body.training
    assert body[0].weight.dtype == torch.float32


def test_images_as_codes() -> None:
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0))
    q = quine(body, dim=(1, 4, 4))
    assert q.predictions().shape == (43,)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            nn.Linear(16, 2),
            r"returns \(2, 2\) for two codes of \(16,\), and is to return one number for each",
        ),
        (nn.Linear(8, 1), r"the network does not take codes of \(16,\): mat1 and mat2 shapes cannot"),
        (nn.Tanh(), "the network has no weights that it could predict"),
    ],
)
def test_bodies_that_are_none(body: nn.Module, message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        quine(body, dim=16)


def test_more_weights_than_memory_allows() -> None:
    q = quine(nn.Sequential(nn.Linear(16, 20_000), nn.Tanh(), nn.Linear(20_000, 1)), dim=16)
    with pytest.raises(
        ng.EditError, match=r"360,001 weights take 4147.2 GB, .*solve\(dense=False\) does without"
    ):
        q.solve(dense=True)


def test_more_weights_than_memory_allows_without_matrices() -> None:
    q = quine(nn.Sequential(nn.Linear(64, 40_000), nn.Tanh(), nn.Linear(40_000, 1)), dim=64)
    with pytest.raises(ng.EditError, match=r"all 2,640,001 weights takes [\d.]+ GB even without matrices"):
        q.solve()


class _Reader(nn.Module):
    """A recurrent layer, or attention, and a scalar head."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            seen = self.layer(x, x, x, need_weights=False)[0]
        else:
            seen = self.layer(x)[0]
        out: torch.Tensor = self.head(seen[:, -1])
        return out


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LSTM(4, 4, batch_first=True),
        lambda: nn.GRU(4, 4, batch_first=True),
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
    ],
)
def test_layers_without_rules_for_batches_or_second_derivatives(
    layer: Callable[[], nn.Module], dense: bool
) -> None:
    torch.manual_seed(0)
    q = quine(_Reader(layer(), 4).double(), dim=(3, 4))
    before = q.report()
    assert q.solve(seconds=20, tolerance=0.3 * before.loss, dense=dense).loss <= 0.3 * before.loss


def test_what_is_no_number_is_no_fixed_point() -> None:
    q = quine(_body(0), dim=16)
    with torch.no_grad():
        next(q.module.parameters())[0, 0] = torch.nan
    report = q.report()
    assert (report.kind, math.isnan(report.relative), math.isnan(report.radius)) == ("none", True, True)
    with pytest.raises(ng.EditError, match=r"'0.weight' holds values that are no finite numbers"):
        q.solve(seconds=1)
    with pytest.raises(ng.EditError, match=r"'0.weight' holds values that are no finite numbers"):
        quine(q.module, dim=16)


def test_nothing_but_zeros_is_a_zero_fixed_point() -> None:
    body = _body(0)
    with torch.no_grad():
        for each in body.parameters():
            each.zero_()
    q = quine(body, dim=16)
    assert q.report().kind == "zero"
    with pytest.raises(ng.EditError, match="all weights were 0 at the start"):
        q.solve(seconds=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 16.0}, r"dim must be a whole number from 1 up, not 16\.0"),
        ({"dim": None}, "dim must be a whole number from 1 up, not None"),
        ({"dim": 16, "gain": math.nan}, "gain must be a number above 0, not nan"),
        ({"dim": 16, "gain": -3.0}, r"gain must be a number above 0, not -3\.0"),
    ],
)
def test_arguments_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        quine(_body(0), **options)
    with pytest.raises(ng.EditError, match=r"weights\.quine.* a str"):
        quine("body", dim=16)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": math.nan}, "seconds must be a number from 0 up, not nan"),
        ({"tolerance": -1}, "tolerance must be a number from 0 up, not -1"),
        ({"norm": 3}, "norm is 3: give a lower and an upper bound above 0"),
        ({"norm": (2, 1)}, r"norm is \(2, 1\): give a lower and an upper bound above 0"),
    ],
)
def test_searches_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        quine(_body(0), dim=16).solve(**options)


def test_the_history_tells_steps_edits_and_regenerations() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    q = quine(body, dim=4)
    q.solve(seconds=2, tolerance=1e-2)
    edit = ng.resize(q.graph, {"0": -2})
    q.predictions()
    edit.undo()
    q.regenerate(2)
    events = [moment.event for moment in q.history.moments]
    assert events[-4:] == ["edited", "edited", "regenerated", "regenerated"]
    assert {*events[:-4]} == {"step"}
    assert [moment.weights for moment in q.history.moments[-4:]] == [25, 37, 37, 37]
    last, report = q.history.moments[-1], q.report()
    assert last.relative == pytest.approx(report.relative)
    assert last.norm_kept == pytest.approx(report.norm_kept)
    assert (last.kind, last.weights) == (report.kind, report.weights)
    drawn = str(q.history.picture())
    assert drawn.count("<circle") == len(events) + 4
    assert drawn.count(">edited</text>") == 1


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(ng.EditError, match=r"'0\.weight' is on the device meta, which holds no numbers"):
        quine(_body(0).to("meta"), dim=16)
    with pytest.raises(
        ng.EditError, match=r"0\.weight has no shape yet: call the network once on an example"
    ):
        quine(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)), dim=16)


def test_a_layer_that_was_replaced_by_hand_is_told() -> None:
    body = _body(0)
    q = quine(body, dim=16)
    body[0] = nn.Linear(16, 13).double()
    with pytest.raises(ng.EditError, match=r"'0\.weight' is \(13, 16\).*change it by edits"):
        q.report()
