"""`naivegraph train` and `naivegraph runs`, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

import naivegraph as ng
from naivegraph.cli import main
from tests.track.conftest import folder as folder
from tests.track.conftest import tables as tables

MODEL = "model: {class_path: tests.track.digits.network, init_args: {width: 8}}\n"
DATA = """\
experiment: clusters
data:
  train: {class_path: tests.track.digits.clusters}
  validation: {class_path: tests.track.digits.clusters, init_args: {seed: 1}}
trainer: {max_epochs: 9, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*logging interval")
def test_runs_are_trained_found_compared_and_shown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "data.yaml").write_text(DATA)
    files = ["--config", str(tmp_path / "model.yaml"), "--config", str(tmp_path / "data.yaml")]
    place = ["--folder", str(folder)]
    for width in ("8", "8", "16"):
        words = ["train", *files, *place, "--trainer.max_epochs", "2", "--model.init_args.width", width]
        assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("finished") == 3
    assert "val_accuracy" in printed
    wide, narrow = ng.track.runs(folder=folder)  # two of the three are one
    assert main(["runs", *place]) == 0
    listed = capsys.readouterr().out
    assert wide.id[:8] in listed
    assert narrow.id[:8] in listed
    assert main(["runs", "find", "clusters", "model/init_args/width>8", "status=finished", *place]) == 0
    listed = capsys.readouterr().out
    assert wide.id[:8] in listed
    assert narrow.id[:8] not in listed
    assert main(["runs", "compare", wide.id[:8], narrow.id[:8], *place]) == 0
    assert "model/init_args/width" in capsys.readouterr().out
    assert main(["runs", "show", narrow.id[:8], *place]) == 0
    assert "trainer/max_epochs" in capsys.readouterr().out
    assert main(["runs", "find", "clusters", "model/init_args/width=99", *place]) == 0
    assert "There is no such run." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "give what to train: naivegraph train --config resnet.yaml"),
        (["train", "--config", "nowhere.yaml"], "the config nowhere.yaml cannot be read: No such file"),
        (["runs", "fnid"], "write naivegraph runs list [EXPERIMENT], find EXPERIMENT CONDITION..."),
        (["runs", "find", "a", "depth"], "'depth' is no condition: write KEY=VALUE"),
        (["runs", "show", "abc"], "no run is 'abc'; `naivegraph runs` lists those there are"),
        (["runs", "list", "other"], "there is no experiment 'other'; those there are: Default"),
        (["runs", "--uri", "http://127.0.0.1:1"], "no server answers"),
    ],
)
def test_nonsense_is_told(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--folder", str(folder)] if len(words) > 1 else words) == 2
    assert message in capsys.readouterr().err


def test_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for words, named in (["train"], "--config resnet.yaml"), (["runs"], "runs compare"):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert named in capsys.readouterr().out
