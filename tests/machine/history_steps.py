"""Steps back and sideways: undo, training, pickling, saving, replay, copies."""

from __future__ import annotations

import copy
import json
import pickle
import tempfile
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of
from naivegraph.widths import relate
from tests.machine.invariants import same_tensors
from tests.machine.state import everything, same

if TYPE_CHECKING:
    from tests.machine.walk import Walk

__all__ = ["copied", "pickled", "replayed", "saved", "trained", "undo", "undo_keeping", "undo_several"]


def undo(walk: Walk) -> None:
    """The last edit."""
    if walk.done:
        walk.undo()


def undo_several(walk: Walk) -> None:
    """Some of the edits, the last first; or one amid others, if nothing later has to do with it."""
    if len(walk.done) > 1:
        index = walk.rng.randrange(len(walk.done) - 1)
        later = walk.later(index)
        if not later:
            walk.undo(index)
            return
        if later != walk.later(index, bare=False):  # it depends on what the edits changed
            return
        before = walk.everything()
        with pytest.raises(ng.EditError, match="undo the later edits first, the last one first: ") as raised:
            walk.done[index].edit.undo()
        order = str(raised.value).split("the last one first: ")[1].split("; then ")
        names = [type(other.network).__name__ for other in reversed(later)]
        assert [each.split(":")[0] for each in order] == names
        same(before, walk.everything(), "undone out of order")
        walk.tally["undo: refused out of order"] += 1
    for _ in range(walk.rng.randint(1, 4)):
        undo(walk)


def undo_keeping(walk: Walk) -> None:
    """The last edit, with what was trained since."""
    if not walk.done:
        return
    last = walk.done.pop()
    walk.note("undo keeping")
    last.edit.undo(keep_training=True)
    walk.x = walk.x if last.x is None else last.x
    if last.outside:
        walk.graph.refresh()
    walk.trained += 1
    walk.tally["undo keeping: done"] += 1
    if last.before is None:
        return
    now = walk.everything()
    assert now["sizes"] == last.before["sizes"]
    assert now["history"] == last.before["history"]
    shapes = [{n: t[:2] for n, t in each["tensors"].items()} for each in (now, last.before)]
    assert shapes[0] == shapes[1]


def trained(walk: Walk) -> None:
    """A step of the optimizer, or of one that nobody keeps."""
    walk.note("train")
    if next(walk.graph.parameters(), None) is None:
        return
    walk.train(walk.optimizer or torch.optim.SGD(walk.graph.module.parameters(), lr=1e-3))
    walk.tally["train: done"] += 1


def pickled(walk: Walk) -> None:
    """A graph and its edits survive pickling: they compute and say the same."""
    if walk.case.look == "row":
        return  # of functions without a name
    walk.note("pickle")
    graph, edits = pickle.loads(pickle.dumps((walk.graph, [done.edit for done in walk.done])))
    assert graph.sizes == walk.graph.sizes
    assert [edit.to_json() for edit in edits] == [done.edit.to_json() for done in walk.done]
    same_tensors(graph(walk.x), walk.graph(walk.x))
    walk.tally["pickle: done"] += 1


def saved(walk: Walk) -> None:
    """Saved and loaded into a fresh copy, it computes the same."""
    walk.note("save")
    fresh = copy.deepcopy(walk.fresh)
    own = not walk.graph.rewired and walk.rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        ng.save(walk.graph.module if own else walk.graph, f"{folder}/net.safetensors")
        path = f"{folder}/net.safetensors"
        loaded = ng.load(fresh.module, path) if own else ng.load(fresh, path, layers=_layers(walk))
    same_tensors(loaded(walk.x), walk.graph(walk.x))
    mine, state = walk.graph.module.state_dict(), loaded.state_dict() if own else {}
    assert all(torch.equal(value, mine[name]) for name, value in state.items())
    walk.tally["save: done"] += 1


def replayed(walk: Walk) -> None:
    """The edits, as JSON, make the same network of a fresh copy; undone, that is as it was."""
    walk.note("replay")
    fresh = copy.deepcopy(walk.fresh)
    before = [(v.name, repr(v.args), repr(v.output)) for v in fresh]
    edit = ng.replay(fresh, history_of(walk.graph.module), layers=_layers(walk))
    assert fresh.sizes == walk.graph.sizes
    shapes = [[t.shape for t in each.example.values()] for each in (fresh, walk.graph)]
    assert shapes[0] == shapes[1]
    assert [v.name for v in fresh] == [v.name for v in walk.graph]
    mine, state = walk.graph.module.state_dict(), fresh.module.state_dict()
    assert list(state) == list(mine)
    # A forward rescales the rows of some tables, so every run of the graph is a training of these.
    rescales = any(getattr(module, "max_norm", None) is not None for module in fresh.module.modules())
    if not walk.trained and not rescales:
        for name, value in state.items():
            assert torch.equal(value, mine[name]), name
        same_tensors(fresh(walk.x), walk.graph(walk.x))
    assert history_of(fresh.module) == history_of(walk.graph.module)
    edit.undo()
    assert [(v.name, repr(v.args), repr(v.output)) for v in fresh] == before
    assert fresh.module.state_dict().keys() == walk.fresh.module.state_dict().keys()
    assert [t.shape for t in fresh.example.values()] == [t.shape for t in walk.fresh.example.values()]
    same_tensors(fresh(walk.case.x), walk.fresh(walk.case.x))
    walk.tally["replay: done"] += 1


def _layers(walk: Walk) -> dict[str, nn.Module]:
    """The layers that were inserted with weights of their own, of those that still are there."""
    changes = [json.loads(text).get("structure") or {} for text in history_of(walk.graph.module)]
    inserted = {step["name"] for each in changes for step in each.get("steps", ()) if step["do"] == "layer"}
    return {name: copy.deepcopy(layer) for name, layer in walk.given.items() if name in inserted}


def copied(walk: Walk) -> None:
    """A copy made amid the history is edited and undone; the original and its undo do not notice."""
    walk.note("copy")
    before = walk.everything()
    twin = copy.deepcopy(walk.graph)
    assert history_of(twin.module) == before["history"]
    same_tensors(twin(walk.x), walk.graph(walk.x))
    start = everything(twin, None)
    widths = relate(twin, free_outputs=True)
    inner = [name for name in twin.sizes if twin[name].kind != "input"]
    free = [name for name in inner if not widths.output_axis(twin[name]).fixed]
    if free:
        asked = {walk.rng.choice(free): ng.relaxed(walk.rng.choice([-1, 1]))}
        try:
            edit = ng.resize(twin, asked, strategy=_quietly())
        except ng.EditError as error:
            # A norm put in front of an inverse takes the mean of each row away, which makes it singular.
            if "matrix is singular" not in str(error):
                raise
            walk.tally["copy: refused, as a matrix has no inverse"] += 1
            same(start, everything(twin, None), "the copy, refused")
            return
        same(before, walk.everything(), "the original, while its copy was edited")
        assert len(history_of(twin.module)) == len(before["history"]) + bool(edit)
        if walk.done and walk.rng.random() < 0.5:
            walk.undo()  # the copy's edit does not stand in the way
        edit.undo()
        same(start, everything(twin, None), "the copy, undone")
    walk.tally["copy: done"] += 1


def _quietly() -> ng.Strategy:
    return ng.strategy.Solve(ng.strategy.Nothing())
