"""Pools of a schema, and what makes maps larger again."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from naivegraph.errors import SchemaError
from naivegraph.search.schema.convolutions import (
    Ints,
    PaddedWindow,
    PaddingWish,
    exact_ints,
    per_dimension,
)
from naivegraph.search.schema.feature_shape import FeatureShape, bounds_of
from naivegraph.search.schema.operation import LayerPlan, NodeOperation, SizePlan
from naivegraph.search.schema.size_model import SizeTerm

__all__ = ["AdaptivePool", "PoolOperation", "Upsampling", "avg_pool", "global_pool", "max_pool", "upsample"]

_POOLS: dict[str, tuple[Any, ...]] = {
    "max_pool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg_pool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
}
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


@dataclasses.dataclass(frozen=True)
class PoolOperation(PaddedWindow):
    """The maximum or mean of a window.

    Attributes:
        kind: "max_pool" or "avg_pool".
    """

    kind: str = "max_pool"

    @property
    def word(self) -> str:
        """The kind of pool."""
        return self.kind

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels as they come, spatial sizes as the window slides."""
        (source,) = given.values()
        dims = self._checked(source, plan)
        most = tuple(kernel // 2 for kernel in per_dimension(self.kernel, dims, "kernel"))
        spatial = self.slide(source, plan, self.padding_terms(plan, dims, most))
        return FeatureShape(source.channels, spatial)

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        kernel, stride, padding = (
            each[0] if len(set(each)) == 1 else each
            for each in (self.kernel, self.stride, plan.numbers["padding"])
        )
        layer: nn.Module = _POOLS[self.kind][len(plan.first.spatial) - 1](kernel, stride, padding)
        return layer


@dataclasses.dataclass(frozen=True)
class AdaptivePool(NodeOperation):
    """The mean of as many windows as sizes are asked for.

    Attributes:
        size: The sizes it gives.
    """

    size: tuple[int, ...]

    word = "pool"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels as they come, spatial sizes as asked for."""
        (source,) = given.values()
        dims = len(source.spatial)
        if source.tokens or not 1 <= dims <= 3 or len(self.size) not in (1, dims):
            raise plan.refuse(f"{self.word} to {self.size} takes maps, not {source.layout}")
        spatial = tuple(SizeTerm(-1, size) for size in per_dimension(self.size, dims, "size"))
        return FeatureShape(source.channels, spatial)

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        size: Any = self.size[0] if len(set(self.size)) == 1 else self.size
        return _ADAPTIVE[len(plan.first.spatial) - 1](size)


@dataclasses.dataclass(frozen=True)
class Upsampling(NodeOperation):
    """Larger maps by interpolation.

    Attributes:
        scale: The factor of all spatial sizes.
        mode: The mode of `nn.Upsample`.
    """

    scale: int
    mode: str

    word = "upsample"

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels as they come, spatial sizes times the scale."""
        (source,) = given.values()
        if source.tokens or not source.spatial:
            raise plan.refuse(f"{self.word} takes maps, not {source.layout}")
        return FeatureShape(source.channels, tuple(term.times(self.scale) for term in source.spatial))

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        return nn.Upsample(scale_factor=self.scale, mode=self.mode)


def _pool(kind: str, kernel: Ints, stride: Ints | None, padding: PaddingWish) -> PoolOperation:
    values = padding if isinstance(padding, list) else [padding]
    bounds = tuple(bounds_of(each, "padding", least=0) for each in values)
    sizes = exact_ints(kernel, "kernel")
    for bound in bounds:
        if bound is not None and (bound.lower or 0) > min(sizes) // 2:
            raise SchemaError(f"a pool of kernel {kernel} pads by at most half of it, not by {bound}")
    steps = exact_ints(kernel if stride is None else stride, "stride")
    return PoolOperation(sizes, steps, (1,), bounds, kind)


def max_pool(kernel: Ints = 2, *, stride: Ints | None = None, padding: PaddingWish = 0) -> PoolOperation:
    """The maximum of windows; settings as those of `conv`, the stride by default the kernel."""
    return _pool("max_pool", kernel, stride, padding)


def avg_pool(kernel: Ints = 2, *, stride: Ints | None = None, padding: PaddingWish = 0) -> PoolOperation:
    """The mean of windows; settings as those of `conv`, the stride by default the kernel."""
    return _pool("avg_pool", kernel, stride, padding)


def global_pool(size: Ints = 1) -> AdaptivePool:
    """The mean of the whole map, or of `size` windows along each dimension."""
    return AdaptivePool(exact_ints(size, "size"))


def upsample(scale: int = 2, *, mode: str = "nearest") -> Upsampling:
    """Maps `scale` times as large, by interpolation."""
    (times,) = exact_ints(scale, "scale")
    return Upsampling(times, mode)
