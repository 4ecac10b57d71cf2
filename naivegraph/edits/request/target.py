"""The first argument of the verbs: a graph, or a network and its example."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import torch
from torch import nn

from naivegraph.edits.request import validate
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.verify.catch_up import catch_up
from naivegraph.network import Graph, capture

__all__ = ["GraphVerb", "check_model", "check_no_example", "graph_verb"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_CHOICES = {field.name for field in dataclasses.fields(SizeChoice)}


class GraphVerb(Protocol[P, R_co]):
    """A function of a graph, or of a network followed by its example, which is captured first.

    The example is a tensor or a tuple of positional inputs; `kwargs` has keyword inputs by name.
    """

    @overload
    def __call__(self, model: Graph, /, *args: P.args, **options: P.kwargs) -> R_co: ...

    @overload
    def __call__(self, model: nn.Module, example: Any, /, *args: P.args, **options: P.kwargs) -> R_co: ...

    @overload
    def __call__(
        self, model: nn.Module, example: Any, /, *args: Any, kwargs: Mapping[str, Any], **options: Any
    ) -> R_co: ...


def graph_verb(verb: Callable[Concatenate[Graph, P], R]) -> GraphVerb[P, R]:
    """Let a function of a graph take a network and its example, too.

    Options for the choice of sizes (`SizeChoice`) are checked before the network runs.

    Example:
        >>> @graph_verb
        ... def count(model: Graph, kind: str) -> int:
        ...     return sum(vertex.kind == kind for vertex in model)
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> count(net, torch.ones(1, 2), "layer"), count(capture(net, torch.ones(1, 2)), "layer")
        (2, 2)
    """

    @functools.wraps(verb)
    @ordinary_mode()
    def call(model: Any, *args: Any, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Call the verb with the graph, captured first if need be."""
        check_model(verb.__name__, model)
        if isinstance(model, Graph):
            check_no_example(verb.__name__, args[:1] if args and _has_tensors(args[0]) else (), kwargs)
            return verb(model, *args, **options)
        if not args or not isinstance(args[0], (torch.Tensor, tuple, list)):
            raise EditError(
                f"{verb.__name__} takes a network followed by its example, {_public(verb)}(model, x, ...) "
                "where model(x) runs: a tensor or a tuple of positional inputs, () if there are only "
                "kwargs={...}; or its graph, ng.capture(model, x)"
            )
        SizeChoice(**{name: value for name, value in options.items() if name in _CHOICES})
        return verb(capture(model, args[0], kwargs), *args[1:], **options)

    call.__signature__ = _signature(verb)  # type: ignore[attr-defined]
    return cast("GraphVerb[P, R]", call)


def check_model(verb: str, model: Any) -> None:
    """Check that a verb's first argument is a graph or a network, and bring a graph up to date with that.

    Raises:
        EditError: It is neither, or cannot be edited as it is.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise EditError(f"{model.__name__} is a class; make a network of it first: {model.__name__}(...)")
    if not isinstance(model, (Graph, nn.Module)):
        kind = "None" if model is None else f"a {type(model).__name__}"
        raise EditError(
            f"{verb} takes a graph, ng.{verb}(graph, ...), or a network and its example, "
            f"ng.{verb}(model, x, ...), not {kind}"
        )
    validate.editable(model)
    if isinstance(model, Graph):
        catch_up(model)


def check_no_example(verb: str, args: Any, kwargs: Any) -> None:
    """Check that no example was given beside a graph; `()` is none.

    Raises:
        EditError: There was one.
    """
    inputs = not (isinstance(args, tuple) and not args)
    if inputs or kwargs is not None:
        what = "an example" if inputs else "kwargs="
        raise EditError(f"a graph has its example already: leave {what} out, ng.{verb}(graph, ...)")


def _public(verb: Callable[..., Any]) -> str:
    """The name by which users call a verb, with that of its package where `ng` has none of that name."""
    package = verb.__module__.split(".")[1]
    top = hasattr(sys.modules["naivegraph"], verb.__name__)
    return f"ng.{verb.__name__}" if top else f"ng.{package}.{verb.__name__}"


def _has_tensors(value: Any) -> bool:
    found = value if isinstance(value, (tuple, list)) else (value,)
    return any(isinstance(each, torch.Tensor) for each in found)


def _signature(verb: Callable[..., Any]) -> inspect.Signature:
    """The signature of a verb as it is called."""
    first, *others = inspect.signature(verb).parameters.values()
    given = inspect.Parameter("kwargs", inspect.Parameter.KEYWORD_ONLY, default=None)
    rest = [p for p in others if p.kind is inspect.Parameter.VAR_KEYWORD]
    named = [p for p in others if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return inspect.Signature([first.replace(annotation="Graph | nn.Module"), *named, given, *rest])
