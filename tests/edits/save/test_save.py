"""Saved networks come back equal; files that are not whole or not theirs are refused and change nothing."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of
from tests.networks.plain import ALL, Network, by_name
from tests.oracle import snapshot, unchanged


@pytest.mark.parametrize("network", ALL, ids=str)
def test_saved_equals_loaded(network: Network, tmp_path: Path) -> None:
    model, inputs = network.make()
    ng.prune(model, inputs, ratio=0.5)
    ng.save(model, tmp_path / "net.safetensors")
    fresh, _ = network.make(seed=1)
    parameters = [id(p) for p in fresh.parameters()]
    loaded = ng.load(fresh, tmp_path / "net.safetensors")
    assert loaded is fresh
    assert [id(p) for p in fresh.parameters()] == parameters
    assert torch.equal(loaded(*inputs), model(*inputs))
    assert history_of(loaded) == history_of(model)
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_tied_weights_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    network = by_name("TiedEmbeddings")
    model, inputs = network.make()
    ng.prune(model, inputs, ratio=0.5)
    ng.save(model, tmp_path / "net")
    assert "decode.weight" not in load_file(tmp_path / "net")
    loaded: Any = ng.load(network.make(seed=1)[0], tmp_path / "net")
    assert loaded.decode.weight is loaded.words.weight
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_two_edits_and_training_in_between(tmp_path: Path) -> None:
    network = by_name("Residual")
    model, inputs = network.make()
    for _ in range(2):
        ng.prune(model, inputs, macs=0.6)
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        model(*inputs).square().mean().backward()
        optimizer.step()
    model.eval()
    ng.save(model, tmp_path / "net")
    loaded = ng.load(network.make(seed=2)[0].eval(), tmp_path / "net")
    assert torch.equal(loaded(*inputs), model(*inputs))
    assert len(history_of(loaded)) == 2
    again = ng.prune(loaded, inputs, macs=0.6)
    again.undo()
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_an_unedited_network_and_one_with_the_same_edits(tmp_path: Path) -> None:
    network = by_name("chain")
    model, inputs = network.make()
    ng.save(model, tmp_path / "plain")
    assert torch.equal(ng.load(network.make(seed=3)[0], tmp_path / "plain")(*inputs), model(*inputs))
    ng.prune(model, inputs, macs=0.5)
    ng.save(model, tmp_path / "small")
    expected = model(*inputs)
    with torch.no_grad():
        next(model.parameters()).zero_()
    ng.load(model, tmp_path / "small")
    assert torch.equal(model(*inputs), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    network = by_name("Residual")
    model, inputs = network.make(dtype)
    ng.prune(model, inputs, ratio=0.5)
    ng.save(model, tmp_path / "net")
    assert torch.equal(ng.load(network.make(dtype, seed=1)[0], tmp_path / "net")(*inputs), model(*inputs))


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = by_name("mlp").make()
    ng.save(model, tmp_path / "net")
    before = (tmp_path / "net").read_bytes()

    def interrupted(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["naivegraph.edits.save.checked_safetensors"], "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ng.save(model, tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before
    assert os.listdir(tmp_path) == ["net"]


def saved(folder: Path, name: str = "Residual") -> Path:
    model, inputs = by_name(name).make()
    ng.prune(model, inputs, ratio=0.5)
    ng.save(model, folder / "net")
    return folder / "net"


def refused(path: Path, message: str, model: nn.Module | None = None) -> None:
    """Loading gives a LoadError with this message, and the network is bit for bit as it was."""
    model = by_name("Residual").make(seed=5)[0] if model is None else model
    before = snapshot(model)
    with pytest.raises(ng.LoadError, match=message):
        ng.load(model, path)
    assert unchanged(model, before)


@pytest.mark.parametrize("left", [0, 1, 7, 8, 9, 100, 0.3, 0.6, 0.9, -1])
def test_a_truncated_file(left: float, tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
    refused(path, "is no complete safetensors file")


def test_one_flipped_bit_anywhere_in_the_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for place in (start, (start + len(data)) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        refused(path, "is damaged: the numbers of .* are not those that were saved")


@pytest.mark.parametrize("position", range(8, 1200, 61))
def test_one_flipped_bit_in_the_description(position: int, tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    refused(path, "is damaged|is no complete safetensors file|was not written by ng.save")


def described(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write the file again with its description changed."""
    tensors = load_file(path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    description = json.loads(header["__metadata__"]["naivegraph"])
    replaced = change(description)
    description = replaced if replaced == [1, 2] else description
    text = json.dumps(description)
    save_file(
        tensors, path, metadata={"naivegraph": text, "naivegraph_crc32": str(zlib.crc32(text.encode()))}
    )


def edited(description: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> None:
    edit = json.loads(description["edits"][0])
    change(edit)
    description["edits"][0] = json.dumps(edit)


def attribute(path: str, name: str, keys: list[Any]) -> Callable[[dict[str, Any]], Any]:
    """Adds an attribute to those that the edit changes."""
    return lambda d: edited(d, lambda e: e["attributes"].append([path, name, keys, 1, 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=99), "has format 99; this version reads 1 and 2"),
        (lambda d: d.update(edits="x"), "is damaged .a part has the wrong type"),
        (lambda d: d.pop("edits"), r"is damaged \('edits'\)"),
        (lambda d: [1, 2], "is damaged"),
        (lambda d: d.update(edits=["nonsense"]), "is damaged .not an edit of this format"),
        (lambda d: d.update(edits=[3]), "is damaged"),
        (lambda d: d.update(aliases={"head.bias": "nowhere"}), "saved from another network: head.bias"),
        (lambda d: d["checksums"].pop("head.bias"), "tensors do not match its description, head.bias"),
        (lambda d: edited(d, lambda e: e["widths"]["0"].update(kept=[[0, 99]])), "not sorted runs within 12"),
        (lambda d: edited(d, lambda e: e["widths"]["0"].update(kept=[[3, 5], [0, 2]])), "not sorted runs"),
        (lambda d: edited(d, lambda e: e["widths"]["0"].update(kept=[[0, 10**12]])), "not sorted runs"),
        (lambda d: edited(d, lambda e: e["widths"]["0"].update(before=-1)), "-1 is no number"),
        (lambda d: edited(d, lambda e: e["widths"]["0"].update(before=True)), "True is no number"),
        (lambda d: edited(d, lambda e: e["widths"].pop("0")), "names the width '0', which is not there"),
        (lambda d: edited(d, lambda e: e["tensors"].pop("head.weight")), "saved from another network"),
        (lambda d: edited(d, lambda e: e["tensors"].update(nothing=[[["0"]]])), "buffer 'nothing'"),
        (lambda d: edited(d, lambda e: e["tensors"].update({"stem": [[["0"]]]})), "buffer 'stem'"),
        (attribute("", "forward", []), "no attribute"),
        (attribute("head", "in_features", [0]), "no attribute"),
        (attribute("head", "_parameters", ["x"]), "no attribute"),
        (attribute("gone", "x", []), "no attribute"),
        (lambda d: edited(d, lambda e: e.update(attributes=[[1]])), "is damaged"),
    ],
)  # fmt: skip
def test_a_changed_description(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    described(path, change)
    refused(path, message)


def test_no_file_and_no_safetensors(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "there is no file .*missing")
    refused(tmp_path, "is no complete safetensors file")
    (tmp_path / "text").write_text("hello " * 100)
    refused(tmp_path / "text", "is no complete safetensors file")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign")
    refused(tmp_path / "foreign", "was not written by ng.save; read it by safetensors")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    bomb = tmp_path / "exploded"
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb(bomb)))
    torch.save(Bomb(bomb), tmp_path / "torch")
    refused(tmp_path / "pickle", "is no complete safetensors file")
    refused(tmp_path / "torch", "is no complete safetensors file")
    assert not bomb.exists()
    pickle.loads((tmp_path / "pickle").read_bytes())
    assert bomb.exists()


def test_another_network_or_precision(tmp_path: Path) -> None:
    path = saved(tmp_path)
    refused(path, "saved from another network: the network has no parameter", by_name("chain").make()[0])
    refused(
        path,
        "is torch.float64 in the network|of torch.float64 in the network",
        by_name("Residual").make(torch.float64)[0],
    )
    wider = by_name("Residual").make()[0]
    wider.head = nn.Linear(12, 6)
    refused(path, "saved from another network: head", wider)
    more = by_name("Residual").make()[0]
    more.extra = nn.Linear(2, 2)
    refused(path, "the file lacks extra.bias", more)


def test_a_network_that_was_edited_otherwise(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model, inputs = by_name("Residual").make()
    ng.prune(model, inputs, ratio=0.7)
    refused(path, "was edited already, not as in .*: load into a freshly built one", model)
    plain, _ = by_name("Residual").make()
    ng.save(plain, tmp_path / "plain")
    refused(tmp_path / "plain", "was edited already", model)


@pytest.mark.parametrize("edited", [False, True])
def test_an_interrupt_while_the_numbers_are_copied(
    edited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    if not edited:
        ng.save(by_name("Residual").make()[0], path)
    model = by_name("Residual").make(seed=5)[0]
    before = snapshot(model)
    original, calls = torch.Tensor.copy_, []

    def copy(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(self)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    with pytest.raises(KeyboardInterrupt):
        ng.load(model, path)
    monkeypatch.undo()
    assert unchanged(model, before)


def test_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    with pytest.raises(ng.NaivegraphError, match="_extra_state of the network is dict, not a tensor"):
        ng.save(Extra(2, 2), tmp_path / "net")
    assert os.listdir(tmp_path) == []


def test_tensors_without_a_shape_or_numbers_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    lazy = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LazyLinear(2))
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(3, 4))
    for net, message in (
        (lazy, "2.weight has no shape yet: call the network once on an example before"),
        (empty, "0.weight is on the meta device, without numbers: give the network weights before"),
    ):
        with pytest.raises(ng.EditError, match=message):
            ng.save(net, tmp_path / "net.safetensors")
        assert not list(tmp_path.iterdir())
