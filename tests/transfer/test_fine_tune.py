"""Groups of parameters by what an edit did, and unfreezing from the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5))


def named(net: nn.Module, groups: list[dict[str, Any]]) -> dict[str, set[str]]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {group["name"]: {names[id(parameter)] for parameter in group["params"]} for group in groups}


def test_parameters_are_sorted_by_what_edits_did() -> None:
    net, x = network(), torch.ones(1, 4)
    graph = ng.capture(net, x)
    edits = [
        ng.resize(graph, {"0": +2}),
        ng.transfer.head(graph, "4", classes=3),
        ng.insert(graph, lambda n: nn.Linear(n, n), after="2", name="extra", identity=True),
    ]
    groups = ng.transfer.parameter_groups(graph, edits, lr=0.01)
    assert named(net, groups) == {
        "new": {"4.weight", "4.bias", "extra.weight", "extra.bias"},
        "changed": {"0.weight", "0.bias", "2.weight"},
        "kept": {"2.bias"},
    }
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.003, 0.001])
    torch.optim.SGD(groups).step()


def test_a_share_of_zero_freezes_what_was_kept() -> None:
    net, x = network(), torch.ones(1, 4)
    edit = ng.transfer.head(net, x, "4", classes=[1, "new"])
    groups = ng.transfer.parameter_groups(net, edit, kept=0)
    assert named(net, groups) == {"changed": {"4.weight", "4.bias"}}
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2


def test_what_is_no_edit_is_refused() -> None:
    with pytest.raises(ng.EditError, match="edits= has int, which is no edit"):
        ng.transfer.parameter_groups(network(), [1])  # type: ignore[list-item]
    with pytest.raises(ng.EditError, match="lr must be a number from 0 up"):
        ng.transfer.parameter_groups(network(), [], lr=-1)


def test_stages_are_freed_from_the_end_and_flags_come_back() -> None:
    net = network()
    net[0].bias.requires_grad_(False)
    unfreezing = ng.transfer.Unfreezing(ng.capture(net, torch.ones(1, 4)), stages=2)
    assert unfreezing.stages == [["4.weight", "4.bias", "2.weight", "2.bias"], ["0.weight", "0.bias"]]
    assert not net[0].weight.requires_grad
    assert unfreezing.advance()
    assert net[0].weight.requires_grad
    assert not net[0].bias.requires_grad
    assert not unfreezing.advance()
    net[0].weight.requires_grad_(False)
    unfreezing.release()
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True, True, True]
