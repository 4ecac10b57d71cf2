"""Functions whose sizes are declared, not read from the torch operators they are made of."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import nn

from naivegraph.errors import NaivegraphError

__all__ = [
    "Absorb",
    "Call",
    "CustomFunction",
    "Fixed",
    "Rule",
    "RuleName",
    "Same",
    "Shapes",
    "Stack",
    "Ties",
    "rule_of",
]

RuleName = Literal["same", "stack", "absorb", "fixed"]
Shapes = Sequence[tuple[int, ...]]


class Ties(Protocol):
    """What a rule can say of the sizes of one call.

    A dimension is what `inputs[i][d]` and `outputs[i][d]` hold: dimension `d` of the i-th tensor which the
    function takes or returns. Dimensions a rule says nothing about keep their size, and so does every
    dimension of an output which is not tied to one of an input.

    What is said with `equal` and `joined` holds at all times. What is said with `step`, `neurons` and
    `linear` holds from the first edit that changes one of the sizes it is about; if no such edit is possible,
    the error names the vertex whose rule it is.

    Attributes:
        inputs: For each tensor the function takes, in order, its dimensions.
        outputs: The same for what it returns.
    """

    @property
    def inputs(self) -> list[list[Any]]: ...  # noqa: D102

    @property
    def outputs(self) -> list[list[Any]]: ...  # noqa: D102

    def equal(self, first: Any, *others: Any) -> None:
        """These dimensions are the same neurons in the same order."""

    def joined(self, whole: Any, parts: Sequence[Any]) -> None:
        """`whole` is the concatenation of `parts`, in this order."""

    def free(self, dimension: Any) -> None:
        """This dimension of an input may change, and nothing else follows from it."""

    def fixed(self, dimension: Any, reason: str) -> None:
        """This dimension keeps its size."""

    def step(self, dimension: Any, multiple: int) -> None:
        """The size of this dimension is a multiple of `multiple`."""

    def neurons(self, dimension: Any, indices: Sequence[int], *, keep: bool) -> None:
        """These neurons of this dimension must stay (`keep=True`), or go when the size next changes.

        They are counted anew at every edit: once neurons have moved, the rule should name other places.
        """

    def linear(
        self, terms: Sequence[tuple[int, Any]], *, low: int | None = None, high: int | None = None
    ) -> None:
        """`low <= sum(coefficient * size of dimension) <= high`; the coupled sizes `a = 2 * b` are
        `linear([(1, a), (-2, b)], low=0, high=0)`.
        """  # noqa: D205


class Rule(abc.ABC):
    """Says how the sizes of what a function takes and returns hang together.

    Example:
        >>> class EvenPairs(Rule):
        ...     def tie(self, ties):
        ...         ties.equal(ties.inputs[0][1], ties.outputs[0][1])
        ...         ties.step(ties.outputs[0][1], 2)
    """

    @abc.abstractmethod
    def tie(self, ties: Ties) -> None:
        """State what holds, by calling the methods of `ties`."""

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Why the rule cannot hold for tensors of these shapes; empty if it can."""
        return ""


@dataclasses.dataclass(frozen=True)
class Same(Rule):
    """All tensors taken and returned have the same neurons along `dim`.

    Attributes:
        dim: The dimension of the neurons.
    """

    dim: int = 1

    def tie(self, ties: Ties) -> None:
        """See the class."""
        first, *others = [tensor[self.dim] for tensor in (*ties.inputs, *ties.outputs)]
        ties.equal(first, *others)

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """Sizes differ, or there is no such dimension."""
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
        """See the class."""
        ties.joined(ties.outputs[0][self.dim], [tensor[self.dim] for tensor in ties.inputs])

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """The sizes of the inputs do not add up to that of the one output."""
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
    """Takes any size along `dim`; what it returns keeps its size.

    Attributes:
        dim: The dimension of the neurons of every input.
    """

    dim: int = 1

    def tie(self, ties: Ties) -> None:
        """See the class."""
        for tensor in ties.inputs:
            ties.free(tensor[self.dim])

    def misfit(self, inputs: Shapes, outputs: Shapes) -> str:
        """An input has no such dimension."""
        found = _sizes(inputs, self.dim)
        return found if isinstance(found, str) else ""


@dataclasses.dataclass(frozen=True)
class Fixed(Rule):
    """Nothing which the function takes or returns may change its size."""

    def tie(self, ties: Ties) -> None:
        """See the class."""


def _sizes(shapes: Shapes, dim: int) -> list[int] | str:
    for shape in shapes:
        if not -len(shape) <= dim < len(shape):
            return f"a tensor of shape {shape} has no dimension {dim}"
    return [shape[dim] for shape in shapes]


_RULES: dict[str, Rule] = {"same": Same(), "stack": Stack(), "absorb": Absorb(), "fixed": Fixed()}


def rule_of(rule: RuleName | Rule) -> Rule:
    """The rule of this name, or the rule itself.

    Raises:
        NaivegraphError: It is neither.
    """
    if isinstance(rule, Rule):
        return rule
    if rule not in _RULES:
        raise NaivegraphError(f"a rule is one of {', '.join(map(repr, _RULES))} or a Rule, not {rule!r}")
    return _RULES[rule]


class Call(nn.Module):
    """A function as a module.

    Args:
        function: What to call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self._function(*args, **kwargs)


class CustomFunction(Call):
    """A function as a layer of its own, with a rule for its sizes.

    Args:
        function: What to call; it need not be made of torch operators.
        rule: How the sizes of what it takes and returns hang together.
    """

    def __init__(self, function: Callable[..., Any], rule: Rule) -> None:
        super().__init__(function)
        self.rule = rule
