"""The command `naivegraph tokens`, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from naivegraph.cli import main
from naivegraph.tokens.training_files import load_networks

SMALL = ["--networks", "30", "--tasks", "3", "--learn", "5"]


def run(*words: object) -> int:
    return main(["tokens", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small demo."""
    path = tmp_path_factory.mktemp("networks")
    assert run("demo", *SMALL, "--steps", 10, "--latent", 8, "--output", path, "--svg", path / "svg") == 0
    return path


def test_all_steps_leave_their_files(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {
        "data/networks.json",
        "model/model.json",
        "model/checkpoint.json",
        "model/training.log",
        "drawn/drawn.json",
        "svg/network.svg",
        "svg/latent_space.svg",
        "svg/latent_space_by_data.svg",
    }
    assert expected <= names
    assert load_networks(folder / "drawn").valid().all()


def test_a_trained_model_is_evaluated_and_drawn_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = folder / "model", folder / "data"
    assert run("evaluate", "--model", model, "--data", data) == 0
    out = capsys.readouterr().out
    assert "networks held out" in out
    assert "output error" in " ".join(out.split())
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", inputs=rng.normal(size=(40, 4)), targets=rng.normal(size=(40, 1)))
    words = ["--model", model, "--count", 3, "--output", tmp_path / "drawn"]
    assert run("sample", *words, "--like", tmp_path / "data.npz") == 0
    assert "3 are after repair" in " ".join(capsys.readouterr().out.split())
    assert len(load_networks(tmp_path / "drawn")) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", *SMALL], "say --output, such as --output runs/data"),
        (["generate", "--frame", "round", "--output", "a"], "frame='round' is no Frame, and no kind"),
        (["generate", "--networks", "0", "--output", "a"], "--networks is to be 1 or more, not 0"),
        (["train", "--output", "a"], "say --data, such as --data runs/data"),
        (
            ["train", "--data", "nowhere", "--output", "a"],
            "is no data set of networks: there is no networks.json",
        ),
        (["generate", *SMALL, "--learn", "-1", "--output", "a"], "--learn is to be 0 or more, not -1"),
        (["train", "--data", "b", "--latent", "0", "--output", "a"], "--latent is to be 1 or more, not 0"),
        (["evaluate", "--model", "nowhere", "--data", "b"], "holds no model (model.json): train one there"),
        (["sample", "--model", "nowhere", "--output", "a"], "holds no model (model.json)"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_damaged_data_set_and_files_of_another_kind(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in (folder / "data").iterdir():
        content = path.read_bytes()
        (data / path.name).write_bytes(content[:-5] if path.suffix == ".safetensors" else content)
    assert run("train", "--data", data, "--output", tmp_path / "model") == 2
    assert "is damaged" in capsys.readouterr().err
    (tmp_path / "data.npz").write_text("no arrays")
    words = ["--model", folder / "model", "--output", tmp_path / "drawn"]
    assert run("sample", *words, "--like", tmp_path / "data.npz") == 2
    assert "is to be an .npz file with arrays inputs and targets" in capsys.readouterr().err
    assert run("generate", *SMALL, "--seed", 1, "--output", tmp_path / "other") == 0
    assert (
        run("train", "--data", tmp_path / "other", "--steps", 10, "--latent", 8, "--output", folder / "model")
        == 2
    )
    assert "holds another training (of other networks or data)" in capsys.readouterr().err


def test_a_model_of_other_data_is_not_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--networks", "20", "--tasks", "3", "--learn", "2"]
    assert run("generate", *few, "--output", tmp_path / "few") == 0
    assert run("evaluate", "--model", folder / "model", "--data", tmp_path / "few") == 2
    assert "was trained on a data set of 30 networks, not of 20" in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_cannot_be_made_is_told_before_networks_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert run("generate", "--networks", 10**9, "--tasks", 1, "--output", taken) == 2
    assert capsys.readouterr().err == f"naivegraph: {taken}: File exists\n"
