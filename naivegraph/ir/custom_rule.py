"""Functions with a rule for their sizes, in place of the rules of the operators they are made of."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import nn

from naivegraph.errors import NaivegraphError, nearest
from naivegraph.ir.function_name import found_by_name, named

__all__ = [
    "NAMED_RULES",
    "Absorb",
    "Call",
    "CustomFunction",
    "Fixed",
    "Rule",
    "Same",
    "Shapes",
    "Stack",
    "Ties",
    "register_rule",
    "rule_of",
]

Shapes = Sequence[tuple[int, ...]]


class Ties(Protocol):
    """Constraints that a rule may state on the sizes of one call.

    A dimension is an item of `inputs[i]` or `outputs[i]`: dimension `d` of the i-th tensor that the function
    takes or returns is `inputs[i][d]` or `outputs[i][d]`. Dimensions a rule says nothing about keep their
    size, and so does every dimension of an output that is not tied to one of an input.

    Constraints stated by `equal` and `joined` hold at all times. Those stated by `step`, `neurons` and
    `linear` hold from the first edit that changes one of their sizes; if no such edit is possible, the error
    names the vertex with the rule.

    Attributes:
        inputs: For each tensor the function takes, in order, its dimensions.
        outputs: The same for the tensors it returns.
    """

    @property
    def inputs(self) -> list[list[Any]]:
        """The dimensions of each tensor the function takes."""

    @property
    def outputs(self) -> list[list[Any]]:
        """The dimensions of each tensor the function returns."""

    def equal(self, first: Any, *others: Any) -> None:
        """Require that these dimensions are the same neurons in the same order."""

    def joined(self, whole: Any, parts: Sequence[Any]) -> None:
        """Require that `whole` is the concatenation of `parts`, in this order."""

    def free(self, dimension: Any) -> None:
        """Let this dimension of an input change, with nothing else following from it."""

    def fixed(self, dimension: Any, reason: str) -> None:
        """Require that this dimension keeps its size, for `reason`."""

    def step(self, dimension: Any, multiple: int) -> None:
        """Require that the size of this dimension is a multiple of `multiple`."""

    def neurons(self, dimension: Any, indices: Sequence[int], *, keep: bool) -> None:
        """Require that these neurons of a dimension stay (`keep=True`), or go when its size next changes.

        Indices are those before an edit: once neurons have moved, the rule should name other indices.
        """

    def linear(
        self, terms: Sequence[tuple[int, Any]], *, low: int | None = None, high: int | None = None
    ) -> None:
        """Require `low <= sum of coefficient * size <= high` over pairs of a coefficient and a dimension.

        The sizes `a = 2 * b` are `linear([(1, a), (-2, b)], low=0, high=0)`.
        """


class Rule(abc.ABC):
    """Relation between the sizes of the tensors that a function takes and returns.

    Example:
        >>> class EvenPairs(Rule):
        ...     def tie(self, ties):
        ...         ties.equal(ties.inputs[0][1], ties.outputs[0][1])
        ...         ties.step(ties.outputs[0][1], 2)
    """

    @abc.abstractmethod
    def tie(self, ties: Ties) -> None:
        """State the constraints, by calling the methods of `ties`."""

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Reason for which the rule cannot hold for tensors of these shapes; empty if it can."""
        return ""


@dataclasses.dataclass(frozen=True)
class Same(Rule):
    """All tensors taken and returned have the same neurons along `dim`.

    Attributes:
        dim: The dimension of the neurons.
    """

    dim: int = 1

    def tie(self, ties: Ties) -> None:
        """State it; see the class."""
        first, *others = [tensor[self.dim] for tensor in (*ties.inputs, *ties.outputs)]
        ties.equal(first, *others)

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Reason if sizes differ or there is no such dimension."""
        found = _sizes((*inputs, *outputs), self.dim)
        if isinstance(found, str):
            return found
        return (
            "" if len(set(found)) == 1 else f"the sizes along dimension {self.dim} are {found}, not the same"
        )


@dataclasses.dataclass(frozen=True)
class Stack(Rule):
    """The output is the concatenation of all inputs along `dim`.

    Attributes:
        dim: The dimension of the neurons.
    """

    dim: int = 1

    def tie(self, ties: Ties) -> None:
        """State it; see the class."""
        ties.joined(ties.outputs[0][self.dim], [tensor[self.dim] for tensor in ties.inputs])

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Reason if the sizes of the inputs do not add up to that of the one output."""
        found = _sizes((*inputs, *outputs), self.dim)
        if isinstance(found, str):
            return found
        if len(outputs) != 1:
            return f"it returns {len(outputs)} tensors, not one"
        if sum(found[:-1]) != found[-1]:
            return f"the sizes {found[:-1]} along dimension {self.dim} do not add up to {found[-1]}"
        return ""


@dataclasses.dataclass(frozen=True)
class Absorb(Rule):
    """Inputs may have any size along `dim`; outputs keep their size.

    Attributes:
        dim: The dimension of the neurons of every input.
    """

    dim: int = 1

    def tie(self, ties: Ties) -> None:
        """State it; see the class."""
        for tensor in ties.inputs:
            ties.free(tensor[self.dim])

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Reason if an input has no such dimension."""
        found = _sizes(inputs, self.dim)
        return found if isinstance(found, str) else ""


@dataclasses.dataclass(frozen=True)
class Fixed(Rule):
    """All tensors taken and returned keep their sizes."""

    def tie(self, ties: Ties) -> None:
        """State it; see the class."""


def _sizes(shapes: Shapes, dim: int) -> list[int] | str:
    """The size of each shape along `dim`, or a sentence that one has no such dimension."""
    for shape in shapes:
        if not -len(shape) <= dim < len(shape):
            return f"a tensor of shape {shape} has no dimension {dim}"
    return [shape[dim] for shape in shapes]


# By the name to pass as `rule=`; `register_rule` adds to it.
NAMED_RULES: dict[str, Rule] = {"same": Same(), "stack": Stack(), "absorb": Absorb(), "fixed": Fixed()}


def register_rule(name: str, rule: Rule, *, replace: bool = False) -> None:
    """Let a rule be called by a name, wherever there is a `rule=`.

    Args:
        name: The name, which no other rule has.
        rule: The rule.
        replace: Take it in place of another of that name.

    Raises:
        NaivegraphError: `rule` is no rule or `name` no name, or another rule has it.

    Example:
        >>> register_rule("same", Absorb())
        Traceback (most recent call last):
            ...
        naivegraph.errors.NaivegraphError: there is a rule 'same' already; replace=True takes this one instead
    """
    if not isinstance(rule, Rule):
        made = " (the class; make one of it)" if isinstance(rule, type) else ""
        raise NaivegraphError(f"register_rule takes a Rule, with its method tie(ties), not {rule!r}{made}")
    if not isinstance(name, str) or not name:
        raise NaivegraphError(f"the name of a rule is a string that is not empty, not {name!r}")
    if NAMED_RULES.get(name, rule) is not rule and not replace:
        raise NaivegraphError(f"there is a rule {name!r} already; replace=True takes this one instead")
    NAMED_RULES[name] = rule


def rule_of(rule: str | Rule) -> Rule:
    """The rule of this name, or the rule itself.

    Raises:
        NaivegraphError: It is neither.
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str) or rule not in NAMED_RULES:
        hint = nearest(rule, NAMED_RULES) if isinstance(rule, str) else ""
        names = ", ".join(map(repr, NAMED_RULES))
        raise NaivegraphError(f"a rule is one of {names} or a Rule, not {rule!r}{hint}")
    return NAMED_RULES[rule]


class Call(nn.Module):
    """A function as a module.

    Args:
        function: The function to call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    @property
    def function(self) -> Callable[..., Any]:
        """The function that is called."""
        return self._function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._function(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """All of it, with a function that pickle does not know by its name."""
        return {**vars(self), "_function": named(self._function)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = found_by_name(state["_function"])
        super().__setstate__({**state, "_function": found})  # type: ignore[no-untyped-call]


class CustomFunction(Call):
    """A function as a layer of its own, with a rule for its sizes.

    Args:
        function: The function to call; it need not be made of torch operators.
        rule: The relation between the sizes of the tensors it takes and returns.
    """

    def __init__(self, function: Callable[..., Any], rule: Rule) -> None:
        super().__init__(function)
        self.rule = rule
