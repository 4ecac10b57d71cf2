"""Tasks: their losses are those of torch, a teacher is a run, one's own are taken as they are."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.errors import TrackError
from naivegraph.track import ClassificationTask, DistillationTask, RegressionTask
from tests.track.digits import clusters, network
from tests.track.test_once import config

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


def test_losses_are_those_of_torch() -> None:
    x, y = clusters(12).tensors
    net = network(8).eval()
    loss, values = ClassificationTask(net, label_smoothing=0.1).measured((x, y))
    torch.testing.assert_close(loss, nn.CrossEntropyLoss(label_smoothing=0.1)(net(x), y))
    assert values["accuracy"].item() == pytest.approx((net(x).argmax(1) == y).double().mean().item())
    numbers = torch.randn(12, 3)
    loss, values = RegressionTask(net).measured((x, numbers))
    torch.testing.assert_close(loss, (net(x) - numbers).square().mean())
    torch.testing.assert_close(values["absolute_error"], (net(x) - numbers).abs().mean())
    teacher = network(16).eval()
    task = DistillationTask(net, teacher=copy.deepcopy(teacher), weight=0.25, temperature=2.0)
    loss, _ = task.measured((x, y))
    soft = F.kl_div((net(x) / 2).log_softmax(1), (teacher(x) / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(loss, 0.25 * 4 * soft + 0.75 * F.cross_entropy(net(x), y))
    assert not any(name.startswith("teacher") for name in task.state_dict())


def test_targets_that_would_be_compared_with_all_are_told() -> None:
    x = torch.randn(6, 8)
    task = RegressionTask(nn.Linear(8, 1))
    loss, _ = task.measured((x, torch.zeros(6)))  # a column and a row of as many numbers
    torch.testing.assert_close(loss, task.network(x).square().mean())
    with pytest.raises(TrackError, match=r"the network gives \(6, 1\), the targets are \(6, 2\)"):
        task.measured((x, torch.zeros(6, 2)))
    with pytest.raises(TrackError, match="a batch is to be inputs and targets, not Tensor"):
        task.measured(x)


class Own(ClassificationTask):
    """A task of one's own that stops its first training by the user's interrupt."""

    def on_train_epoch_end(self) -> None:
        """Interrupt, as Ctrl-C does, if asked to."""
        flag = Path(os.environ.get("NAIVEGRAPH_TEST_INTERRUPT", "/nowhere"))
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_the_users_and_the_run_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "interrupt"
    flag.touch()
    monkeypatch.setenv("NAIVEGRAPH_TEST_INTERRUPT", str(flag))
    before = signal.getsignal(signal.SIGINT)
    asked = config(task={"class_path": "tests.track.test_tasks.Own"}, trainer__max_epochs=2)
    with pytest.raises(KeyboardInterrupt):
        ng.track.once(asked, folder=folder)
    assert signal.getsignal(signal.SIGINT) is before
    (stopped,) = ng.track.runs(folder=folder)
    assert stopped.status == "stopped"
    assert ng.track.once(asked, folder=folder) == stopped
    assert ng.track.runs(folder=folder)[0].finished


def test_a_student_learns_from_a_run(folder: Path) -> None:
    teacher = ng.track.once(config(), folder=folder)
    place: dict[str, Any] = {"run": teacher.id, "folder": str(folder)}
    task = {
        "class_path": "naivegraph.track.DistillationTask",
        "init_args": {"teacher": {"class_path": "naivegraph.track.trained", "init_args": place}},
    }
    student = ng.track.once(config(task=task, model__init_args={"width": 4}), folder=folder)
    assert student.finished
    assert student.metrics["val_distillation"] < student.history("val_distillation")[0][1]
    number = ng.track.once(
        config(
            task={"class_path": "naivegraph.track.RegressionTask"},
            model={"class_path": "tests.track.digits.column"},
            data={"train": {"class_path": "tests.track.digits.line"}},
        ),
        folder=folder,
    )
    assert number.metrics["train_loss"] < number.history("train_loss")[0][1]
