"""Operators in terms of others that `torch.func` can batch, and differentiate twice.

Recurrent layers and cells have no rule for `vmap`, and the fast kernels of attention no second derivative.
The equations are those of torch's documentation of `nn.LSTM`, `nn.GRU` and `nn.RNN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from naivegraph.errors import EditError

__all__ = ["batched_operators"]

_State = tuple[Tensor, ...]  # of a cell: what it gives first, then what it keeps besides
_Cell = Callable[..., _State]  # of an input, a state, and weights


@contextmanager
def batched_operators() -> Iterator[None]:
    """Run with operators that can be batched by `vmap` and differentiated twice.

    Example:
        >>> from torch.func import vmap
        >>> layer, x = torch.nn.LSTM(3, 4), torch.randn(6, 5, 2, 3)
        >>> with batched_operators():
        ...     both = vmap(lambda each: layer(each)[0])(x)
        >>> torch.allclose(both[1], layer(x[1])[0], atol=1e-6)
        True
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Replaced():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Replaced(TorchFunctionMode):
    """Calls of recurrent operators are replaced."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function, or what there is in its place."""
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


def _lstm_cell(x: Tensor, state: _State, weights: Sequence[Tensor]) -> _State:
    """A step of an LSTM, with a projection of what it gives where there is a fifth weight."""
    take, keep, new, show = _both(x, state[0], weights).chunk(4, -1)
    cell = keep.sigmoid() * state[1] + take.sigmoid() * new.tanh()
    hidden = show.sigmoid() * cell.tanh()
    return (F.linear(hidden, weights[-1]) if len(weights) % 2 else hidden), cell


def _gru_cell(x: Tensor, state: _State, weights: Sequence[Tensor]) -> _State:
    """A step of a GRU."""
    hidden = state[0]
    of_input, of_state = _parts(x, hidden, weights)
    reset, keep, new = of_input.chunk(3, -1)
    reset_, keep_, new_ = of_state.chunk(3, -1)
    share = (keep + keep_).sigmoid()
    return ((1 - share) * (new + (reset + reset_).sigmoid() * new_).tanh() + share * hidden,)


def _tanh_cell(x: Tensor, state: _State, weights: Sequence[Tensor]) -> _State:
    """A step of a plain recurrent network."""
    return (_both(x, state[0], weights).tanh(),)


def _relu_cell(x: Tensor, state: _State, weights: Sequence[Tensor]) -> _State:
    """The same with ReLU."""
    return (_both(x, state[0], weights).relu(),)


def _parts(x: Tensor, hidden: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The shares of input and state in the gates."""
    biases = weights[2:4] if len(weights) > 3 else (None, None)
    return F.linear(x, weights[0], biases[0]), F.linear(hidden, weights[1], biases[1])


def _both(x: Tensor, hidden: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The sum of both."""
    of_input, of_state = _parts(x, hidden, weights)
    return of_input + of_state


def _layers(cell: _Cell) -> Callable[..., Any]:
    """An operator that reads whole sequences, as `torch.lstm` does."""

    def read(
        x: Tensor,
        states: Any,
        weights: Sequence[Tensor],
        biases: bool,
        layers: int,
        dropout: float,
        training: bool,
        both_ways: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Read sequences, `[time, batch, features]`."""
        if isinstance(biases, (tuple, list)):  # the sizes of batches stand in place of the states
            raise EditError("packed sequences cannot be read with weights of their own: give padded ones")
        start: _State = (states,) if isinstance(states, Tensor) else tuple(states)
        ways = 1 + both_ways
        each = len(weights) // (layers * ways)
        now = x.transpose(0, 1) if batch_first else x
        ends: list[_State] = []
        for layer in range(layers):
            outs = []
            for way in range(ways):
                number = layer * ways + way
                own = weights[number * each : (number + 1) * each]
                out, end = _read(cell, now, tuple(part[number] for part in start), own, backwards=way == 1)
                outs.append(out)
                ends.append(end)
            now = torch.cat(outs, -1)
            if dropout and training and layer + 1 < layers:
                now = F.dropout(now, dropout)
        finals = tuple(torch.stack(part) for part in zip(*ends, strict=True))
        return (now.transpose(0, 1) if batch_first else now, *finals)

    return read


def _read(
    cell: _Cell, x: Tensor, state: _State, weights: Sequence[Tensor], *, backwards: bool
) -> tuple[Tensor, _State]:
    """Read sequences in one direction: what is given at each time, and the state at the end."""
    found = []
    for now in reversed(x.unbind(0)) if backwards else x.unbind(0):
        state = cell(now, state, weights)
        found.append(state[0])
    return torch.stack(found[::-1] if backwards else found), state


def _step(cell: _Cell) -> Callable[..., Any]:
    """An operator that reads one time step, as `torch.gru_cell` does."""

    def step(x: Tensor, state: Any, *weights: Tensor | None) -> Any:
        """Read a time step, `[batch, features]`."""
        start: _State = (state,) if isinstance(state, Tensor) else tuple(state)
        end = cell(x, start, [each for each in weights if each is not None])
        return end[0] if isinstance(state, Tensor) else end

    return step


_REPLACED: Mapping[Any, Callable[..., Any]] = {
    torch.lstm: _layers(_lstm_cell),
    torch.gru: _layers(_gru_cell),
    torch.rnn_tanh: _layers(_tanh_cell),
    torch.rnn_relu: _layers(_relu_cell),
    torch.lstm_cell: _step(_lstm_cell),
    torch.gru_cell: _step(_gru_cell),
    torch.rnn_tanh_cell: _step(_tanh_cell),
    torch.rnn_relu_cell: _step(_relu_cell),
}
