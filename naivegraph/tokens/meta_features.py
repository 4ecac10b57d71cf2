"""Meta-features of a data set: numbers that tell data sets apart, worked out by pymfe.

They say how many samples there are, how skewed columns are, how well simple rules separate the classes.
Alcobaça and others, "MFE: Towards reproducible meta-feature extraction", JMLR 2020.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.optional_package import optional_package
from naivegraph.own_randomness import own_randomness

__all__ = ["FEATURES", "meta_feature_names", "meta_features"]

FEATURES: tuple[str, ...] = (
    *("attr_ent", "attr_to_inst", "class_conc", "class_ent", "cor", "cov", "eigenvalues", "f1", "f2", "f3"),
    *(
        "freq_class",
        "iq_range",
        "joint_ent",
        "kurtosis",
        "leaves",
        "mut_inf",
        "nr_attr",
        "nr_class",
        "ns_ratio",
    ),
    *("skewness", "sparsity", "tree_depth", "tree_imbalance", "w_lambda"),
)
"""The names of pymfe's features that are worked out; each may give several values."""

_BINS = 4  # of a target of numbers


def meta_features(x: Tensor, y: Tensor) -> Tensor:
    """Work out the meta-features of a data set.

    Columns that are constant are left out. A target of numbers is put into four bins of about as many samples
    each; of several numbers, their first principal component is.

    Args:
        x: The inputs, `[samples, ...]`; images count pixel by pixel.
        y: Classes, `[samples]` of whole numbers, or numbers, `[samples]` or `[samples, outputs]`.

    Returns:
        The values, `[features]` float32, in the order of `meta_feature_names`; NaN where a feature has none.

    Raises:
        EditError: The data have no meta-features; the message says why.
        MissingPackageError: pymfe is not installed (`pip install 'naivegraph[meta]'`).
    """
    inputs, classes = _checked(x, y)
    return torch.tensor(_extracted(inputs, classes)[1], dtype=torch.float32)


@functools.cache
def meta_feature_names() -> tuple[str, ...]:
    """The names of the values, as pymfe has them, such as `skewness.mean`.

    Raises:
        MissingPackageError: pymfe is not installed.
    """
    rows = np.arange(24.0)
    return tuple(_extracted(np.stack([rows % 5, rows % 7], 1), (rows % 3).astype(np.int64))[0])


def _checked(x: Tensor, y: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Inputs as columns that vary, and classes."""
    if not all(isinstance(each, Tensor) and each.dim() for each in (x, y)):
        told = " and ".join(type(each).__name__ for each in (x, y))
        raise EditError(f"inputs and targets are to be tensors with a row for each sample, not {told}")
    if not len(x) or len(x) != len(y):
        raise EditError(f"the data have {len(x)} inputs and {len(y)} targets: give as many of both")
    inputs = x.detach().cpu().double().reshape(len(x), -1)
    for name, values in (("inputs", inputs), ("targets", y)):
        if not values.isfinite().all():
            raise EditError(f"the {name} hold numbers that are not finite: leave these samples out")
    varying = (inputs != inputs[0]).any(0)
    if not varying.any():
        raise EditError("every column of the inputs is constant, so that they tell nothing")
    classes = _classes(y.detach().cpu())
    found, counts = torch.unique(classes, return_counts=True)
    if len(found) < 2:
        raise EditError("all targets are alike: two classes or different numbers are needed")
    if bool((counts < 2).any()):
        alone = found[counts < 2].tolist()
        raise EditError(
            f"class {alone[0]} has one sample alone, and a spread within it needs two: leave it out, or "
            "join it with another"
        )
    return inputs[:, varying].numpy(), classes.numpy()


def _classes(y: Tensor) -> Tensor:
    """Classes as they are, or numbers in bins of about as many samples each."""
    if not y.is_floating_point():
        if y.dim() != 1:
            raise EditError(f"the classes are {tuple(y.shape)}: give one for each sample, [samples]")
        return y.long()
    numbers = y.double().reshape(len(y), -1)
    centred = numbers - numbers.mean(0)
    main = (
        centred[:, 0]
        if centred.shape[1] == 1
        else centred @ torch.linalg.svd(centred, full_matrices=False)[2][0]
    )
    edges = main.quantile(torch.arange(1, _BINS, dtype=torch.float64) / _BINS)
    return torch.bucketize(main, edges.unique(), right=True)


def _extracted(
    inputs: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]
) -> tuple[list[str], list[float]]:
    """Names and values, from pymfe."""
    mfe = optional_package("pymfe.mfe", "meta", "meta-features")
    with own_randomness(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = mfe.MFE(groups="all", features=[*FEATURES], random_state=0)
        extractor.fit(inputs, classes, suppress_warnings=True)
        names, values = extractor.extract(suppress_warnings=True)
    return list(names), [float(value) for value in values]
