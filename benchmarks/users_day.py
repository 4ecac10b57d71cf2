"""A day with a pretrained network: other channels, other classes, fewer blocks, trained, exported.

EfficientNet-Lite0 with its ImageNet weights is made a network for the ten classes of CIFAR-10 and images of
four channels (the fourth is their brightness), shortened by a budget, fine-tuned for two minutes, and
exported to ONNX, where it is run. Each step has a row: how many test images it tells right, and the time of
a run.

Needs ``pip install -e .[onnxruntime] timm`` and the packages of benchmarks/common.py.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.common import Row, data_file, efficientnet_lite0, parser, say, write

_SIDE = 96


def images(data: Path, part: str, count: int) -> tuple[Tensor, Tensor]:
    """The first images of a part, 96 pixels a side, as the network wants them, and their classes."""
    archive = np.load(data_file(data, "cifar10/cifar10_original_subset.npz"))
    x = torch.from_numpy(archive[f"{part}_x"][:count]).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=_SIDE, mode="bilinear", align_corners=False)
    return (x - 127) / 128, torch.from_numpy(archive[f"{part}_y"][:count]).long()


def with_brightness(x: Tensor) -> Tensor:
    """Images with the mean of their colours as a fourth channel."""
    return torch.cat([x, x.mean(1, keepdim=True)], 1)


@torch.no_grad()
def accuracy(run: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The share of images whose class is found."""
    return float(torch.cat([run(batch).argmax(1) for batch in torch.split(x, 64)]).eq(y).float().mean())


def fine_tune(net: nn.Module, groups: Any, x: Tensor, y: Tensor, seconds: float) -> int:
    """Train for so many seconds of wall time; the number of steps made."""
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    # Batch norms keep what they know: so few images would say it worse.
    net.eval()
    generator, end, steps = torch.Generator().manual_seed(0), time.monotonic() + seconds, 0
    rates = [group["lr"] for group in optimizer.param_groups]
    while (left := end - time.monotonic()) > 0:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, 2 * left / seconds)
        batch = torch.randint(len(x), (32,), generator=generator)
        flipped = x[batch].flip(3) if steps % 2 else x[batch]
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(flipped), y[batch], label_smoothing=0.1))
        optimizer.step()
        steps += 1
    return steps


def exported(net: nn.Module, example: Tensor, folder: Path) -> Callable[[Tensor], Tensor]:
    """The network as onnxruntime runs it, for any number of images."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    path = folder / "network.onnx"
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(net, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: batch},))
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    program.save(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def milliseconds(run: Callable[[Tensor], Tensor], x: Tensor, turns: int = 31) -> float:
    """The median time of a run on one image."""
    with torch.no_grad():
        run(x)
        times = []
        for _ in range(turns):
            start = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def day(data: Path, seconds: float, trained_on: int, folder: Path) -> list[Row]:
    """Every step of the day, each with what it left."""
    train_x, train_y = images(data, "train", trained_on)
    test_x, test_y = images(data, "test", 1017)
    rows: list[Row] = []

    def note(step: str, run: Callable[[Tensor], Tensor], x: Tensor, told: str = "") -> None:
        """Add a row."""
        rows.append(
            {
                "step": step,
                "right": f"{accuracy(run, x, test_y):.1%}" if x.shape[0] == len(test_y) else "",
                "ms per image": f"{milliseconds(run, x[:1]):.1f}",
                "parameters": f"{ng.Costs.of_module(net).params:,}",
                "note": told,
            }
        )
        say(f"{step}: {rows[-1]['right']}, {rows[-1]['ms per image']} ms. {told}")

    net = efficientnet_lite0()
    graph = ng.capture(net, test_x[:2])
    # 1. The ten classes: each starts as the old class that the network finds most in 32 examples of it.
    examples = {label: train_x[train_y == label][:32] for label in range(10)}
    head = ng.transfer.head(graph, "classifier", classes=10, new="nearest", examples=examples)
    note("ten classes of the nearest old ones", net, test_x, head.notes[-1])
    # 2. A fourth channel, without effect until it is trained.
    name = graph.inputs[0].name
    channel = ng.transfer.inputs(graph, name, channels=4)
    train_x, test_x = with_brightness(train_x), with_brightness(test_x)
    note("a fourth channel", net, test_x, channel.notes[-1])
    # 3. Blocks and neurons left out, the rest refitted to 128 images without labels.
    shorter = ng.prune(graph, macs=0.7, depth=True, calibration=list(torch.split(train_x[:128], 32)))
    net = graph.to_module()  # EfficientNet's own forward does not know which blocks are left
    left = f"left out: {', '.join(shorter.dropped) or 'no block'}; gap {shorter.certificate.gap:.3%}" if (
        shorter.certificate is not None
    ) else ""  # fmt: skip
    note("70 % of the multiply-accumulates", net, test_x, left)
    # 4. Training, with rates by what the edits did.
    groups = ng.transfer.parameter_groups(net, [head, channel], lr=1e-3)
    steps = fine_tune(net, groups, train_x, train_y, seconds)
    note(f"fine-tuned for {seconds:.0f} s", net, test_x, f"{steps} steps of 32 images")
    # 5. ONNX.
    run = exported(net, test_x[:2], folder)
    with torch.no_grad():
        apart = float((run(test_x[:8]) - net(test_x[:8])).abs().max())
    note("in onnxruntime", run, test_x, f"differs from torch by {apart:.1e}")
    return rows


def main() -> None:
    """Run the day and write its table."""
    options = parser(
        __doc__, "python -m benchmarks.users_day --data ../shared/data --out /tmp/out", threads=1
    )
    options.add_argument("--seconds", type=float, default=120.0, help="of fine-tuning")
    options.add_argument("--images", type=int, default=2000, help="labelled images to train on")
    given = options.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = day(given.data, given.seconds, given.images, Path(folder))
    write(given.out, "users_day", [("EfficientNet-Lite0 for ten classes and four channels", rows)])


if __name__ == "__main__":
    main()
