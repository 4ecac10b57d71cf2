"""The command `transfer student`: networks and inputs from files, the report, the file that is written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.cli import main

NETS = """
import torch

class Block(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.up, self.down = torch.nn.Linear(6, hidden), torch.nn.Linear(hidden, 6)

    def forward(self, x):
        return x + self.down(self.up(x).relu())

def build(depth=2, hidden=8):
    return torch.nn.Sequential(*[Block(hidden) for _ in range(depth)], torch.nn.Linear(6, 3))
"""
SMALL = ("student_nets:build", "--shape", "2,6")
BIG = ("--teacher", "student_nets:build", "--teacher-arguments", '{"depth": 4, "hidden": 12}')
X = np.random.default_rng(0).standard_normal((256, 6)).astype(np.float32)
OUTPUT = ("--output", "small.safetensors")


@pytest.fixture(autouse=True)
def networks_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in a folder with the code of networks, inputs, and the weights of a bigger network."""
    monkeypatch.chdir(tmp_path)
    Path("student_nets.py").write_text(NETS)
    np.savez("x.npz", input=X)
    yield
    sys.modules.pop("student_nets", None)


def build(depth: int, hidden: int) -> Any:
    """A network with random weights."""
    sys.path.insert(0, ".")
    try:
        return importlib.import_module("student_nets").build(depth, hidden).eval()
    finally:
        sys.path.remove(".")


def padded(small: Any) -> Any:
    """A network of twice the blocks and half as many hidden neurons more, none of which do anything."""
    big = build(2 * (len(small) - 1), 12)
    with torch.no_grad():
        for number, block in enumerate(big[:-1]):
            block.down.weight.zero_()
            block.down.bias.zero_()
            if number % 2 == 0:
                own = small[number // 2]
                block.up.weight[:8], block.up.bias[:8] = own.up.weight, own.up.bias
                block.down.weight[:, :8], block.down.bias[:] = own.down.weight, own.down.bias
        big[-1].load_state_dict(small[-1].state_dict())
    return big


def read(depth: int = 2, hidden: int = 8) -> Any:
    """The network that was written."""
    return ng.load(build(depth, hidden), "small.safetensors").eval()


@pytest.mark.parametrize("depth", ["merge", "choose", '{"0": ["0"], "1": ["2"]}'])
def test_a_bigger_network_of_a_file_is_found_again(depth: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    small = build(2, 8)
    torch.save(padded(small).state_dict(), "big.pt")
    words = (*BIG, "--teacher-weights", "big.pt", "--calibration", "x.npz", "--depth", depth)
    assert main(("transfer", "student", *SMALL, *words, *OUTPUT)) == 0
    out, err = capsys.readouterr()
    assert "of the teacher's blocks" in out
    assert "Agreement on 32 held-out inputs" in out
    assert "Saved in small.safetensors" in out
    assert "--teacher-weights" not in err
    with torch.no_grad():
        torch.testing.assert_close(read()(torch.from_numpy(X)), small(torch.from_numpy(X)), rtol=0, atol=2e-5)


def test_an_edited_teacher_and_inputs_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    big = build(4, 12)
    ng.prune(big, torch.zeros(2, 6), ratio=0.75, keep=[f"{n}.down" for n in range(4)])
    ng.save(big, "big.safetensors")
    folder = Path("inputs")
    folder.mkdir()
    for number, sample in enumerate(X[:64]):
        np.save(folder / f"{number:02}.npy", sample)
    words = (*BIG, "--teacher-weights", "big.safetensors", "--calibration", "inputs")
    four = ("--arguments", '{"depth": 4, "hidden": 9}')
    assert main(("transfer", "student", *SMALL, *four, *words, *OUTPUT)) == 0
    assert "100% of the teacher's blocks and 100% of its neurons" in capsys.readouterr().out
    student = read(4, 9)
    for name, tensor in big.state_dict().items():  # of its widths already, so nothing but copied
        assert torch.equal(student.state_dict()[name], tensor), name


def test_the_agreement_that_is_told_is_that_of_the_networks(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*BIG, "--calibration", "x.npz", "--select", "uniform", "--seed", "3")
    assert main(("transfer", "student", *SMALL, *words, *OUTPUT)) == 0
    out, err = capsys.readouterr()
    assert "no --teacher-weights were given, so the bigger network is what student_nets:build makes" in err
    told = [line for line in out.splitlines() if "held-out" in line and "not kept" not in line][-1]
    torch.manual_seed(3)
    big, student = build(4, 12), read()

    def centred(net: nn.Module) -> Tensor:
        """The outputs for every 8th input around their means."""
        with torch.no_grad():
            rows: Tensor = net(torch.from_numpy(X[7::8])).double()
        return rows - rows.mean(0)

    one, two = centred(student), centred(big)
    expected = float((one * two).sum() / (one.norm() * two.norm()))
    assert float(told.rpartition(": ")[2].partition(" ")[0]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (BIG, "say --calibration"),
        ((*BIG, "--calibration", "none"), "there is no such file or folder"),
        ((*BIG, "--calibration", "student_nets.py"), "holds neither arrays"),
        ((*BIG, "--calibration", "wide.npz"), "has shape (4, 7), in the example (2, 6)"),
        ((*BIG, "--calibration", "x.npz", "--depth", "both"), 'give "merge", "choose"'),
        ((*BIG, "--calibration", "x.npz", "--depth", "{0: 1"), "--depth takes merge, choose or JSON"),
        ((*BIG, "--calibration", "x.npz", "--depth", '{"0": ["9"]}'), "'9'"),
        ((*BIG, "--calibration", "x.npz", "--select", "best"), "select='best'"),
        ((*BIG, "--calibration", "x.npz", "--teacher-weights", "none.pt"), "no weights file none.pt"),
        ((*BIG, "--calibration", "x.npz", "--teacher-weights", "x.npz"), "cannot be read as weights"),
        ((*BIG[:3], '{"depth": 4, "hidden": 4}', "--calibration", "x.npz"), "is no part of (4, 6)"),
        ((*BIG[:3], '{"depth": 1}', "--calibration", "x.npz"), "do not correspond"),
        (("--teacher", "student_nets:bild", "--calibration", "x.npz"), "did you mean 'build'"),
        (("--teacher", "torch.nn:Tanh", "--calibration", "x.npz"), "do not correspond"),
    ],
)
def test_what_is_wrong_with_a_student_is_said_in_one_sentence(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("wide.npz", input=np.zeros((4, 7), np.float32))
    there = sorted(Path().iterdir())
    assert main(("transfer", "student", *SMALL, *words, *OUTPUT)) == 2
    error = capsys.readouterr().err
    assert sum(message in line for line in error.splitlines()) == 1
    assert "Traceback" not in error
    assert [file for file in sorted(Path().iterdir()) if file.suffix != ""] == there
