"""Penalties on groups of weights that go together, so that what pruning removes is near zero by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from naivegraph.edits.request import validate
from naivegraph.edits.request.target import check_model, check_no_example
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.network import Graph
from naivegraph.tuning.present_graph import present_graph
from naivegraph.utility.collect import shape_of
from naivegraph.utility.readers import neuron_numbers
from naivegraph.widths import constraints_of, relate

__all__ = ["SparsityPenalty", "sparsity_penalty"]

Kind = Literal["group_lasso", "growing"]

_TINY = 1e-12  # under the root, whose derivative at zero is none
_ALPHA = 4.0  # the least neuron of a width is held down 2^4 times as much as the largest


def sparsity_penalty(
    model: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    kind: Kind = "group_lasso",
    strength: float = 1e-4,
    growth: float = 1e-4,
    keep: Sequence[str] = (),
) -> SparsityPenalty:
    """Make a penalty on the neurons of a network, to be added to its loss.

    A group is all the weights that go with one neuron: those that make it, its norm, those that read it
    (Fang et al., "DepGraph: towards any structural pruning", CVPR 2023, section 3.4). The penalty is
    differentiable, and follows edits: after one it is that of the network as it is then.

    - "group_lasso": the norm of each group times the root of its number of weights, summed up (Yuan and Lin,
      "Model selection and estimation in regression with grouped variables", 2006, equation 2.1; for neurons
      Wen et al., "Learning structured sparsity in deep neural networks", NIPS 2016).
    - "growing": the square of the norm of each group, up to 2^4 times as much for the least neurons of a
      width as for the largest, with a strength that grows with each `penalty.grow()` (Wang et al., "Neural
      pruning via growing regularization", ICLR 2021; factors as in DepGraph, equation 5).

    Args:
        model: A graph, or a network and then its example.
        args: The example's positional inputs.
        kwargs: Its keyword inputs.
        kind: See above.
        strength: The factor of the whole, to begin with.
        growth: For "growing": what `grow()` adds to the strength.
        keep: Names of widths (layers) that are left out.

    Returns:
        A function without arguments that returns the penalty, a tensor of no dimensions.

    Raises:
        CaptureError: The network could not be captured.
        EditError: An argument makes no sense, or no size of the network may change.

    Example:
        >>> import torch, naivegraph as ng
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> penalty = ng.sparsity_penalty(net, torch.ones(1, 4), strength=0.01)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> before = penalty().item()
        >>> for _ in range(20):
        ...     loss = net(torch.randn(16, 4)).square().mean() + penalty()
        ...     optimizer.zero_grad()
        ...     _ = loss.backward()
        ...     optimizer.step()
        >>> penalty().item() < before
        True
    """
    check_model("sparsity_penalty", model)
    if kind not in ("group_lasso", "growing"):
        raise EditError(f'kind={kind!r}: give "group_lasso" or "growing"')
    validate.at_least_zero(strength, "strength")
    validate.at_least_zero(growth, "growth")
    if isinstance(model, Graph):
        check_no_example("sparsity_penalty", args, kwargs)
        return SparsityPenalty(model, None, kind, strength, growth, keep)
    network: nn.Module = unwrapped(model)
    return SparsityPenalty(network, (args, kwargs), kind, strength, growth, keep)


class SparsityPenalty:
    """A penalty on the neurons of a network; made by `sparsity_penalty`.

    Attributes:
        strength: The factor of the whole.
    """

    def __init__(
        self,
        subject: nn.Module | Graph,
        example: tuple[Any, Any] | None,
        kind: Kind,
        strength: float,
        growth: float,
        keep: Sequence[str],
    ) -> None:
        self.strength = float(strength)
        self._subject, self._example, self._kind, self._growth = subject, example, kind, float(growth)
        self._keep = (keep,) if isinstance(keep, str) else tuple(keep)
        self._shapes: dict[str, torch.Size] = {}
        self._groups: list[_Groups] = []
        self._follow()

    def __call__(self) -> torch.Tensor:
        """The penalty of the network as it is."""
        self._follow()
        parameters = parameters_of(self._module)
        total = next(iter(parameters.values())).new_zeros(())
        for groups in self._groups:
            squares = groups.squares(parameters)
            if self._kind == "group_lasso":
                total = total + (groups.count**0.5 * (squares + _TINY).sqrt()).sum()
            else:
                total = total + (_factors(squares.detach()) * squares).sum()
        return self.strength * total

    def grow(self) -> None:
        """Let the strength grow; for "growing", once per step or epoch."""
        self.strength += self._growth

    def norms(self) -> dict[str, torch.Tensor]:
        """The norm of each neuron's group, by width; of widths with rows of their own `[rows, neurons]`."""
        self._follow()
        parameters = parameters_of(self._module)
        with torch.no_grad():
            return {g.name: g.squares(parameters).sqrt().reshape(g.shape) for g in self._groups}

    @property
    def _module(self) -> nn.Module:
        return self._subject.module if isinstance(self._subject, Graph) else self._subject

    def _follow(self) -> None:
        """Work the groups out again where sizes have changed."""
        shapes = {name: parameter.shape for name, parameter in parameters_of(self._module).items()}
        if shapes == self._shapes:
            return
        graph = present_graph(self._subject, self._example)
        widths = relate(graph)
        fixed = constraints_of(widths).fixed
        unknown = [name for name in self._keep if name not in {width.name for width in widths}]
        if unknown and not self._shapes:
            names = ", ".join(width.name for width in widths)
            raise EditError(f"keep names {unknown[0]!r}, which is no width among {names}")
        chosen = [w for w in widths if w.atom not in fixed and w.name not in self._keep]
        if not chosen and not self._shapes:
            raise EditError(
                "no size of the network may change, so there is nothing to hold down; see ng.inspect"
            )
        self._groups = []
        for width in chosen:
            parts = [
                (name, dim, numbers)
                for name, axes in widths.parameters().items()
                for dim, axis in enumerate(axes)
                if not axis.fixed
                for atom, numbers in neuron_numbers(axis, widths.outer).items()
                if atom is width.atom
            ]
            groups = _Groups(
                width.name,
                shape_of(widths, width),
                [(name, dim, torch.from_numpy(numbers)) for name, dim, numbers in parts],
            )
            groups.weigh(parameters_of(graph.module))
            self._groups.append(groups)
        self._shapes = shapes


class _Groups:
    """The weights of each neuron of one width.

    Attributes:
        name: The name of the width.
        shape: The shape of its neurons.
        count: The number of weights of each neuron.
    """

    def __init__(self, name: str, shape: tuple[int, ...], parts: list[tuple[str, int, torch.Tensor]]) -> None:
        self.name, self.shape, self._parts = name, shape, parts
        self._size = int(torch.Size(shape).numel())
        self.count = 1.0

    def weigh(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Count the weights of each neuron."""
        entries = 0
        for name, dim, numbers in self._parts:
            tensor = parameters[name]
            entries += int((numbers >= 0).sum()) * tensor.numel() // max(tensor.shape[dim], 1)
        self.count = max(entries / self._size, 1.0)

    def squares(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The sum of squares of the weights of each neuron."""
        total: torch.Tensor | None = None
        for name, dim, numbers in self._parts:
            tensor = parameters[name]
            others = [d for d in range(tensor.dim()) if d != dim]
            along = tensor.square().sum(others) if others else tensor.square()
            numbers = numbers.to(along.device)
            if total is None:
                total = along.new_zeros(self._size)
            there = numbers >= 0
            total = total.index_add(0, numbers[there], along[there].to(total.dtype))
        return torch.zeros(self._size) if total is None else total


def _factors(squares: torch.Tensor) -> torch.Tensor:
    """The factor of each neuron: from 1 for the largest of a width to 2^4 for the least."""
    norms = squares.sqrt()
    least, most = norms.min(), norms.max()
    span = (most - least).clamp_min(1e-30)
    factors: torch.Tensor = 2.0 ** (_ALPHA * (most - norms) / span)
    return factors
