"""Torch takes an LSTM's projection for none where it is as large as the cell: it has to stay smaller."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


class Projected(nn.Module):
    def __init__(self, layers: int = 1, both: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, layers, batch_first=True, bidirectional=both, proj_size=6)
        self.head = nn.Linear(12 if both else 6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (1, True)])
def test_a_projection_grows_with_its_cell(layers: int, both: bool) -> None:
    torch.manual_seed(0)
    model, inputs = Projected(layers, both).eval(), torch.randn(2, 5, 4)
    before = model(inputs)
    edit = ng.resize(ng.capture(model, inputs), {"lstm": +4 if both else +2})
    assert (model.lstm.proj_size, model.lstm.hidden_size) == (8, 9)
    torch.testing.assert_close(model(inputs), before)
    edit.undo()
    assert torch.equal(model(inputs), before)


def test_a_cell_is_not_pruned_below_its_projection() -> None:
    torch.manual_seed(0)
    model, inputs = Projected().eval(), torch.randn(2, 5, 4)
    ng.prune(model, inputs, params=0.3)
    assert 0 < model.lstm.proj_size < model.lstm.hidden_size
    model(inputs)
