"""Calls as products of rows with matrices give what torch's own layers give."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.reconstruct.linear_call import LinearCalls, Reached

Make = Callable[[], nn.Module]


class Product(nn.Module):
    """A product with a weight, written in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.randn(5, 7))
        self.bias = nn.Parameter(torch.randn(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        if self.how == "addmm":
            return torch.addmm(self.bias, x.reshape(-1, 5), self.weight)
        if self.how == "turned":
            return torch.nn.functional.linear(x, self.weight.t(), self.bias)
        return x @ self.weight if self.how == "@" else torch.matmul(x, self.weight)


LAYERS: list[tuple[str, Make, tuple[int, ...]]] = [
    ("linear", lambda: nn.Linear(5, 7), (3, 5)),
    ("linear without bias, of tokens", lambda: nn.Linear(5, 7, bias=False), (2, 4, 5)),
    ("linear, one vector", lambda: nn.Linear(5, 7), (5,)),
    ("@", lambda: Product("@"), (3, 2, 5)),
    ("matmul", lambda: Product("matmul"), (3, 5)),
    ("addmm", lambda: Product("addmm"), (3, 5)),
    ("a weight turned around", lambda: Product("turned"), (3, 5)),
    ("conv1d", lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    ("conv2d", lambda: nn.Conv2d(3, 4, 3), (2, 3, 8, 7)),
    ("conv2d, no batch", lambda: nn.Conv2d(3, 4, 3), (3, 8, 7)),
    ("conv2d, strided, padded, dilated", lambda: nn.Conv2d(3, 4, (3, 2), 2, (2, 1), (2, 1)), (2, 3, 9, 8)),
    ("conv2d, grouped", lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 6, 6)),
    ("conv2d, depthwise", lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), (2, 4, 6, 6)),
    ("conv2d, same, even kernel", lambda: nn.Conv2d(3, 4, (4, 3), padding="same"), (2, 3, 6, 6)),
    ("conv2d, reflected", lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 6, 6)),
    ("conv3d", lambda: nn.Conv3d(2, 3, (2, 3, 2), (1, 2, 1), 1), (2, 2, 4, 5, 3)),
    ("conv_transpose1d", lambda: nn.ConvTranspose1d(4, 3, 3, 2, 1, 1), (2, 4, 5)),
    ("conv_transpose2d", lambda: nn.ConvTranspose2d(4, 3, (3, 2), (2, 3), 1), (2, 4, 5, 4)),
    ("conv_transpose2d, grouped", lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2, dilation=2), (2, 4, 5, 4)),
    ("conv_transpose2d, much padding", lambda: nn.ConvTranspose2d(4, 3, 3, 1, 3), (2, 4, 9, 9)),
    ("conv_transpose3d", lambda: nn.ConvTranspose3d(2, 3, 2, 2), (1, 2, 3, 2, 3)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("make", "shape"), [row[1:] for row in LAYERS], ids=[row[0] for row in LAYERS])
@torch.no_grad()
def test_rows_times_the_matrix_are_the_output(make: Make, shape: tuple[int, ...]) -> None:
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    with LinearCalls() as seen:
        layer(x)
    (call,) = seen.found
    assert call.output is not None
    count = call.output.numel() // call.output.shape[call.layout.channel_dim(call.output.shape)]
    examples, each = call.layout.rows_by_example(call.output.shape)
    assert examples * each == count
    rows = torch.randperm(count)[: max(count // 2, 1)]
    matrix = call.layout.matrix(call.weight)
    got = call.layout.inputs(call.x, call.output.shape, rows) @ matrix
    got = got.transpose(0, 1).reshape(len(rows), -1)
    if call.bias is not None:
        got = got + call.bias
    torch.testing.assert_close(got, call.layout.outputs(call.output, rows))
    assert torch.equal(call.layout.weight(matrix, call.weight.shape), call.weight)


def test_what_is_no_product_with_a_weight_is_not_seen() -> None:
    weight = torch.randn(5, 5)
    with LinearCalls() as seen:
        torch.randn(3, 5) @ weight
        nn.functional.linear(torch.randn(3, 5), torch.tanh(nn.Parameter(weight)))
        torch.addmm(torch.zeros(5), torch.randn(3, 5), nn.Parameter(weight), alpha=2)
        nn.LSTM(5, 5)(torch.randn(2, 3, 5))
    assert not seen.found


def test_a_call_is_stopped_before_it_is_computed() -> None:
    calls: list[Any] = []

    class Then(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Note whether it went on."""
            out = super().forward(x)
            calls.append(out)
            return out

    layer = Then(3, 2)
    with pytest.raises(Reached) as reached, LinearCalls(stop=True):
        layer(torch.ones(1, 3))
    assert reached.value.call.parameter is layer.weight
    assert not calls
