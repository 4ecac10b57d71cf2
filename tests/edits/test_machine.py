"""Random sequences of all mutations on random graphs; every invariant is checked after each step."""

from __future__ import annotations

import collections
import copy
import dataclasses
import os
import random
import time
import traceback
import warnings
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.change import history_of
from naivegraph.edits.joints import is_concatenation, is_sum
from naivegraph.graph import Vertex
from naivegraph.graph.sizes import neuron_dimensions
from naivegraph.graph.structure import leaves
from naivegraph.graph.values import Stub
from naivegraph.widths import relate
from tests.edits.random_graphs import Case, has_norm, random_case

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
    "replay",
)


@dataclasses.dataclass
class Done:
    """An edit and all that it may have changed, as it was before."""

    edit: ng.Edit
    before: dict[str, Any]


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
        self.optimizer = self._optimizer() if rng.random() < 0.3 else None
        self.check()

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(self.graph.module.parameters(), lr=0.0)
        torch.autograd.backward(total(self.graph(self.x)))
        optimizer.step()
        optimizer.zero_grad()
        return optimizer

    def step(self, kind: str) -> None:
        """One random mutation of this kind, and every check."""
        if kind == "undo":
            self.undo()
        elif kind == "replay":
            self.replay()
        else:
            self.edit(kind)
        self.check()

    def edit(self, kind: str) -> None:
        """A mutation that is done, refused with an error of the package, or falsy with a warning."""
        before, old = everything(self), tensors(self.graph(self.x))
        sizes, dims = self.graph.sizes, plain_dimensions(self.graph)
        self.wanted: dict[str, Any] = {}
        self.kept = False
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                edit = getattr(self, f"_{kind}")()
            except ng.NaivegraphError as error:
                self.log[-1] += f": refused, {error}"
                self.tally[f"{kind}: refused"] += 1
                same(before, everything(self), f"refused {self.log[-1]}")
                return
        foreign = [str(w.message) for w in caught if "these sizes cannot be had" not in str(w.message)]
        assert not foreign, foreign
        if not edit:
            self.tally[f"{kind}: nothing"] += 1
            same(before, everything(self), f"falsy {self.log[-1]}")
            return
        self.tally[f"{kind}: done"] += 1
        self.done.append(Done(edit, before))
        if not caught:
            self._check_wanted(sizes, dims)
        self._check_function(edit, old)

    def _check_wanted(self, before: dict[str, int], dims: dict[str, int]) -> None:
        for name, (what, value) in self.wanted.items():
            if name not in dims:
                continue
            old, new = before[name], first(self.graph[name]).shape[dims[name]]
            met = {
                "change": lambda old, new, value: new == old + value,
                "relaxed": lambda old, new, value: new == old or (new > old) == (value > 0),
                "size": lambda old, new, value: new == value,
                "between": lambda old, new, value: value[0] <= new <= value[1],
                "multiple": lambda old, new, value: new % value == 0,
                "frozen": lambda old, new, value: new == old,
            }[what](old, new, value)
            assert met, f"{name}: {what} {value} was asked, {old} -> {new}"

    def _check_function(self, edit: ng.Edit, old: list[Tensor]) -> None:
        """Growth alone keeps the function, where no norm mixes what grows."""
        new = tensors(self.graph(self.x))
        grown = all(len(w.kept) == w.before for w in edit.change.widths.values())
        applies = grown and (edit.change.structure is None or self.kept) and not has_norm(self.graph)
        if applies and [t.shape for t in new] == [t.shape for t in old]:
            self.tally["function compared"] += 1
            for one, two in zip(old, new, strict=True):
                torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)

    # The mutations

    def _resize(self) -> ng.Edit:
        names = self.rng.sample(
            list(self.graph.sizes), min(self.rng.choice([1, 1, 1, 2, 3]), len(self.graph.sizes))
        )
        requests = {name: self._request(name) for name in names}
        options: dict[str, Any] = {
            "utility": self.rng.choice(["magnitude", "magnitude", None, self._values]),
            "initialise": self.rng.choice(["layer", "layer", "duplicate"]),
            "seed": self.rng.randrange(100),
        }
        self._note("resize", {name: str(r) for name, r in requests.items()}, **options)
        return ng.resize(self.graph, requests, optimizer=self._optimizers(), **options)

    def _request(self, name: str) -> Any:
        size, rng = self.graph.sizes[name], self.rng
        delta = rng.choice([-3, -2, -1, 1, 2, 3])
        kinds = ["change"] * 4 + ["relaxed"] * 3 + ["size", "between", "multiple", "frozen"]
        kind = rng.choice(kinds)
        bounds = sorted((rng.randint(1, 12), rng.randint(1, 12)))
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
        return np.array([self.rng.uniform(-0.5, 1.5) for _ in range(size)])

    def _insert(self) -> ng.Edit:
        edges = list(self.graph.to_networkx().edges())
        names = [v.name for v in self.graph]
        where: dict[str, Any] = self.rng.choice([
            {"after": self.rng.choice(names)},
            {"before": self.rng.choice(names)},
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
        name = self.rng.choice([v.name for v in self.graph])
        reconnect = self.rng.random() < 0.75
        self._note("remove", name, reconnect=reconnect)
        return ng.remove(self.graph, name, reconnect=reconnect, optimizer=self._optimizers())

    def _connect(self) -> ng.Edit:
        names = [v.name for v in self.graph]
        joints = [v.name for v in self.graph if is_sum(v) or is_concatenation(v)]
        target = self.rng.choice(joints if joints and self.rng.random() < 0.9 else names)
        source = self.rng.choice(names)
        self.kept = is_concatenation(self.graph[target])
        self._note("connect", source, target)
        return ng.connect(self.graph, source, target, optimizer=self._optimizers())

    def _disconnect(self) -> ng.Edit:
        edges = list(self.graph.to_networkx().edges())
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
            self.tally["undo: done"] += 1
            same(last.before, everything(self), "undone")

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
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape

    def _optimizers(self) -> Any:
        return () if self.optimizer is None else self.optimizer

    def _note(self, *what: Any, **more: Any) -> None:
        self.log.append(" ".join(map(str, [*what, *more.items()])))


def first(vertex: Vertex) -> Stub:
    """The first tensor a vertex gives."""
    return next(leaf for leaf in leaves(vertex.output) if isinstance(leaf, Stub))


def plain_dimensions(graph: ng.Graph) -> dict[str, int]:
    """Along which dimension neurons count, where a request means just one."""
    dims, widths = neuron_dimensions(graph), relate(graph, free_outputs=True)
    out = {}
    for vertex in graph:
        stub = first(vertex)
        dim = dims.get(stub.id, {1: 0, 3: 2}.get(len(stub.shape), 1))
        if sum(not axis.fixed for axis in widths.of(stub)) <= 1 and widths.of(stub)[
            dim
        ] == widths.output_axis(vertex):
            out[vertex.name] = dim
    return out


def consistent(module: nn.Module) -> None:
    """The shapes of a layer's parameters are those its attributes say."""
    if isinstance(module, nn.Linear):
        assert module.weight.shape == (module.out_features, module.in_features)
    elif isinstance(module, nn.Conv2d):
        shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        assert module.weight.shape == shape
    elif isinstance(module, nn.ConvTranspose2d):
        assert module.weight.shape[:2] == (module.in_channels, module.out_channels // module.groups)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        assert module.running_mean is not None
        assert module.weight.shape == module.running_mean.shape == (module.num_features,)
    elif isinstance(module, nn.LayerNorm):
        assert tuple(module.weight.shape) == tuple(module.normalized_shape)
    elif isinstance(module, nn.GroupNorm):
        assert module.weight.shape == (module.num_channels,)


def tensors(value: Any) -> list[Tensor]:
    """The tensors a network returned."""
    if isinstance(value, Tensor):
        return [value]
    return [t for each in value for t in tensors(each)] if isinstance(value, (tuple, list)) else []


def total(value: Any) -> Tensor:
    """A scalar of all of them."""
    return sum((t.square().sum() for t in tensors(value)), torch.zeros(()))


def same_tensors(one: Any, two: Any) -> None:
    assert len(tensors(one)) == len(tensors(two))
    for left, right in zip(tensors(one), tensors(two), strict=True):
        assert torch.equal(left, right)


def everything(walk: Walk) -> dict[str, Any]:
    """All that an edit may change, in a form that compares bit for bit."""
    graph, module = walk.graph, walk.graph.module
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    optimizer = walk.optimizer
    state = {} if optimizer is None else {
        (id(p), key): value.numpy().tobytes() for p, s in optimizer.state.items() for key, value in s.items()
    }  # fmt: skip
    groups = [] if optimizer is None else [[id(p) for p in g["params"]] for g in optimizer.param_groups]
    return {
        "tensors": {n: (id(t), tuple(t.shape), t.detach().numpy().tobytes()) for n, t in named},
        "modules": {n: (id(m), m.training) for n, m in module.named_modules()},
        "attributes": {
            (n, key): value
            for n, m in module.named_modules()
            for key, value in vars(m).items()
            if isinstance(value, (int, float, str, tuple, list))
        },
        "vertices": [
            (v.name, v.kind, v.path, id(v.target), *map(repr, (v.args, v.kwargs, v.output, v.operations)))
            for v in graph
        ],
        "output": repr(graph.output),
        "sizes": graph.sizes,
        "state": repr(graph.state),
        "optimizer": (state, groups),
        "history": history_of(module),
    }  # fmt: skip


def same(before: dict[str, Any], after: dict[str, Any], what: str) -> None:
    """Nothing changed."""
    for key, value in before.items():
        assert value == after[key], f"{key} are not as they were: {what}"


class Machine(RuleBasedStateMachine):
    """The walk as hypothesis shrinks it."""

    @initialize(seed=st.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        self.walk = Walk(random.Random(seed))

    @rule(kind=st.sampled_from(sorted(set(STEPS) - {"undo"})), seed=st.integers(0, 2**20))
    def step(self, kind: str, seed: int) -> None:
        self.walk.rng.seed(seed)
        self.walk.step(kind)

    @precondition(lambda self: self.walk.done)
    @rule()
    def undo(self) -> None:
        self.walk.step("undo")

    def teardown(self) -> None:
        if hasattr(self, "walk"):
            self.walk.undo_all()


Machine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase


def walked(seed: int, edits: int, tally: collections.Counter[str]) -> str | None:
    """Walk one graph; what failed, if anything."""
    walk: Walk | None = None
    rng = random.Random(seed)
    kind = "build"
    try:
        walk = Walk(rng)
        for _ in range(edits):
            kind = rng.choice(STEPS)
            walk.step(kind)
        kind = "undo all"
        walk.undo_all()
        walk.check()
    except Exception as error:  # whatever goes wrong is counted
        last = traceback.extract_tb(error.__traceback__)[-1]
        about = f"{walk.case.about}, after: {walk.log[-4:]}" if walk is not None else ""
        where = f"{type(error).__name__} {os.path.basename(last.filename)}:{last.lineno}"
        return f"{kind} | {where} | {error} | {about}"
    finally:
        if walk is not None:
            tally.update(walk.tally)
    return None


def long_run(first: int, graphs: int, edits: int, seconds: float = float("inf")) -> dict[int, str]:
    """Walk many graphs; prints figures, and gives the failures by seed."""
    tally: collections.Counter[str] = collections.Counter()
    failures: dict[int, str] = {}
    start, count = time.monotonic(), 0
    for seed in range(first, first + graphs):
        if time.monotonic() - start > seconds:
            break
        count += 1
        failed = walked(seed, edits, tally)
        if failed is not None:
            failures[seed] = failed
    taken = time.monotonic() - start
    print(f"\n{count} graphs x {edits} steps in {taken:.0f} s, {len(failures)} failures")
    print("\n".join(f"{number:7d} {kind}" for kind, number in sorted(tally.items())))
    return failures


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_edits_of_many_graphs() -> None:
    failures = long_run(0, 2000, 15)
    assert not failures, "\n".join(f"seed {seed}: {text}" for seed, text in failures.items())
