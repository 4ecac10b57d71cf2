"""A layer that changes its own weights while it reads a sequence.

Irie, Schlag, Csordas and Schmidhuber, "A modern self-referential weight matrix that learns to modify itself",
ICML 2022, after Schmidhuber, "A self-referential weight matrix", 1993.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SelfReferential"]

_KEYS = ("unit", "softmax")
_RATES = 4  # of the rows that give outputs, keys, queries and the rates themselves


class SelfReferential(nn.Module):
    """A linear layer with a matrix that it changes at each time step, by outputs of that same matrix.

    With the matrix W:

        y, k, q, b = W f(x);   W <- W + sigmoid(b + c) (W f(q) - W f(k)) f(k)^T

    Then W gives for the key k what it gave for the query q, as far as the rates b say: the delta rule. Each
    of the four parts of W has a rate of its own. The changes last for a sequence; the matrix that sequences
    begin with is the parameter, trained through all changes.

    Args:
        in_features: The features of an input.
        out_features: The features of an output.
        heads: The matrices side by side, each for a part of the features.
        keys: What f does: "unit" gives vectors of norm 1; "softmax", as in the paper, positive ones of sum 1.
        modify: Change the matrix; if not, it is the same at each step, the control.

    Attributes:
        weight: The matrix that sequences begin with, `[heads, out + 2 in + 4, in]` of each head's features.
        rates: The offsets c of the rates, `[4]`.

    Raises:
        ValueError: A size is no whole number above 0, the heads do not divide the features, or there are no
            such keys.

    Example:
        >>> layer = SelfReferential(6, 4)
        >>> layer(torch.randn(2, 5, 6)).shape
        torch.Size([2, 5, 4])
        >>> state = layer.start(2)
        >>> y, state = layer.step(torch.randn(2, 6), state)
        >>> y.shape, state.shape
        (torch.Size([2, 4]), torch.Size([2, 1, 20, 6]))
    """

    def __init__(
        self, in_features: int, out_features: int, *, heads: int = 1, keys: str = "unit", modify: bool = True
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features), ("heads", heads)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}={size!r} is to be a whole number of at least 1")
        if in_features % heads or out_features % heads:
            raise ValueError(
                f"{heads} heads do not divide {in_features} features of inputs and {out_features} of outputs"
            )
        if keys not in _KEYS:
            raise ValueError(f"keys= is one of {', '.join(map(repr, _KEYS))}, not {keys!r}")
        self.in_features, self.out_features, self.heads = in_features, out_features, heads
        self.keys, self.modify = keys, modify
        self._in, self._out = in_features // heads, out_features // heads
        self._parts = [self._out, self._in, self._in, _RATES]
        self.weight = nn.Parameter(torch.empty(heads, sum(self._parts), self._in))
        self.rates = nn.Parameter(torch.empty(_RATES))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrix anew; the rates start low, near .12."""
        nn.init.normal_(self.weight, std=self._in**-0.5)
        with torch.no_grad():
            self.weight[:, -_RATES:] *= 0.1
        nn.init.constant_(self.rates, -2.0)

    def start(self, batch: int) -> Tensor:
        """The matrices at the start of sequences, `[batch, heads, out + 2 in + 4, in]`."""
        return self.weight.expand(batch, *self.weight.shape)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read one time step.

        Args:
            x: The inputs, `[batch, in_features]`.
            state: The matrices, as `start` and the step before give them.

        Returns:
            The outputs, `[batch, out_features]`, and the matrices from then on.
        """
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"inputs are [batch, {self.in_features}], and these are {list(x.shape)}")
        seen = self._normed(x.reshape(len(x), self.heads, self._in))
        y, key, query, rates = torch.split(_times(state, seen), self._parts, dim=-1)
        if self.modify:
            key, query = self._normed(key), self._normed(query)
            change = _times(state, query) - _times(state, key)
            rate = torch.sigmoid(rates + self.rates)
            by_row = rate.repeat_interleave(torch.tensor(self._parts, device=rate.device), dim=-1)
            state = state + (by_row * change).unsqueeze(-1) * key.unsqueeze(-2)
        return y.reshape(len(x), self.out_features), state

    def forward(self, x: Tensor) -> Tensor:
        """Read whole sequences, `[batch, time, in_features]`, and give `[batch, time, out_features]`."""
        if x.dim() != 3 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"sequences are [batch, time, {self.in_features}], and these are {list(x.shape)}"
            )
        state, found = self.start(len(x)), []
        for now in x.unbind(1):
            y, state = self.step(now, state)
            found.append(y)
        return torch.stack(found, 1) if found else x.new_zeros(len(x), 0, self.out_features)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.in_features}, {self.out_features}, heads={self.heads}, keys={self.keys!r}, "
            f"modify={self.modify}"
        )

    def _normed(self, x: Tensor) -> Tensor:
        """The vector f(x)."""
        return F.normalize(x, dim=-1) if self.keys == "unit" else torch.softmax(x, dim=-1)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Products of matrices, `[..., m, n]`, with vectors, `[..., n]`."""
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
