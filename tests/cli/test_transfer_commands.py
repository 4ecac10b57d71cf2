"""The command `transfer`."""

from pathlib import Path

import pytest
import torch

import naivegraph as ng
from naivegraph.cli import main
from naivegraph.demo import DigitsNet

DIGITS = ("naivegraph.demo:DigitsNet", "--arguments", '{"width": 8}', "--shape", "1,1,8,8")


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


def test_classes_and_channels_are_changed_and_saved(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--layer", "head", "--classes", "3,new,1", "--output", "three.safetensors")
    assert main(("transfer", "head", *DIGITS, *words)) == 0
    out = capsys.readouterr().out
    assert "2 of 10 classes were kept and 1 are new" in out
    assert "Saved in three.safetensors" in out
    net = ng.load(DigitsNet(8), "three.safetensors").eval()
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    name = next(vertex.name for vertex in ng.capture(net, torch.zeros(1, 1, 8, 8)).inputs)
    words = ("--input", name, "--channels", "3", "--output", "colour.safetensors")
    assert main(("transfer", "inputs", *DIGITS, *words)) == 0
    assert "computes what it did whatever they are fed" in capsys.readouterr().out
    assert ng.load(DigitsNet(8), "colour.safetensors").eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("head", *DIGITS), "say --layer, such as --layer fc"),
        (("head", *DIGITS, "--layer", "head", "--classes", "a,b"), "--classes takes a number of classes"),
        (("head", *DIGITS, "--layer", "head", "--classes", "1,1"), "names the old class 1 more than once"),
        (("inputs", *DIGITS, "--input", "x"), "say --channels, such as --channels 4"),
        (("positions", *DIGITS), "one of length= and image="),
        (("positions", *DIGITS, "--image", "big"), "--image takes a height and a width"),
        (("head", *DIGITS, "--layer", "nohead", "--classes", "3"), "did you mean 'head'?"),
        (("head", *DIGITS, "--layer", "head", "--classes", "0"), "a whole number from 1 up, not 0"),
        (("head", *DIGITS, "--layer", "head", "--classes", "12,1"), "up to 9, not 12"),
        (("head", *DIGITS, "--layer", "head", "--classes", "3", "--new", "best"), "new='best'"),
        (("head", DIGITS[0], "--layer", "head", "--classes", "3"), "give its shape"),
        (("head", *DIGITS, "--layer", "head", "--classes", "3", "--weights", "none.pt"), "no weights file"),
        (("inputs", *DIGITS, "--input", "image", "--channels", "3"), "no vertex 'image'"),
        (("inputs", *DIGITS, "--input", "head", "--channels", "3"), "is no input of the network"),
        (("inputs", *DIGITS, "--input", "x", "--channels", "0"), "a whole number from 1 up, not 0"),
        (("inputs", *DIGITS, "--input", "x", "--channels", "three"), "is to be a whole number"),
        (("inputs", *DIGITS, "--input", "x", "--channels", "3", "--new", "best"), "new='best'"),
        (("positions", *DIGITS, "--length", "10"), "say with table="),
        (("positions", *DIGITS, "--length", "0"), "a whole number from 1 up, not 0"),
        (("positions", *DIGITS, "--length", "9", "--image", "8,8"), "one of length= and image="),
        (("positions", *DIGITS, "--image", "0,8"), "a whole number from 1 up, not 0"),
        (("positions", *DIGITS, "--image", "12,12", "--table", "fc.weight"), "no parameter 'fc.weight'"),
        (("positions", *DIGITS, "--image", "12,12", "--table", "head.weight"), "are not 8 x 8 patches"),
        (("other", *DIGITS), "invalid choice: 'other'"),
        (("student", *DIGITS), "say --teacher"),
        (
            ("head", *DIGITS, "--layer", "head", "--classes", "2", "--output", "net.pt"),
            ".safetensors file is",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = () if "--output" in words else ("--output", "other.safetensors")
    assert main(("transfer", *words, *output)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not [*Path().iterdir()]
