"""Ranks of PEFT's adapters: what PEFT saves after an edit, PEFT loads, and it computes the same."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError
from tests.machine.state import poisoned_memory

peft = pytest.importorskip("peft", reason="PEFT is not installed")


class Tagger(nn.Module):
    """An embedding, a convolution and two linear layers: every kind of layer that adapters are made for."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(20, 12), nn.Conv1d(12, 10, 3, padding=1)
        self.inner, self.head = nn.Linear(10, 16), nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.mix(self.table(ids).transpose(1, 2)).relu().transpose(1, 2)
        return self.head(self.inner(x).relu())  # type: ignore[no-any-return]


IDS = torch.arange(14).reshape(2, 7)


def base() -> nn.Module:
    torch.manual_seed(0)
    return Tagger().double().eval()


def adapted(**options: Any) -> Any:
    given = {"r": 6, "lora_alpha": 9, "target_modules": ["table", "mix", "inner", "head"], **options}
    model = peft.get_peft_model(base(), peft.LoraConfig(**given)).double().eval()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "embedding_B" in name or "embedding_A" in name:
            nn.init.normal_(parameter)
    return model


def reloaded(model: Any, folder: Path) -> Tensor:
    model.save_pretrained(folder)
    return peft.PeftModel.from_pretrained(base(), folder).double().eval()(IDS)  # type: ignore[no-any-return]


@pytest.mark.parametrize("stable", [False, True], ids=["over rank", "over its root"])
@pytest.mark.parametrize("rank", [3, 8])
def test_peft_loads_what_it_saved_with_another_rank(rank: int, stable: bool, tmp_path: Path) -> None:
    model = adapted(use_rslora=stable)
    before, config = model(IDS), copy.deepcopy(model.peft_config["default"])
    with poisoned_memory():
        edit = ng.transfer.rank(model, IDS, {"*.lora_A.*": rank, "*.table.embedding": rank})
    after = model(IDS)
    if rank > 6:
        torch.testing.assert_close(after, before)
    assert model.peft_config["default"].r == rank
    assert model.base_model.model.inner.r == {"default": rank}
    torch.testing.assert_close(reloaded(model, tmp_path), after)
    edit.undo()
    assert model.peft_config["default"] == config
    assert model.base_model.model.inner.r == {"default": 6}
    assert torch.equal(model(IDS), before)


def test_ranks_that_differ_are_not_for_the_config_of_peft() -> None:
    model = adapted(target_modules=["inner", "head"])
    edit = ng.transfer.rank(model, IDS, {"*.inner.lora_A.*": 8})
    assert any("the config of the adapter 'default' has one rank" in note for note in edit.notes)
    assert model.base_model.model.inner.r == {"default": 8}
    assert model.peft_config["default"].r == 6
    again = ng.transfer.rank(model, IDS, {"*.head.lora_A.*": 8})
    assert not again.notes
    assert model.peft_config["default"].r == 8
    assert model.peft_config["default"].lora_alpha == 12


@pytest.mark.parametrize("options", [{}, {"use_dora": True}])
def test_pruned_ranks_are_saved_with_the_adapter(options: dict[str, Any], tmp_path: Path) -> None:
    model = adapted(target_modules=["inner", "head"], **options)
    names = [v.name for v in ng.capture(model, IDS).find("*.lora_A.default")]
    ng.resize(model, IDS, dict.fromkeys(names, ng.size(4)))
    assert model.peft_config["default"].r == 4
    torch.testing.assert_close(reloaded(model, tmp_path), model(IDS))


def test_another_adapter_stays_as_it_is() -> None:
    model = adapted(target_modules=["inner"])
    model.add_adapter("second", peft.LoraConfig(r=2, lora_alpha=4, target_modules=["inner"]))
    model.double().eval()
    ng.transfer.rank(model, IDS, {"*.inner.lora_A.default": 7})
    assert model.base_model.model.inner.r == {"default": 7, "second": 2}
    assert model.peft_config["second"].r == 2
    assert model.peft_config["default"].r == 7


def test_a_pattern_without_a_match_is_named() -> None:
    with pytest.raises(EditError, match=r"no vertex has a name like '\*.lora_C.\*'"):
        ng.transfer.rank(adapted(target_modules=["inner"]), IDS, {"*.lora_C.*": 3})
