"""Edited networks of many families, saved and opened again: the outputs are those from before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import naivegraph as ng
import naivegraph.hf as hf
from tests.hf.families import FAMILIES, outputs

FRESH = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch, transformers
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
if sys.argv[1] == "with":
    import naivegraph.hf
sys.path.insert(0, sys.argv[3])
from tests.hf.families import FAMILIES, outputs
told = {}
for name, folder in json.loads(sys.argv[2]).items():
    family = FAMILIES[name]
    try:
        opened = family.open(folder)
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
    else:
        told[name] = [type(opened).__name__, outputs(opened, family.example).tolist()]
print(json.dumps(told))
"""


@pytest.mark.parametrize("name", FAMILIES)
def test_the_network_is_the_same_after_a_round_trip(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = family.build()
    edit = ng.prune(model, (), family.example, params=0.65)
    before = outputs(model, family.example)
    hf.save_pretrained(model, tmp_path, edit=edit)
    opened = family.open(tmp_path)
    assert type(opened) is type(model)
    assert not opened.training
    assert torch.equal(outputs(opened, family.example), before)
    assert sum(p.numel() for p in opened.parameters()) <= 0.65 * edit.before.params
    assert not list(tmp_path.glob("*.bin"))
    assert not list(tmp_path.glob("*.py"))


def _in_a_fresh_process(folders: dict[str, str], *, naivegraph: bool) -> dict[str, list[object] | str]:
    root = str(Path(__file__).parents[2])
    word = "with" if naivegraph else "without"
    done = subprocess.run(
        [sys.executable, "-c", FRESH, word, json.dumps(folders), root],
        capture_output=True, text=True, cwd=root, check=True, timeout=200,
    )  # fmt: skip
    found: dict[str, list[object] | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_fresh_process_opens_the_folders_and_without_the_import_it_fails_loudly(tmp_path: Path) -> None:
    expected, folders = {}, {}
    for name in ("Llama", "BERT", "ViT"):
        family = FAMILIES[name]
        model = family.build()
        ng.prune(model, (), family.example, params=0.65)
        folders[name] = str(tmp_path / name)
        hf.save_pretrained(model, folders[name])
        expected[name] = outputs(model, family.example)
    for name, told in _in_a_fresh_process(folders, naivegraph=True).items():
        assert isinstance(told, list), told
        kind, values = told
        assert kind == FAMILIES[name].kind
        assert torch.allclose(torch.tensor(values), expected[name], rtol=0, atol=1e-6)
    for told in _in_a_fresh_process(folders, naivegraph=False).values():
        assert "has model type `naivegraph` but Transformers does not recognize" in told
