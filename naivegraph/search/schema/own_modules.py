"""Modules of the user's own as operations of a schema."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from naivegraph.errors import SchemaError
from naivegraph.search.schema.feature_shape import FeatureShape
from naivegraph.search.schema.operation import LayerPlan, NodeOperation, SizePlan
from naivegraph.search.schema.size_model import SizeTerm

__all__ = ["OwnModule", "module"]

Spatial = Literal["same", "measured"]


@dataclasses.dataclass(frozen=True)
class OwnModule(NodeOperation):
    """Any module, made by the user's factory.

    Attributes:
        factory: Makes the module of its channels in and out, or of those in alone.
        free: Whether it gives a number of channels of its own.
        spatial: "same", or "measured" by a run.
        ports: The ports it takes inputs by.
        title: The word for it.
    """

    factory: Callable[..., nn.Module]
    free: bool
    spatial: Spatial
    ports: tuple[str, ...] = ("",)
    title: str = "module"

    def __repr__(self) -> str:
        return f"OwnModule({self.title}, {self.free}, {self.spatial}, {self.ports})"

    @property
    def word(self) -> str:
        """The name given."""
        return self.title

    def sizes(self, given: dict[str, FeatureShape], plan: SizePlan) -> FeatureShape:
        """Channels free or as they come; spatial sizes as they come, or as the module gives them."""
        first = next(iter(given.values()))
        channels = plan.channels() if self.free else first.channels
        if self.spatial == "same" or not first.spatial:
            return FeatureShape(channels, first.spatial, first.tokens)
        rule = plan.rule("operation", f"{self.word} is measured on maps of known size")
        sizes = []
        for d, term in enumerate(first.spatial):
            low, high = plan.model.interval(term)
            if low != high:
                plan.model.row(rule, [(1, term)], high, high, d)
            sizes.append(high)
        return FeatureShape(channels, self._measured(tuple(sizes), first, plan), first.tokens)

    def _measured(self, sizes: tuple[int, ...], first: FeatureShape, plan: SizePlan) -> tuple[SizeTerm, ...]:
        """The spatial sizes that the module gives for these, on tensors without values."""
        width = plan.model.interval(first.channels)[0]
        shape = (2, *sizes, width) if first.tokens else (2, width, *sizes)
        try:
            with torch.device("meta"), torch.no_grad():
                found = self._make(width, width).eval()(torch.empty(shape)).shape
        except Exception as error:
            # A user's module can raise anything on sizes it does not take.
            raise plan.refuse(f"{self.word} does not run on {width} x {sizes}: {error}") from error
        spatial = found[1:-1] if first.tokens else found[2:]
        return tuple(SizeTerm(-1, int(size)) for size in spatial)

    def _make(self, given: int, made: int) -> nn.Module:
        found = self.factory(given, made) if self.free else self.factory(given)
        if not isinstance(found, nn.Module):
            raise SchemaError(f"the factory of {self.word!r} made a {type(found).__name__}, not a module")
        return found

    def build(self, plan: LayerPlan) -> nn.Module:
        """The module that the factory makes."""
        return self._make(plan.first.channels, plan.made.channels)


def module(
    factory: Callable[..., nn.Module],
    *,
    spatial: Spatial = "same",
    ports: tuple[str, ...] = ("",),
    name: str | None = None,
) -> OwnModule:
    """Any module.

    Args:
        factory: Makes the module: of its channels in and out, `lambda given, made: Block(given, made)`, or of
            those in alone, where it gives as many as it takes, `lambda given: Block(given)`. With several
            ports, of those of the first.
        spatial: "same" where it keeps height and width (or the length of tokens), "measured" where it is to
        be
            run on tensors without values to find out.
        ports: Names of its inputs, where it takes several.
        name: The word for it in the network and in explanations; the factory's name by default.

    Raises:
        SchemaError: The factory takes neither one nor two arguments, or a setting is none.
    """
    if spatial not in ("same", "measured"):
        raise SchemaError(f'spatial is "same" or "measured", not {spatial!r}')
    needed = _needed(factory)
    if needed not in (1, 2):
        raise SchemaError(
            "a factory takes its channels in and out, or those in alone: write "
            "search.module(lambda given, made: ...)"
        )
    title = name or getattr(factory, "__name__", type(factory).__name__).lower()
    word = title if title.isidentifier() else "module"
    return OwnModule(factory, needed == 2, spatial, ports, word)


def _needed(factory: Callable[..., Any]) -> int:
    """The number of arguments that have to be given."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)
