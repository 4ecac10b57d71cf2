"""Questions about edits: the answer is that of the edit, and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.machine.structures import branches, chain, everything

ASKED: list[tuple[Any, tuple[Any, ...], str]] = [
    (branches, ("connect", "a", "add"), ""),
    (branches, ("connect", "out", "cat"), "that would be a cycle"),
    (branches, ("disconnect", "b", "add"), ""),
    (branches, ("disconnect", "a", "add"), "does not take anything from 'a'"),
    (chain, ("remove", "second"), ""),
    (chain, ("remove", "lost"), "no vertex 'lost'"),
    (chain, ("insert", nn.Linear(5, 6)), "say where with one of after="),
    (chain, ("resize", {"second": ng.between(20, 30), "last": ng.between(1, 2)}), ""),
    (chain, ("resize", {"second": (ng.size(4), ng.size(5))}), "second"),
    (chain, ("resize", {"second": +1}), ""),
]


@pytest.mark.parametrize(("build", "asked", "reason"), ASKED)
def test_an_answer_has_its_reason_and_changes_nothing(build: Any, asked: Any, reason: str) -> None:
    graph = build()
    before = everything(graph)
    answer = ng.can(graph, *asked)
    assert bool(answer) is not bool(reason)
    assert reason in answer.reason
    assert str(answer) == "yes" if answer else str(answer).startswith("no: ")
    assert everything(graph) == before


def test_a_network_and_its_example_are_asked_about_too() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    assert ng.can(net, torch.ones(1, 4), "remove", "0")
    with pytest.raises(ng.EditError, match="there is no edit 'delete'"):
        ng.can(net, torch.ones(1, 4), "delete", "0")


@pytest.mark.parametrize("arguments", [("connect", "0"), ("remove",), ("resize", {"0": 1}, "more")])
def test_arguments_that_a_verb_does_not_take_are_refused(arguments: tuple[Any, ...]) -> None:
    graph = ng.capture(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.ones(1, 4))
    with pytest.raises(ng.EditError, match=rf"{arguments[0]} cannot be called so.* argument"):
        ng.can(graph, *arguments)
