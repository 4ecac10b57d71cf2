"""Trainings that go on from their last checkpoint, by configs, searches and grids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from naivegraph.cli import main
from naivegraph.errors import EditError, StudyError
from naivegraph.learning import (
    AuxiliaryLearner,
    ClassLearner,
    Epochs,
    QuineLearner,
    Split,
    TrainedLearner,
    digits,
    parallel,
    perceptron,
    read_config,
    train,
    train_config,
    tune,
)
from naivegraph.learning.settings import check_key

QUINE: dict[str, Any] = {
    "learner": {
        "class_path": "naivegraph.learning.QuineLearner",
        "init_args": {
            "body": {
                "class_path": "naivegraph.learning.perceptron",
                "init_args": {"sizes": [4, 5, 1]},
            },
            "dim": 4,
        },
    },
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
    "plan": {"epochs": 3, "batch_size": 8, "score": "relative"},
    "tensorboard": False,
}


class Dropping(nn.Module):
    """A network whose training draws random numbers, and that has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        out: Tensor = self.layers(x)
        return out


def some_digits() -> TensorDataset:
    return TensorDataset(*(each[:200] for each in digits().tensors))


def trained(folder: Path, epochs: int, optimizer: type[torch.optim.Optimizer]) -> TrainedLearner:
    torch.manual_seed(0)
    learner = ClassLearner(Dropping(), some_digits())
    made = optimizer(learner.module.parameters(), lr=0.01)  # type: ignore[call-arg]
    plan = Epochs(epochs=epochs, checkpoint_every=2, score="accuracy", direction="max")
    return train(learner, made, folder, plan, split=Split("holdout"))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.Rprop])
def test_a_stopped_training_goes_on_bit_for_bit(
    tmp_path: Path, optimizer: type[torch.optim.Optimizer]
) -> None:
    whole = trained(tmp_path / "whole", 6, optimizer)
    trained(tmp_path / "parts", 4, optimizer)
    torch.rand(3)  # other random numbers in between
    parts = trained(tmp_path / "parts", 6, optimizer)
    assert parts.history == whole.history
    assert len(whole.history) == 6
    for name in ("last", "best"):
        files = [each.folder / f"{name}.safetensors" for each in (whole, parts)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert "going on after epoch 4" in (tmp_path / "parts" / "training.log").read_text()


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    found = trained(tmp_path, 5, torch.optim.Adam)
    accuracies = [scores["accuracy"] for scores in found.history]
    assert found.score == max(accuracies)
    assert found.best == accuracies.index(max(accuracies)) + 1


def test_random_numbers_of_the_process_stay(tmp_path: Path) -> None:
    learner = QuineLearner(perceptron([4, 5, 1]), dim=4)
    optimizer = torch.optim.Adam(learner.module.parameters())
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    train(learner, optimizer, tmp_path, Epochs(epochs=1))
    assert torch.equal(torch.rand(2), expected)


def test_a_quine_with_a_task_is_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = AuxiliaryLearner(perceptron([64, 24, 11]), some_digits(), weight=0.5)
    adam = torch.optim.Adam(learner.module.parameters(), lr=0.01)
    before = learner.scores(torch.arange(200))
    found = train(learner, adam, tmp_path, Epochs(epochs=30, score="accuracy", direction="max"))
    assert found.score > max(0.8, before["accuracy"])
    assert found.history[-1]["relative"] < before["relative"]
    last = learner.scores(torch.arange(200))
    assert f"accuracy {last['accuracy']:.3f}" in found.report
    assert f"relative {last['relative']:.3g}" in found.report


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trained(tmp_path, 2, torch.optim.Adam)
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(EditError, match=r"last\.safetensors is no complete checkpoint .* remove it"):
        trained(tmp_path, 4, torch.optim.Adam)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    learner = QuineLearner(perceptron([4, 5, 1]), dim=4)
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=1e9)
    with pytest.raises(EditError, match="no score 'relativ'; did you mean 'relative'"):
        train(learner, optimizer, tmp_path / "a", Epochs(epochs=1, score="relativ"))
    with pytest.raises(EditError, match=r"the loss is .* in epoch .*: take a smaller learning rate"):
        train(learner, optimizer, tmp_path / "b", Epochs(epochs=50))
    with pytest.raises(EditError, match="epochs is 0: one at least is needed"):
        train(learner, optimizer, tmp_path / "c", Epochs(epochs=0))
    with pytest.raises(EditError, match="no activation 'tahn'"):
        perceptron([2, 1], "tahn")
    with pytest.raises(EditError, match=r"the network returns .* give it a scalar head"):
        QuineLearner(perceptron([4, 5, 2]), dim=4)


def config(folder: Path, **more: Any) -> dict[str, Any]:
    return read_config(["--config", json.dumps({**QUINE, "folder": str(folder), **more})])


def test_a_config_is_trained_and_gone_on_with(tmp_path: Path) -> None:
    one = train_config(config(tmp_path / "a"), tmp_path / "a", console=False)
    again = train_config(config(tmp_path / "b"), tmp_path / "b", console=False)
    assert one.history == again.history
    more = {**QUINE["plan"], "epochs": 5}
    longer = train_config(config(tmp_path / "a", plan=more), tmp_path / "a", console=False)
    assert longer.history[:3] == one.history
    assert len(longer.history) == 5
    assert "fixed point" in longer.report
    other = config(tmp_path / "a", optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})
    with pytest.raises(EditError, match=r"a training of another config \(optimizer differ\)"):
        train_config(other, tmp_path / "a", console=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": {"epoch": 3}}, "epoch"),
        ({"plan": {"epochs": "many"}}, "many"),
        ({"learner": {"class_path": "naivegraph.learning.NoLearner"}}, "NoLearner"),
        ({"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"rate": 1}}}, "rate"),
        ({"split": {"kind": "random"}}, "random"),
    ],
)
def test_mistakes_in_a_config_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError, match=message):
        config(tmp_path, **change)


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    space = {"optimizer.init_args.lr": {"low": 1e-4, "high": 0.1, "log": True}, "plan.batch_size": [4, 16]}
    first = tune(config(tmp_path, tune={"trials": 2, "space": space}), console=False)
    assert len(first.scores) == 2
    shutil.rmtree(tmp_path / "best")
    found = tune(config(tmp_path, tune={"trials": 4, "space": space}), console=False)
    assert found.scores[:2] == first.scores
    assert len(found.scores) == 4
    best = min(found.scores, key=lambda row: row[1])
    assert (found.values, found.best.score) == best
    with pytest.raises(EditError, match=r"no 'optimizer\.init_args\.rl'; did you mean"):
        tune(config(tmp_path, tune={"space": {"optimizer.init_args.rl": [1]}}), console=False)
    with pytest.raises(EditError, match=r"tune\.space is empty"):
        tune(config(tmp_path), console=False)
    with pytest.raises(EditError, match="give a list of choices, or low and high"):
        tune(config(tmp_path / "b", tune={"space": {"plan.batch_size": {"low": 2}}}), console=False)


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_combinations_side_by_side(tmp_path: Path, engine: str) -> None:
    over = {"plan.seed": [0, 1], "optimizer.init_args.lr": [0.001, 0.01]}
    found = parallel(config(tmp_path, parallel={"over": over, "engine": engine, "workers": 2}))
    assert [each.score for _, each in found] == sorted(each.score for _, each in found)
    assert len({each.folder for _, each in found}) == 4
    alone = train_config(config(tmp_path / "alone"), tmp_path / "alone", console=False)
    same = next(each for job, each in found if job == {"plan.seed": 0, "optimizer.init_args.lr": 0.01})
    assert same.history == alone.history


def test_an_engine_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no engine 'cluster'"):
        parallel(config(tmp_path, parallel={"over": {"plan.seed": [0]}, "engine": "cluster"}))
    with pytest.raises(EditError, match=r"parallel\.over is empty"):
        parallel(config(tmp_path))


def test_the_config_of_the_readme(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "tutorials" / "quine.yaml"
    given = read_config(["--config", str(path), "--plan.epochs", "2", "--tensorboard", "false"])
    assert len(train_config(given, tmp_path, console=False).history) == 2
    for key in [*given["tune"]["space"], *given["parallel"]["over"]]:
        check_key(given, key)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "quine.yaml"
    given = {**QUINE, "folder": str(tmp_path / "run"), "tensorboard": True}
    given["parallel"] = {"over": {"plan.seed": [0, 1]}, "engine": "serial"}
    path.write_text(json.dumps(given))
    assert main(("weights", "train", "--config", str(path), "--plan.epochs", "2")) == 0
    said = capsys.readouterr()
    assert "best epoch" in said.out
    assert "spectral radius" in said.out
    assert "epoch 2 of 2" in said.err
    assert [*(tmp_path / "run").glob("events.out.tfevents.*")]
    folder = ("--folder", str(tmp_path / "many"))
    assert main(("weights", "parallel", "--config", str(path), "--plan.epochs", "2", *folder)) == 0
    assert "plan.seed" in capsys.readouterr().out
    assert main(("weights", "train", "--config", str(path), "--learner.init_args.dimm", "3")) == 2
    assert "Option 'dimm' is not accepted" in (error := capsys.readouterr().err)
    assert "NoneType" not in error
    assert main(("weights", "train")) == 2
    assert "naivegraph weights train --config quine.yaml" in capsys.readouterr().err
