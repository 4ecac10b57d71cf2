"""The Gaussian process against the dense formulas, and features of networks against what they are."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from naivegraph import search
from naivegraph.search.evolution.gaussian_process import (
    GaussianProcess,
    expected_improvement,
    normal_scores,
)
from naivegraph.search.evolution.network_features import network_features
from tests.search.evolution.networks import residual, vectors


@pytest.mark.parametrize("seed", range(4))
def test_mean_and_deviation_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, at = rng.normal(size=(30, 3)), rng.normal(size=(8, 3))
    values = normal_scores(np.sin(points).sum(1) + 0.2 * rng.normal(size=30))
    ours = GaussianProcess(points, values)
    length = float(np.sqrt(ours._length / 2))
    kernel = RBF(length, "fixed") + WhiteKernel(ours.noise, "fixed")
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(points, values)
    mean, deviation = ours(at)
    expected, with_noise = theirs.predict(at, return_std=True)
    assert np.allclose(mean, expected, atol=1e-6)
    assert np.allclose(deviation**2, (with_noise**2 - ours.noise) * ours._variance, atol=1e-6)
    assert np.allclose(ours.fitted, ours(points)[0], atol=1e-6)


def test_equal_points_do_not_break_it() -> None:
    model = GaussianProcess(np.zeros((5, 2)), np.array([1.0, -1.0, 1.0, -1.0, 0.0]))
    mean, deviation = model(np.zeros((1, 2)))
    assert abs(float(mean[0])) < 0.1
    assert np.isfinite(deviation).all()


def test_the_expected_improvement_is_the_mean_of_what_is_drawn_above_the_best() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = np.array([0.0, 0.5, -1.0]), np.array([1.0, 0.3, 2.0])
    drawn = np.maximum(mean + deviation * rng.normal(size=(400_000, 3)) - 0.4, 0).mean(0)
    assert np.allclose(expected_improvement(mean, deviation, 0.4), drawn, atol=0.01)


def test_features_are_equal_for_equal_networks_and_nearer_for_those_alike() -> None:
    def features(*mutations: search.Mutation) -> dict[str, float]:
        genome = residual()
        for mutation in mutations:
            mutation(genome, random.Random(0))
        return network_features(genome.to_data()[0])

    def distance(one: dict[str, float], two: dict[str, float]) -> float:
        return sum((one.get(name, 0) - two.get(name, 0)) ** 2 for name in one.keys() | two.keys())

    start, wide = features(), features(search.wider())
    assert distance(start, features()) == 0
    assert 0 < distance(start, wide) < distance(start, features(search.deeper(), search.skip()))
    trained = sum(parameter.numel() for parameter in residual().graph.parameters())
    assert start["log2 params"] == pytest.approx(np.log2(1 + trained))
    assert distance(start, network_features(vectors().to_data()[0])) > 20
