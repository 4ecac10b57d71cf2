"""A config is trained once, and goes on after a stop as if there had been none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import naivegraph as ng
from naivegraph.errors import TrackError
from naivegraph.track.config_parser import read_settings
from naivegraph.track.run_identity import identity_of
from tests.track.digits import clusters

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # of Lightning's own

CONFIG: dict[str, Any] = {
    "experiment": "clusters",
    "model": {"class_path": "tests.track.digits.network", "init_args": {"width": 12}},
    "data": {
        "train": {"class_path": "tests.track.digits.clusters"},
        "validation": {"class_path": "tests.track.digits.clusters", "init_args": {"seed": 1}},
    },
    "task": {
        "init_args": {
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}},
            "scheduler": {
                "class_path": "torch.optim.lr_scheduler.ExponentialLR",
                "init_args": {"gamma": 0.9},
            },
        }
    },
    "loader": {"batch_size": 16},
    "trainer": {
        "max_epochs": 4,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    },
}


def config(**changes: Any) -> dict[str, Any]:
    """The config with other values by path, `a__b` for a of b."""
    out = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        *before, last = key.split("__")
        here = out
        for each in before:
            here = here.setdefault(each, {})
        here[last] = value
    return out


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def test_a_config_is_trained_once(folder: Path) -> None:
    state = torch.get_rng_state()
    run = ng.track.once(config(), folder=folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.finished
    assert run.metrics["val_accuracy"] > 0.8
    assert [step for step, _ in run.history("val_loss")] == [5, 11, 17, 23]
    assert run.parameters["model/init_args/width"] == 12
    assert run.parameters["model/init_args/depth"] == 1  # a default of the user's code counts
    assert "trainer/accelerator" not in run.parameters
    assert run.tags["machine/trainer/accelerator"] == "cpu"
    assert {"config.json", "environment/0.json", "model/model.safetensors"} <= set(run.artifacts)
    again = ng.track.once(config(trainer__accelerator="auto", loader__num_workers=0), folder=folder)
    assert again == run
    assert len(ng.track.runs(folder=folder)) == 1
    other = ng.track.once(config(seed=1), folder=folder)
    assert other != run
    assert [found.id for found in ng.track.find("clusters", {"seed": 1}, folder=folder)] == [other.id]
    model = run.model()
    accuracy = (model(clusters(seed=1).tensors[0]).argmax(1) == clusters(seed=1).tensors[1]).float().mean()
    assert accuracy.item() == pytest.approx(run.metrics["val_accuracy"], abs=1e-6)
    assert same(model, run.model())


class Stop(Exception):
    """Stands for whatever goes wrong."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data__validation": None, "loader__num_workers": 1, "task__init_args__scheduler_interval": "step"},
        {"checkpoint_every": 2, "trainer__accumulate_grad_batches": 2, "trainer__gradient_clip_val": 0.5},
    ],
    ids=["plain", "workers", "seldom"],
)
def test_what_was_stopped_goes_on_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: Path, changes: dict[str, Any]
) -> None:
    import shutil

    from naivegraph.track.lightning_tasks import ClassificationTask

    asked = config(**changes)
    if asked["data"]["validation"] is None:
        del asked["data"]["validation"]
    whole = ng.track.once(asked, folder=folder)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tables / "mlflow.db", other)
    step = ClassificationTask.training_step

    def failing(self: Any, batch: Any, number: int) -> Any:
        if (self.current_epoch, number) == (3, 3):
            raise Stop("in the fourth epoch")
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", failing)
        with pytest.raises(Stop):
            ng.track.once(asked, folder=other)
    (stopped,) = ng.track.runs(folder=other)
    assert stopped.status == "failed"
    assert "in the fourth epoch" in stopped.tags["naivegraph.error"]
    with pytest.raises(TrackError, match=r"is failed: ng\.track\.once takes it up"):
        stopped.model()
    resumed = ng.track.once(asked, folder=other)
    assert resumed == stopped
    assert resumed.finished
    assert same(resumed.model(), whole.model())
    for metric in whole.metrics:
        assert resumed.history(metric) == whole.history(metric)
    assert {"environment/0.json", "environment/1.json"} <= set(resumed.artifacts)


def test_files_are_stacked_and_words_count_over_them(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "model: {class_path: 'tests.track.digits:network', init_args: {width: 20}}\n"
        "trainer: {max_epochs: 9}\n"
    )
    (tmp_path / "data.yaml").write_text(
        "data: {train: {class_path: tests.track.digits.clusters}}\nmodel: {init_args: {depth: 2}}\n"
    )
    files = [tmp_path / "model.yaml", tmp_path / "data.yaml"]
    read = read_settings(files, ["--trainer.max_epochs", "100", "--model.init_args.width=8"]).config
    assert read["model"] == {
        "class_path": "tests.track.digits.network",
        "init_args": {"width": 8, "depth": 2, "dropout": 0.2},
    }
    assert read["trainer"] == {"max_epochs": 100}
    one = read_settings(files)
    two = read_settings([*files, {"trainer": {"devices": 2, "precision": "32-true"}}])
    assert one.identity != read_settings([*files, {"model": {"init_args": {"width": 8}}}]).identity
    assert (
        read_settings([*files, {"model": {"init_args": {"depth": 2, "dropout": 0.2}}}]).identity
        == one.identity
    )
    assert two.identity != one.identity  # the precision was asked for
    three = read_settings([*files, {"trainer": {"devices": 2}, "loader": {"num_workers": 3}, "name": "a"}])
    assert three.identity == one.identity


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": {}}, "the config names no model: give model.class_path, such as"),
    ({"modle": 3}, "modle"),
    ({"model__class_path": "tests.track.digits.netwrk"}, "has no 'netwrk'; did you mean 'network'"),
    ({"model__class_path": "tests.nowhere.network"}, "there is no module 'tests.nowhere' in the"),
    ({"model__class_path": "network"}, "model.class_path is 'network': write package.module.name"),
    ({"model__init_args": {"widht": 3}}, "widht.*did you mean 'model.init_args.width'"),
    ({"model__init_args": {"width": "wide"}}, "model.init_args.width.*iven value: wide"),
    ({"model": {"class_path": "tests.track.digits.needs"}}, "needs width; give model.init_args.width"),
    ({"trainer__max_epochs": "many"}, "trainer.max_epochs.*many"),
    ({"trainer__max_epoch": 3}, "max_epoch.*did you mean 'trainer.max_epochs'"),
    ({"trainer__accelerator": "gpux"}, "trainer: .*gpux"),
    ({"model": {"class_path": "tests.track.digits.no_network"}}, "made a int, not a network"),
    ({"data__train": {"class_path": "tests.track.digits.no_network"}}, "made a int, not a dataset"),
    ({"data__train__init_args": {"count": 0}}, "data.train: .* made a dataset without samples"),
    ({"task": {"class_path": "tests.track.digits.needs", "init_args": {"width": 3}}}, "task"),
    ({"seed": "x"}, "seed"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: str(value)[:40])
def test_nonsense_is_told(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrackError, match=f"(?s){message}"):
        ng.track.once(config(**changes), folder=folder)


def test_a_place_of_data_does_not_count_and_is_none_of_the_parameters(tmp_path: Path) -> None:
    one = read_settings([config()])
    two = read_settings([config(data__train__init_args={"root": str(tmp_path)})])
    assert one.identity == two.identity
    assert two.config["data"]["train"]["init_args"]["root"] == str(tmp_path)
    assert "data/train/init_args/root" in two.config["machine"]
    assert identity_of(two.config) == two.identity
    three = read_settings([config(model__init_args={"width": None})])  # null is a value
    assert three.config["model"]["init_args"]["width"] is None


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match=r"the config .*a\.yaml cannot be read: No such file"):
        read_settings([tmp_path / "a.yaml"])
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(TrackError, match=r"a\.yaml is no YAML: while parsing"):
        read_settings([tmp_path / "a.yaml"])
    (tmp_path / "a.yaml").write_text("- 3")
    with pytest.raises(TrackError, match=r"a\.yaml holds list, not keys and values"):
        read_settings([tmp_path / "a.yaml"])
    with pytest.raises(TrackError, match="a config holds numbers, texts, lists and mappings alone"):
        read_settings([{"model": object()}])


def test_a_run_of_another_folder_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"

    def killed(*args: Any) -> None:
        raise SystemError("as if killed")

    monkeypatch.setattr("naivegraph.track.train_run.train", killed)
    with pytest.raises(SystemError):
        ng.track.once(config(), folder=folder, uri=uri)
    with pytest.raises(
        TrackError, match=f"was begun in {folder} and is not finished: its checkpoints are there"
    ):
        ng.track.once(config(), folder=tmp_path / "elsewhere", uri=uri)
