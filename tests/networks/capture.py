"""Small networks which each need one mechanism of the capture."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass
class Config:
    size: int
    heads: int
    dropout: float = 0.1
    names: tuple[str, ...] = ("a", "b")


class Attention(nn.Module):
    """Self-attention whose sizes come from a config object, an attribute and the input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.heads = config.heads
        self.qkv = nn.Linear(config.size, 3 * config.size)
        self.out = nn.Linear(config.size, config.size)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        head = self.config.size // self.heads
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, head).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(head)).softmax(dim=-1)
        weights = F.dropout(weights, self.config.dropout, self.training)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).reshape(batch, length, size))
        return mixed + x


class DropPath(nn.Module):
    """No parameters and no children, and its behaviour depends on `training`."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(x.shape[0], 1) > 0.5)


class Residual(nn.Module):
    """Dropout gives its argument back in eval mode; the residual must not see it in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.path = DropPath()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.linear(x)))
        x = x + self.drop(x)
        x = x + F.dropout(x, p=0.5, training=self.training)
        result: Tensor = self.relu(x + self.path(x))
        return result


class InPlace(nn.Module):
    """Changes tensors through views, by operators, by assignment and by reshaping in place."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        before = x + 0
        x[:, 0] = 2.0
        x += before
        x[:, 1:].mul_(3)
        self.relu(x)
        y = x.clone()
        y.unsqueeze_(1)
        return x + y.reshape(y.shape[0], y.shape[1] * y.shape[2])


class Numbers(nn.Module):
    """Sizes through view, chunk, arange, expand, len, numel, slices and division with remainder."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = 2
        self.window = (3, 3)
        self.weight = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(self.parts, dim=-1)
        positions = torch.arange(x.size(1)).expand(len(x), -1)
        half, rest = divmod(x.shape[-1], self.parts)
        y = x.view(x.shape[0], -1, self.parts, half + rest)[:, : x.size(1)]
        y = y.flatten(2) @ self.weight.t()[: self.weight.shape[1]]
        y = y + x.numel() // (len(x) * x.shape[1] * x.shape[2]) + positions[..., None]
        y = y.reshape(-1, self.window[0] * (self.weight.size(0) // self.window[1]))
        return y.view(x.size(0), -1) + (first - second).mean()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.decode = nn.Linear(4, 10, bias=False)
        self.decode.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.decode(self.embed(ids))
        return scores


Pair = collections.namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Result:
    value: Tensor
    size: int


class Output(collections.OrderedDict[str, Any]):
    """A dict which also has its entries as attributes."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(entries)
        self.__dict__.update(entries)


class Cache:
    def __init__(self) -> None:
        self.kept: list[Tensor] = []


class Structured(nn.Module):
    """Returns whatever its keyword asks for."""

    def forward(self, x: Tensor, *, kind: str = "tuple", **others: Tensor) -> Any:
        y = sum(others.values(), x * 2)
        if kind == "dict":
            return {"y": y, "list": [x, y]}
        if kind == "named":
            return Pair(y, (x, None))
        if kind == "dataclass":
            return Result(y, x.shape[0])
        if kind == "output":
            return Output(y=y, x=x)
        if kind == "cache":
            cache = Cache()
            cache.kept.append(y)
            return y, cache
        return y, x.shape[1]


class Double(torch.autograd.Function):
    """Its backward is not the derivative of its forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * 7


class UsesDouble(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Double.apply(x)  # type: ignore[no-untyped-call]
        return result + 1


class Caching(nn.Module):
    """Keeps what it computed, and sizes, on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 4
        self.sizes = [1, 2]
        self.seen: dict[Any, Any] = {}
        self.config = Config(4, 2)
        self.fail = False
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.shape[0] * self.size
        self.seen[x.shape[0], self.size] = (x.shape[1], [self.size])
        self.sizes.append(self.size)
        self.config.heads = self.config.heads * 1
        self.get_buffer("calls").add_(1)
        torch.rand(())
        if self.fail:
            raise ValueError("broken on purpose")
        return x.view(-1, self.size)


# By name: what builds it, and the shape of its input.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (lambda: Attention(Config(8, 2)), (2, 5, 8)),
    "residual": (Residual, (8, 6)),
    "in place": (InPlace, (3, 4)),
    "numbers": (Numbers, (2, 5, 8)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten()),
        (2, 3, 5, 5),
    ),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "recurrent": (lambda: nn.LSTM(4, 6, batch_first=True), (2, 5, 4)),
    "one layer": (lambda: nn.Linear(4, 2), (2, 4)),
}
