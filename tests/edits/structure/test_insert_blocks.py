"""Several layers that are put in at once, and in front of some of the users alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.machine.structures import batch, check, everything, residual


def test_several_layers_come_one_after_the_other_and_start_as_the_identity() -> None:
    graph = residual()
    before, x = everything(graph), batch(graph)
    old = graph(x)
    made: list[Any] = [lambda n: nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d, lambda n: nn.Conv2d(n, n, 1)]
    edit = ng.insert(graph, made, after="one", name="more", identity=True)
    torch.testing.assert_close(check(graph), old, rtol=1e-4, atol=1e-4)
    assert [type(layer) for layer in graph.module.get_submodule("more").children()] == [
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.Conv2d,
    ]
    edit.undo()
    assert everything(graph) == before


def test_some_of_the_users_take_what_is_put_in() -> None:
    graph = residual()
    before = everything(graph)
    edit = ng.insert(graph, nn.BatchNorm2d, after="stem", users=["one"], name="extra")
    assert [vertex.name for vertex in graph.inputs_of("one")] == ["extra"]
    assert [vertex.name for vertex in graph.inputs_of("add")] == ["stem", "two"]
    check(graph)
    edit.undo()
    assert everything(graph) == before
    with pytest.raises(ng.EditError, match="'head' does not take anything from 'stem'"):
        ng.insert(graph, nn.BatchNorm2d, after="stem", users=["head"])
    with pytest.raises(ng.EditError, match="give some of the vertices that use what after= names"):
        ng.insert(graph, nn.BatchNorm2d, before="one", users=["one"])
    assert everything(graph) == before
