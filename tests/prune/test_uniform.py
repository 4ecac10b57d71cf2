"""Pruning to sizes that the config a network was built from can say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.edits.config.test_sync_config import Config, Language


def built() -> tuple[Language, torch.Tensor]:
    torch.manual_seed(0)
    return Language(Config()).eval(), torch.randint(0, 30, (2, 5))


@pytest.mark.parametrize(
    "budget", [{"macs": 0.6}, {"params": 0.6}, {"ratio": 0.5}, {"budgets": {"macs": 0.7}}]
)
def test_the_config_builds_a_network_that_takes_the_weights(budget: dict[str, Any]) -> None:
    net, x = built()
    edit = ng.prune(net, x, uniform=True, **budget)
    assert edit
    assert edit.after.params < edit.before.params
    again = Language(net.config).eval()
    again.load_state_dict(net.state_dict())
    assert torch.allclose(again(x), net(x), atol=1e-6)


def test_without_it_layers_of_one_entry_differ_and_the_edit_says_so() -> None:
    net, x = built()
    edit = ng.prune(net, x, macs=0.6)
    assert any("cannot describe it any more" in note for note in edit.notes)


def test_a_network_without_a_config_is_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ng.EditError, match="built from a config that they keep"):
        ng.prune(net, torch.ones(1, 4), macs=0.5, uniform=True)
    assert net[0].out_features == 8
