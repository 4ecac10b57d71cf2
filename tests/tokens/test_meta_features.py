"""Meta-features against pymfe called directly, and data that have none."""

import warnings

import numpy as np
import pytest
import torch
from pymfe.mfe import MFE
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.tokens.meta_features import FEATURES, meta_feature_names, meta_features


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(90, 4, generator=random, dtype=torch.float64)
    return x, x[:, 0] * x[:, 1] + 0.1 * torch.randn(90, generator=random, dtype=torch.float64)


def directly(x: Tensor, classes: np.ndarray) -> tuple[list[str], list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mfe = MFE(groups="all", features=list(FEATURES), random_state=0)
        names, values = mfe.fit(x.numpy(), classes).extract()
    return names, values


def test_values_are_those_of_pymfe() -> None:
    x, y = data()
    quantiles = np.quantile(y.numpy(), [0.25, 0.5, 0.75])
    names, values = directly(x, np.digitize(y.numpy(), quantiles))
    assert meta_feature_names() == tuple(names)
    np.testing.assert_allclose(meta_features(x, y).numpy(), values, rtol=1e-6)
    assert len(names) > len(FEATURES)
    assert meta_features(x, y).isfinite().all()
    classes = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    np.testing.assert_allclose(meta_features(x, classes).numpy(), directly(x, classes.numpy())[1], rtol=1e-6)


def test_they_tell_data_sets_apart_and_are_the_same_again() -> None:
    one, other = meta_features(*data(0)), meta_features(*data(1))
    assert torch.equal(one, meta_features(*data(0)))
    assert not torch.equal(one, other)


def test_constant_columns_count_for_nothing() -> None:
    x, y = data()
    with_constant = torch.cat([x, torch.full((90, 1), 7.0, dtype=torch.float64)], 1)
    assert torch.equal(meta_features(with_constant, y), meta_features(x, y))


def test_images_and_several_outputs() -> None:
    x, y = data()
    found = meta_features(x.reshape(90, 1, 2, 2).float(), torch.stack([y, -y, y], 1).float())
    same = meta_features(x.float(), y.float())
    place = meta_feature_names().index("class_ent")
    assert found.shape == same.shape
    assert torch.allclose(found[place], same[place], atol=1e-3)


def test_random_numbers_of_the_process_stay() -> None:
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    meta_features(*data())
    assert np.random.rand() == expected


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(6, 2), torch.arange(6.0), "every column of the inputs is constant"),
        (torch.rand(6, 2), torch.zeros(6), "all targets are alike"),
        (torch.rand(6, 2), torch.tensor([0, 0, 1, 1, 2, 1]), "class 2 has one sample alone"),
        (torch.rand(6, 2), torch.arange(5.0), "6 inputs and 5 targets"),
        (torch.rand(0, 2), torch.rand(0), "0 inputs and 0 targets"),
        (torch.full((6, 2), torch.nan), torch.arange(6.0), "the inputs hold numbers that are not finite"),
        (torch.rand(6, 2), torch.full((6,), torch.inf), "the targets hold numbers that are not finite"),
        (torch.rand(6, 2), torch.zeros(6, 2, dtype=torch.long), "give one for each sample"),
    ],
)
def test_data_without_meta_features_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(EditError, match=message):
        meta_features(x, y)
