"""Networks are pruned while they train; checkpoints of them load, and trainings go on from them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import naivegraph as ng
from tests.track.digits import clusters, network
from tests.track.test_once import config, same

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning", "ignore:.*num_workers", "ignore:.*no `val_dataloader`"
)

PRUNING = {
    "class_path": "naivegraph.track.LightningPruning",
    "init_args": {"macs": 0.5, "start": 1, "rounds": 2, "options": {"round_to": 2}},
}


def macs(model: nn.Module) -> int:
    """Counted by hand: the products of linear layers."""
    return sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear))


def test_a_run_that_prunes_is_kept_with_its_edits_and_goes_on_after_a_stop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: Path
) -> None:
    import shutil

    asked = config(trainer__callbacks=[PRUNING])
    whole = ng.track.once(asked, folder=folder)
    small = whole.model()
    assert macs(small) <= 0.5 * macs(network(12))
    assert small.get_parameter("0.bias").numel() < 12
    assert len(whole.edits) == 2
    assert "MACs" in whole.edits[0]
    names = {f"edits/00{number}.{kind}" for number in range(2) for kind in ("txt", "json", "svg")}
    assert names <= set(whole.artifacts)
    fresh = network(12)
    ng.replay(fresh, [whole.artifact(f"edits/00{number}.json").read_text() for number in range(2)])
    assert [p.shape for p in fresh.parameters()] == [p.shape for p in small.parameters()]
    assert whole.metrics["macs"] == macs(small)
    assert [round(value) for _, value in whole.history("macs")][-1] == macs(small)

    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tables / "mlflow.db", other)
    from naivegraph.track.lightning_tasks import ClassificationTask

    step = ClassificationTask.training_step

    def failing(self: Any, batch: Any, number: int) -> Any:
        if (self.current_epoch, number) == (2, 2):  # between the first round and the checkpoint of the second
            raise RuntimeError("stop")
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", failing)
        with pytest.raises(RuntimeError, match="stop"):
            ng.track.once(asked, folder=other)
    resumed = ng.track.once(asked, folder=other)
    assert same(resumed.model(), small)
    assert resumed.history("val_loss") == whole.history("val_loss")
    assert resumed.edits == whole.edits


def trainer(**options: Any) -> Any:
    from lightning.pytorch import Trainer

    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "accelerator": "cpu",
    }
    return Trainer(**{**quiet, **options})


def plain_task(net: nn.Module) -> Any:
    """A LightningModule that knows nothing of edits."""
    from lightning.pytorch import LightningModule

    class Plain(LightningModule):  # type: ignore[misc]
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, number: int) -> Any:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.01)

    return Plain(net)


def test_any_lightning_module_is_pruned_and_its_checkpoints_load(tmp_path: Path) -> None:
    from naivegraph.track import LightningPruning, load_from_checkpoint

    data = DataLoader(clusters(), batch_size=32)
    task = plain_task(network(16))
    pruning = LightningPruning(params=0.5, network="net", start=1)
    first = trainer(max_epochs=2, callbacks=[pruning], enable_checkpointing=False)
    first.fit(task, data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    assert len(pruning.tables) == 1
    count = sum(p.numel() for p in task.net.parameters())
    assert count <= 0.5 * sum(p.numel() for p in network(16).parameters())
    state = first.optimizers[0].state
    assert all(state[p]["exp_avg"].shape == p.shape for p in task.net.parameters())
    # In one call, with plain data alone.
    kind = type(plain_task(network(16)))
    loaded = load_from_checkpoint(kind, tmp_path / "a.ckpt", net=network(16), weights_only=True)
    assert type(loaded) is kind
    assert same(loaded.net, task.net)
    # As a training that goes on.
    again, later = plain_task(network(16)), LightningPruning(params=0.5, network="net", start=1)
    second = trainer(max_epochs=3, callbacks=[later], enable_checkpointing=False)
    second.fit(again, data, ckpt_path=tmp_path / "a.ckpt")
    assert sum(p.numel() for p in again.net.parameters()) == count
    assert second.current_epoch == 3
    assert later.tables == pruning.tables
    with pytest.raises(ng.LoadError, match="was saved from another network"):
        load_from_checkpoint(kind, tmp_path / "a.ckpt", net=network(20), weights_only=True)


def test_a_changed_structure_is_in_checkpoints_too(tmp_path: Path) -> None:
    from naivegraph.track import ClassificationTask

    graph = ng.capture(network(8, dropout=0.0), torch.ones(2, 8))
    ng.insert(graph, nn.Tanh(), after="0", name="tanh")
    ng.resize(graph, {"0": +4})
    task = ClassificationTask(graph.to_module())
    one = trainer(max_epochs=1, enable_checkpointing=False)
    one.fit(task, DataLoader(clusters(), batch_size=32))
    one.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ClassificationTask.load_from_checkpoint(
        tmp_path / "a.ckpt", network=network(8, dropout=0.0), weights_only=True
    )
    x = torch.randn(5, 8)
    loaded.eval(), task.eval()
    assert torch.equal(loaded(x), task(x))


def test_nonsense_is_told() -> None:
    from naivegraph.track import LightningPruning

    with pytest.raises(ng.EditError, match="pruning on a schedule takes budgets"):
        LightningPruning()
    with pytest.raises(ng.EditError, match=r"two budgets of macs were given, 0\.5 and 0\.4"):
        LightningPruning(macs=0.5, budgets={"macs": 0.4})
    with pytest.raises(ng.EditError, match="rounds"):
        LightningPruning(macs=0.5, rounds=0)
    missing = trainer(max_epochs=1, callbacks=[LightningPruning(macs=0.5)], enable_checkpointing=False)
    with pytest.raises(ng.EditError, match="network='network': Plain has no such attribute"):
        missing.fit(plain_task(network(8)), DataLoader(clusters()))


def rows() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (24, 6), generator=generator)
    return [{"input_ids": row, "labels": row[0] % 2} for row in tokens]


def test_a_trainer_of_transformers_prunes_and_goes_on(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    import naivegraph.hf  # noqa: F401
    from naivegraph.track import EditsInTrainer, TransformersPruning

    class Pruning(EditsInTrainer, transformers.Trainer):  # type: ignore[misc,name-defined]
        pass

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    made = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, intermediate_size=32))

    def trained(epochs: int, resume: Any = None) -> tuple[Any, Any]:
        options = transformers.TrainingArguments(
            str(tmp_path), num_train_epochs=epochs, use_cpu=True, report_to=[], save_strategy="epoch",
            per_device_train_batch_size=8, disable_tqdm=True, seed=0,
        )  # fmt: skip
        callback = TransformersPruning(params=0.8, start=1)
        trainer = Pruning(copy.deepcopy(made), options, train_dataset=rows(), callbacks=[callback])
        trainer.train(resume_from_checkpoint=resume)
        return trainer, callback

    first, callback = trained(2)
    count = sum(p.numel() for p in first.model.parameters())
    assert len(callback.tables) == 1
    assert count <= 0.8 * sum(p.numel() for p in made.parameters())
    second, later = trained(3, resume=True)
    assert later.tables == []
    assert sum(p.numel() for p in second.model.parameters()) == count
    assert second.state.global_step == 9
    second.save_model(str(tmp_path / "saved"))
    opened = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    tokens = torch.arange(6).reshape(1, 6)
    torch.testing.assert_close(opened(tokens).logits, second.model.eval()(tokens).logits)
