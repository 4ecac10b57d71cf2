"""Model cards of edited networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, TEXT

LLAMA = FAMILIES["Llama"]


def front_matter(folder: Path) -> list[str]:
    lines = (folder / "README.md").read_text().splitlines()
    assert lines[0] == "---"
    return lines[1 : lines.index("---", 1)]


def test_the_card_has_what_was_changed_and_the_certificate(tmp_path: Path) -> None:
    model = LLAMA.build()
    model.config.name_or_path = "someone/llama"
    edit = ng.prune(model, (), TEXT, params=0.65)
    hf.save_pretrained(model, tmp_path / "small", edit=edit)
    assert front_matter(tmp_path / "small") == [
        "library_name: transformers", "tags:", "- naivegraph", "base_model: someone/llama"
    ]  # fmt: skip
    card = (tmp_path / "small" / "README.md").read_text()
    assert edit.certificate is not None
    assert f"Utility kept {edit.certificate.value:.6g}, at most {edit.certificate.bound:.6g} possible" in card
    assert f"| MACs | {edit.before.macs:,} | {edit.after.macs:,} |" in card
    for width in edit.change.widths.values():
        assert f"| `{width.name}` | {width.before} | {width.after} |" in card
    left = sum(p.numel() for p in model.parameters())
    assert f"{left:,} of {edit.before.params:,} parameters" in card
    assert 'AutoModelForCausalLM.from_pretrained("small")' in card


def test_a_second_edit_keeps_what_was_known_of_the_first(tmp_path: Path) -> None:
    model = LLAMA.build()
    model.config.name_or_path = "someone/llama"
    first = ng.resize(model, (), {"model.layers.0.mlp.gate_proj": -20}, kwargs=TEXT)
    hf.save_pretrained(model, tmp_path, edit=first)
    opened = LLAMA.open(tmp_path)
    second = ng.resize(opened, (), {"model.layers.1.mlp.gate_proj": -4}, kwargs=TEXT)
    hf.save_pretrained(opened, tmp_path, edit=second)
    card = (tmp_path / "README.md").read_text()
    assert "base_model: someone/llama" in front_matter(tmp_path)
    assert "## Edit 1 of 2" in card
    for edit in (first, second):
        assert f"| MACs | {edit.before.macs:,} | {edit.after.macs:,} |" in card
    assert f"of {first.before.params:,} parameters" in card


def test_a_card_of_the_users_own_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    model = LLAMA.build()
    ng.prune(model, (), TEXT, params=0.65)
    with pytest.warns(UserWarning, match=r"README\.md stays as it is"):
        hf.save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_folder_is_no_base_model_and_an_edit_of_another_network_is_refused(tmp_path: Path) -> None:
    model = LLAMA.build()
    model.config.name_or_path = str(tmp_path)
    edit = ng.prune(model, (), TEXT, params=0.65)
    other = LLAMA.build()
    ng.resize(other, (), {"model.layers.0.mlp.gate_proj": -20}, kwargs=TEXT)
    with pytest.raises(ng.EditError, match="is none of this network's 1 edits"):
        hf.save_pretrained(other, tmp_path / "other", edit=edit)
    with pytest.raises(ng.EditError, match=r"would replace the model card.*upload_folder"):
        hf.save_pretrained(model, tmp_path / "other", push_to_hub=True)
    assert not (tmp_path / "other").exists()
    hf.save_pretrained(model, tmp_path / "small")
    assert not any("base_model" in line for line in front_matter(tmp_path / "small"))


def test_edits_without_their_costs(tmp_path: Path) -> None:
    model: Any = LLAMA.build(num_hidden_layers=4)
    edit = ng.prune(model, (), TEXT, params=0.6, depth=True)
    hf.save_pretrained(model, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "MACs" not in card
    assert f"of {edit.before.params:,} parameters" in card
    assert "Left out of the network: `model.layers." in card
