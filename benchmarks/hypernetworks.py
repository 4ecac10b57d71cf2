"""Hypernetworks against direct training at equal CPU time; a layer that changes itself and its controls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.common import Row, params, parser, say, write
from naivegraph.demo import load_digits

KINDS = ("direct", "static", "dual", "nested")
RATE = 6e-3
WAYS, SIZE = 3, 16
CONTROLS: dict[str, dict[str, Any]] = {
    "keys of norm 1": {},
    "softmax keys": {"keys": "softmax"},
    "fixed matrix": {"modify": False},
}


class Residual(nn.Module):
    """Six convolutions of 16 channels with shortcuts."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.convs = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(16) for _ in range(6)])
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = x + F.relu(norm(conv(x)))
            if i in (1, 3):
                x = F.max_pool2d(x, 2)
        out: Tensor = self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))
        return out


class Images:
    """Images and labels, for training and for testing."""

    def __init__(self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
        self.train, self.test = train, test


def digits() -> Images:
    """Scikit-learn's digits; tested on others than those that rates and sizes were chosen by."""
    d = load_digits()
    images, labels = torch.cat([d.test_images, d.train_images]), torch.cat([d.test_labels, d.train_labels])
    return Images((images[:-500], labels[:-500]), (images[-500:], labels[-500:]))


def cifar(folder: Path) -> Images | None:
    """A subset of CIFAR-10 at half its size, where it is there."""
    path = folder / "cifar10" / "cifar10_original_subset.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        x = [torch.from_numpy(arrays[name]).float().permute(0, 3, 1, 2) for name in ("train_x", "test_x")]
        y = [torch.from_numpy(arrays[name]).long() for name in ("train_y", "test_y")]
    mean, std = x[0].mean((0, 2, 3), keepdim=True), x[0].std((0, 2, 3), keepdim=True)
    small = [F.avg_pool2d((each - mean) / std, 2) for each in x]
    return Images((small[0], y[0]), (small[1], y[1]))


def trained(model: nn.Module, images: Images, seconds: float) -> int:
    """Train for so much CPU time by Adam, the rate falling to zero; returns the steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    start, steps, left = time.process_time(), 0, 1.0
    x, y = images.train
    while left > 0:
        for some in torch.split(torch.randperm(len(x)), 64):
            loss = F.cross_entropy(model(x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
            left = 1 - (time.process_time() - start) / seconds
            optimizer.param_groups[0]["lr"] = RATE * max(left, 0.0)
            if left <= 0:
                break
    return steps


def accuracy(model: nn.Module, images: Images) -> float:
    """The share of test images told right, in eval mode."""
    model.eval()
    x, y = images.test
    with torch.no_grad():
        out = torch.cat([model(part) for part in torch.split(x, 250)])
    return (out.argmax(1) == y).double().mean().item()


def image_rows(images: Images, seeds: int, seconds: float) -> list[Row]:
    """A row for each kind."""
    rows: list[Row] = []
    for kind in KINDS:
        found: list[float] = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            net = Residual(images.train[0].shape[1], int(images.train[1].max()) + 1)
            example = images.train[0][:2]
            direct = kind == "direct"
            model = net if direct else ng.weights.hyper(net, example, layers="convs.*", z=64, kind=kind)
            steps = trained(model, images, seconds)
            found.append(accuracy(model, images))
        rows.append(
            {
                "weights": kind,
                "accuracy": f"{sum(found) / len(found):.3f}",
                "of each seed": ", ".join(f"{each:.3f}" for each in found),
                "parameters": params(model),
                "steps": steps,
                "CPU s": f"{seconds:g}",
            }
        )
        say(f"{kind}: {rows[-1]['accuracy']}")
    return rows


class InContext(nn.Module):
    """Two blocks, each a layer that changes itself and two linear ones."""

    def __init__(self, width: int = 32, **options: Any) -> None:
        super().__init__()
        make = ng.weights.SelfReferential
        self.first, self.last = nn.Linear(SIZE + WAYS, width), nn.Linear(width, WAYS)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), make(width, width, heads=4, **options)) for _ in range(2)
        )
        self.between = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for layer, between in zip(self.layers, self.between, strict=True):
            h = h + layer(h)
            h = h + between(h)
        out: Tensor = self.last(h[:, -1])
        return out


def episodes(count: int, made: torch.Generator) -> tuple[Tensor, Tensor]:
    """Three noisy vectors with their labels, in any order, then one more, whose label is asked for."""
    centres = torch.randn(count, WAYS, SIZE, generator=made)
    labels = torch.rand(count, WAYS, generator=made).argsort(1)
    asked, rows = torch.randint(WAYS, (count,), generator=made), torch.arange(count)
    shown = centres + 0.2 * torch.randn(centres.shape, generator=made)
    query = centres[rows, asked] + 0.2 * torch.randn(count, SIZE, generator=made)
    sequence = torch.cat([shown, F.one_hot(labels, WAYS).float()], -1)
    last = torch.cat([query, torch.zeros(count, WAYS)], -1)[:, None]
    return torch.cat([sequence, last], 1), labels[rows, asked]


def context_rows(seeds: int, seconds: float) -> list[Row]:
    """A row for the layer and each of its controls."""
    rows: list[Row] = []
    test = episodes(2000, torch.Generator().manual_seed(10_000))
    for name, options in CONTROLS.items():
        found: list[float] = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            net, made = InContext(**options), torch.Generator().manual_seed(seed)
            optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
            start, steps = time.process_time(), 0
            while time.process_time() - start < seconds:
                x, label = episodes(128, made)
                loss = F.cross_entropy(net(x), label)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                steps += 1
            with torch.no_grad():
                found.append((net(test[0]).argmax(1) == test[1]).double().mean().item())
        rows.append(
            {
                "layer": name,
                "accuracy": f"{sum(found) / len(found):.3f}",
                "of each seed": ", ".join(f"{each:.3f}" for each in found),
                "steps": steps,
                "CPU s": f"{seconds:g}",
            }
        )
        say(f"{name}: {rows[-1]['accuracy']}")
    return rows


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.hypernetworks --seeds 2", threads=1)
    options.add_argument("--seeds", type=int, default=2, help="networks of each kind")
    options.add_argument("--seconds", type=float, default=10, help="CPU time of each training")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    sections = [("Digits, 500 test images", image_rows(digits(), args.seeds, args.seconds))]
    images = cifar(args.data)
    if images is not None:
        title = f"CIFAR-10, {len(images.train[0]):,} images at 16 by 16, {len(images.test[0]):,} to test"
        sections.append((title, image_rows(images, 1, args.seconds)))
    title = "Three classes in context, one example of each, 2,000 test sequences; chance is .333"
    sections.append((title, context_rows(args.seeds, args.seconds)))
    write(
        args.out,
        "hypernetworks",
        sections,
        "Six convolutions of 16x16x3x3 are made by hypernetworks with embeddings of 64 numbers; stem, norms "
        f"and head are parameters. Adam, {RATE:g} falling to 0. The CPU time is the same for all. "
        "Rates and sizes were chosen on other images than those of these tests.",
    )


if __name__ == "__main__":
    main()
