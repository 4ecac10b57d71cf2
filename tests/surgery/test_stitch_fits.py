"""Moments of batches and the maps fitted to them, against one-shot computations by numpy and scipy."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from torch import Tensor

import naivegraph as ng
from naivegraph.surgery.joint_moments import JointMoments
from naivegraph.surgery.stitch_fits import LinearMap, fit_linear_map

Matrix = npt.NDArray[np.float64]
PENALTY = 1e-4  # as documented: of the mean variance of a neuron, per row


def data(seed: int, rows: int = 400, inputs: int = 7, outputs: int = 5, mean: float = 3.0) -> tuple[Any, Any]:
    """Related rows with means far from zero, as after an activation."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs)) @ rng.normal(size=(inputs, inputs)) + mean
    y = np.tanh(x @ rng.normal(size=(inputs, outputs)) / 5) + 0.1 * rng.normal(size=(rows, outputs)) - mean
    return x, y


def moments(x: Matrix, y: Matrix, batch: int = 64) -> JointMoments:
    found = JointMoments()
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        found.add(torch.tensor(x[part]), torch.tensor(y[part]))
    return found


def whole(fitted: LinearMap) -> Matrix:
    """The matrix of a map."""
    weight = fitted.factors[0]
    for factor in fitted.factors[1:]:
        weight = weight @ factor
    return np.asarray(weight)


def close(one: Matrix | Tensor, other: npt.NDArray[Any]) -> None:
    np.testing.assert_allclose(np.asarray(one), other, rtol=1e-10, atol=1e-10 * np.abs(other).max())


def augmented(x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    """Centred data, and rows that stand for the penalty."""
    x, y = x - x.mean(0), y - y.mean(0)
    penalty = PENALTY * (x**2).sum(0).mean()
    return np.vstack([x, np.sqrt(penalty) * np.eye(x.shape[1])]), np.vstack(
        [y, np.zeros((x.shape[1], y.shape[1]))]
    )


@pytest.mark.parametrize("batch", [1, 7, 64, 400])
@pytest.mark.parametrize("mean", [0.0, 3.0, 1e4])
def test_moments_of_batches_are_those_of_all_rows(batch: int, mean: float) -> None:
    x, y = data(0, mean=mean)
    found = moments(x, y, batch)
    whole = np.cov(np.hstack([x, y]).T, bias=True) * len(x)
    assert found.rows == len(x)
    close(found.x_mean, x.mean(0))
    close(found.y_mean, y.mean(0))
    scale = np.abs(whole).max()
    for name, part in (("xx", whole[:7, :7]), ("xy", whole[:7, 7:]), ("yy", whole[7:, 7:])):
        np.testing.assert_allclose(np.asarray(getattr(found, name)), part, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("seed", range(3))
def test_least_squares_is_that_of_numpy(seed: int) -> None:
    x, y = data(seed)
    found = fit_linear_map(moments(x, y), "least_squares")
    expected = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)[0]
    close(whole(found), expected[:-1])
    close(found.bias, expected[-1])
    residual = y - x @ expected[:-1] - expected[-1]
    assert found.explained == pytest.approx(1 - (residual**2).sum() / ((y - y.mean(0)) ** 2).sum(), abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_least_squares_with_rows_for_the_penalty(seed: int) -> None:
    x, y = data(seed)
    found = fit_linear_map(moments(x, y), "ridge")
    expected = np.linalg.lstsq(*augmented(x, y), rcond=None)[0]
    close(whole(found), expected)
    close(found.bias, y.mean(0) - x.mean(0) @ expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_low_rank_is_the_best_map_of_that_rank(seed: int, rank: int) -> None:
    x, y = data(seed)
    found = fit_linear_map(moments(x, y), ng.surgery.rank(rank))
    inputs, targets = augmented(x, y)
    full = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    left, values, right = np.linalg.svd(inputs @ full, full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]  # of that rank, the nearest to what is fitted
    close(whole(found), np.linalg.lstsq(inputs, best, rcond=None)[0])
    assert [factor.shape for factor in found.factors] == [(7, rank), (rank, 5)]


@pytest.mark.parametrize("seed", range(3))
def test_low_rank_beats_the_nearest_matrix_of_that_rank(seed: int) -> None:
    x, y = data(seed)
    found = fit_linear_map(moments(x, y), ng.surgery.rank(2))
    full = whole(fit_linear_map(moments(x, y), "ridge"))
    left, values, right = np.linalg.svd(full)
    nearest = (left[:, :2] * values[:2]) @ right[:2]
    x, y = x - x.mean(0), y - y.mean(0)
    assert ((y - x @ whole(found)) ** 2).sum() < ((y - x @ nearest) ** 2).sum()


@pytest.mark.parametrize("seed", range(3))
def test_procrustes_is_that_of_scipy(seed: int) -> None:
    x, y = data(seed, outputs=7)
    found = fit_linear_map(moments(x, y), "procrustes")
    expected, _ = scipy.linalg.orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    close(whole(found), expected)
    close(found.bias, y.mean(0) - x.mean(0) @ expected)
    close(whole(found).T @ whole(found), np.eye(7))


@pytest.mark.parametrize("seed", range(3))
def test_a_permutation_is_the_best_of_all(seed: int) -> None:
    x, y = data(seed, inputs=5)
    found = whole(fit_linear_map(moments(x, y), "permutation"))
    x, y = x - x.mean(0), y - y.mean(0)
    errors = {order: ((y - x[:, order]) ** 2).sum() for order in itertools.permutations(range(5))}
    best = min(errors, key=lambda order: errors[order])
    assert np.array_equal(found, np.eye(5)[:, list(best)])


def test_a_permuted_copy_is_found_again() -> None:
    x, _ = data(0, inputs=20)
    order = np.random.default_rng(1).permutation(20)
    for fit in ("permutation", "procrustes", "least_squares"):
        found = fit_linear_map(moments(x, x[:, order]), fit)
        np.testing.assert_allclose(whole(found), np.eye(20)[:, order], atol=1e-8)
        assert found.explained == pytest.approx(1, abs=1e-8)


def test_neurons_that_are_always_zero_do_no_harm_to_a_ridge() -> None:
    x, y = data(0)
    x[:, 2] = 0
    found = whole(fit_linear_map(moments(x, y), "ridge"))
    assert np.isfinite(found).all()
    assert not found[2].any()
    with pytest.raises(
        ng.EditError, match=r"400 rows of hidden values span 6 of 7 dimensions; .* fit='ridge'"
    ):
        fit_linear_map(moments(x, y), "least_squares")


WRONG: list[tuple[Any, str]] = [
    ("rigde", r"fit='rigde': give one of 'ridge', .*or 'random'; did you mean 'ridge'"),
    (8, r"fit=8: give one of .*ng\.surgery\.rank\(8\)"),
    (ng.surgery.rank(6), "fit=rank 6: a map between these has rank 5 at most; give fit='ridge'"),
]


@pytest.mark.parametrize(("fit", "message"), WRONG)
def test_a_fit_that_there_is_not_is_told(fit: Any, message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        fit_linear_map(moments(*data(0)), fit)


def test_without_scipy_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ng.NaivegraphError, match=r"needs scipy.*pip install 'naivegraph\[surgery\]'"):
        fit_linear_map(moments(*data(0)), "permutation")


def test_too_few_rows_and_values_that_are_not_finite_are_told() -> None:
    x, y = data(0, rows=6)
    with pytest.raises(ng.EditError, match=r"fit='least_squares' has no single answer: 6 rows"):
        fit_linear_map(moments(x, y), "least_squares")
    x[0, 0] = np.inf
    with pytest.raises(ng.EditError, match="hidden values are not finite on the data"):
        fit_linear_map(moments(x, y), "ridge")
    with pytest.raises(ng.EditError, match="the rank must be a whole number from 1 up, not 0"):
        ng.surgery.rank(0)
