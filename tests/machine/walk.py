"""A walk: a random graph under random mutations, and all that must hold after each of them.

After each step (`Walk.check`): the graph's invariants (lint); outputs are finite and of the right batch;
sizes told and sizes computed are the same; layers' attributes fit their parameters; gradients have the shapes
of parameters; `to_module()` and, where the structure is as it was, the network's own forward compute what the
graph does; the optimizer has the network's parameters, with state of their shapes.

After an edit: requests are met; growth alone keeps the function, with new memory poisoned by NaN; what is
refused or comes to nothing leaves everything as it was, bit for bit. After an undo, at any depth: everything
is as before that edit, bit for bit, however much was trained since; of one that keeps the training, sizes and
history are. After a replay: the same network from a fresh copy. After pickling, or saving and loading: the
same network again.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import random
import tempfile
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.structure.merges import is_concatenation, tensors_of
from naivegraph.graph import Vertex
from naivegraph.graph.export.history import history_of
from naivegraph.graph.run.blocks import is_sum
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.widths import relate
from tests.machine.invariants import consistent, first, met, same_tensors, tensors, total
from tests.machine.random_graphs import Case, norm_sizes, random_case
from tests.machine.state import OPTIMIZERS, everything, poisoned_memory, same

STEPS = (
    "resize",
    "resize",
    "resize",
    "utility",
    "insert",
    "remove",
    "connect",
    "disconnect",
    "undo",
    "undo several",
    "undo keeping",
    "train",
    "pickle",
    "save",
    "replay",
)


@dataclasses.dataclass
class Done:
    """An edit and all that it may have changed, as it was before."""

    edit: ng.Edit
    before: dict[str, Any]
    trained: bool


class Walk:
    """A graph under random edits.

    Args:
        rng: Draws everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.case: Case = random_case(rng)
        self.graph, self.x = self.case.graph, self.case.x
        self.fresh = copy.deepcopy(self.graph)
        self.done: list[Done] = []
        self.log: list[str] = []
        self.tally: collections.Counter[str] = collections.Counter()
        self.trained = False
        self.optimizer = self._optimizer() if rng.random() < 0.5 else None
        self.check()

    def _optimizer(self) -> torch.optim.Optimizer:
        made = self.rng.choice(OPTIMIZERS)(self.graph.module.parameters())
        self._train(made)
        return made

    def _train(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of an optimizer, small enough to leave all numbers finite."""
        self.trained = True
        loss = total(self.graph(self.x))
        if loss.requires_grad:
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.graph.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def step(self, kind: str) -> None:
        """One random mutation of this kind, and every check."""
        others = {
            "undo": self.undo, "undo several": self.undo_several, "undo keeping": self.undo_keeping,
            "train": self.train, "pickle": self.pickle, "save": self.save, "replay": self.replay,
        }  # fmt: skip
        others.get(kind, lambda: self.edit(kind))()
        self.check()

    def edit(self, kind: str) -> None:
        """A mutation that is done, refused with an error of the package, or falsy with a warning."""
        before, old, norms = self.everything(), tensors(self.graph(self.x)), norm_sizes(self.graph)
        sizes, dims = self.graph.sizes, neuron_dimensions(self.graph)
        where = {v.name: dims[tensor_key(first(v))] for v in self.graph if v.name in sizes}
        self.wanted: dict[str, Any] = {}
        self.kept = False
        with warnings.catch_warnings(record=True) as caught, poisoned_memory():
            warnings.simplefilter("always")
            try:
                edit = getattr(self, f"_{kind}")()
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
        self.done.append(Done(edit, before, self.trained))
        self._check_wanted(sizes, where, exact=not caught)
        self._check_function(edit, old, norms)

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

    def _check_function(self, edit: ng.Edit, old: list[Tensor], norms: dict[int, int]) -> None:
        """Growth alone keeps the function, where no norm's statistics are over what grows."""
        new = tensors(self.graph(self.x))
        grown = all(w.stay == w.before for w in edit.change.widths.values())
        applies = grown and (edit.change.structure is None or self.kept) and norm_sizes(self.graph) == norms
        if applies and [t.shape for t in new] == [t.shape for t in old]:
            self.tally["function compared"] += 1
            for one, two in zip(old, new, strict=True):
                torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)

    def everything(self) -> dict[str, Any]:
        """All that an edit may change."""
        return everything(self.graph, self.optimizer)

    # The mutations

    def _resize(self) -> ng.Edit:
        sizes, rng = self.graph.sizes, self.rng
        widths = relate(self.graph, free_outputs=True)
        free = [name for name in sizes if not widths.output_axis(self.graph[name]).fixed]
        # What cannot change is asked for now and then, too: it must say so.
        names = free if free and rng.random() < 0.95 else list(sizes)
        names = rng.sample(names, min(rng.choice([1, 1, 1, 2, 3]), len(names)))
        if rng.random() < 0.15 and (asked := self._of_inputs(names[0])):
            requests = asked
        else:
            requests = {name: self._request(name) for name in names}
        options: dict[str, Any] = {
            "utility": self.rng.choice(["magnitude", "magnitude", None, self._values]),
            "initialise": self.rng.choice(["layer", "layer", "duplicate"]),
            "seed": self.rng.randrange(100),
        }
        worth = options["utility"]
        told = {**options, "utility": "random" if callable(worth) else worth}
        self._note("resize", {name: str(r) for name, r in requests.items()}, **told)
        return ng.resize(self.graph, requests, optimizer=self._optimizers(), **options)

    def _of_inputs(self, name: str) -> dict[str, Any] | None:
        """A request for one of the inputs of a vertex, asked of the vertex."""
        made = {stub.id: v.name for v in self.graph for stub in [first(v)]}
        makers = [made.get(stub.id) for stub in tensors_of(self.graph[name])]
        found = [maker for maker in makers if maker is not None]
        if not found or len(found) != len(makers):
            return None
        which = self.rng.randrange(len(found))
        entries = [self._request(maker) if i == which else None for i, maker in enumerate(found)]
        return {name: ng.inputs(*entries)}

    def _request(self, name: str) -> Any:
        size, rng = self.graph.sizes[name], self.rng
        delta = rng.choice([-3, -2, -1, 1, 2, 3])
        if size + delta < 1 and rng.random() < 0.9:
            delta = -delta
        kinds = ["change"] * 4 + ["relaxed"] * 3 + ["size", "between", "multiple", "frozen"]
        kind = rng.choice(kinds)
        low = rng.randint(1, size + 2)
        bounds = (low, low + rng.randint(0, 3))
        value, request = {
            "change": (delta, delta),
            "relaxed": (delta, ng.relaxed(delta)),
            "size": (max(1, size + delta), ng.size(max(1, size + delta))),
            "between": (bounds, ng.between(*bounds)),
            "multiple": (2, ng.multiple(2)),
            "frozen": (0, ng.frozen()),
        }[kind]
        self.wanted[name] = (kind, value)
        return request

    def _utility(self) -> ng.Edit:
        self._note("utility")
        return ng.resize(self.graph, utility=self._values, optimizer=self._optimizers())

    def _values(self, vertex: Vertex) -> Any:
        size = self.graph.sizes.get(vertex.name)
        if size is None or vertex.kind != "layer":
            return None
        return np.array([self.rng.uniform(-1.0, 1.5) for _ in range(size)])

    def _insert(self) -> ng.Edit:
        names = [v.name for v in self.graph]
        # A graph of which all was removed has no edge left: then one from its input to nowhere is refused.
        edges = list(self.graph.to_networkx().edges()) or [(names[0], names[0])]
        single = [v.name for v in self.graph if len(tensors_of(v)) == 1]
        where: dict[str, Any] = self.rng.choice([
            {"after": self.rng.choice(names)},
            {"before": self.rng.choice(single if single and self.rng.random() < 0.9 else names)},
            {"edge": self.rng.choice(edges)},
        ])  # fmt: skip
        kind = self.rng.choice(["mix", "mix", "norm", "act"])
        identity = kind == "mix" and self.rng.random() < 0.5
        self.kept = identity or kind == "none"
        self._note("insert", kind, where, identity)

        def made(size: int) -> nn.Module:
            image = self.case.look == "image" and self.rng.random() < 0.9
            if kind == "mix":
                layer: nn.Module = nn.Conv2d(size, size, 3, padding=1) if image else nn.Linear(size, size)
            elif kind == "norm":
                layer = nn.BatchNorm2d(size) if image else nn.LayerNorm(size)
            else:
                layer = nn.ReLU()
            return layer.double().eval()

        return ng.insert(self.graph, made, identity=identity, optimizer=self._optimizers(), **where)

    def _remove(self) -> ng.Edit:
        reconnect, users = self.rng.random() < 0.75, self.graph.to_networkx().successors
        fit = [
            v.name
            for v in self.graph
            if v.kind != "input"
            and (
                reconnect
                or all(is_sum(u) or is_concatenation(u) for u in map(self.graph.__getitem__, users(v.name)))
            )
        ]
        name = self.rng.choice(fit if fit and self.rng.random() < 0.8 else [v.name for v in self.graph])
        self._note("remove", name, reconnect=reconnect)
        return ng.remove(self.graph, name, reconnect=reconnect, optimizer=self._optimizers())

    def _connect(self) -> ng.Edit:
        names = [v.name for v in self.graph]
        joints = [v.name for v in self.graph if is_sum(v) or is_concatenation(v)]
        target = self.rng.choice(joints if joints and self.rng.random() < 0.9 else names)
        later = {target, *(v.name for v in self.graph.descendants(target))}
        rank = len(first(self.graph[target]).shape)
        fit = [n for n in names if n not in later and len(first(self.graph[n]).shape) == rank]
        source = self.rng.choice(fit if fit and self.rng.random() < 0.9 else names)
        self.kept = is_concatenation(self.graph[target])
        self._note("connect", source, target)
        return ng.connect(self.graph, source, target, optimizer=self._optimizers())

    def _disconnect(self) -> ng.Edit:
        first = self.graph.vertices[0].name
        edges = list(self.graph.to_networkx().edges()) or [(first, first)]
        joints = [(a, b) for a, b in edges if is_sum(self.graph[b]) or is_concatenation(self.graph[b])]
        source, target = self.rng.choice(joints if joints and self.rng.random() < 0.9 else edges)
        self._note("disconnect", source, target)
        return ng.disconnect(self.graph, source, target, optimizer=self._optimizers())

    def undo(self) -> None:
        """Undo the last edit: everything is as before it."""
        if self.done:
            last = self.done.pop()
            self._note("undo")
            last.edit.undo()
            self.trained = last.trained
            self.tally["undo: done"] += 1
            same(last.before, self.everything(), "undone")

    def undo_several(self) -> None:
        """Undo some of the edits, the last first; out of order is refused, and nothing changes."""
        if len(self.done) > 1:
            before = self.everything()
            with pytest.raises(ng.EditError, match="undo"):
                self.done[0].edit.undo()
            same(before, self.everything(), "undone out of order")
        for _ in range(self.rng.randint(1, 4)):
            self.undo()

    def undo_keeping(self) -> None:
        """Undo the last edit, with what was trained since."""
        if self.done:
            last = self.done.pop()
            self._note("undo keeping")
            last.edit.undo(keep_training=True)
            self.trained = True
            self.tally["undo keeping: done"] += 1
            now = self.everything()
            assert now["sizes"] == last.before["sizes"]
            assert now["history"] == last.before["history"]
            shapes = [{n: t[:2] for n, t in each["tensors"].items()} for each in (now, last.before)]
            assert shapes[0] == shapes[1]

    def train(self) -> None:
        """A step of the optimizer, or of one that nobody keeps."""
        self._note("train")
        self._train(self.optimizer or torch.optim.SGD(self.graph.module.parameters(), lr=1e-3))
        self.tally["train: done"] += 1

    def pickle(self) -> None:
        """A graph and its edits survive pickling: they compute and say the same."""
        self._note("pickle")
        graph, edits = pickle.loads(pickle.dumps((self.graph, [done.edit for done in self.done])))
        assert graph.sizes == self.graph.sizes
        assert [edit.to_json() for edit in edits] == [done.edit.to_json() for done in self.done]
        same_tensors(graph(self.x), self.graph(self.x))
        self.tally["pickle: done"] += 1

    def save(self) -> None:
        """Saved and loaded into a fresh copy, it computes the same."""
        self._note("save")
        copied = copy.deepcopy(self.fresh)
        with tempfile.TemporaryDirectory() as folder:
            ng.save(self.graph, f"{folder}/net.safetensors")
            loaded = ng.load(copied, f"{folder}/net.safetensors")
        same_tensors(loaded(self.x), self.graph(self.x))
        self.tally["save: done"] += 1

    def undo_all(self) -> None:
        """Undo whatever is left, the last edit first."""
        while self.done:
            self.undo()

    def replay(self) -> None:
        """The edits, as JSON, make the same network of a fresh copy; undone, that is as it was."""
        self._note("replay")
        copied = copy.deepcopy(self.fresh)
        before = [(v.name, repr(v.args), repr(v.output)) for v in copied]
        edit = ng.replay(copied, history_of(self.graph.module))
        assert copied.sizes == self.graph.sizes
        assert [v.name for v in copied] == [v.name for v in self.graph]
        mine, state = self.graph.module.state_dict(), copied.module.state_dict()
        assert list(state) == list(mine)
        if not self.trained:
            for name, value in state.items():
                assert torch.equal(value, mine[name]), name
            same_tensors(copied(self.x), self.graph(self.x))
        assert history_of(copied.module) == history_of(self.graph.module)
        edit.undo()
        assert [(v.name, repr(v.args), repr(v.output)) for v in copied] == before
        assert copied.module.state_dict().keys() == self.fresh.module.state_dict().keys()
        same_tensors(copied(self.x), self.fresh(self.x))
        self.tally["replay: done"] += 1

    # The invariants

    def check(self) -> None:
        """What always holds."""
        graph = self.graph
        graph.lint()
        sizes = graph.sizes
        x = torch.cat([self.x, self.x[:1]])
        out = graph(x)
        for tensor in tensors(out):
            assert tensor.shape[0] == 3
            assert tensor.isfinite().all()
        names = [v.name for v in graph if v.name in sizes]
        for name, value in graph.run(x, names).items():
            shapes = [t.shape for t in tensors(value)]
            assert sizes[name] in shapes[0], (name, sizes[name], shapes)
        for module in graph.module.modules():
            consistent(module)
        loss = total(out)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        for name, parameter in graph.module.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.shape == parameter.shape, name
                assert parameter.grad.isfinite().all(), name
                parameter.grad = None
        if self.rng.random() < 0.2:
            same_tensors(graph.to_module()(x), out)
        if not any(done.edit.change.structure is not None for done in self.done):
            same_tensors(graph.module(x), out)
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        if self.optimizer is None:
            return
        mine = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        assert mine == {id(p) for p in self.graph.module.parameters()}
        for parameter, state in self.optimizer.state.items():
            assert id(parameter) in mine
            shapes = {value.shape for value in state.values() if isinstance(value, Tensor) and value.dim()}
            assert shapes <= {parameter.shape}

    def _optimizers(self) -> Any:
        return () if self.optimizer is None else self.optimizer

    def _note(self, *what: Any, **more: Any) -> None:
        self.log.append(" ".join(map(str, [*what, *more.items()])))
