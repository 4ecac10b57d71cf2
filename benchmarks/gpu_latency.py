"""Latency budgets on a GPU: ResNet-50 and ViT-B pruned to 60 % of their time in eager, by events.

Each answer is timed again beside the network as it was, 31 times in turns. It takes under five minutes:

    python -m benchmarks.gpu_latency --out results
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, write
from naivegraph.latency.runtimes import runtime_of
from naivegraph.latency.stopwatch import clock_of, compare

BATCH = 32


class Encoder(nn.Module):
    """A vision transformer of base size, of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.position = nn.Parameter(torch.randn(1, 196, 768) * 0.02)
        layer = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, norm_first=True)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(12))
        self.head = nn.Linear(768, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """The block of ResNet-50."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU())
        convolution = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.b = nn.Sequential(convolution, nn.BatchNorm2d(inner), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner))
        self.around = nn.Sequential()
        if stride != 1 or inputs != 4 * inner:
            shortcut = nn.Conv2d(inputs, 4 * inner, 1, stride, bias=False)
            self.around = nn.Sequential(shortcut, nn.BatchNorm2d(4 * inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.c(self.b(self.a(x))) + self.around(x)).relu()  # type: ignore[no-any-return]


def resnet50() -> nn.Module:
    """ResNet-50, without a package that has it."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    inputs = 64
    for inner, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            layers.append(Bottleneck(inputs, inner, stride if number == 0 else 1))
            inputs = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def measured(name: str, net: nn.Module, x: torch.Tensor, share: float) -> Row:
    """One row of the table."""
    pruned = copy.deepcopy(net)
    started = time.perf_counter()
    report = ng.prune(pruned, x, latency=share, progress=say).latency
    assert report is not None
    taken = time.perf_counter() - started
    eager, clock = runtime_of("eager"), clock_of(x.device, on_thread=True)
    args: tuple[Any, ...] = (x,)
    again = compare(
        eager.prepare(pruned.eval(), args, {}), eager.prepare(net, args, {}), clock, least=31, most=31
    )
    return {
        "network": name,
        "asked": f"{share:.0%}",
        "rounds": report.rounds,
        "measured": f"{report.share:.1%}",
        "again": f"{again.value:.1%}",
        "error": f"{again.value / share - 1:+.1%}",
        "before": f"{report.before * 1000:.2f} ms",
        "seconds": f"{taken:.0f}",
    }


def main() -> None:
    """Measure, and write the table."""
    options = parser(__doc__, "python -m benchmarks.gpu_latency")
    options.add_argument("--batch", type=int, default=BATCH, help="images of a batch")
    options.add_argument("--device", default="cuda", help="where it runs; cpu tries the script out")
    given = options.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --device cpu --batch 1 tries the script out")
    torch.manual_seed(given.seed)
    x = torch.randn(given.batch, 3, 224, 224, device=given.device)
    rows = []
    for name, net in (("ResNet-50", resnet50()), ("ViT-B", Encoder())):
        rows.append(measured(name, net.eval().to(given.device), x, 0.6))
        write(given.out, "gpu_latency", [("Latency on a GPU, eager", rows)], f"batch {given.batch}")


if __name__ == "__main__":
    main()
