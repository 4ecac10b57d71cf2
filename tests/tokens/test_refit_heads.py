"""Heads refitted in closed form, against numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from naivegraph.errors import EditError
from naivegraph.tokens import Frame, refit
from tests.tokens.random_networks import FRAMES, inputs_of, name_of, random_networks


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_heads_are_those_of_numpy(frame: Frame) -> None:
    networks, x = random_networks(frame, 3, seed=1), inputs_of(frame, 60, seed=1)
    torch.manual_seed(0)
    targets = torch.randn(3, 60, frame.outputs).double()
    found = refit(networks, x, targets, ridge=0.0)
    last = networks.run_hidden(x).last.numpy()
    for number in range(3):
        for output in range(frame.outputs):
            there = networks.edges[number, -1, output].numpy() > 0.5
            rows = np.concatenate([last[number][:, there], np.ones((60, 1))], 1)
            fitted = rows @ np.linalg.lstsq(rows, targets[number, :, output].numpy(), rcond=None)[0]
            mine = found.run(x)[number, :, output].numpy()
            wanted = targets[number, :, output].numpy()
            assert ((mine - wanted) ** 2).sum() <= (1 + 1e-4) * ((fitted - wanted) ** 2).sum()
    for name, value in networks.tensors().items():
        assert torch.equal(value[:, :-1], getattr(found, name)[:, :-1]), name
    assert found.valid().all()


def test_a_head_that_fits_stays() -> None:
    networks, x = random_networks(FRAMES[0], 4, seed=2), inputs_of(FRAMES[0], 40, seed=2)
    found = refit(networks, x, networks.run(x))
    torch.testing.assert_close(found.tokens(), networks.tokens(), atol=1e-6, rtol=1e-6)


def test_what_is_refused() -> None:
    frame = FRAMES[0]
    networks, x = random_networks(frame, 2, seed=0), inputs_of(frame, 5, seed=0)
    with pytest.raises(
        ValueError, match=r"targets are \(4, 2\) of torch.float32, and are to be numbers, \(5, 2\)"
    ):
        refit(networks, x, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="int64"):
        refit(networks, x, torch.zeros(5, 2).long())
    with pytest.raises(ValueError, match="not finite"):
        refit(networks, x, torch.full((5, 2), torch.nan))
    with pytest.raises(EditError, match="ridge must be a number from 0 up"):
        refit(networks, x, torch.zeros(5, 2), ridge=-1.0)
