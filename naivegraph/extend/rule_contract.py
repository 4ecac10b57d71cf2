"""Tests every rule of a hand-written vertex must pass; subclass `RuleContract` to run them on yours.

Example:
    >>> from naivegraph.ir.custom_rule import Same
    >>> class TestDoubling(RuleContract):
    ...     rule = Same(dim=1)
    ...     def function(self, x):
    ...         return 2 * x
    ...     def examples(self):
    ...         return [(torch.randn(3, 6),), (torch.randn(3, 4, 5),)]
    >>> TestDoubling().test_outputs_have_the_sizes_it_states()
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from naivegraph.edits import Edit
from naivegraph.edits.plan.index_formula import along, formula_of
from naivegraph.edits.request.requests import relaxed
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_program.strategy import Attempt, Decision, Nothing, Solve, Strategy
from naivegraph.errors import NaivegraphError
from naivegraph.extend.checks import NetworkState, expect, tensors_of
from naivegraph.extend.rule_statements import RuleStatements, Sizes
from naivegraph.graph.build.nodes import Node, call, input_node, layer
from naivegraph.ir.custom_rule import Rule, rule_of
from naivegraph.network import Graph

__all__ = ["RuleContract"]

Example = tuple[torch.Tensor, ...]


class RuleContract:
    """Tests of one rule with the function it is declared for.

    The function is put between layers of its own, which are resized. Run the tests by pytest, as a subclass
    whose name begins with `Test`, or by calling the methods; each raises an AssertionError that says what is
    wrong.

    Attributes:
        rule: The rule, or its name.
        exact: Whether neurons at zero are as good as none: what the function gives for the others is the
            same without them. It is not so of a mean over neurons, of a norm or a softmax: with `exact` False
            the values after a change are not compared.
        tolerance: The largest difference of values that should be equal, relative and absolute.
    """

    rule: ClassVar[str | Rule]
    exact: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    def function(self, *tensors: Any) -> Any:
        """Call the function the rule is for, on tensors alone. To be overridden."""
        raise TypeError(
            f"{type(self).__name__} needs a method function(self, *tensors): what the rule is for"
        )

    def examples(self) -> Sequence[Example]:
        """Give the tensors of one call or several. To be overridden."""
        raise TypeError(f"{type(self).__name__} needs a method examples(self): a list of tuples of tensors")

    def test_holds_for_the_examples(self) -> None:
        """The rule's constraints hold for the sizes of the examples, and `misfit` has no objection."""
        for example in self._examples():
            inputs, outputs = _shapes(example), _shapes(self._outputs(example))
            misfit = self._rule.misfit(inputs, outputs)
            expect(misfit == "", f"misfit says of inputs {inputs} and outputs {outputs}: {misfit}")
            said = self._statements(example).contradiction()
            expect(said == "", f"of inputs {inputs} and outputs {outputs}: {said}")

    def test_says_the_same_twice(self) -> None:
        """The rule states the same constraints for the same shapes each time."""
        for example in self._examples():
            first, second = vars(self._statements(example)), vars(self._statements(example))
            for what, said in first.items():
                expect(said == second[what], f"{what} were first {said}, and then {second[what]}")

    def test_something_can_change(self) -> None:
        """If the rule lets a dimension change, there is another size that meets all of its constraints."""
        for example in self._examples():
            said = self._statements(example)
            some = not said.changing or next(said.others(), None) is not None
            expect(some, f"of inputs {_shapes(example)} no other sizes meet all that the rule says")

    def test_outputs_have_the_sizes_it_states(self) -> None:
        """On inputs of other sizes that the rule allows, the outputs have the sizes that it states."""
        for example, sizes in self._resized():
            said = self._statements(example)
            tensors = [
                _of_sizes(x, [sizes.get(d, d.size) for d in said.inputs[i]]) for i, x in enumerate(example)
            ]
            inputs = _shapes(tensors)
            try:
                outputs = _shapes(self._outputs(tuple(tensors)))
            except Exception as error:
                raise AssertionError(
                    f"inputs {inputs} are allowed, and the function raised {error!r}"
                ) from error
            stated = [tuple(sizes.get(d, d.size) for d in dims) for dims in said.outputs]
            expect(outputs == stated, f"for inputs {inputs} the rule says {stated}, and they are {outputs}")
            misfit = self._rule.misfit(inputs, outputs)
            expect(misfit == "", f"inputs {inputs} are allowed, and misfit says: {misfit}")

    def test_neurons_taken_out_are_neurons_at_zero(self) -> None:
        """Removing neurons gives the function of the network with these neurons at zero."""
        for which, graph, example, name in self._networks():
            small, zero = graph, copy.deepcopy(graph)
            edit, decision, attempt = _resize(small, name, -1)
            if decision is None:
                continue
            _set_to_zero(zero.module, attempt, decision)
            self._compare(zero(*example), small(*example), f"{which}: after {edit.asked} the network differs")

    def test_growing_keeps_the_function(self) -> None:
        """Adding neurons keeps the function of the network, unless the edit's notes say otherwise."""
        for which, graph, example, name in self._networks():
            before = graph(*example)
            edit, decision, _ = _resize(graph, name, +1)
            if decision is not None and not edit.notes:
                self._compare(before, graph(*example), f"{which}: after {edit.asked} the network differs")

    def test_undo_brings_everything_back(self) -> None:
        """After a change is taken back, the network is as it was and computes the same, bit for bit."""
        for which, graph, example, name in self._networks():
            for change in (-1, +1):
                state, before = NetworkState(graph.module), graph(*example)
                edit, decision, _ = _resize(graph, name, change)
                if decision is None:
                    continue
                graph(*example)
                edit.undo()
                moved = state.change()
                expect(moved == "", f"{which}: {moved} is not as before once {edit.asked} is undone")
                for one, two in zip(tensors_of(before), tensors_of(graph(*example)), strict=True):
                    same = torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))
                    expect(same, f"{which}: the network gives something else once {edit.asked} is undone")

    def test_holds_after_a_change(self) -> None:
        """The rule is asked anew at each change: it can be read of the sizes that the first one left."""
        for which, graph, _, name in self._networks():
            for change in (-1, +1, -1):
                try:
                    _resize(graph, name, change)
                except NaivegraphError as error:
                    raise AssertionError(f"{which}: {name} cannot change again: {error}") from error

    # What the tests are made of

    @property
    def _rule(self) -> Rule:
        return rule_of(self.rule)

    def _examples(self) -> Sequence[Example]:
        found = [tuple(example) for example in self.examples()]
        expect(bool(found), "examples() gives none")
        return found

    def _outputs(self, example: Example) -> list[torch.Tensor]:
        with torch.no_grad():
            return tensors_of(self.function(*example))

    def _statements(self, example: Example) -> RuleStatements:
        inputs, outputs = _shapes(example), _shapes(self._outputs(example))
        try:
            return RuleStatements.of(self._rule, inputs, outputs)
        except Exception as error:
            raise AssertionError(
                f"the rule raised {error!r} of inputs {inputs}, outputs {outputs}"
            ) from error

    def _resized(self) -> Iterator[tuple[Example, Sizes]]:
        for example in self._examples():
            for sizes in self._statements(example).others():
                yield example, sizes

    def _networks(self) -> Iterator[tuple[str, Graph, Example, str]]:
        """A fresh network for each dimension that may change: the name of the layer which has its neurons."""
        for number, example in enumerate(self._examples()):
            for name in self._network(example)[1]:
                try:
                    graph, _ = self._network(example)
                except NaivegraphError as error:
                    raise AssertionError(f"example {number} cannot be made a network: {error}") from error
                yield f"example {number}", graph, example, name

    def _network(self, example: Example) -> tuple[Graph, list[str]]:
        """The function between layers: one before each input, one after each output that may change."""
        said = self._statements(example)
        changing = said.changing
        sources = [input_node(f"input{i}", example=x) for i, x in enumerate(example)]
        nodes, names = list(sources), list[str]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for one in (one for one in changing if one.side == "input"):
                if example[one.tensor].is_floating_point():
                    names.append(f"before_{one.tensor}_{one.dim}")
                    # As the identity, so that the function is called on what the example holds.
                    nodes[one.tensor] = _along(nodes[one.tensor], one.dim, _identity(one.size), names[-1])
            outputs = self._outputs(example)
            made = call(self.function, *nodes, rule=self.rule, name="function")
            single = isinstance(self.function(*example), torch.Tensor)
            ends = [made] if single else [made[i] for i in range(len(outputs))]
            for one in (one for one in changing if one.side == "output"):
                if outputs[one.tensor].is_floating_point():
                    after = f"after_{one.tensor}_{one.dim}"
                    ends[one.tensor] = _along(ends[one.tensor], one.dim, nn.Linear(one.size, 3), after)
        graph = Graph(sources, ends)
        graph.module.eval()
        return graph, names

    def _compare(self, expected: Any, found: Any, otherwise: str) -> None:
        if not self.exact:
            return
        for one, two in zip(tensors_of(expected), tensors_of(found), strict=True):
            expect(
                one.shape == two.shape, f"{otherwise}: the shape {tuple(two.shape)}, not {tuple(one.shape)}"
            )
            close = torch.allclose(one, two, rtol=self.tolerance, atol=self.tolerance)
            expect(close, f"{otherwise} by {float((one - two).detach().abs().max()):.2g}")


def _along(node: Node, dim: int, linear: nn.Linear, name: str) -> Node:
    """A linear layer along one dimension."""
    last = call(torch.movedim, node, dim, -1)
    return call(torch.movedim, layer(linear, last, name=name), -1, dim)


def _identity(size: int) -> nn.Linear:
    linear = nn.Linear(size, size)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(size))
        linear.bias.zero_()
    return linear


class _Noting(Strategy):
    """Solves, and remembers what was asked and answered."""

    def __init__(self) -> None:
        self.seen: list[tuple[Decision | None, Attempt]] = []

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Solve; None if that cannot be."""
        answer = Solve(Nothing())(attempt)
        self.seen.append((answer, attempt))
        return answer


def _resize(graph: Graph, name: str, change: int) -> tuple[Edit, Decision | None, Attempt]:
    """Change the size of a layer by about so many, if it can be; gives what was decided."""
    noting = _Noting()
    weight = graph.module.get_parameter(f"{name}.weight")
    worth = np.random.default_rng(0).random(len(weight)) + 0.5
    edit = resize(graph, {name: relaxed(change)}, utility={name: worth}, strategy=noting)
    return edit, *noting.seen[0]


def _set_to_zero(module: nn.Module, attempt: Attempt, decision: Decision) -> None:
    """Multiply by zero every entry of a parameter that lives on a neuron which goes."""
    names = {width.atom: f"{i}" for i, width in enumerate(decision.kept)}
    sizes = {names[width.atom]: width.size for width in decision.kept}
    factors = {}
    for width, kept in decision.kept.items():
        factors[names[width.atom]] = np.isin(np.arange(width.size), kept).astype(np.float64)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, axes in attempt.widths.axes.items():
            for dim, axis in enumerate(axes if name in parameters else []):
                factor = torch.from_numpy(along(formula_of(axis, names), sizes, factors))
                shape = [-1 if d == dim else 1 for d in range(len(axes))]
                parameters[name].mul_(factor.to(parameters[name]).reshape(shape))


def _shapes(tensors: Sequence[torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def _of_sizes(tensor: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """A tensor of these sizes, of entries of the one given, one after the other and again."""
    for dim, size in enumerate(sizes):
        tensor = tensor.index_select(dim, torch.arange(size) % tensor.shape[dim])
    return tensor
