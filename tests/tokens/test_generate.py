"""Data sets of networks: training of many as one against torch alone, files, what does not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from naivegraph.errors import LoadError
from naivegraph.tokens import Frame, LearningTask, NetworkSet, generate
from naivegraph.tokens.learning_tasks import made_tasks
from naivegraph.tokens.random_structure import random_structure
from tests.tokens.random_networks import FRAMES, name_of


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_structures_are_valid_and_differ(frame: Frame) -> None:
    networks = random_structure(frame, 200, seed=0, density=0.7)
    assert networks.valid().all()
    assert len({tuple(row.tolist()) for row in networks.operator}) > 5
    there = networks.presence[:, :-1].any(-1)
    assert set(there.sum(1).tolist()) == set(range(1, frame.depth + 1))
    if networks.skips is not None:
        assert 0.2 < networks.skips[:, 1:-1][there[:, 1:]].float().mean() < 0.9
    assert (networks.edges.any(-1) == networks.presence).all()


def test_networks_trained_together_learn_what_each_learns_alone() -> None:
    """Plain torch modules, the same Adam, the same samples."""
    frame = Frame("dense", 3, 2, depth=2, width=4)
    steps, tasks = 12, made_tasks(frame, 2, seed=1, samples=64)
    start = generate(5, frame, seed=3, tasks=tasks, steps=0).networks
    found = generate(5, frame, seed=3, tasks=tasks, steps=steps).networks
    for i in range(5):
        module, random = start.module(i), torch.Generator().manual_seed(3)
        adam = torch.optim.Adam(module.parameters(), lr=0.02)
        for step in range(steps):
            rows = [torch.randint(64, (32,), generator=random) for _ in tasks][i % 2]
            adam.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * step / steps))
            task = tasks[i % 2]
            loss = (module(task.inputs[rows]) - task.targets[rows]).square().mean()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
        for mine, theirs in zip(found.module(i).parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["dense", "convolutional", "residual"])
def test_training_lowers_the_loss(kind: str) -> None:
    few = {"dense": 30, "convolutional": 8, "residual": 30}[kind]
    start = generate(few, kind, seed=0, tasks=5, steps=0)  # type: ignore[arg-type]
    made = generate(few, kind, seed=0, tasks=5, steps=60)  # type: ignore[arg-type]
    assert (made.loss < start.loss).float().mean() > 0.9
    assert made.networks.valid().all()


def test_the_loss_told_is_that_of_the_module() -> None:
    frame = Frame("dense", 3, 3, depth=2, width=4)
    for classes in (False, True):
        tasks = made_tasks(frame, 2, seed=0, classes=classes)
        made = generate(4, frame, tasks=tasks, steps=20)
        for i in range(4):
            task = tasks[i % 2]
            with torch.no_grad():
                out = made.networks.module(i)(task.inputs)
            if classes:
                expected = torch.nn.functional.cross_entropy(out, task.targets)
            else:
                expected = (out - task.targets).square().mean() / task.targets.var(0, correction=0).mean()
            torch.testing.assert_close(made.loss[i], expected)


def test_made_tasks_differ_and_repeat() -> None:
    frame = FRAMES[0]
    one, two = (made_tasks(frame, 10, seed=4) for _ in range(2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(one, two, strict=True))
    assert len({task.name for task in one}) == 10
    assert all(abs(float(task.targets.std()) - 1) < 0.1 for task in one)
    assert not torch.equal(one[0].targets, made_tasks(frame, 1, seed=5)[0].targets)


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_files_hold_all(frame: Frame, tmp_path: Path) -> None:
    made = generate(6, frame, tasks=2, steps=0)
    made.save(tmp_path / "set")
    again = NetworkSet.load(tmp_path / "set")
    assert again.networks.frame == frame
    assert torch.equal(again.networks.tokens(), made.networks.tokens())
    assert torch.equal(again.task, made.task)
    assert torch.equal(again.loss, made.loss)
    for mine, theirs in zip(again.tasks, made.tasks, strict=True):
        assert mine.name == theirs.name
        assert torch.equal(mine.inputs, theirs.inputs)
        assert torch.equal(mine.targets, theirs.targets)
    part = made[made.task == 1]
    assert len(part) == 3
    assert part.task.tolist() == [1, 1, 1]


def test_damaged_files_are_told(tmp_path: Path) -> None:
    made = generate(3, "dense", tasks=1, steps=0)
    with pytest.raises(LoadError, match=r"is no data set of networks: there is no networks\.json"):
        NetworkSet.load(tmp_path)
    facts = tmp_path / "networks.json"

    def save() -> None:
        made.save(tmp_path)

    save()
    (tensors,) = tmp_path.glob("networks-*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-7])
    with pytest.raises(LoadError, match=r"networks-\w+\.safetensors is damaged: its numbers are not those"):
        NetworkSet.load(tmp_path)
    tensors.unlink()
    with pytest.raises(LoadError, match=r"networks\.json is damaged, or what it names is missing"):
        NetworkSet.load(tmp_path)
    save()
    facts.write_text(facts.read_text()[:40])
    with pytest.raises(LoadError, match=r"networks\.json is damaged"):
        NetworkSet.load(tmp_path)
    for key, value, told in [
        ("format", 9, "of format 9"),
        ("frame", {"kind": "dense"}, "damaged"),
        ("tasks", ["a", "b"], "there is no 'tasks.1.inputs'"),
        ("frame", None, "damaged"),
    ]:
        save()
        said = json.loads(facts.read_text())
        facts.write_text(json.dumps(said | {key: value}))
        with pytest.raises(LoadError, match=told):
            NetworkSet.load(tmp_path)


def test_what_does_not_fit_is_told() -> None:
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    good = LearningTask("good", x, y)
    with pytest.raises(ValueError, match="no kind: 'dense'"):
        generate(1, "square")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count=0"):
        generate(0, "dense")
    with pytest.raises(ValueError, match="density=0"):
        generate(1, "dense", density=0)
    with pytest.raises(ValueError, match="steps=-1"):
        generate(1, "dense", steps=-1)
    with pytest.raises(ValueError, match="has no task"):
        generate(1, "dense", tasks=[])
    with pytest.raises(ValueError, match="'wide' has inputs"):
        generate(1, "dense", tasks=[LearningTask("wide", torch.randn(8, 5), y)])
    with pytest.raises(ValueError, match="needs 2 outputs"):
        generate(1, "dense", tasks=[LearningTask("two", x, torch.randn(8, 2))])
    with pytest.raises(ValueError, match="numbers and of classes mixed"):
        generate(1, "dense", tasks=[good, LearningTask("classes", x, torch.arange(8) % 2)])
    for targets in (torch.ones(8, 1), torch.zeros(8, dtype=torch.int64)):
        with pytest.raises(ValueError, match="targets of task 'flat' are all alike"):
            LearningTask("flat", x, targets)
    made = generate(2, "dense", tasks=[LearningTask("double", x.double(), y.double())], steps=1)
    assert made.tasks[0].inputs.dtype == made.tasks[0].targets.dtype == torch.float32
    with pytest.raises(ValueError, match="as many samples"):
        LearningTask("odd", x, y[:3])
    with pytest.raises(ValueError, match="targets of task 'nan' hold"):
        LearningTask("nan", x, y * torch.nan)
    with pytest.raises(ValueError, match="as \\[samples\\] of int64"):
        LearningTask("flat", x, y[:, 0])
    with pytest.raises(ValueError, match="an output for each class"):
        made_tasks(FRAMES[3], 1, seed=0, classes=True)
