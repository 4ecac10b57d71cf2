"""An optimizer that holds state of parameters and is not handed over is told of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, optim

import naivegraph as ng

SAID = "An optimizer that was not handed over holds state of 0.weight"


def stepped(make: Callable[[Any], optim.Optimizer]) -> tuple[nn.Sequential, optim.Optimizer]:
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = make(net.parameters())
    net(torch.randn(4, 6)).sum().backward()
    optimizer.step()
    return net.eval(), optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda given: optim.Adam(given, fused=True),
        lambda given: optim.SGD(given, lr=0.1, momentum=0.9),
        optim.Adagrad,
    ],
    ids=["fused", "momentum", "adagrad"],
)
def test_a_forgotten_optimizer_is_told_of(make: Callable[[Any], optim.Optimizer]) -> None:
    net, optimizer = stepped(make)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        edit = ng.prune(net, torch.randn(4, 6), ratio=0.5)
    # One that is not fused raises by itself at its next step.
    assert bool(caught) == bool(optimizer.defaults.get("fused"))
    assert all(str(each.message).startswith(SAID) and each.filename == __file__ for each in caught)
    assert [note for note in edit.notes if note.startswith(SAID)]
    edit.undo()
    edit = ng.prune(net, torch.randn(4, 6), ratio=0.5, optimizer=optimizer)
    assert not edit.notes


def test_of_several_the_missing_one_is_told_of() -> None:
    net, one = stepped(optim.Adam)
    other = optim.RMSprop(net.parameters())
    net(torch.randn(4, 6)).sum().backward()
    other.step()
    assert ng.prune(net, torch.randn(4, 6), ratio=0.5, optimizer=other).notes[0].startswith(SAID)
    assert one.state


def test_one_of_other_parameters_is_told_of() -> None:
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    parts = [optim.Adam(net[i].parameters()) for i in (0, 2, 4)]
    net(torch.randn(4, 6)).sum().backward()
    for each in parts:
        each.step()
    edit = ng.prune(net, torch.randn(4, 6), ratio=0.5, optimizer=parts[:2])
    assert edit.notes[0].startswith("An optimizer that was not handed over holds state of 4.weight")


def test_nothing_is_said_of_optimizers_without_state_or_of_other_networks() -> None:
    _, held = stepped(optim.Adam)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    fresh = optim.Adam(net.parameters())
    assert not ng.prune(net, torch.randn(4, 6), ratio=0.5).notes
    assert held.state
    assert not fresh.state
