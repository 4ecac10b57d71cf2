"""Least squares from moments, beside numpy's on rows unfolded by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from naivegraph.reconstruct.linear_call import LinearCalls
from naivegraph.reconstruct.moments import Moments
from naivegraph.reconstruct.ridge import least_squares


def moments_of(x: torch.Tensor, y: torch.Tensor) -> Moments:
    out = Moments.none(x.shape[0], x.shape[2], y.shape[2], x.device)
    half = x.shape[1] // 2
    out.add(x[:, :half], y[:, :half])
    out.add(x[:, half:], y[:, half:])
    return out


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_ridge_it_is_numpys(bias: bool) -> None:
    x, y, kept = torch.randn(1, 60, 5), torch.randn(1, 60, 3), torch.randn(1, 6, 3).double()
    got = least_squares(moments_of(x, y), kept, 1e-12, bias=bias)
    ones = np.ones((60, 1))
    if bias:
        expected = np.linalg.lstsq(np.hstack([x[0].numpy(), ones]), y[0].numpy(), rcond=None)[0]
    else:
        rest = y[0].numpy() - kept[0, -1].numpy()
        expected = np.vstack([np.linalg.lstsq(x[0].numpy(), rest, rcond=None)[0], kept[0, -1:].numpy()])
    assert got is not None
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-5)


def test_the_ridge_is_towards_the_kept_weights() -> None:
    """The same as more rows: one per weight, times the square root of the penalty."""
    x, y, kept = torch.randn(1, 40, 4).double(), torch.randn(1, 40, 2).double(), torch.randn(1, 5, 2).double()
    got = least_squares(moments_of(x, y), kept, 0.3, bias=False)
    root = np.sqrt(0.3 * float(x.square().sum()) / 4)
    rows = np.vstack([x[0].numpy(), root * np.eye(4)])
    targets = np.vstack([y[0].numpy() - kept[0, -1].numpy(), root * kept[0, :-1].numpy()])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0]
    assert got is not None
    np.testing.assert_allclose(got[0, :-1].numpy(), expected, rtol=1e-6)


def test_a_grouped_convolution_is_numpys_on_patches_cut_by_hand() -> None:
    layer, x, y = nn.Conv2d(4, 6, 2, groups=2), torch.randn(3, 4, 5, 4), torch.randn(3, 6, 4, 3)
    with torch.no_grad(), LinearCalls() as seen:
        layer(x)
    call, rows = seen.found[0], torch.arange(36)
    inputs = call.layout.inputs(x, y.shape, rows)
    targets = call.layout.outputs(y, rows).reshape(36, 2, 3).transpose(0, 1)
    got = least_squares(moments_of(inputs, targets), torch.zeros(2, 9, 3).double(), 1e-12, bias=True)
    assert got is not None
    weight = call.layout.weight(got[:, :-1], layer.weight.shape).numpy()
    for group in range(2):
        patches = [
            [*x[b, 2 * group : 2 * group + 2, i : i + 2, j : j + 2].reshape(-1).tolist(), 1.0]
            for b in range(3) for i in range(4) for j in range(3)
        ]  # fmt: skip
        wanted = y[:, 3 * group : 3 * group + 3].permute(0, 2, 3, 1).reshape(36, 3).numpy()
        expected = np.linalg.lstsq(np.array(patches), wanted, rcond=None)[0]
        mine = weight[3 * group : 3 * group + 3].reshape(3, -1).T
        np.testing.assert_allclose(mine, expected[:-1], atol=1e-4)
        np.testing.assert_allclose(got[group, -1].numpy(), expected[-1], atol=1e-4)


def test_errors_are_those_of_the_rows() -> None:
    x, y, weights = torch.randn(2, 50, 3), torch.randn(2, 50, 4), torch.randn(2, 4, 4).double()
    found = moments_of(x, y)
    residue = y.double() - x.double() @ weights[:, :-1] - weights[:, -1:]
    assert found.error(weights) == pytest.approx(float(residue.square().sum()))
    around = y.double() - y.double().mean(1, keepdim=True)
    assert found.spread() == pytest.approx(float(around.square().sum()))
    assert (found + found).rows == 100


def test_wide_inputs_in_single_precision_come_out_alike() -> None:
    x, y = torch.randn(1, 4000, 300), torch.randn(1, 4000, 2)
    one, two = moments_of(x, y), moments_of(x.double(), y.double())
    torch.testing.assert_close(one.gram, two.gram, rtol=0, atol=1e-2)
    torch.testing.assert_close(one.cross, two.cross, rtol=0, atol=1e-2)


def test_inputs_that_are_zero_leave_the_weights() -> None:
    kept = torch.randn(1, 4, 2).double()
    got = least_squares(moments_of(torch.zeros(1, 10, 3), torch.ones(1, 10, 2)), kept, 1e-3, bias=True)
    assert got is not None
    torch.testing.assert_close(got[:, :-1], kept[:, :-1])
    torch.testing.assert_close(got[:, -1], torch.ones(1, 2).double())


def test_what_is_no_number_has_no_answer() -> None:
    found = moments_of(torch.full((1, 4, 2), torch.nan), torch.ones(1, 4, 1))
    assert not found.finite
    assert least_squares(found, torch.zeros(1, 3, 1).double(), 1e-3, bias=True) is None
