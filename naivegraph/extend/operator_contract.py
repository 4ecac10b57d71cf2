"""Tests every record of an operator must pass; subclass `OperatorContract` to run them on yours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import torch

from naivegraph.extend import operator_checks, operator_moves
from naivegraph.extend.checks import expect
from naivegraph.extend.operator_network import pruning_differs
from naivegraph.extend.operator_trial import OperatorCall, Sample
from naivegraph.operators.registry import RECORDS

__all__ = ["OperatorContract", "Sample"]


class OperatorContract:
    """Tests of the record of one operator, by running the operator on samples.

    Attributes:
        operator: The operator, as `register_operator` was given it.
        samples: Arguments to try it on: small tensors, whose sizes differ and are at least 2.
        untold: What the record leaves out on purpose: of "zeros", "movement" and "sources".

    Example:
        >>> class TestTwice(OperatorContract):
        ...     operator = torch.ops.aten.neg
        ...     samples = [Sample(torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]]))]
        >>> TestTwice().test_zeros()
    """

    operator: ClassVar[torch._ops.OpOverloadPacket]
    samples: ClassVar[Iterable[Sample]]
    untold: ClassVar[Iterable[str]] = ()

    def calls(self) -> list[OperatorCall]:
        """A call of the operator for each sample."""
        return [OperatorCall.of(self.operator, sample) for sample in self.samples]

    def test_is_registered(self) -> None:
        """The operator has a record, and there is something to try it on."""
        known = self.operator in RECORDS
        expect(known, f"{self.operator} has no record: call register_operator with it and an Operator")
        expect(bool(list(self.samples)), f"give `samples` of {self.operator}")

    def test_axes(self) -> None:
        """Neurons change nothing of others, unless the rule fixes or couples them."""
        self._hold(operator_checks.axes_wrong)

    def test_neurons_go(self) -> None:
        """A network without some neurons gives what it gives with these at zero."""
        self._hold(pruning_differs)

    def test_zeros(self) -> None:
        """Results are zero where the record says so, and it says so where they are."""
        self._hold(operator_checks.zeros_wrong)
        if "zeros" not in self.untold:
            self._hold(operator_checks.zeros_missing)

    def test_movement(self) -> None:
        """Elements go where the movement takes them; what only moves elements has one."""
        self._hold(operator_moves.movement_wrong)
        if "movement" not in self.untold:
            self._hold(operator_moves.movement_missing)

    def test_sources(self) -> None:
        """Results scale with the operands they are said to be linear in; what is linear says so."""
        self._hold(operator_moves.sources_wrong)
        if "sources" not in self.untold:
            self._hold(operator_moves.sources_missing)

    def test_shapes(self) -> None:
        """Inferred shapes, strides and types are those of the results."""
        self._hold(operator_checks.shapes_wrong)

    def _hold(self, check: Callable[[OperatorCall], Iterator[str]]) -> None:
        found = [difference for call in self.calls() for difference in check(call)]
        expect(not found, "\n".join(dict.fromkeys(found)))
