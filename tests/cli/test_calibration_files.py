"""Calibration data from the command line: arrays, folders, images, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import naivegraph as ng
from naivegraph import demo
from naivegraph.cli import main
from naivegraph.cli.calibration_files import calibration_files
from naivegraph.cli.usage_errors import UsageError

DIGITS = ("naivegraph.demo:DigitsNet", "--arguments", '{"width": 8}', "--shape", "1,1,8,8")
X = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
EXAMPLE = torch.zeros(1, 1, 8, 8)


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


def read(path: str) -> list[torch.Tensor]:
    return list(calibration_files(path, [EXAMPLE], {}))


def test_the_command_prunes_as_the_function_does(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("x.npz", x=X)
    words = ("prune", *DIGITS, "--macs", "0.5", "--calibration", "x.npz", "--output", "half.safetensors")
    assert main(words) == 0
    assert "layers refitted" in capsys.readouterr().out
    torch.manual_seed(0)
    expected = demo.DigitsNet(width=8).eval()
    ng.prune(expected, EXAMPLE, macs=0.5, calibration=torch.from_numpy(X))
    found = ng.load(demo.DigitsNet(width=8).eval(), "half.safetensors")
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], msg=name)


def test_every_layer_keeps_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("prune", *DIGITS, "--macs", "0.6", "--json", "--at-least")
    for least in (("0.7",), ("*=0.7",), ("1", "*=0.7")):
        assert main((*words, *least)) == 0
        sizes = re.findall(r"\[\s*(\d+),\s*(\d+)\s*\]", capsys.readouterr().out)
        assert sizes
        assert all(int(after) >= 0.7 * int(before) for before, after in sizes)


def test_arrays_of_every_format_are_batches() -> None:
    np.save("a.npy", X)
    np.savez("b.npz", x=X)
    safetensors.torch.save_file({"x": torch.from_numpy(X)}, "c.safetensors")
    for name in ("a.npy", "b.npz", "c.safetensors"):
        (found,) = read(name)
        np.testing.assert_array_equal(found, X)
    folder = Path("both")
    folder.mkdir()
    np.save(folder / "1.npy", X[:10])
    np.savez(folder / "2.npz", input=X[10:], labels=np.arange(30))
    first, second = read("both")
    np.testing.assert_array_equal(first, X[:10])
    assert list(second) == ["input", "labels"]


def test_single_samples_are_stacked() -> None:
    folder = Path("samples")
    folder.mkdir()
    for number, sample in enumerate(X):
        np.save(folder / f"{number:02}.npy", sample)
    found = read("samples")
    assert [len(batch) for batch in found] == [32, 8]
    np.testing.assert_array_equal(torch.cat(found), X)
    np.save(folder / "99.npy", X[0, :, :4])
    with pytest.raises(UsageError, match="samples of different shapes"):
        read("samples")


def test_images_are_scaled_to_the_example() -> None:
    image = pytest.importorskip("PIL.Image")
    folder = Path("images", "cats")
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image.fromarray(pixels).save(folder / "a.png")
    image.fromarray(pixels).resize((16, 4)).save(folder / "b.png")
    (found,) = calibration_files("images", [torch.zeros(1, 3, 8, 8)], {})
    assert found.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(found[0], pixels.transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--calibration", "nothing"), "--calibration nothing: there is no such file or folder"),
        (("--calibration", "empty"), "--calibration empty holds neither arrays"),
        (("--calibration", "broken.npz"), "broken.npz cannot be read"),
        (("--calibration", "broken.npy"), "broken.npy cannot be read"),
        (("--calibration", "broken.safetensors"), "broken.safetensors cannot be read"),
        (("--calibration", "none.npz"), "none.npz holds no arrays"),
        (("--calibration", "other.npy"), "the input 'x' has shape|the input 'image' has shape|has shape"),
        (("--utility", "fisher"), 'utility="fisher" needs calibration='),
        (("--at-least", "some"), "--at-least takes a fraction or a number"),
        (("--at-least", "nine=3"), "at_least names 'nine'"),
        (("--at-least", "7.5"), "at_least= takes a fraction"),
    ],
)
def test_what_is_wrong_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    Path("empty").mkdir()
    for name in ("broken.npz", "broken.npy", "broken.safetensors"):
        Path(name).write_bytes(b"no array")
    np.savez("none.npz")
    np.save("other.npy", X[:, :, :, :5, None])
    assert main(("prune", *DIGITS, "--macs", "0.5", *words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err)


def test_images_that_suit_no_input_are_told() -> None:
    Path("images").mkdir()
    Path("images", "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="holds images, for networks with one input of 1 or 3 channels"):
        calibration_files("images", [torch.zeros(1, 4)], {})
    with pytest.raises(UsageError, match="needs an example of the inputs: --shape"):
        calibration_files("images", [], {})
