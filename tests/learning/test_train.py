"""Trainings that go on from their last checkpoint, by configs, searches and grids."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from naivegraph.cli import main
from naivegraph.errors import EditError, LoadError, StudyError
from naivegraph.learning import (
    AuxiliaryLearner,
    ClassLearner,
    Epochs,
    LevenbergMarquardt,
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
from naivegraph.tensor_files import write_tensors

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
        files = [each.folder / f"{name}.json" for each in (whole, parts)]  # with the tensors' checksum
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
    (path,) = tmp_path.glob("last-*.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(LoadError, match=r"last-\w+\.safetensors is damaged: its numbers are not those"):
        trained(tmp_path, 4, torch.optim.Adam)
    facts = tmp_path / "last.json"
    facts.write_text(facts.read_text()[:40])
    with pytest.raises(LoadError, match=r"last\.json is damaged.*delete it to start anew"):
        trained(tmp_path, 4, torch.optim.Adam)
    write_tensors(tmp_path, "last", {}, {})
    with pytest.raises(LoadError, match=r"last\.json is no checkpoint: it has no 'config'"):
        trained(tmp_path, 4, torch.optim.Adam)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    learner = QuineLearner(perceptron([4, 5, 1]), dim=4)
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=1e9)
    with pytest.raises(EditError, match="no score 'relativ'; did you mean 'relative'"):
        train(learner, optimizer, tmp_path / "a", Epochs(epochs=1, score="relativ"))
    with pytest.raises(EditError, match=r"the loss is .* in epoch .*: take a smaller learning rate"):
        train(learner, optimizer, tmp_path / "b", Epochs(epochs=50))
    for name in ("epochs", "batch_size", "checkpoint_every"):
        with pytest.raises(EditError, match=f"{name} must be a whole number from 1 up, not 0"):
            dataclasses.replace(Epochs(), **{name: 0})  # type: ignore[arg-type]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EditError, match="file is no folder, and cannot be made one"):
        train(learner, optimizer, tmp_path / "file", Epochs(epochs=1))
    with pytest.raises(EditError, match="no activation 'tahn'"):
        perceptron([2, 1], "tahn")
    with pytest.raises(EditError, match=r"the network returns .* give it a scalar head"):
        QuineLearner(perceptron([4, 5, 2]), dim=4)


class Odd(ClassLearner):
    """A learner whose loss is no mean, or whose scores are no numbers."""

    def __init__(self, part: str) -> None:
        super().__init__(perceptron([64, 10]), some_digits())
        self.part = part

    def loss(self, chosen: Tensor) -> Tensor:
        """One number, or one for each example."""
        one = super().loss(chosen)
        return one.expand(3) if self.part == "loss" else one

    def scores(self, chosen: Tensor) -> dict[str, float]:
        """Numbers, or a tensor of several."""
        return super().scores(chosen) | ({"loss": torch.ones(2)} if self.part == "scores" else {})  # type: ignore[return-value]


def test_learners_of_ones_own_are_told_what_is_wrong(tmp_path: Path) -> None:
    for part, message in (
        ("loss", r"Odd\.loss gives \(3,\): it is to be a mean, one number"),
        ("scores", r"Odd\.scores gives what is no number"),
    ):
        learner = Odd(part)
        adam = torch.optim.Adam(learner.module.parameters())
        with pytest.raises(EditError, match=message):
            train(learner, adam, tmp_path / part, Epochs(epochs=1))


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, 2, torch.optim.Adam)
    with pytest.raises(EditError, match="the checkpoint is of optimizer Adam, not SGD"):
        trained(tmp_path, 4, torch.optim.SGD)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: perceptron([4, 0, 1]), "a size must be a whole number from 1 up, not 0"),
        (lambda: perceptron([4, 2.5, 1]), r"a size must be a whole number from 1 up, not 2\.5"),  # type: ignore[list-item]
        (lambda: ClassLearner(perceptron([4, 2]), None), "data= is a TensorDataset"),  # type: ignore[arg-type]
        (lambda: Split("halves").of(5), "split.kind is 'halves': say 'none', 'holdout'"),  # type: ignore[arg-type]
        (lambda: Split("k-fold", folds=2.5).of(5), "split.folds must be a whole number"),  # type: ignore[arg-type]
        (lambda: Split().of(0), "count must be a whole number from 1 up, not 0"),
        (
            lambda: AuxiliaryLearner(perceptron([4, 3]), TensorDataset(torch.ones(3, 4), torch.ones(3, 2))),
            "the classes are numbers with a fraction",
        ),
    ],
)
def test_arguments_that_are_none(make: Callable[[], object], message: str) -> None:
    with pytest.raises(EditError, match=message):
        make()


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
    found = tune(config(tmp_path, tune={"trials": 4, "space": space}), console=False)
    assert found.scores[:2] == first.scores
    assert len(found.scores) == 4
    best = min(found.scores, key=lambda row: row[1])
    assert (found.values, found.best.score) == best
    with pytest.raises(EditError, match=r"no 'optimizer\.init_args\.rl'; did you mean"):
        tune(config(tmp_path, tune={"space": {"optimizer.init_args.rl": [1]}}), console=False)
    with pytest.raises(EditError, match=r"tune\.space is empty"):
        tune(config(tmp_path), console=False)
    other = {"trials": 5, "space": {"plan.batch_size": [4, 16]}}
    with pytest.raises(EditError, match=r"holds a search of another space: give another folder"):
        tune(config(tmp_path, tune=other), console=False)
    changed = {**QUINE["plan"], "epochs": 4}
    with pytest.raises(EditError, match=r"holds a search of another config"):
        tune(config(tmp_path, plan=changed, tune={"trials": 5, "space": space}), console=False)
    with pytest.raises(EditError, match=r"tune\.trials must be a whole number from 1 up"):
        tune(config(tmp_path / "b", tune={"trials": 0, "space": space}), console=False)
    for given in ({"low": 0.1, "high": 0.01}, {"low": 0, "high": 0.01, "log": True}):
        with pytest.raises(EditError, match="low is to be below high, and above 0 where log is true"):
            tune(config(tmp_path / "b", tune={"space": {"optimizer.init_args.lr": given}}), console=False)
    with pytest.raises(EditError, match="give a list of choices, or low and high"):
        tune(config(tmp_path / "b", tune={"space": {"plan.batch_size": {"low": 2}}}), console=False)


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_combinations_side_by_side(tmp_path: Path, engine: str) -> None:
    over = {"plan.seed": [0, 1], "optimizer.init_args.lr": [0.001, 0.01]}
    found = parallel(config(tmp_path, parallel={"over": over, "engine": engine, "workers": 2}))
    trainings = [each for _, each in found if isinstance(each, TrainedLearner)]
    assert [each.score for each in trainings] == sorted(each.score for each in trainings)
    assert len({each.folder for each in trainings}) == 4
    alone = train_config(config(tmp_path / "alone"), tmp_path / "alone", console=False)
    same = next(each for job, each in found if job == {"plan.seed": 0, "optimizer.init_args.lr": 0.01})
    assert isinstance(same, TrainedLearner)
    assert same.history == alone.history


def test_a_combination_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    over = {"optimizer.init_args.lr": [1e30, 0.01], "learner.init_args.body.init_args.sizes": [[4, 5, 1]]}
    found = parallel(config(tmp_path, parallel={"over": over, "engine": "serial"}))
    assert isinstance(found[0][1], TrainedLearner)
    assert found[0][1].folder.name == "lr_0.01_sizes_-4-5-1"
    assert isinstance(found[1][1], EditError)
    with pytest.raises(EditError, match=r"none of 1 networks could be trained; the first: the loss is"):
        parallel(config(tmp_path, parallel={"over": {"optimizer.init_args.lr": [1e30]}, "engine": "serial"}))
    with pytest.raises(EditError, match=r"parallel\.over\.plan\.seed is empty"):
        parallel(config(tmp_path, parallel={"over": {"plan.seed": []}}))


def test_levenberg_and_marquardt_find_a_true_fixed_point_and_go_on(tmp_path: Path) -> None:
    how = {"class_path": "naivegraph.learning.LevenbergMarquardt", "init_args": {"steps": 10}}
    body = {
        "class_path": "naivegraph.learning.perceptron",
        "init_args": {"sizes": [16, 12, 8, 1], "double": True},
    }
    learner = {
        "class_path": "naivegraph.learning.QuineLearner",
        "init_args": {"body": body, "dim": 16, "gain": 3.0},
    }

    def run(name: str, epochs: int) -> TrainedLearner:
        plan = {"epochs": epochs, "score": "relative"}
        given = config(tmp_path / name, optimizer=how, learner=learner, plan=plan)
        return train_config(given, tmp_path / name, console=False)

    whole = run("whole", 12)
    assert whole.score < 1e-6
    assert "a true fixed point" in whole.report
    run("parts", 5)
    assert run("parts", 12).history == whole.history


def test_levenberg_and_marquardt_need_sums_of_squares(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = perceptron([64, 4, 11], double=True)
    data = TensorDataset(
        *(each[:50].double() if each.is_floating_point() else each[:50] for each in digits().tensors)
    )
    learner = AuxiliaryLearner(network, data)
    before = learner.scores(torch.arange(50))["relative"]
    found = train(
        learner,
        LevenbergMarquardt(network.parameters(), steps=5),
        tmp_path / "both",
        Epochs(epochs=2),
        split=Split("holdout"),
    )
    assert found.history[-1]["relative"] < before
    classes = ClassLearner(network, data)
    with pytest.raises(EditError, match="the loss of ClassLearner is no sum of squares"):
        train(classes, LevenbergMarquardt(network.parameters()), tmp_path / "a", Epochs(epochs=1))
    quine = QuineLearner(perceptron([4, 5, 1]), dim=4)
    solver = LevenbergMarquardt(quine.module.parameters())
    with pytest.raises(EditError, match="solves for all weights, and some are held out"):
        train(quine, solver, tmp_path / "b", Epochs(epochs=1), split=Split("holdout"))
    with pytest.raises(EditError, match="takes no steps from a loss"):
        solver.step()


def test_optimizers_that_look_at_the_loss_several_times(tmp_path: Path) -> None:
    learner = QuineLearner(perceptron([4, 5, 1]), dim=4)
    optimizer = torch.optim.LBFGS(learner.module.parameters(), lr=0.1)
    found = train(learner, optimizer, tmp_path, Epochs(epochs=3))
    assert found.history[-1]["loss"] < found.history[0]["loss"]


@pytest.mark.parametrize(
    ("network", "inputs", "classes", "message"),
    [
        (
            [4, 2],
            torch.zeros(3, 4),
            torch.tensor([0, 1, 2]),
            r"returns \(2, 2\) for two inputs, .* 3 classes",
        ),
        (
            [5, 3],
            torch.zeros(3, 4),
            torch.tensor([0, 1, 2]),
            r"does not take the data's inputs, \(4,\): mat1",
        ),
        ([4, 3], torch.full((3, 4), torch.nan), torch.tensor([0, 1, 2]), "inputs that are not finite"),
        ([4, 3], torch.zeros(3, 4), torch.tensor([0, -1, 2]), "or classes below 0"),
        ([4, 3], torch.zeros(3, 4), torch.zeros(3), r"classes \(3,\) of torch.float32: give"),
    ],
)
def test_data_that_a_network_cannot_learn(
    network: list[int], inputs: Tensor, classes: Tensor, message: str
) -> None:
    with pytest.raises(EditError, match=message):
        ClassLearner(perceptron(network), TensorDataset(inputs, classes))


def test_an_engine_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no engine 'cluster'"):
        parallel(config(tmp_path, parallel={"over": {"plan.seed": [0]}, "engine": "cluster"}))
    with pytest.raises(EditError, match=r"parallel\.over is empty"):
        parallel(config(tmp_path))


def test_learners_and_optimizers_of_a_config_that_cannot_be_had_are_told_in_a_sentence(
    tmp_path: Path,
) -> None:
    body = {"class_path": "naivegraph.learning.perceptron", "init_args": {"sizes": [4, 5, 2]}}
    learner = {"class_path": "naivegraph.learning.QuineLearner", "init_args": {"body": body, "dim": 4}}
    with pytest.raises(
        EditError, match=r"^the learner could not be made: the network returns \(2, 2\)"
    ) as told:
        train_config(config(tmp_path, learner=learner), tmp_path, console=False)
    assert "NoneType" not in str(told.value)
    sparse = {"class_path": "torch.optim.SparseAdam"}
    with pytest.raises(
        EditError, match="SparseAdam could not take a step: SparseAdam does not support dense"
    ):
        train_config(config(tmp_path, optimizer=sparse), tmp_path, console=False)


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
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert (
        main(
            ("tokens", "generate", "--networks", "2", "--tasks", "1", "--learn", "0", "--output", str(taken))
        )
        == 2
    )
    assert capsys.readouterr().err.endswith(f"naivegraph: {taken}: File exists\n")
    assert main(("weights", "train")) == 2
    assert "naivegraph weights train --config quine.yaml" in capsys.readouterr().err
