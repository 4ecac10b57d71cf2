"""Integers that remember which sizes and attributes they were computed from."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

import torch

from naivegraph.graph.torch_utils.source_lines import user_line
from naivegraph.ir.values import Comparison, Compound, Escape, Expression

__all__ = ["Ledger", "SymbolicInt", "counting", "ledger", "plain"]


class Ledger:
    """Where the numbers of a capture report that their value left the integers.

    Attributes:
        held: `(expression, where, how)` of each; None while nothing is recorded, then arithmetic with a
            number gives plain integers.
        compared: The comparisons that must come out as they did.
    """

    __slots__ = ("comparisons", "escapes")

    def __init__(self) -> None:
        self.escapes: list[Escape] | None = None
        self.comparisons: list[Comparison] = []

    def hold(self, value: object, how: str) -> None:
        """Note that `value` must keep its value, if it is a number and a capture is on."""
        if self.escapes is not None and type(value) is SymbolicInt:
            self.escapes.append((value.expression, user_line(), how))

    def order(self, larger: int, smaller: int, least: int) -> None:
        """Note that one number must stay larger than another, by `least`, if a capture is on."""
        if self.escapes is not None:
            difference = Compound("-", _expression(larger), _expression(smaller))
            self.comparisons.append(Comparison(difference, least, user_line()))


ledger = Ledger()


def _expression(value: int) -> Expression:
    return value.expression if type(value) is SymbolicInt else int(value)


def _kept(symbol: str, name: str, swapped: bool) -> Callable[[SymbolicInt, Any], Any]:
    compute = getattr(int, name)

    def method(self: SymbolicInt, other: Any) -> Any:
        if not isinstance(other, int):
            if isinstance(other, (float, complex, str, list, tuple)):
                ledger.hold(self, f"{symbol} with {type(other).__name__}")
            return NotImplemented
        value = compute(self, other)
        if ledger.escapes is None:
            return value
        left, right = _expression(self), _expression(other)
        return SymbolicInt(value, Compound(symbol, right, left) if swapped else Compound(symbol, left, right))

    return method


def _left(name: str, how: str) -> Callable[..., Any]:
    compute = getattr(int, name)

    def method(self: SymbolicInt, *others: Any) -> Any:
        ledger.hold(self, how)
        for other in others:
            ledger.hold(other, how)
        return compute(self, *others)

    return method


def _ordering(name: str, lesser: bool, strict: bool) -> Callable[[SymbolicInt, Any], Any]:
    compute = getattr(int, name)
    whole = math.ceil if lesser is strict else math.floor

    def method(self: SymbolicInt, other: Any) -> Any:
        if isinstance(other, float) and math.isfinite(other):
            other = whole(other)  # an integer is below 2.5 if it is below 3, and above it if above 2
        found = compute(self, other)
        if found is not NotImplemented:
            larger, smaller = (other, self) if found is lesser else (self, other)
            ledger.order(larger, smaller, int(strict is found))
        return found

    return method


class SymbolicInt(int):
    """An int with the expression it came from; sums, products and quotients of it remember, too.

    Comparisons, hashing and printing see a plain int; what was compared is noted.

    >>> from naivegraph.ir.values import Attribute
    >>> ledger.escapes = []
    >>> (SymbolicInt(12, Attribute("attention", "heads")) * 64).expression
    Compound(operator='*', left=Attribute(path='attention', name='heads', keys=()), right=64)
    >>> ledger.escapes = None
    """

    expression: Expression

    def __new__(cls, value: int, expression: Expression) -> SymbolicInt:
        """An int of this value which came from `expression`."""
        self = int.__new__(cls, value)
        self.expression = expression
        return self

    __add__, __radd__ = _kept("+", "__add__", False), _kept("+", "__radd__", True)
    __sub__, __rsub__ = _kept("-", "__sub__", False), _kept("-", "__rsub__", True)
    __mul__, __rmul__ = _kept("*", "__mul__", False), _kept("*", "__rmul__", True)
    __floordiv__, __rfloordiv__ = _kept("//", "__floordiv__", False), _kept("//", "__rfloordiv__", True)
    __mod__, __rmod__ = _kept("%", "__mod__", False), _kept("%", "__rmod__", True)

    def __eq__(self, other: object) -> bool:
        return self._compared(int.__eq__(self, other), True, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> bool:
        return self._compared(int.__ne__(self, other), False, other)  # type: ignore[arg-type]

    __lt__, __le__ = _ordering("__lt__", True, True), _ordering("__le__", True, False)
    __gt__, __ge__ = _ordering("__gt__", False, True), _ordering("__ge__", False, False)
    __hash__ = int.__hash__

    def _compared(self, found: bool, equal: bool, other: int) -> bool:
        """What a comparison gave; what it found equal must stay so, or the code takes another way."""
        if found is equal and ledger.escapes is not None:
            difference = Compound("-", self.expression, _expression(other))
            ledger.escapes.append((difference, user_line(), "a comparison"))
        elif isinstance(other, int):
            # What differs stays in the order it is in.
            larger, smaller = (self, other) if int.__gt__(self, other) else (other, self)
            ledger.order(larger, smaller, 1)
        return found

    __truediv__ = _left("__truediv__", "true division")
    __rtruediv__ = _left("__rtruediv__", "true division")
    __pow__ = _left("__pow__", "power")
    __rpow__ = _left("__rpow__", "power")
    __float__ = _left("__float__", "float")
    __int__ = _left("__int__", "int")
    __round__ = _left("__round__", "round")
    __abs__ = _left("__abs__", "abs")
    __invert__ = _left("__invert__", "bits")
    __lshift__, __rlshift__ = _left("__lshift__", "bits"), _left("__rlshift__", "bits")
    __rshift__, __rrshift__ = _left("__rshift__", "bits"), _left("__rrshift__", "bits")
    __and__, __rand__ = _left("__and__", "bits"), _left("__rand__", "bits")
    __or__, __ror__ = _left("__or__", "bits"), _left("__ror__", "bits")
    __xor__, __rxor__ = _left("__xor__", "bits"), _left("__rxor__", "bits")

    def __neg__(self) -> int:
        return SymbolicInt.__rsub__(self, 0)  # type: ignore[no-any-return]

    def __pos__(self) -> int:
        return self

    def __divmod__(self, other: int) -> tuple[int, int]:
        return self // other, self % other

    def __rdivmod__(self, other: int) -> tuple[int, int]:
        return other // self, other % self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (plain(self),)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[int], tuple[int]]:
        return self.__reduce__()

    def __copy__(self) -> int:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> int:
        return plain(self)


def plain(value: int) -> int:
    """The value as a plain int."""
    return int.__int__(value)


_range = builtins.range
_len = builtins.len


class _RangeType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _range)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _range)


class _CountedRange(metaclass=_RangeType):
    """Stands for `range` during a capture; the numbers it counts through keep their value."""

    def __new__(cls, *bounds: Any) -> Any:
        if ledger.escapes is not None:
            for bound in bounds:
                ledger.hold(bound, "range")
        return _range(*bounds)


def _remembering_len(value: Any, /) -> int:
    if ledger.escapes is not None and isinstance(value, torch.Tensor) and value.dim():
        return value.shape[0]
    return _len(value)


@contextlib.contextmanager
def counting() -> Iterator[list[Escape]]:
    """Let numbers remember, and watch `range` and `len`; gives the list of what left the integers.

    What was compared is in `ledger.comparisons`.
    """
    # dynamo notes the builtins when it is imported, which a first call under a torch mode does
    importlib.import_module("torch._dynamo")
    escapes: list[Escape] = []
    ledger.escapes, ledger.comparisons = escapes, []
    builtins.range = _CountedRange  # type: ignore[misc]
    builtins.len = _remembering_len
    try:
        yield escapes
    finally:
        builtins.range = _range  # type: ignore[misc]
        builtins.len = _len
        ledger.escapes = None
