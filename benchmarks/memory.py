"""Predicted memory of pruned networks beside what torch's allocator hands out in their runs.

Each network is pruned at random, and its peak memory and the bytes that autograd saves are predicted from one
run before the pruning. Then the pruned network runs under torch's profiler, whose events of the allocator are
summed up. In the end a budget of memory is asked for and measured in the same way.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import naivegraph as ng
from benchmarks.common import Row, gap, parser, say, torchvision, write
from benchmarks.unet import UNet

NETWORKS = ("resnet18", "mobilenet_v3_large", "densenet121", "unet", "vit_small")
SHARES = (0.3, 0.9)  # of multiply-accumulates, between which random prunings are


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network in eval mode with random weights, and two images for it."""
    if name == "unet":
        return UNet().eval(), torch.randn(2, 3, 64, 64)
    if name == "vit_small":
        import timm

        return timm.create_model("vit_small_patch16_224", img_size=96).eval(), torch.randn(2, 3, 96, 96)
    return getattr(torchvision(), name)().eval(), torch.randn(2, 3, 96, 96)


def allocated(run: Callable[[], Any]) -> tuple[int, int]:
    """The most bytes that a run has allocated at one time, and those of what it returns, at its end."""
    gc.collect()
    gc.disable()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = run()
    gc.enable()
    events: Any = profiled.profiler
    sizes = [(e.start_ns(), e.nbytes()) for e in events.kineto_results.events() if e.name() == "[memory]"]
    del result
    total = most = 0
    for _, size in sorted(sizes, key=lambda event: event[0]):
        total += size
        most = max(most, total)
    return most, total


def peak(model: nn.Module, image: Tensor) -> int:
    """The most that a run has allocated at one time."""
    with torch.no_grad():
        return allocated(lambda: model(image))[0]


def saved(model: nn.Module, image: Tensor) -> int:
    """The bytes that autograd has saved after a run in train mode."""
    model.train()
    try:
        return allocated(lambda: model(image).grad_fn)[1]
    finally:
        model.eval()


def compared(name: str, what: str, predicted: float, measured: int) -> Row:
    """A line of the table."""
    return {
        "network": name,
        "what": what,
        "predicted": f"{predicted:,.0f}",
        "measured": f"{measured:,}",
        "error": f"{predicted / measured - 1:+.2%}",
    }


def random_prunings(name: str, times: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Lines for peaks, and for what is saved in training."""
    rng = random.Random(f"{name} {seed}")
    peaks: list[Row] = []
    saves: list[Row] = []
    for number in range(times):
        torch.manual_seed(seed + number)
        model, image = network(name)
        share = rng.uniform(*SHARES)
        options: dict[str, Any] = {"utility": "random", "gap": 0.1, "at_least": 1}
        edit = ng.prune(model, image, macs=share, memory=1.0, training_memory=1.0, **options)
        what = f"{edit.after.macs / edit.before.macs:.0%} of MACs"
        peaks.append(compared(name, what, edit.after["memory"], peak(model, image)))
        saves.append(compared(name, what, edit.after["training_memory"], saved(model, image)))
        say(f"{name}, {what}: {peaks[-1]['error']} and {saves[-1]['error']}")
    return peaks, saves


def budget(name: str, share: float, seed: int) -> Row:
    """The line of a budget of memory."""
    torch.manual_seed(seed)
    model, image = network(name)
    before = peak(model, image)
    started = time.process_time()
    edit = ng.prune(model, image, memory=share)
    seconds = time.process_time() - started
    after = peak(model, image)
    say(f"{name}: memory={share} in {seconds:.1f} s")
    return {
        "network": name,
        "asked": f"{share:.0%}",
        "predicted": f"{edit.after['memory'] / edit.before['memory']:.2%}",
        "measured": f"{after / before:.2%}",
        "gap": f"{gap(edit):.3%}",
        "CPU s": f"{seconds:.1f}",
    }


def summary(peaks: list[Row]) -> str:
    """Whether the predictions are what they are to be."""
    equal = sum(row["predicted"] == row["measured"] for row in peaks)
    lowest = min(float(str(row["error"]).rstrip("%")) for row in peaks)
    return (
        f"Peaks predicted to the byte: {equal} of {len(peaks)}; the lowest is {lowest:+.2f} % off. "
        "Wanted: equal on 90 %, none more than 2 % too low."
    )


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.memory --networks resnet18 unet", threads=1)
    arguments.add_argument("--networks", nargs="+", default=list(NETWORKS), help="which networks")
    arguments.add_argument("--times", type=int, default=3, help="random prunings of each")
    arguments.add_argument("--share", type=float, default=0.6, help="budget of memory that is asked for")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    peaks: list[Row] = []
    saves: list[Row] = []
    for name in given.networks:
        found = random_prunings(name, given.times, given.seed)
        peaks += found[0]
        saves += found[1]
    budgets = [budget(name, given.share, given.seed) for name in given.networks]
    sections = [
        ("Peaks of random prunings, in bytes", peaks),
        ("Bytes that autograd saves in train mode", saves),
        ("Budgets of memory", budgets),
    ]
    write(given.out, "memory", sections, summary(peaks))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
