"""ResNet-56 on real CIFAR-10 images, pruned to half of its multiply-accumulates, beside Torch-Pruning.

Both take the l2 criterion, global, and the same fine-tuning: SGD with Nesterov momentum 0.9, weight decay
5e-4, one-cycle learning rate up to 0.02, batches of 128, random crops (padding 4) and flips, the same seed.
The recipe was picked once and not tuned for either.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.common import Block, Row, data_file, gap, macs, params, parser, peer, resnet56, say, write

Data = tuple[torch.Tensor, torch.Tensor]


class ConvolvedBlock(Block):
    """The same function, its shortcut a strided 1x1 convolution with ones where the channels go."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.shortcut_conv = nn.Conv2d(inputs, outputs, 1, 2, bias=False) if stride != 1 else None
        if self.shortcut_conv is not None:
            ones = torch.eye(inputs)[:, :, None, None]
            self.shortcut_conv.weight.data = F.pad(ones, (0, 0, 0, 0, 0, 0, self.pad, self.pad))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.shortcut_conv is None else self.shortcut_conv(x)


def images(data: Path) -> tuple[Data, Data]:
    """The training and the test images, normalised as the published weights want them."""
    archive = np.load(data_file(data, "cifar10/cifar10_original_subset.npz"))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    scale = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def part(name: str) -> Data:
        pixels = torch.from_numpy(archive[f"{name}_x"]).permute(0, 3, 1, 2).float() / 255
        return (pixels - mean) / scale, torch.from_numpy(archive[f"{name}_y"]).long()

    return part("train"), part("test")


def correct(model: nn.Module, test: Data) -> int:
    """How many test images a network names rightly."""
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(batch) for batch in torch.split(test[0], 256)]).argmax(1)
    return int((answers == test[1]).sum())


def finetune(model: nn.Module, train: Data, epochs: int, seed: int, label: str) -> float:
    """The recipe; gives the seconds it took."""
    started, generator = time.perf_counter(), torch.Generator().manual_seed(seed)
    x, y = train
    steps = epochs * (len(x) // 128)
    optimiser = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=steps, pct_start=0.1)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(len(x), generator=generator)[: len(x) // 128 * 128]
        for places in order.view(-1, 128):
            loss = F.cross_entropy(model(_augmented(x[places], generator)), y[places])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        say(f"{label}: epoch {epoch + 1} of {epochs}, mean loss {total / (len(x) // 128):.3f}")
    model.eval()
    return time.perf_counter() - started


def _augmented(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image shifted by up to 4 pixels with zeros moving in, and mirrored half of the time."""
    flip = torch.rand(len(batch), generator=generator) < 0.5
    batch = torch.where(flip[:, None, None, None], batch.flip(3), batch)
    rows, columns = torch.randint(0, 9, (2, len(batch), 1), generator=generator)
    rows, columns = rows + torch.arange(32), columns + torch.arange(32)
    padded = F.pad(batch, (4, 4, 4, 4))
    numbers = torch.arange(len(batch))[:, None, None]
    return padded[numbers, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


# -- the peer --


def peer_pruned(net: nn.Module, ignored: list[nn.Module], example: torch.Tensor, ratio: float) -> nn.Module:
    """A copy of `net` pruned by Torch-Pruning: global, group l2 magnitude; `ignored` are layers of `net`."""
    tp = peer()
    model = copy.deepcopy(net)
    same = dict(zip(net.modules(), model.modules(), strict=True))
    pruner = tp.pruner.BasePruner(
        model,
        example,
        tp.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[same[layer] for layer in ignored],
    )
    pruner.step()
    return model


def search(
    make: Callable[[float], nn.Module], example: torch.Tensor, budget: float
) -> tuple[float, nn.Module]:
    """The smallest pruning ratio, to a ten-thousandth, with which the network meets `budget` from below."""
    low, high = 0, 9999
    while high - low > 1:
        middle = (low + high) // 2
        if macs(make(middle / 10000), (example,)) <= budget:
            high = middle
        else:
            low = middle
    return high / 10000, make(high / 10000)


def peers(
    data: Path, example: torch.Tensor, budget: int
) -> tuple[list[tuple[str, nn.Module | None]], list[str]]:
    """Networks pruned by Torch-Pruning in three ways, by name, with sentences on how each went."""
    plain = resnet56(data)
    out: list[tuple[str, nn.Module | None]] = []
    notes = []
    say("Torch-Pruning, global, as it comes")
    try:
        ratio, model = search(lambda r: peer_pruned(plain, [plain.linear], example, r), example, budget)
        out.append((f"Torch-Pruning, as it comes (ratio {ratio})", model))
    except RuntimeError as error:
        out.append(("Torch-Pruning, as it comes", None))
        tried = (0.1, 0.2, 0.3, 0.4, 0.5)
        runs = [r for r in tried if _runs(peer_pruned(plain, [plain.linear], example, r), example)]
        notes.append(
            f"Torch-Pruning as it comes leaves a network that does not run: {error}. Of the ratios "
            f"{', '.join(map(str, tried))}, those that run: {', '.join(map(str, runs)) or 'none'}."
        )
    say("Torch-Pruning, layers tied by the shortcuts ignored")
    blocks: list[Any] = [block for stage in (plain.layer1, plain.layer2, plain.layer3) for block in stage]
    tied: list[nn.Module] = [plain.linear, plain.conv1, *[block.conv2 for block in blocks]]
    ratio, model = search(lambda r: peer_pruned(plain, tied, example, r), example, budget)
    out.append((f"Torch-Pruning, `ignored_layers`: all whose outputs a shortcut ties (ratio {ratio})", model))
    say("Torch-Pruning, zero-padded shortcuts rewritten as 1x1 convolutions")
    rewritten = resnet56(data, ConvolvedBlock)
    _check_same(plain, rewritten)
    ratio, model = search(lambda r: peer_pruned(rewritten, [rewritten.linear], example, r), example, budget)
    out.append((f"Torch-Pruning, model rewritten: shortcuts as 1x1 convolutions (ratio {ratio})", model))
    return out, notes


def _runs(model: nn.Module, example: torch.Tensor) -> bool:
    try:
        macs(model, (example,))
    except RuntimeError:
        return False
    return True


def _check_same(one: nn.Module, two: nn.Module) -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if not torch.allclose(one(x), two(x), atol=1e-5):
            raise SystemExit("the rewritten network computes something else")


# -- the table --


def row(
    name: str, model: nn.Module | None, given: Any, train: Data, test: Data, budget: int, gap: str = ""
) -> Row:
    """Count, measure, fine-tune and measure again."""
    if model is None:
        return {**dict.fromkeys(_HEADS, "-"), "network": name, "MACs": "does not run"}
    count, example = len(test[1]), test[0][:1]
    used, once = macs(model, (example,)), correct(model, test)
    seconds = finetune(model, train, given.epochs, given.seed, name)
    tuned = correct(model, test)
    values = [
        name,
        f"{used:,}",
        f"{used / budget:.3%}",
        f"{params(model):,}",
        gap or "-",
        f"{once / count:.2%}",
        f"{tuned / count:.2%} ({tuned})",
        f"{seconds:.0f}",
    ]
    return dict(zip(_HEADS, values, strict=True))


_HEADS = (
    "network",
    "MACs",
    "of the budget",
    "parameters",
    "gap",
    "top-1 one-shot",
    "top-1 fine-tuned",
    "fine-tuning s",
)


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.cifar_resnet --data ../shared/data --epochs 3")
    arguments.add_argument("--macs", type=float, default=0.5, help="budget, as a fraction")
    arguments.add_argument("--epochs", type=int, default=3, help="epochs of fine-tuning")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    train, test = images(given.data)
    net, example = resnet56(given.data), test[0][:1]
    full = macs(net, (example,))
    budget = int(full * given.macs)
    say(f"ResNet-56: {full:,} MACs, {correct(net, test) / len(test[1]):.2%}; pruning to {budget:,}")
    rows = [row("ResNet-56 before", net, given, train, test, budget)]
    model = resnet56(given.data)
    started = time.process_time()
    edit = ng.prune(model, example, macs=given.macs)
    say(f"naivegraph took {time.process_time() - started:.2f} CPU s")
    right = edit.after.macs == macs(model, (example,)) and gap(edit) <= 1e-3
    right = right and 0.99 * budget <= edit.after.macs <= budget
    rows.append(row("naivegraph", model, given, train, test, budget, f"{gap(edit):.4%}"))
    others, notes = peers(given.data, example, budget)
    rows += [row(name, other, given, train, test, budget) for name, other in others]
    notes += [
        f"{given.epochs} epochs of fine-tuning on {len(train[1]):,} images, tested on {len(test[1]):,} "
        "(one standard deviation is about 0.8 points). Torch-Pruning's ratio is the smallest that meets the "
        "budget from below, as ours does. MACs by torch.utils.flop_counter on the network that is tested.",
    ]
    write(given.out, "cifar_resnet", [(f"ResNet-56, macs={given.macs}", rows)], " ".join(notes))
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
