"""Symbolic integers: ints with the expression of sizes and attributes that they were computed from.

While a run is recorded, sizes of tensors and integer attributes of modules are `SymbolicInt`s. Arithmetic
among them gives new ones. Where the code needs an ordinary number, the value escapes: nothing tells what
becomes of it, so it has to stay the same. Where it compares two of them, the outcome has to stay the same.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

import numpy as np
import torch

from naivegraph.graph.torch_utils.source_lines import user_line
from naivegraph.ir.values import Comparison, Compound, Escape, Expression

__all__ = ["Ledger", "SymbolicInt", "ledger", "plain_int", "symbolic_ints"]


class Ledger:
    """Escapes and comparisons of the symbolic integers of the run that is being recorded.

    Attributes:
        escapes: Expression, line and use of each value that escaped; None while nothing is recorded, then
            arithmetic gives plain ints.
        comparisons: The comparisons that have to come out as they did.
    """

    __slots__ = ("comparisons", "escapes")

    def __init__(self) -> None:
        self.escapes: list[Escape] | None = None
        self.comparisons: list[Comparison] = []

    def escape(self, value: object, how: str) -> None:
        """Note that a symbolic integer escapes into the use `how`, while a run is recorded."""
        if self.escapes is not None and type(value) is SymbolicInt:
            self.escapes.append((value.expression, user_line(), how))

    def compare(self, larger: int, smaller: int, least: int) -> None:
        """Note that one integer has to stay larger than another, by `least`, while a run is recorded."""
        if self.escapes is not None:
            difference = Compound("-", _expression(larger), _expression(smaller))
            self.comparisons.append(Comparison(difference, least, user_line()))


ledger = Ledger()


def _expression(value: int) -> Expression:
    return value.expression if type(value) is SymbolicInt else int(value)


def _arithmetic(symbol: str, name: str, swapped: bool) -> Callable[[SymbolicInt, Any], Any]:
    """The method of an operator whose result is symbolic."""
    compute = getattr(int, name)

    def method(self: SymbolicInt, other: Any) -> Any:
        """Compute with another int; with anything else the value escapes."""
        if isinstance(other, np.integer):
            other = int(other)
        if not isinstance(other, int):
            if isinstance(other, (float, complex, str, list, tuple)):
                ledger.escape(self, f"{symbol} with {type(other).__name__}")
            return NotImplemented
        value = compute(self, other)
        if ledger.escapes is None:
            return value
        left, right = _expression(self), _expression(other)
        return SymbolicInt(value, Compound(symbol, right, left) if swapped else Compound(symbol, left, right))

    return method


def _escaping(name: str, how: str) -> Callable[..., Any]:
    """The method of an operator into which values escape."""
    compute = getattr(int, name)

    def method(self: SymbolicInt, *others: Any) -> Any:
        """Compute as a plain int."""
        ledger.escape(self, how)
        for other in others:
            ledger.escape(other, how)
        return compute(self, *others)

    return method


def _ordering(name: str, lesser: bool, strict: bool) -> Callable[[SymbolicInt, Any], Any]:
    """The method of an order relation, whose outcome is noted."""
    compute = getattr(int, name)
    whole = math.ceil if lesser is strict else math.floor

    def method(self: SymbolicInt, other: Any) -> Any:
        """Compare, and note which is the larger."""
        if isinstance(other, float) and math.isfinite(other):
            other = whole(other)  # an integer is below 2.5 if it is below 3, and above it if above 2
        found = compute(self, other)
        if found is not NotImplemented:
            larger, smaller = (other, self) if found is lesser else (self, other)
            ledger.compare(larger, smaller, int(strict is found))
        return found

    return method


_UFUNCS: dict[np.ufunc, Callable[[Any, Any], Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
}


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class SymbolicInt(int):
    """An int with the expression it came from, as sums, products and quotients of it have, too.

    Comparisons and hashing see a plain int; comparisons are noted. Text is an escape, as it may be a key.

    >>> from naivegraph.ir.values import Attribute
    >>> ledger.escapes = []
    >>> (SymbolicInt(12, Attribute("attention", "heads")) * 64).expression
    Compound(operator='*', left=Attribute(path='attention', name='heads', keys=()), right=64)
    >>> ledger.escapes = None
    """

    expression: Expression

    def __new__(cls, value: int, expression: Expression) -> SymbolicInt:
        """Make an int of this value with this expression."""
        self = int.__new__(cls, value)
        self.expression = expression
        return self

    __add__, __radd__ = _arithmetic("+", "__add__", False), _arithmetic("+", "__radd__", True)
    __sub__, __rsub__ = _arithmetic("-", "__sub__", False), _arithmetic("-", "__rsub__", True)
    __mul__, __rmul__ = _arithmetic("*", "__mul__", False), _arithmetic("*", "__rmul__", True)
    __floordiv__, __rfloordiv__ = (
        _arithmetic("//", "__floordiv__", False),
        _arithmetic("//", "__rfloordiv__", True),
    )
    __mod__, __rmod__ = _arithmetic("%", "__mod__", False), _arithmetic("%", "__rmod__", True)

    def __eq__(self, other: object) -> bool:
        return self._compared(int.__eq__(self, other), True, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> bool:
        return self._compared(int.__ne__(self, other), False, other)  # type: ignore[arg-type]

    __lt__, __le__ = _ordering("__lt__", True, True), _ordering("__le__", True, False)
    __gt__, __ge__ = _ordering("__gt__", False, True), _ordering("__ge__", False, False)
    __hash__ = int.__hash__

    def _compared(self, found: bool, equal: bool, other: int) -> bool:
        """Note a test for equality, whose outcome has to stay for the code to go the same way."""
        if found is equal and ledger.escapes is not None:
            difference = Compound("-", self.expression, _expression(other))
            ledger.escapes.append((difference, user_line(), "a comparison"))
        elif isinstance(other, int):
            # Integers that differ have to stay in this order.
            larger, smaller = (self, other) if int.__gt__(self, other) else (other, self)
            ledger.compare(larger, smaller, 1)
        return found

    __truediv__ = _escaping("__truediv__", "true division")
    __rtruediv__ = _escaping("__rtruediv__", "true division")
    __pow__ = _escaping("__pow__", "power")
    __rpow__ = _escaping("__rpow__", "power")
    __float__ = _escaping("__float__", "float")
    __format__, __str__ = _escaping("__format__", "text"), _escaping("__str__", "text")
    __int__ = _escaping("__int__", "int")
    __round__ = _escaping("__round__", "round")
    __abs__ = _escaping("__abs__", "abs")
    __invert__ = _escaping("__invert__", "bits")
    __lshift__, __rlshift__ = _escaping("__lshift__", "bits"), _escaping("__rlshift__", "bits")
    __rshift__, __rrshift__ = _escaping("__rshift__", "bits"), _escaping("__rrshift__", "bits")
    __and__, __rand__ = _escaping("__and__", "bits"), _escaping("__rand__", "bits")
    __or__, __ror__ = _escaping("__or__", "bits"), _escaping("__ror__", "bits")
    __xor__, __rxor__ = _escaping("__xor__", "bits"), _escaping("__rxor__", "bits")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute as numpy does; sums, differences and products with an integer of numpy's stay symbolic."""
        compute = _UFUNCS.get(ufunc)
        if compute is not None and method == "__call__" and not kwargs and all(map(_is_whole, inputs)):
            return compute(*(i if type(i) is SymbolicInt else int(i) for i in inputs))
        for each in inputs:
            ledger.escape(each, f"numpy's {ufunc.__name__}")
        plain = [plain_int(each) if type(each) is SymbolicInt else each for each in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    def item(self) -> int:
        """Itself, as the same integer of numpy gives one of Python's."""
        return self

    def __neg__(self) -> int:
        return SymbolicInt.__rsub__(self, 0)  # type: ignore[no-any-return]

    def __pos__(self) -> int:
        return self

    def __divmod__(self, other: int) -> tuple[int, int]:
        return self // other, self % other

    def __rdivmod__(self, other: int) -> tuple[int, int]:
        return other // self, other % self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (plain_int(self),)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[int], tuple[int]]:
        return self.__reduce__()

    def __copy__(self) -> int:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> int:
        return plain_int(self)


def plain_int(value: int) -> int:
    """The value as a plain int, which no operation is noted for."""
    return int.__int__(value)


_range = builtins.range
_len = builtins.len


class _RangeType(type):
    """Class of `_EscapingRange`, for which ranges are instances as they are of `range`."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _range)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _range)


class _EscapingRange(metaclass=_RangeType):
    """Stand-in for `range` while a run is recorded; its bounds escape."""

    def __new__(cls, *bounds: Any) -> Any:
        if ledger.escapes is not None:
            for bound in bounds:
                ledger.escape(bound, "range")
        return _range(*bounds)


def _symbolic_len(value: Any, /) -> int:
    """Stand-in for `len` while a run is recorded; the length of a tensor is symbolic."""
    if ledger.escapes is not None and isinstance(value, torch.Tensor) and value.dim():
        return value.shape[0]
    return _len(value)


@contextlib.contextmanager
def symbolic_ints() -> Iterator[list[Escape]]:
    """Record escapes and comparisons during a block, with stand-ins for `range` and `len`.

    Yields the list of escapes; comparisons are in `ledger.comparisons`.
    """
    # Dynamo copies the builtins when it is imported, which a first call under a torch mode does.
    importlib.import_module("torch._dynamo")
    escapes: list[Escape] = []
    ledger.escapes, ledger.comparisons = escapes, []
    builtins.range = _EscapingRange  # type: ignore[misc]
    builtins.len = _symbolic_len
    try:
        yield escapes
    finally:
        builtins.range = _range  # type: ignore[misc]
        builtins.len = _len
        ledger.escapes = None
