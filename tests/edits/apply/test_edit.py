"""An edit is data: it cannot be set, goes through pickle, is told in one line, in tables and as HTML."""

from __future__ import annotations

import copy
import dataclasses
import gc
import html.parser
import json
import multiprocessing
import pickle
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.change import Change
from naivegraph.graph.export.history import history_of
from tests.machine.structures import batch, branches, chain, everything, residual
from tests.oracle import snapshot, unchanged

Make = Callable[[ng.Graph], ng.Edit]


def two() -> list[ng.Edit]:
    graph = residual()
    return [ng.resize(graph, {"one": +3}), ng.resize(graph, {"stem": +1})]


EDITS: dict[str, tuple[Callable[[], ng.Graph], Make]] = {
    "prune": (chain, lambda g: ng.prune(g.module, (batch(g),), ratio=0.5)),
    "resize": (residual, lambda g: ng.resize(g, {"stem": -1, "one": ng.relaxed(+2)})),
    "resize by a function": (chain, lambda g: ng.resize(g, {"first": +2}, initialise=lambda t, name: None)),
    "insert": (residual, lambda g: ng.insert(g, nn.BatchNorm2d, after="stem")),
    "remove": (residual, lambda g: ng.remove(g, "one")),
    "connect": (branches, lambda g: ng.connect(g, "stem", "cat")),
    "disconnect": (branches, lambda g: ng.disconnect(g, "add", "cat")),
    "resize_kernel": (residual, lambda g: ng.resize_kernel(g, {"one": 5})),
    "replay": (residual, lambda g: ng.replay(g, ng.resize(residual(), {"one": 3}))),
    "replay of several": (residual, lambda g: ng.replay(g, two())),
    "nothing": (residual, lambda g: ng.resize(g, {"stem": 0})),
}


def made(name: str) -> tuple[ng.Graph, ng.Edit]:
    torch.manual_seed(0)
    build, make = EDITS[name]
    graph = build()
    return graph, make(graph)


@pytest.mark.parametrize("name", EDITS)
def test_no_field_can_be_set(name: str) -> None:
    _, edit = made(name)
    for field in [*(f.name for f in dataclasses.fields(edit)), "sizes", "graph", "anything"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(edit, field, None)
    with pytest.raises(TypeError, match="does not support item assignment"):
        edit.asked["stem"] = 3  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        edit.change.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda edit: pickle.loads(pickle.dumps(edit)), copy.copy])
@pytest.mark.parametrize("name", EDITS)
def test_a_copy_says_the_same(name: str, copied: Callable[[ng.Edit], ng.Edit]) -> None:
    _, edit = made(name)
    other = copied(edit)
    assert other is not edit
    assert other == edit
    assert hash(other) == hash(edit)
    assert said(other) == said(edit)
    assert bool(other) == bool(edit)
    assert [each.to_json() for each in other.earlier] == [each.to_json() for each in edit.earlier]


def said(edit: ng.Edit) -> list[Any]:
    html = edit._repr_html_()
    return [repr(edit), str(edit), html, edit.to_json(), edit.sizes, dict(edit.asked), edit.certificate]


def _elsewhere(stored: bytes, answers: Any) -> None:
    for edit, again in zip(pickle.loads(stored), pickle.loads(stored), strict=True):
        try:
            edit.undo()
        except ng.EditError as error:
            answers.put((said(edit), str(error), edit == again, edit.graph))


def test_in_another_process_an_edit_says_the_same_and_knows_no_network() -> None:
    networks = [made(name) for name in ("prune", "resize", "remove", "replay of several")]
    spawning = multiprocessing.get_context("spawn")
    answers = spawning.Queue()
    stored = pickle.dumps([edit for _, edit in networks])
    process = spawning.Process(target=_elsewhere, args=(stored, answers))
    process.start()
    for graph, edit in networks:
        words, error, equal, other = answers.get(timeout=120)
        assert words == said(edit)
        assert equal
        assert other is None
        assert "the network it belongs to is not in this process" in error
        assert "undo by the edit that was returned there" in error
        assert "ng.load" in error
        edit.undo()
        assert history_of(graph.module) == []
    process.join(60)
    assert process.exitcode == 0


def test_a_copy_undoes_in_the_process_of_its_network() -> None:
    graph = residual()
    before = everything(graph)
    edit = ng.resize(graph, {"stem": -1})
    copy.deepcopy(edit).undo()
    assert everything(graph) == before
    with pytest.raises(ng.EditError, match="undone already"):
        edit.undo()
    assert history_of(graph.module) == []


def test_a_copy_whose_network_was_copied_too_does_not_guess() -> None:
    graph = residual()
    edit = ng.resize(graph, {"stem": -1})
    module, other = copy.deepcopy((graph.module, edit))
    now, then = snapshot(graph.module), snapshot(module)
    with pytest.raises(ng.EditError, match="both this edit and its network were copied"):
        other.undo()
    assert unchanged(graph.module, now)
    assert unchanged(module, then)
    edit.undo()
    assert unchanged(module, then)
    assert graph.sizes["stem"] == 4


def test_a_copy_without_the_edit_that_was_returned_says_what_to_do() -> None:
    graph = residual()
    other = copy.copy(ng.resize(graph, {"stem": -1}))
    gc.collect()
    with pytest.raises(ng.EditError, match=r"or the edit that was returned for it is gone: .*ng.load"):
        other.undo()


def test_two_edits_that_do_the_same_are_equal_and_undo_their_own_network() -> None:
    one, two = residual(), residual()
    first, second = ng.resize(one, {"stem": -1}), ng.resize(two, {"stem": -1})
    assert first == second
    assert first != ng.resize(residual(), {"stem": -2})
    second.undo()
    assert one.sizes["stem"] == 3
    assert two.sizes["stem"] == 4


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("prune", r"Edit\(macs [\d,]+ -> [\d,]+, params [\d,]+ -> [\d,]+, \d widths? changed, gap 0.000%\)"),
        ("insert", r"Edit\(inserted batchnorm2d after stem, params [\d,]+ -> [\d,]+\)"),
        ("remove", r"Edit\(removed one, macs .*, 1 width changed, gap \d.\d\d\d%\)"),
        ("connect", r"Edit\(connected stem to cat, .*\)"),
        ("resize_kernel", r"Edit\(macs .*, 2 widths changed\)"),
        ("replay of several", r"Edit\(macs .*, 1 width changed, the last of 2 edits\)"),
        ("nothing", r"Edit\(nothing changed\)"),
    ],
)
def test_the_repr_is_one_line(name: str, line: str) -> None:
    _, edit = made(name)
    assert re.fullmatch(line, repr(edit)), repr(edit)


def test_the_repr_works_nothing_out() -> None:
    layers: list[nn.Module] = []
    for _ in range(40):
        layers += [nn.Linear(8, 8), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(8, 2))
    edit = ng.prune(net, torch.ones(1, 8), macs=0.5)
    start = time.perf_counter()
    for _ in range(100):
        repr(edit)
    assert time.perf_counter() - start < 0.1
    assert "widths changed" in repr(edit)


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in order; gathers the words between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


@pytest.mark.parametrize("name", EDITS)
def test_html_has_the_words_of_the_table(name: str) -> None:
    _, edit = made(name)
    tags = parsed(edit._repr_html_())
    assert tags.seen <= {"div", "p", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    text = set(" ".join(str(edit).split()).split())
    for word in " ".join(tags.words).split():
        assert word in text or any(word in other for other in text), word


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("<b>&", nn.Linear(4, 8))
        self.last = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.get_submodule("<b>&")(x))
        return out


def test_html_is_escaped_and_words_in_brackets_are_no_styles() -> None:
    graph = ng.capture(Odd(), torch.ones(1, 4))
    report, explanation = ng.inspect(graph.module, torch.ones(1, 4)), ng.explain(graph, "<b>&")
    edit = ng.resize(graph, {"<b>&": -3})
    for shown in (edit, report, explanation, graph):
        text = shown._repr_html_()
        assert "<b>" not in text
        assert "&lt;b&gt;&amp;" in text
        assert "<b>&" in " ".join(parsed(text).words)
        assert "\n" not in repr(shown)
    net = nn.Sequential()
    net.add_module("[red]x[", nn.Linear(4, 8))
    net.add_module("last", nn.Linear(8, 2))
    assert "[red]x[" in str(ng.prune(net, torch.ones(1, 4), ratio=0.5))
    assert "[red]x[" in str(ng.inspect(net, torch.ones(1, 4)))


def test_reports_and_explanations_are_one_line_each() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.ones(1, 4)
    graph = ng.capture(net, x)
    assert repr(ng.inspect(net, x)) == (
        "Report(macs 48, params 58, 1 of 1 widths may change, with 96.6% of the parameters)"
    )
    assert repr(ng.explain(graph, "0")) == "Explanation(0: 8 neurons, shared with 1 other layer, next 7 or 9)"
    assert repr(ng.explain(graph, "input")) == (
        "Explanation(input: 4 neurons, shared with 1 other layer, next 3 or 5)"
    )
    tokens = ng.capture(nn.Sequential(nn.Embedding(7, 4)), torch.zeros(1, 5, dtype=torch.int64))
    assert repr(ng.explain(tokens, "input")) == "Explanation(input: 5 neurons, cannot change)"


@pytest.mark.parametrize("name", EDITS)
def test_what_was_not_chosen_is_not_certified(name: str) -> None:
    _, edit = made(name)
    certified = name in ("prune", "resize", "resize by a function", "remove", "connect", "disconnect")
    if name == "nothing":
        assert not edit
    elif certified:
        assert edit.certificate is not None
        assert edit.certificate.bound >= edit.certificate.value
    else:
        assert edit.certificate is None
        assert "gap" not in repr(edit)
        assert "utility kept" not in str(edit)


def test_without_utility_or_sizes_nothing_is_certified() -> None:
    assert ng.resize(residual(), {"stem": -1}, utility=0).certificate is None
    assert ng.remove(residual(), "norm").certificate is None
    impossible = ng.resize(residual(), {"x": +1}, strategy=ng.strategy.Nothing())
    assert not impossible
    assert impossible.certificate is None


@pytest.mark.parametrize("name", EDITS)
def test_the_graph_that_was_edited(name: str) -> None:
    graph, edit = made(name)
    assert edit.graph is (None if name == "prune" else graph)
    assert copy.deepcopy(edit).graph is None


def test_a_change_is_applied_to_a_module_or_its_graph() -> None:
    graph, fresh = residual(), residual()
    edit = ng.resize(graph, {"stem": -1})
    calls: list[str] = []
    on_graph = apply(edit.change, fresh, check=lambda: calls.append("checked"), notes=("A note.",))
    assert fresh.sizes == graph.sizes
    assert (on_graph.change, on_graph.notes, on_graph.asked, calls) == (
        edit.change, ("A note.",), {}, ["checked"],
    )  # fmt: skip
    assert on_graph.after.params == edit.after.params
    on_graph.undo()
    on_module = apply(edit.change, fresh.module)
    assert on_module.before.params == edit.before.params
    assert on_module.graph is None
    assert json.loads(on_module.to_json()) == json.loads(edit.to_json())


def test_nothing_to_change_changes_not_even_the_history() -> None:
    graph = residual()
    before = everything(graph)
    edit = apply(Change({}, {}, []), graph)
    assert not edit
    edit.undo()
    edit.undo()
    assert everything(graph) == before
    assert history_of(graph.module) == []
