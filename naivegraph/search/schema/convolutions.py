"""Convolutions of a schema: plain, grouped, depthwise and transposed, with paddings that may be free."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.errors import SchemaError
from naivegraph.search.schema.feature_shape import FeatureShape, SizeBounds, bounds_of
from naivegraph.search.schema.operation import LayerPlan, NodeOperation, SizePlan
from naivegraph.search.schema.size_model import LARGEST, SchemaRule, SizeTerm

__all__ = [
    "ConvOperation",
    "ConvTransposeOperation",
    "PaddedWindow",
    "conv",
    "conv_transpose",
    "depthwise",
    "exact_ints",
    "grouped",
    "per_dimension",
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Ints = int | tuple[int, ...]
PaddingWish = int | tuple[int | None, int | None] | list[Any] | None


def per_dimension(values: tuple[Any, ...], dims: int, what: str) -> tuple[Any, ...]:
    """A setting per dimension, of one for all or one for each.

    Raises:
        ValueError: There are several, and not one for each.
    """
    if len(values) == 1:
        return values * dims
    if len(values) != dims:
        raise ValueError(f"its {what} {values} is for {len(values)} dimensions")
    return values


def exact_ints(value: Ints, what: str, least: int = 1) -> tuple[int, ...]:
    """One number, or one per dimension, as a tuple."""
    values = value if isinstance(value, tuple) else (value,)
    if not values or not all(isinstance(each, int) and each >= least for each in values):
        raise SchemaError(
            f"{what} is a whole number from {least} up, or a tuple of one per dimension, not {value!r}"
        )
    return values


def _paddings(value: PaddingWish, what: str) -> tuple[SizeBounds | None, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(bounds_of(each, what, least=0) for each in values)


@dataclasses.dataclass(frozen=True)
class PaddedWindow(NodeOperation):
    """A window that slides over maps: kernel, stride, dilation and padding per dimension.

    Attributes:
        kernel: Sizes of the window.
        stride: Its steps.
        dilation: Distances between its taps.
        padding: Bounds of the padding; None for half of the window.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[SizeBounds | None, ...]

    def rule(self, plan: SizePlan, dims: int) -> SchemaRule:
        """The rule that this operation is; numbers that are exact are a part of it."""
        parts = [f"kernel {_short(self.kernel)}", f"stride {_short(self.stride)}"]
        parts += [f"dilation {_short(self.dilation)}"] if set(self.dilation) != {1} else []
        bounds = self._paddings(dims)
        if all(low == high for low, high in bounds):
            parts.append(f"padding {_short(tuple(low for low, _ in bounds))}")
        return plan.rule("operation", f"{self.word} of {', '.join([*parts, *self._more(dims)])}")

    def _more(self, dims: int) -> list[str]:
        """Further exact numbers."""
        return []

    def _paddings(self, dims: int) -> list[tuple[int, int]]:
        """The least and the largest padding of each dimension."""
        settings = [per_dimension(each, dims, "") for each in (self.padding, self.kernel, self.dilation)]
        found = []
        for bound, kernel, dilation in zip(*settings, strict=True):
            half = dilation * (kernel - 1) // 2
            most = None if bound is None else bound.upper
            low, high = (
                (half, half) if bound is None else (bound.lower or 0, LARGEST if most is None else most)
            )
            found.append((low, high))
        return found

    def _settings(self) -> list[str]:
        """The names of settings that are one for each dimension."""
        return ["kernel", "stride", "dilation", "padding"]

    def _checked(self, given: FeatureShape, plan: SizePlan) -> int:
        """The number of dimensions, of maps alone."""
        dims = len(given.spatial)
        if given.tokens or not 1 <= dims <= 3:
            raise plan.refuse(f"{self.word} takes maps of 1 to 3 dimensions, not {given.layout}")
        for what in self._settings():
            try:
                per_dimension(getattr(self, what), dims, what)
            except ValueError as error:
                raise plan.refuse(f"{self.word} is given {given.layout}, but {error}") from None
        return dims

    def padding_terms(self, plan: SizePlan, dims: int, most: tuple[int, ...] | None = None) -> list[SizeTerm]:
        """The padding of each dimension, at most `most`."""
        terms = []
        whole = self.rule(plan, dims)
        kernels, dilations = (per_dimension(each, dims, "") for each in (self.kernel, self.dilation))
        for d, (low, high) in enumerate(self._paddings(dims)):
            stated = plan.rule("padding", f"padding {SizeBounds(low, None if high == LARGEST else high)}")
            term = plan.model.stated(stated, f"{plan.name} padding {d}", (low, high), d, whole)
            if most is not None and term.index >= 0:
                text = f"{self.word} pads by at most half of its kernel {_short(self.kernel)}"
                plan.model.row(plan.rule("operation", text), [(1, term)], None, most[d])
            if term.index >= 0:
                half = dilations[d] * (kernels[d] - 1) // 2
                plan.preferred.append((term, min(max(half, low), high)))
            terms.append(term)
        plan.numbers["padding"] = tuple(terms)
        return terms

    def slide(self, given: FeatureShape, plan: SizePlan, paddings: list[SizeTerm]) -> tuple[SizeTerm, ...]:
        """The sizes after the window: `floor((d + 2 p - dilation (k - 1) - 1) / stride) + 1`, exactly."""
        dims = len(given.spatial)
        rule = self.rule(plan, dims)
        made: list[SizeTerm] = []
        settings = [per_dimension(each, dims, "") for each in (self.kernel, self.stride, self.dilation)]
        for d, (size, padding) in enumerate(zip(given.spatial, paddings, strict=True)):
            kernel, stride, dilation = (each[d] for each in settings)
            reach = dilation * (kernel - 1)
            if stride == 1 and padding.index < 0 and 2 * padding.factor == reach:
                made.append(size)
                continue
            out = plan.model.size(f"{plan.name} size {d}")
            terms = [(1, size), (2, padding), (-stride, out)]
            plan.model.row(rule, terms, reach + 1 - stride, reach, d)
            made.append(out)
        return tuple(made)


@dataclasses.dataclass(frozen=True)
class ConvOperation(PaddedWindow):
    """A convolution, in groups or not.

    Attributes:
        groups: Numbers of groups to draw one from; empty for as many as channels (depthwise).
        multiplier: Outputs per input of a depthwise convolution.
        bias: Whether it adds a bias.
    """

    groups: tuple[int, ...] = (1,)
    multiplier: int = 1
    bias: bool = True

    word = "conv"

    def variants(self, draw: random.Random) -> Sequence[Any]:
        """The numbers of groups, shuffled."""
        return draw.sample(self.groups, len(self.groups)) if self.groups else (None,)

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels as the groups divide them, spatial sizes as the window slides."""
        (source,) = given.values()
        dims = self._checked(source, plan)
        spatial = self.slide(source, plan, self.padding_terms(plan, dims))
        if not self.groups:
            return FeatureShape(source.channels.times(self.multiplier), spatial)
        channels = plan.channels()
        rule = plan.rule("groups", f"{plan.variant} groups divide channels in and out")
        plan.divisible(rule, source.channels, plan.variant)
        plan.divisible(rule, channels, plan.variant)
        return FeatureShape(channels, spatial)

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        dims = len(plan.first.spatial)
        return _CONVOLUTIONS[dims - 1](
            plan.first.channels,
            plan.made.channels,
            _torch(self.kernel),
            _torch(self.stride),
            _torch(plan.numbers["padding"]),
            _torch(self.dilation),
            plan.first.channels if not self.groups else plan.variant,
            self.bias,
        )


@dataclasses.dataclass(frozen=True)
class ConvTransposeOperation(PaddedWindow):
    """A transposed convolution.

    Attributes:
        output_padding: Bounds of what is added at the end.
        bias: Whether it adds a bias.
    """

    output_padding: tuple[SizeBounds | None, ...] = (SizeBounds(0, 0),)
    bias: bool = True

    word = "conv_transpose"

    def _more(self, dims: int) -> list[str]:
        """The output padding, if it is exact."""
        ends = self._ends(dims)
        exact = all(low == high for low, high in ends)
        return [f"output padding {_short(tuple(low for low, _ in ends))}"] if exact else []

    def _settings(self) -> list[str]:
        """The names of settings that are one for each dimension."""
        return [*super()._settings(), "output_padding"]

    def _ends(self, dims: int) -> list[tuple[int, int]]:
        """The least and the largest output padding of each dimension."""
        settings = [
            per_dimension(each, dims, "") for each in (self.output_padding, self.stride, self.dilation)
        ]
        found = []
        for bound, stride, dilation in zip(*settings, strict=True):
            most = max(stride, dilation) - 1
            high = most if bound is None or bound.upper is None else bound.upper
            found.append((0 if bound is None else bound.lower or 0, high))
        return found

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Sizes `stride (d - 1) - 2 padding + dilation (k - 1) + output padding + 1`."""
        (source,) = given.values()
        dims = self._checked(source, plan)
        paddings = self.padding_terms(plan, dims)
        rule = self.rule(plan, dims)
        settings = [per_dimension(each, dims, "") for each in (self.kernel, self.stride, self.dilation)]
        ends = self._ends(dims)
        spatial, terms = [], []
        for d, (size, padding, (low, high)) in enumerate(zip(source.spatial, paddings, ends, strict=True)):
            kernel, stride, dilation = (each[d] for each in settings)
            if low == high >= max(stride, dilation):
                most = max(stride, dilation)
                raise plan.refuse(f"{self.word} pads its output by less than {most}, its stride or dilation")
            stated = plan.rule("output padding", f"output padding {SizeBounds(low, high)}")
            end = plan.model.stated(stated, f"{plan.name} output padding {d}", (low, high), d, rule)
            if end.index >= 0:
                text = f"{self.word} pads its output by less than its stride or dilation"
                plan.model.row(plan.rule("operation", text), [(1, end)], None, max(stride, dilation) - 1)
                plan.preferred.append((end, low))
            out = plan.model.size(f"{plan.name} size {d}")
            reach = dilation * (kernel - 1) + 1 - stride
            plan.model.row(rule, [(1, out), (-stride, size), (2, padding), (-1, end)], reach, reach, d)
            spatial.append(out)
            terms.append(end)
        plan.numbers["output padding"] = tuple(terms)
        return FeatureShape(plan.channels(), tuple(spatial))

    def build(self, plan: LayerPlan) -> nn.Module:
        """The layer of torch."""
        return _TRANSPOSED[len(plan.first.spatial) - 1](
            plan.first.channels,
            plan.made.channels,
            _torch(self.kernel),
            _torch(self.stride),
            _torch(plan.numbers["padding"]),
            _torch(plan.numbers["output padding"]),
            1,
            self.bias,
            _torch(self.dilation),
        )


def _torch(values: tuple[int, ...]) -> Any:
    """Numbers per dimension as torch takes them."""
    return values[0] if len(set(values)) == 1 else values


def _short(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values)) if len(set(values)) > 1 else str(values[0])


def conv(
    kernel: Ints = 1,
    *,
    stride: Ints = 1,
    padding: PaddingWish = None,
    dilation: Ints = 1,
    groups: Ints = 1,
    bias: bool = True,
) -> ConvOperation:
    """A convolution, of as many dimensions as the maps it is given.

    Args:
        kernel: Its size; a tuple for one per dimension, here and below.
        stride: Its steps.
        padding: None for half of the kernel, which keeps sizes at stride 1; a number; (least, most), of which
            the program takes what fits; a list of these for one per dimension.
        dilation: Distances between its taps.
        groups: The number of groups, or a tuple of numbers of which each use draws one.
        bias: Whether it adds a bias.

    Raises:
        SchemaError: A setting is none.
    """
    return ConvOperation(
        exact_ints(kernel, "kernel"),
        exact_ints(stride, "stride"),
        exact_ints(dilation, "dilation"),
        _paddings(padding, "padding"),
        exact_ints(groups, "groups"),
        1,
        bias,
    )


def grouped(kernel: Ints = 3, groups: Ints = 2, **settings: Any) -> ConvOperation:
    """A convolution in groups; the other settings are those of `conv`."""
    return conv(kernel, groups=groups, **settings)


def depthwise(kernel: Ints = 3, *, multiplier: int = 1, **settings: Any) -> ConvOperation:
    """A convolution with a group per channel, `multiplier` outputs of each, and settings as `conv`."""
    (times,) = exact_ints(multiplier, "multiplier")
    return dataclasses.replace(conv(kernel, **settings), groups=(), multiplier=times)


def conv_transpose(
    kernel: Ints = 2,
    *,
    stride: Ints = 2,
    padding: PaddingWish = 0,
    output_padding: PaddingWish = 0,
    dilation: Ints = 1,
    bias: bool = True,
) -> ConvTransposeOperation:
    """A transposed convolution.

    Args:
        kernel: Its size; a tuple for one per dimension, here and below.
        stride: Its steps.
        padding: As for `conv`; what is taken off both ends.
        output_padding: What is added at one end: a number below the stride, or (least, most).
        dilation: Distances between its taps.
        bias: Whether it adds a bias.

    Raises:
        SchemaError: A setting is none.
    """
    return ConvTransposeOperation(
        exact_ints(kernel, "kernel"),
        exact_ints(stride, "stride"),
        exact_ints(dilation, "dilation"),
        _paddings(padding, "padding"),
        _paddings(output_padding, "output_padding"),
        bias,
    )
