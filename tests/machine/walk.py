"""A walk: a random graph under random edits, and all that must hold after each of them.

Always (`Walk.check`): the graph's invariants (lint); outputs are finite and of the right batch; sizes told
and sizes computed are the same; layers' attributes fit their parameters; gradients have the shapes of
parameters; `to_module()` (one time of five) and, where the structure is as it was, the network's own forward
compute what the graph does; the optimizer has the network's parameters, with state of their shapes.

After an edit (`Walk.edit`), with new memory poisoned by NaN:
- requests are met;
- the graph is as after a run of all of it;
- what is refused or comes to nothing leaves everything as it was, bit for bit;
- what makes another function is undone where an operator has no result for the numbers it meets then, as the
  expected function must not have either;
- the function is that of the network before, with the neurons at zero that went (not where they enter the
  statistics of a norm, a mean over an image or the length of a head), and with what the edit says in place of
  the output of a vertex: the input of a vertex or block that went, or its shortcut; a sum with one more or
  one less, a concatenation with zeros for the part that went; a block once more on its own output; a sum or
  concatenation that was made for an edge or a branch. So growth, identities and copies that start as the
  identity keep the function. Told to be otherwise in notes, or a sample: not compared.

After an undo (`history_steps`), of the last edit, of several, or of one on which nothing later depends:
everything is as before that edit, optimizer state included, bit for bit, however much was trained since; of
one that keeps the training, sizes and history are. Out of order it is refused, with all later edits to undo
named in order.

Copies (`history_steps`): replay, pickling, saving and loading make the same network again, its edits and
those of its parts with it; a copy made amid its history is edited and undone without a trace in the original.

Inputs (`resize_input`): new channels have no effect whatever is in them; dropped ones were zero.

Parts and wholes (`part_steps`): an edit of a part, of the network by itself with its example, or of another
network with a part in common changes nothing outside; the graph follows; the history of the whole has it.

Blocks (`block_steps`): what `blocks()` lists is taken out and doubled, and layers are inserted several at
once. `ng.can` says of an edit what the edit then does, and leaves everything as it was.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.origins import Axes
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph
from naivegraph.widths import relate
from tests.graph.verify.test_shape_prop import described
from tests.machine.cases import walk_case
from tests.machine.expected import Replaced, expected_outputs, mixed_statistics, reshaped
from tests.machine.invariants import consistent, first, met, same_tensors, tensors, total
from tests.machine.random_graphs import Case
from tests.machine.state import OPTIMIZERS, everything, poisoned_memory, same

__all__ = ["Done", "Walk"]

_MAY_GROW = (
    "resize", "input", "part", "module", "another whole", "connect", "branch", "disconnect", "remove",
    "remove block",
)  # fmt: skip

# Edits after which a network may compute anything.
_OTHER_FUNCTION = (
    "connect", "branch", "disconnect", "remove", "remove block", "remove output", "duplicate", "insert",
)  # fmt: skip


@dataclasses.dataclass
class Done:
    """An edit and all that it may have changed, as it was before.

    Attributes:
        edit: The edit.
        before: Everything before it; None where an earlier edit was undone since.
        trained: How many times the network had been trained before it.
        network: The network that was edited: that of the graph, a part of it, or one with a part of it.
        outside: Whether the graph did not follow by itself.
        x: The input before it, if the edit changed its channels.
        members: The modules and parameters of that network, by id.
        bare: Those of the modules that have no tensors, such as activations.
    """

    edit: ng.Edit
    before: dict[str, Any] | None
    trained: int
    network: nn.Module
    outside: bool
    x: Tensor | None = None
    members: set[int] = dataclasses.field(default_factory=set)
    bare: set[int] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        network = self.network
        self.members = set(map(id, (*network.modules(), *network.parameters(), *network.buffers())))
        self.bare = {id(each) for each in network.modules() if not [*each.parameters(), *each.buffers()]}

    def alone(self, everything: dict[str, Any]) -> dict[str, Any]:
        """Everything but the tensors of other networks and their state, which undo leaves as trained."""
        tensors = {n: each for n, each in everything["tensors"].items() if each[0] in self.members}
        state, groups = everything["optimizer"]
        own = {key: value for key, value in state.items() if key[0] in self.members}
        return {**everything, "tensors": tensors, "optimizer": (own, groups)}


def _suits(run: Callable[[], Any]) -> bool:
    """Whether all operators of a run have results for the numbers they meet."""
    try:
        return all(bool(tensor.isfinite().all()) for tensor in tensors(run()))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return False


def _known_as(graph: Graph, name: str) -> str:
    """The vertex of that name, or the one whose module made it: a capture looks into a module of one call."""
    outer = name.rpartition(".")[0]
    return outer if name not in graph and outer in graph else name


def _held(kind: str, edit: ng.Edit) -> bool:
    """Whether neurons had to come or go elsewhere, or all of a layer are copies of neurons that go."""
    widths = edit.change.widths.values()
    if kind in ("connect", "branch"):
        return any(width.stay < width.before for width in widths)
    if kind == "disconnect":
        return any(width.new for width in widths)
    return any(width.new and not width.stay for width in widths)


class Walk:
    """A graph under random edits.

    Args:
        rng: Draws everything.
        case: The graph; by default a random one.

    Attributes:
        wanted: What the step under way asks of sizes, by vertex: the kind of request and its number.
        alike: By vertex of the graph before, what comes in place of its output by the step under way; None
            where the function may be any.
        exact: Whether the two functions are the same but for rounding.
        given: Layers that were inserted with weights of their own, as they were then, by name.
    """

    def __init__(self, rng: random.Random, case: Case | None = None) -> None:
        self.rng = rng
        self.case: Case = walk_case(rng) if case is None else case
        self.graph, self.x = self.case.graph, self.case.x
        self.fresh = copy.deepcopy(self.graph)
        self.done: list[Done] = []
        self.log: list[str] = []
        self.tally: collections.Counter[str] = collections.Counter()
        self.trained = 0
        self.wanted: dict[str, Any] = {}
        self.alike: Replaced | None = None
        self.exact = True
        self.given: dict[str, nn.Module] = {}
        self.optimizer = self._optimizer() if rng.random() < 0.5 else None
        self.check()

    def _optimizer(self) -> torch.optim.Optimizer:
        made = self.rng.choice(OPTIMIZERS)(self.graph.module.parameters())
        self.train(made)
        return made

    def train(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of an optimizer, small enough to leave all numbers finite."""
        self.trained += 1
        loss = total(self.graph(self.x))
        if loss.requires_grad:
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.graph.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    # Edits

    def edit(
        self,
        kind: str,
        make: Callable[[Walk], ng.Edit],
        network: nn.Module | None = None,
        paths: tuple[str, str] = ("", ""),
    ) -> None:
        """An edit that is done, refused with an error of the package, or falsy with a warning.

        Args:
            kind: Its name in the tally.
            make: Makes it, having set `wanted`, `alike` and `exact`.
            network: What it is an edit of, if not of the graph itself.
            paths: What the names of vertices that the graph has, too, begin with there and here.
        """
        before, old = self.everything(), copy.deepcopy(self.graph) if self.rng.random() < 0.6 else None
        sizes, dims = self.graph.sizes, neuron_dimensions(self.graph)
        where = {v.name: dims[tensor_key(first(v))] for v in self.graph if v.name in sizes}
        self.wanted, self.alike, self.exact = {}, None, True
        with warnings.catch_warnings(record=True) as caught, poisoned_memory():
            warnings.simplefilter("always")
            try:
                edit = make(self)
            except ng.NaivegraphError as error:
                self.log[-1] += f": refused, {error}"
                self.tally[f"{kind}: refused"] += 1
                same(before, self.everything(), f"refused {self.log[-1]}")
                return
        foreign = [str(w.message) for w in caught if "these sizes cannot be had" not in str(w.message)]
        assert not foreign, foreign
        if not edit:
            self.tally[f"{kind}: nothing, {self._why_nothing(bool(caught))}"] += 1
            same(before, self.everything(), f"falsy {self.log[-1]}")
            return
        self.tally[f"{kind}: done"] += 1
        outside = network is not None
        x = self.x
        given = None if outside else self._follow_input(edit)
        changed = given is not None
        self.done.append(
            Done(edit, before, self.trained, network or self.graph.module, outside, x if changed else None)
        )
        if kind in _OTHER_FUNCTION and not _suits(lambda: self.graph(self.x)):
            self._undo_unsuitable(kind, edit, old)
            return
        if outside:
            self.graph.refresh()
        elif self.rng.random() < 0.3:
            again = copy.deepcopy(self.graph)
            again.refresh()
            assert described(again) == described(self.graph)
        self._check_wanted(sizes, where, exact=not caught)
        if old is not None and self.alike is not None:
            there, here = paths
            sizes_here = {
                _known_as(old, here + name.removeprefix(there)): size
                for name, size in edit.sizes.items()
                if name.startswith(there)
            }
            self._check_function(kind, edit, old, sizes_here, x if given is None else given)

    def _undo_unsuitable(self, kind: str, edit: ng.Edit, old: Graph | None) -> None:
        """Undo an edit after which an operator meets numbers that it has no result for.

        A norm of nothing but zeros, the root of a matrix that is not positive definite: so the network asked
        for computes, as the expected function shows where there is one.
        """
        self.tally[f"{kind}: undone, as an operator has no result for its numbers"] += 1
        if old is not None and self.alike is not None:
            alike = self.alike
            assert not _suits(lambda: expected_outputs(old, self.x, dict(edit.sizes), alike))
        self.undo()

    def _follow_input(self, edit: ng.Edit) -> Tensor | None:
        """Take an input of the new size, with any numbers in its new channels.

        Returns:
            That of before with zeros in the channels that went, or None if the edit changed none.
        """
        for change in edit.change.inputs:
            origin, dim = Axes(edit.change).of(change.axis), change.dim
            assert dim is not None
            shape = [-1 if d == dim else 1 for d in range(self.x.dim())]
            stay = origin.indices if origin.new is None else origin.indices[~origin.new.numpy()]
            mask = torch.zeros(self.x.shape[dim], dtype=self.x.dtype)
            mask[torch.from_numpy(stay)] = 1
            assert sorted(stay) == [i for run in edit.sizes[change.name].kept for i in run]
            masked, x = (
                self.x * mask.reshape(shape),
                self.x.index_select(dim, torch.from_numpy(origin.indices)),
            )
            if origin.new is not None:
                made = torch.Generator().manual_seed(self.rng.randrange(2**31))
                x = torch.where(
                    origin.new.reshape(shape), torch.randn(x.shape, generator=made, dtype=x.dtype), x
                )
            self.x = x
            return masked
        return None

    def _why_nothing(self, warned: bool) -> str:
        widths = relate(self.graph, free_outputs=True)
        if not warned:
            return "it is so already" if self.wanted else "no neuron is worth less than none"
        if any(widths.output_axis(self.graph[name]).fixed for name in self.wanted):
            return "it asks for a size that is fixed"
        return "the requests exclude each other" if len(self.wanted) > 1 else "one request cannot be met"

    def _check_wanted(self, before: dict[str, int], dims: dict[str, int], *, exact: bool) -> None:
        """Every request was met; the exact ones only in their direction if a warning said so."""
        for name, (what, value) in self.wanted.items():
            old, new = before[name], first(self.graph[name]).shape[dims[name]]
            if not exact and what in ("change", "size"):
                what, value = "relaxed", value if what == "change" else value - old
            assert met(what, value, old, new), f"{name}: {what} {value} was asked, {old} -> {new}"

    def _check_function(
        self, kind: str, edit: ng.Edit, old: Graph, changes: dict[str, ng.SizeChange], x: Tensor
    ) -> None:
        """The function is that of the network before, but for what was taken away or put in its place."""
        told = [note for note in edit.notes if "what the network computes" in note]
        passed = changes.keys() | reshaped(old, self.graph)
        if mixed_statistics(old, changes, passed, edit.change.tensors) or told:
            assert not told or kind in _MAY_GROW, told
            self.tally["function may differ"] += 1
            return
        if _held(kind, edit):
            self.tally[f"{kind}: function may differ, as a size was held"] += 1
            return
        returned = {stub.id for stub in stubs_in(old.output)}
        ends = {v.name for v in old if any(stub.id in returned for stub in stubs_in(v.output))}
        if self.case.look == "row" and ends & changes.keys():
            self.tally["function may differ"] += 1  # a softmax, say, over the outputs
            return
        expected = expected_outputs(old, x, changes, self.alike or {})
        found = tensors(self.graph(self.x))
        if expected is None or [t.shape for t in found] != [t.shape for t in tensors(expected)]:
            # An output of another size, as that of a concatenation that has one part more; of a row also
            # along another dimension than that of its neurons, as after `Unfold`.
            structural = kind in ("connect", "branch", "disconnect", "remove", "remove output")
            assert expected is None or structural or self.case.look == "row"
            self.tally[f"{kind}: function not compared"] += 1
            return
        self.tally[f"{kind}: function compared"] += 1
        tolerance = 1e-8 if self.exact else 1e-3
        for one, two in zip(found, tensors(expected), strict=True):
            torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)

    def everything(self) -> dict[str, Any]:
        """All that an edit may change."""
        return everything(self.graph, self.optimizer)

    def of_optimizer(self) -> Any:
        """What edits get as `optimizer=`."""
        return () if self.optimizer is None else self.optimizer

    def note(self, *what: Any, **more: Any) -> None:
        """Write down what is done."""
        self.log.append(" ".join(map(str, [*what, *more.items()])))

    # Undo

    def later(self, index: int, bare: bool = True) -> list[Done]:
        """The edits that must be undone before one of those done: of networks that have a part in common.

        Args:
            index: The edit.
            bare: Whether parts without tensors count; they do where an edit changed them.
        """
        union, found = set(self.done[index].members), list[Done]()
        for other in self.done[index + 1 :]:
            if (other.members - (set() if bare else other.bare)) & union:
                union |= other.members
                found.append(other)
        return found

    def undo(self, index: int = -1) -> None:
        """Undo an edit: everything is as before it, unless others were made since."""
        last = self.done.pop(index)
        self.note("undo")
        last.edit.undo()
        self.x = self.x if last.x is None else last.x
        if last.outside:
            self.graph.refresh()
        alone = index in (-1, len(self.done))
        self.tally["undo: done" if alone else "undo: done amid others"] += 1
        if alone:
            before, now = last.before, self.everything()
            if last.outside and self.trained != last.trained:
                before, now = before and last.alone(before), last.alone(now)
            else:
                self.trained = last.trained
            if before is not None:
                same(before, now, "undone", run_again=last.outside)
            return
        self.trained += 1
        for other in self.done[index:]:
            other.before = None

    def undo_all(self) -> None:
        """Undo whatever is left, the last edit first."""
        while self.done:
            self.undo()

    # The invariants

    def check(self) -> None:
        """What always holds."""
        graph = self.graph
        graph.lint()
        assert [t.shape[1:] for t in graph.example.values()] == [self.x.shape[1:]]
        sizes = graph.sizes
        x = torch.cat([self.x, self.x[:1]]) if self.case.look != "row" else self.x
        out = graph(x)
        for tensor in tensors(out):
            assert tensor.shape[0] == len(x) or self.case.look == "row"
            assert tensor.isfinite().all()
        names = [v.name for v in graph if v.name in sizes]
        for name, value in graph.run(x, names).items():
            shapes = [t.shape for t in tensors(value)]
            # How many a row finds by value (the tokens of an expert, say) changes with training.
            assert sizes[name] in shapes[0] or (self.trained and self.case.look == "row"), (name, shapes)
        for module in graph.module.modules():
            consistent(module)
        self._check_gradients(out)
        if self.rng.random() < 0.2:
            same_tensors(graph.to_module()(x), out)
        if not graph.rewired:
            same_tensors(graph.module(x), out)
        self._check_optimizer()

    def _check_gradients(self, out: Any) -> None:
        loss = total(out)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        for name, parameter in self.graph.module.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.shape == parameter.shape, name
                assert parameter.grad.isfinite().all(), name
                parameter.grad = None

    def _check_optimizer(self) -> None:
        if self.optimizer is None:
            return
        mine = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        assert mine == {id(p) for p in self.graph.module.parameters()}
        for parameter, state in self.optimizer.state.items():
            assert id(parameter) in mine
            shapes = {value.shape for value in state.values() if isinstance(value, Tensor) and value.dim()}
            assert shapes <= {parameter.shape}

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts of the network which its own forward still calls."""
        if not self.graph.rewired:
            yield from ((path, each) for path, each in self.graph.module.named_modules() if path)
