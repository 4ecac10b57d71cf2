"""The loss against torch's own on neurons picked by hand, in a plain loop and in trainers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from tests.oracle import snapshot, unchanged

X = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 5),
    ).eval()  # fmt: skip


def pruned(**options: Any) -> tuple[Any, Any, Any]:
    """The pruned network, what it was, and the edit."""
    net = network()
    teacher = copy.deepcopy(net)
    return net, teacher, ng.prune(net, X[:1], ratio=0.5, **options)


def left_of(edit: Any, layer: str) -> list[int]:
    return [index for part in edit.sizes[layer].kept for index in part]


def test_outputs_are_compared_at_a_temperature() -> None:
    net, teacher, _ = pruned()
    output, loss = ng.distillation(net, teacher, X[:1], temperature=3.0)(X)
    torch.testing.assert_close(output, net(X))
    p, q = (teacher(X) / 3).softmax(1), (net(X) / 3).softmax(1)
    expected = 9 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(loss, expected)


def test_outputs_are_compared_by_squares() -> None:
    net, teacher, _ = pruned()
    _, loss = ng.distillation(net, teacher, X[:1], output="mse")(X)
    torch.testing.assert_close(loss, F.mse_loss(net(X), teacher(X)))


@pytest.mark.parametrize("as_graph", [True, False])
def test_hidden_values_are_compared_at_the_neurons_that_are_left(as_graph: bool) -> None:
    net, teacher, edit = pruned()
    student, example = (ng.capture(net, X[:1]), ()) if as_graph else (net, X[:1])
    distil = ng.distillation(student, teacher, example, hidden=["1", "3"], hidden_weight=0.5)
    _, loss = distil(X)
    _, plain = ng.distillation(net, teacher, X[:1])(X)
    first, second = left_of(edit, "0"), left_of(edit, "3")
    hints = []
    for end, left in ((2, first), (4, second)):
        mine, theirs = net[:end](X), teacher[:end](X)[:, left].detach()
        hints.append(F.mse_loss(mine, theirs) / theirs.square().mean())
    assert distil.layers == ("1", "3")
    torch.testing.assert_close(loss, plain + 0.5 * torch.stack(hints).mean())


def test_it_follows_edits_that_come_later_and_their_undoing() -> None:
    net, teacher, first = pruned()
    distil = ng.distillation(net, teacher, X[:1], hidden="3")
    _, before = distil(X)
    second = ng.prune(net, X[:1], ratio=0.5)
    left = [left_of(first, "3")[i] for i in left_of(second, "3")]
    _, plain = ng.distillation(net, teacher, X[:1])(X)
    mine, theirs = net[:4](X), teacher[:4](X)[:, left].detach()
    torch.testing.assert_close(distil(X).loss, plain + F.mse_loss(mine, theirs) / theirs.square().mean())
    second.undo()
    torch.testing.assert_close(distil(X).loss, before)


def test_training_on_it_brings_the_student_near_and_leaves_the_teacher_alone() -> None:
    net, teacher, _ = pruned()
    net.train()
    teacher.train()
    known = snapshot(teacher)
    distil = ng.distillation(net, teacher, X[:1], hidden=["0", "3"])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        _, loss = distil(X)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert unchanged(teacher, known)
    assert not any(module._forward_hooks for each in (net, teacher) for module in each.modules())


def test_other_directions_of_weights_are_followed() -> None:
    """Transposed convolutions have their outputs in the second dimension, fused heads in parts of one."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.ConvTranspose2d(3, 8, 2), nn.Tanh(), nn.Conv2d(8, 2, 1))
    teacher = copy.deepcopy(net)
    edit = ng.prune(net, X[:1], macs=0.5)
    _, loss = ng.distillation(net, teacher, X[:1], output="mse", hidden="0")(X)
    mine, theirs = net[0](X), teacher[0](X)[:, left_of(edit, "0")]
    expected = F.mse_loss(net(X), teacher(X)) + F.mse_loss(mine, theirs) / theirs.square().mean()
    torch.testing.assert_close(loss, expected)


def test_activations_between_layers_have_the_neurons_of_the_layer_before() -> None:
    net, teacher, edit = pruned()
    _, loss = ng.distillation(net, teacher, X[:1], output="mse", hidden="2")(X)
    mine, theirs = net[:3](X), teacher[:3](X)[:, left_of(edit, "0")]
    expected = F.mse_loss(net(X), teacher(X)) + F.mse_loss(mine, theirs) / theirs.square().mean()
    torch.testing.assert_close(loss, expected)


class Labelled(nn.Module):
    """A network as those of transformers: with labels it returns its loss, too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Map pixels to logits, and to the loss if there are labels."""
        logits = self.body(pixels)
        return (
            {"logits": logits}
            if labels is None
            else {"loss": F.cross_entropy(logits, labels), "logits": logits}
        )


class OwnTrainer:
    """Stands for a `transformers.Trainer`, with its way to work out a loss."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


class Trainer(ng.DistillationMixin, OwnTrainer):
    """The two together."""


class Wrapped(nn.Module):
    """What trainers put around a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: Any) -> Any:
        """Run what is inside."""
        return self.module(**inputs)


@pytest.mark.parametrize("hidden", [(), "body.3"])
def test_a_trainer_adds_it_to_its_own_loss(hidden: Any) -> None:
    net = Labelled().eval()
    teacher, labels = copy.deepcopy(net), torch.arange(8) % 5
    edit = ng.prune(net, X[:1], ratio=0.5)
    trainer = Trainer()
    batch = {"pixels": X, "labels": labels}
    own = trainer.compute_loss(net, batch)
    trainer.distillation = ng.distillation(net, teacher, X[:1], hidden=hidden)
    loss, outputs = trainer.compute_loss(net, batch, return_outputs=True)
    expected = own + ng.distillation(net, teacher, X[:1])(X).loss
    if hidden:
        mine, theirs = net.body[:4](X), teacher.body[:4](X)[:, left_of(edit, "body.3")]
        expected = expected + F.mse_loss(mine, theirs) / theirs.square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(outputs["logits"], net.body(X))
    torch.testing.assert_close(trainer.compute_loss(net, batch), loss)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*num_workers")  # of Lightning's own
def test_lightning_takes_it_as_an_attribute() -> None:
    lightning = pytest.importorskip("lightning")
    net, teacher, _ = pruned()
    net.train()
    before, theirs = net[0].weight.detach().clone(), copy.deepcopy(teacher.state_dict())

    class Student(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.distil = net, ng.distillation(net, teacher, X[:1], hidden="3")

        def training_step(self, batch: Any, number: int) -> Any:
            output, loss = self.distil(batch[0])
            return loss + F.cross_entropy(output, batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net.parameters(), lr=0.01)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.arange(8) % 5), batch_size=4)
    trainer = lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(Student(), data)
    assert not torch.equal(net[0].weight, before)
    torch.testing.assert_close(teacher.state_dict(), theirs, rtol=0, atol=0)


def test_a_trainer_of_transformers_takes_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Distilling(ng.DistillationMixin, transformers.Trainer):  # type: ignore[misc,name-defined]
        pass

    net = Labelled().eval()
    teacher = copy.deepcopy(net)
    ng.prune(net, X[:1], macs=0.5)
    rows = [{"pixels": image, "labels": torch.tensor(i % 5)} for i, image in enumerate(X)]
    options = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, use_cpu=True, report_to=[], save_strategy="no"
    )
    trainer = Distilling(net, options, train_dataset=rows)
    trainer.distillation = ng.distillation(net, teacher, X[:1])
    before, theirs = copy.deepcopy(net.state_dict()), copy.deepcopy(teacher.state_dict())
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(teacher.state_dict(), theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "l2"}, "output='l2': give"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"hidden_weight": -1}, "hidden_weight must be a number from 0 up"),
        ({"hidden": "nine"}, "hidden names 'nine', and no layer that both networks call has that path"),
    ],
)
def test_nonsense_is_told(options: dict[str, Any], message: str) -> None:
    net, teacher, _ = pruned()
    with pytest.raises(ng.EditError, match=message):
        ng.distillation(net, teacher, X[:1], **options)


def test_a_teacher_that_is_the_student_is_told() -> None:
    net = network()
    with pytest.raises(ng.EditError, match="the teacher shares parameters with the student"):
        ng.distillation(net, net, X[:1])


def test_neurons_that_cannot_be_followed_are_told() -> None:
    net, teacher, _ = pruned()
    ng.resize(net, X[:1], {"0": +2})
    with pytest.raises(ng.EditError, match="hidden names '0', whose neurons cannot be followed"):
        ng.distillation(net, teacher, X[:1], hidden="0")


def test_outputs_of_other_shapes_are_told() -> None:
    net, teacher, _ = pruned()
    distil = ng.distillation(net, teacher, X[:1])
    teacher[-1] = nn.Linear(32, 7)
    with pytest.raises(ng.NaivegraphError, match=r"output 1 of the student has shape \(8, 5\), the"):
        distil(X)
