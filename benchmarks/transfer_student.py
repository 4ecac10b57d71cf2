"""Smaller networks filled from bigger ones, before any training: ResNet-56 to ResNet-20, ResNet-20 at half of
its widths, MiniLM from six layers to four; beside random weights and the ways of the peers.

The peers copy some of the blocks, and evenly spread neurons of each layer (Xu et al., "Initializing models
with larger ones", ICLR 2024); batch norms are then measured anew on the same images. Ours takes these images,
too, without their labels. Each seed draws other images; tests are on images (pairs) that none of it sees.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.accuracy_text import SentenceEncoder, sentences
from benchmarks.cifar_resnet import Data, correct, images
from benchmarks.common import (
    Block,
    CifarResNet,
    Row,
    cifar_resnet,
    minilm,
    parser,
    resnet56,
    say,
    transformers,
    write,
)  # fmt: skip

SAMPLES, LABELLED = 256, 2000

# A way to fill a network from another, on some images: its report, if there is one.
Way = Callable[[nn.Module, nn.Module, torch.Tensor], ng.transfer.StudentReport | None]


class NarrowResNet(CifarResNet):
    """ResNet-20 of other widths."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__(3)
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        before = widths[0]
        for number, width in enumerate(widths):
            first = Block(before, width, 2 if number else 1)
            stage = nn.Sequential(first, Block(width, width, 1), Block(width, width, 1))
            setattr(self, f"layer{number + 1}", stage)
            before = width
        self.linear = nn.Linear(before, 10)


# -- ways --


def _random(small: nn.Module, big: nn.Module, x: torch.Tensor) -> None:
    """Leave it as its constructor made it."""


def _measured_anew(small: nn.Module, x: torch.Tensor) -> None:
    """Give batch norms the statistics of some images."""
    norms = [module for module in small.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    small.train()
    with torch.no_grad():
        for batch in torch.split(x, 64):
            small(batch)
    for norm in norms:
        norm.momentum = 0.1
    small.eval()


def _block_copies(small: nn.Module, big: nn.Module, x: torch.Tensor) -> ng.transfer.StudentReport:
    """Every third block, batch norms measured anew."""
    depth = {f"layer{s}.{n}": [f"layer{s}.{3 * n}"] for s in (1, 2, 3) for n in range(3)}
    report = ng.transfer.student(small, big, x[:2], depth=depth)
    _measured_anew(small, x)
    return report


def _evenly(small: nn.Module, big: nn.Module, x: torch.Tensor) -> ng.transfer.StudentReport:
    """Evenly spread neurons, batch norms measured anew."""
    report = ng.transfer.student(small, big, x[:2], select="uniform")
    _measured_anew(small, x)
    return report


def _ours(**options: Any) -> Way:
    def fill(small: nn.Module, big: nn.Module, x: torch.Tensor) -> ng.transfer.StudentReport:
        return ng.transfer.student(small, big, x[:2], calibration=x, **options)

    return fill


# -- measuring --


def _trained(model: nn.Module, train: Data, test: Data, rate: float, seed: int) -> list[float]:
    """Top-1 after each of three epochs on a few labelled images, at a constant rate."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4)
    chosen = torch.randperm(len(train[0]), generator=generator)[:LABELLED]
    found = []
    for _ in range(3):
        model.train()
        for places in torch.split(chosen[torch.randperm(LABELLED, generator=generator)], 64):
            x = train[0][places]
            flip = torch.rand(len(x), generator=generator) < 0.5
            loss = F.cross_entropy(
                model(torch.where(flip[:, None, None, None], x.flip(3), x)), train[1][places]
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found.append(correct(model, test) / len(test[1]))
    return found


def _rows(
    build: Callable[[], nn.Module],
    big: nn.Module,
    ways: dict[str, Way],
    data: tuple[Data, Data],
    given: Any,
) -> list[Row]:
    """A row per way: top-1 for each seed, CPU seconds, agreement, and epochs of training if wanted."""
    train, test = data
    rows: list[Row] = []
    for name, fill in ways.items():
        scores, seconds, agreements, epochs = [], [], [], []
        for seed in range(given.seeds):
            torch.manual_seed(seed)
            order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed))
            small = build().eval()
            started = time.process_time()
            report = fill(small, big, train[0][order[:SAMPLES]])
            seconds.append(time.process_time() - started)
            scores.append(correct(small, test) / len(test[1]))
            if report is not None and report.agreement is not None:
                agreements.append(report.agreement)
            say(f"{name}, seed {seed}: {scores[-1]:.2%} in {seconds[-1]:.1f} CPU s")
            if given.train:
                rate = 0.02 if report is None else report.learning_rate
                epochs.append(_trained(small, train, test, rate, seed))
        row: dict[str, object] = {
            "initialisation": name,
            "top-1 untrained, by seed": ", ".join(f"{score:.1%}" for score in scores),
            "mean": f"{sum(scores) / len(scores):.1%}",
            "CPU s": f"{sum(seconds) / len(seconds):.1f}",
            "agreement, held out": ", ".join(f"{each:.3f}" for each in agreements) or "-",
        }
        if given.train:
            means = [sum(each) / len(each) for each in zip(*epochs, strict=True)]
            row["after 1, 2, 3 epochs"] = ", ".join(f"{mean:.1%}" for mean in means)
        rows.append(row)
    return rows


def _text(given: Any) -> list[Row]:
    """MiniLM with four of six layers."""
    rows: list[Row] = []
    ways: dict[str, dict[str, Any] | None] = {
        "random": None,
        "layers 0 1 2 3": {"depth": {_layer(n): [_layer(n)] for n in range(4)}},
        "chosen without labels": {"depth": "choose"},
    }
    for name, options in ways.items():
        scores, seconds = [], []
        for seed in range(given.seeds):
            subject = sentences(given.data, seed, 96, given.pairs)
            big = subject.build()
            encoder: Any = minilm()
            config = copy.deepcopy(encoder.config)
            config.num_hidden_layers = 4
            torch.manual_seed(seed)
            small = SentenceEncoder(transformers().AutoModel.from_config(config)).eval()
            args, kwargs = subject.example
            started = time.process_time()
            if options is not None:
                data = subject.calibration if options["depth"] == "choose" else None
                ng.transfer.student(small, big, args, kwargs=kwargs, calibration=data, **options)
            seconds.append(time.process_time() - started)
            scores.append(subject.measure(small))
            say(f"MiniLM, {name}, seed {seed}: {scores[-1]:.4f} in {seconds[-1]:.1f} CPU s")
        rows.append(
            {
                "initialisation": name,
                "Spearman on STS-B, by seed": ", ".join(f"{score:.3f}" for score in scores),
                "CPU s": f"{sum(seconds) / len(seconds):.1f}",
            }
        )
    return rows


def _layer(number: int) -> str:
    return f"encoder.encoder.layer.{number}"


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.transfer_student --data ../shared/data --train", 1)
    arguments.add_argument("--seeds", type=int, default=3, help="draws of calibration data")
    arguments.add_argument("--pairs", type=int, default=600, help="pairs of sentences to test MiniLM on")
    arguments.add_argument("--train", action="store_true", help="three epochs on 2,000 labelled images, too")
    arguments.add_argument("--text", action="store_true", help="MiniLM, too (needs transformers)")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    data = images(given.data)
    deep: dict[str, Way] = {
        "random": _random,
        "blocks 0 3 6, batch norms anew": _block_copies,
        "merged blocks": _ours(),
    }
    narrow: dict[str, Way] = {
        "random": _random,
        "evenly spread neurons, batch norms anew": _evenly,
        "largest weights, refitted": _ours(select="l2"),
        "least missed by the others, refitted": _ours(),
    }
    resnet20 = cifar_resnet(given.data, "resnet20-12fca82f.th", 3)
    sections = [
        ("ResNet-56 to ResNet-20", _rows(lambda: CifarResNet(3), resnet56(given.data), deep, data, given)),
        (
            "ResNet-20 to half of its widths",
            _rows(lambda: NarrowResNet((8, 16, 32)), resnet20, narrow, data, given),
        ),
    ]
    if given.text:
        sections.append(("MiniLM, six layers to four", _text(given)))
    notes = (
        f"{SAMPLES} images without labels, tested on {len(data[1][1]):,} others (one standard deviation is "
        "about 1.3 points at 79 %); 96 sentences for MiniLM. Agreement is the correlation of outputs with "
        "the teacher's on every 8th of these inputs, which no solution saw. Training: SGD, momentum 0.9, "
        "the rate that the report suggests (random weights: 0.02)."
    )
    write(given.out, "transfer_student", sections, notes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
