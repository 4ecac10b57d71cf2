"""A network around one operator, to see what becomes of it when neurons go."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.extend.operator_trial import OperatorCall, marks_of, relate_call, tensor_at
from naivegraph.network import capture
from naivegraph.widths import Width, Widths, constraints_of, relate

__all__ = ["OperatorNetwork", "pruning_differs"]


class OperatorNetwork(nn.Module):
    """An operator whose operands are parameters, and whose first result is multiplied by one and summed.

    Args:
        call: A call of the operator, whose first result is a tensor of real numbers.
    """

    def __init__(self, call: OperatorCall) -> None:
        super().__init__()
        self._call = call
        self.operands = nn.ParameterDict(
            {str(n): nn.Parameter(call.operands[n].clone()) for n in call.floating}
        )
        result = tensor_at(call.results, 0)
        self.scale = nn.Parameter(
            torch.linspace(0.5, 1.5, max(result.numel(), 1)).reshape(result.shape).to(result)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take any tensor; give it times the sum."""
        given = {n: self.operands.get(str(n), t) for n, t in self._call.operands.items()}
        result = self._call.apply(self._call.operation.func, given)
        first = result if isinstance(result, torch.Tensor) else result[0]
        return x * (first * self.scale).sum()


def pruning_differs(call: OperatorCall) -> Iterator[str]:
    """Differences between the network without its last neurons and with these at zero.

    There is nothing to compare where it draws random numbers, takes sizes or numbers of groups, which edits
    know of the function in which the network's code gives them, or has no value at zero.
    """
    result, out = call.results[0], call.operation.outputs[0]
    if result is None or not result.is_floating_point() or out is None or out.id in call.operands:
        return
    if relate_call(call).relation.counts:
        return
    net, x = OperatorNetwork(call), torch.ones((), dtype=result.dtype)
    widths = relate(capture(net, x, verify="recorded"))
    gone = list(_free(widths))
    if not gone:
        return
    zeroed = _zeroed(net, widths, gone)
    change = plan(widths, constraints_of(widths), {width: np.arange(width.size - 1) for width in gone})
    apply(change, net)
    with torch.no_grad():
        try:
            found, expected, again = net(x), zeroed(x), zeroed(x)
        except RuntimeError:
            return
    if again.equal(expected) and not torch.allclose(found, expected, rtol=1e-6, atol=1e-9):
        names = ", ".join(f"{width.name} ({width.size})" for width in gone)
        yield f"{call}: without the last neurons of {names} it gives {found}, with them at zero {expected}"


def _free(widths: Widths) -> Iterator[Width]:
    """The widths that may change by themselves, and change nothing of others."""
    constraints = constraints_of(widths)
    tied = {atom for row in constraints.width_constraints for atom in row.polynomial.atoms()}
    for width in widths:
        if width.size > 1 and not width.coupled and width.atom not in tied | constraints.fixed.keys():
            yield width


def _zeroed(net: nn.Module, widths: Widths, gone: list[Width]) -> nn.Module:
    """A copy in which parameters are zero on these widths' last neurons."""
    out = copy.deepcopy(net)
    parameters = dict(out.named_parameters())
    with torch.no_grad():
        for name, axes in widths.axes.items():
            for width in gone:
                parameters[name][marks_of(widths.relation, list(axes), width.atom, width.size - 1)] = 0.0
    return out
