"""Recurrent operators and attention by others, against torch's own."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_leaves

from naivegraph.errors import EditError
from naivegraph.weights.batched_operators import batched_operators

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "lstm batch first": lambda: nn.LSTM(3, 4, batch_first=True, bias=False),
    "lstm projection": lambda: nn.LSTM(3, 4, proj_size=2, num_layers=2),
    "gru": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True),
    "gru without bias": lambda: nn.GRU(3, 4, bias=False),
    "rnn": lambda: nn.RNN(3, 4),
    "rnn relu": lambda: nn.RNN(3, 4, nonlinearity="relu", bidirectional=True),
}
CELLS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: nn.LSTMCell(3, 4),
    "gru": lambda: nn.GRUCell(3, 4, bias=False),
    "rnn": lambda: nn.RNNCell(3, 4),
    "rnn relu": lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
}


def _leaves(out: object) -> list[Tensor]:
    found: list[Tensor] = tree_leaves(out)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_what_torch_gives(name: str) -> None:
    torch.manual_seed(0)
    layer, x = LAYERS[name]().double(), torch.randn(5, 2, 3).double()
    expected = _leaves(layer(x))
    with batched_operators():
        found = _leaves(layer(x))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", CELLS)
def test_cells_give_what_torch_gives(name: str) -> None:
    torch.manual_seed(0)
    cell, x = CELLS[name]().double(), torch.randn(5, 3).double()
    expected = _leaves(cell(x))
    with batched_operators():
        found = _leaves(cell(x))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_layers_can_have_weights_for_each_example() -> None:
    torch.manual_seed(0)
    layer, x = nn.GRU(3, 4).double(), torch.randn(6, 5, 2, 3).double()
    weights = {name: torch.randn(6, *each.shape).double() for name, each in layer.named_parameters()}
    with batched_operators():
        found = vmap(lambda own, given: functional_call(layer, own, (given,))[0])(weights, x)
    for number in range(6):
        own = {name: each[number] for name, each in weights.items()}
        assert torch.allclose(found[number], functional_call(layer, own, (x[number],))[0], atol=1e-12)


def test_dropout_between_layers_drops() -> None:
    torch.manual_seed(0)
    layer, x = nn.LSTM(3, 40, num_layers=2, dropout=0.9), torch.randn(5, 2, 3)
    with batched_operators():
        assert not torch.equal(layer(x)[0], layer(x)[0])
        assert torch.equal(layer.eval()(x)[0], layer(x)[0])


def test_attention_has_a_second_derivative() -> None:
    x = torch.randn(1, 2, 3, 4, requires_grad=True)
    with batched_operators():
        out = nn.functional.scaled_dot_product_attention(x, x, x).square().sum()
    (first,) = torch.autograd.grad(out, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()


def test_packed_sequences_are_refused() -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, 3), [5, 3])
    with batched_operators(), pytest.raises(EditError, match=r"packed sequences .* give padded ones"):
        nn.LSTM(3, 4)(packed)
