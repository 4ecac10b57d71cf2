"""Two networks trained apart, averaged: before and after their neurons are put in one order.

Networks like ResNet-20 (one block in a stage, convolutions in the shortcuts, twice as wide, as wide ones
average better) are trained from other seeds on the same images: scikit-learn's digits, and the 8,068
original CIFAR-10 images of the data folder at half size, of which 1,017 others are the test. The second
network's neurons are put into the order of the first's by weights and by activations on the training
images; averages are tested as they are and with batch norms measured anew on the training images. No
average is trained.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.cifar_resnet import Data, images
from benchmarks.common import Row, params, parser, say, write


@dataclasses.dataclass(frozen=True)
class Task:
    """Images, and the networks and training for them."""

    name: str
    train: Data
    test: Data
    widths: tuple[int, ...]
    blocks: int
    epochs: int


class Block(nn.Module):
    """Two convolutions, and one in the shortcut where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Stages of blocks of these widths, each but the first at half the size."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        found, inputs = list[nn.Module](), widths[0]
        for stage, outputs in enumerate(widths):
            for number in range(blocks):
                found.append(Block(inputs, outputs, 2 if stage and not number else 1))
                inputs = outputs
        self.blocks, self.head = nn.Sequential(*found), nn.Linear(inputs, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def digits() -> tuple[Data, Data]:
    """scikit-learn's digits, 1,297 to train and 500 to test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images).float()[:, None] / 8 - 1
    y = torch.from_numpy(found.target).long()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, test = order[:1297], order[1297:]
    return (x[train], y[train]), (x[test], y[test])


def trained(task: Task, seed: int) -> nn.Module:
    """A network from another seed, which orders the batches, too."""
    torch.manual_seed(seed)
    net = ResNet(task.train[0].shape[1], task.widths, task.blocks)
    steps = task.epochs * (len(task.train[1]) // 128)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    x, y = task.train
    flips = x.shape[1] == 3
    for _ in range(task.epochs):
        for batch in torch.split(torch.randperm(len(y)), 128)[: len(y) // 128]:
            some = x[batch]
            if flips and torch.rand(()) < 0.5:
                some = some.flip(3)
            loss = F.cross_entropy(net(some), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    net.eval()
    return net


@torch.no_grad()
def tested(net: nn.Module, data: Data) -> tuple[float, float]:
    """Accuracy in percent, and loss."""
    out = torch.cat([net(batch) for batch in torch.split(data[0], 256)])
    loss = float(F.cross_entropy(out, data[1]))
    return 100 * float((out.argmax(1) == data[1]).float().mean()), loss


def row(task: Task, what: str, net: nn.Module, note: str = "") -> Row:
    accuracy, loss = tested(net, task.test)
    say(f"{task.name}: {what}: {accuracy:.1f} %")
    return {
        "images": task.name, "network": what, "test accuracy, %": f"{accuracy:.1f}",
        "test loss": f"{loss:.3f}", "cosine of weights": note,
    }  # fmt: skip


def compared(task: Task, seed: int) -> list[Row]:
    """The rows of one task."""
    one, two = (trained(task, seed + number) for number in (1, 2))
    rows = [row(task, "first", one), row(task, "second", two)]
    x = task.train[0]
    some = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:2048]]
    batches = list(torch.split(some, 256))
    for how in ("", "weights", "activations"):
        other, note = copy.deepcopy(two), ""
        if how:
            start = time.process_time()
            edit = ng.surgery.align(one, other, x[:2], data=None if how == "weights" else batches)
            seconds = time.process_time() - start
            note = f"{edit.notes[0].partition('weights ')[2].rstrip('.')}, {seconds:.1f} CPU s"
        title = f"average, aligned by {how}" if how else "average"
        rows.append(row(task, title, ng.surgery.average(one, other), note))
        repaired = ng.surgery.average(one, other, data=batches, example=x[:2])
        rows.append(row(task, f"{title}, norms measured anew", repaired))
    return rows


def shuffled(task: Task, seed: int) -> list[Row]:
    """A network and its copy in another order, put back."""
    net = trained(dataclasses.replace(task, epochs=2), seed)
    graph = ng.capture(net, task.train[0][:2])
    other, noise = copy.deepcopy(graph), copy.deepcopy(graph)
    with torch.no_grad():  # aligned to noise, a copy is in an order of no use
        for parameter in noise.parameters():
            parameter.normal_()
    ng.surgery.align(noise, other)
    moved = sum(not torch.equal(a, b) for a, b in zip(graph.parameters(), other.parameters(), strict=True))
    broken = tested(ng.surgery.average(net, other.module), task.test)[0]
    ng.surgery.align(graph, other)
    same = all(map(torch.equal, graph.module.state_dict().values(), other.module.state_dict().values()))
    restored = tested(ng.surgery.average(net, other.module), task.test)[0]
    return [{
        "images": task.name, "tensors moved": moved, "network, %": f"{tested(net, task.test)[0]:.1f}",
        "average with the copy, %": f"{broken:.1f}", "bit-equal after alignment": same,
        "average then, %": f"{restored:.1f}",
    }]  # fmt: skip


def main() -> None:
    options = parser(__doc__, "python -m benchmarks.rebasin --sets digits", threads=1)
    options.add_argument("--sets", nargs="+", choices=["digits", "cifar10"], default=["digits", "cifar10"])
    options.add_argument("--epochs", type=int, help="in place of 20 (digits) and 10 (CIFAR-10)")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    copies: list[Row] = []
    notes: list[str] = []
    for name in arguments.sets:
        task = _task(name, arguments.data, arguments.epochs)
        size = params(ResNet(task.train[0].shape[1], task.widths, task.blocks))
        notes.append(f"{task.name}: {size:,} parameters, widths {task.widths}, {task.epochs} epochs")
        rows += compared(task, arguments.seed)
        copies += shuffled(task, arguments.seed)
    sections = [("Two networks trained apart", rows), ("A network and its copy in another order", copies)]
    write(arguments.out, "rebasin", sections, "; ".join(notes) + ".")


def _task(name: str, data: Path, epochs: int | None) -> Task:
    if name == "digits":
        train, test = digits()
        return Task("digits", train, test, (32, 64, 128), 1, epochs or 20)
    train, test = map(_halved, images(data))
    return Task("CIFAR-10, half size", train, test, (32, 64, 128), 1, epochs or 10)


def _halved(part: Data) -> Data:
    """Images of half the height and width, which train in a quarter of the time."""
    return F.avg_pool2d(part[0], 2), part[1]


if __name__ == "__main__":
    main()
