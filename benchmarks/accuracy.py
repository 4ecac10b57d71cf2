"""Accuracy of pruned networks without training: by criterion, with and without the refit to calibration data.

Every network is pruned to a fraction of its multiply-accumulates. "as pruned" is what is left; "batch norms"
has their statistics measured anew on the calibration data, as is done with any pruner; "refit" has the
weights refitted to the same data without labels (`ng.prune(..., calibration=)`). Torch-Pruning beside it,
with the l2 criterion, global, layers that shortcuts tie left alone where it would else not run.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.accuracy_measures import merged, solves
from benchmarks.accuracy_networks import Data, Trained, trained
from benchmarks.cifar_resnet import peer_pruned, search
from benchmarks.common import Row, macs, parser, say, write

_HEADS = ("network", "MACs", "of all", "criterion", "samples", "as pruned", "batch norms", "refit", "CPU s")
# By network: the budgets, criteria and numbers of samples; the first of each with --quick.
_TABLE: dict[str, tuple[tuple[float, ...], tuple[str, ...], tuple[int, ...]]] = {
    "ResNet-56": ((0.5, 0.35, 0.7), ("l2", "fisher", "reconstruction", "taylor", "random"), (1024, 128)),
    "ResNet-20": ((0.5, 0.35, 0.7), ("l2", "fisher", "reconstruction", "random"), (512,)),
    "ResNet-8": ((0.5, 0.35, 0.7), ("l2", "fisher", "reconstruction", "random"), (512,)),
    "VGG": ((0.5, 0.35, 0.7), ("l2", "fisher", "reconstruction", "random"), (512,)),
    "res8": ((0.5, 0.35, 0.7), ("l2", "fisher", "reconstruction", "random"), (512,)),
}
_QUICK = {
    "ResNet-56": ((0.5,), ("fisher",), (1024, 128)),
    "ResNet-20": ((0.5,), ("l2", "fisher"), (512,)),
    "ResNet-8": ((0.5,), ("l2", "fisher"), (512,)),
    "res8": ((0.5,), ("l2", "fisher"), (512,)),
}


@torch.no_grad()
def accuracy(model: nn.Module, test: Data) -> float:
    """The share of the test data that a network names rightly."""
    model.eval()
    answers = torch.cat([model(batch) for batch in torch.split(test[0], 256)]).argmax(1)
    return float((answers == test[1]).float().mean())


@torch.no_grad()
def measured_anew(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """The network with the statistics of batch norms measured on these inputs."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
            module.train()
    for batch in torch.split(x, 128):
        model(batch)
    return model.eval()


def rows(net: Trained, budget: float, criteria: tuple[str, ...], samples: int) -> Iterator[Row]:
    """One row per criterion."""
    x, example = net.calibration[:samples], net.test[0][:1]
    full = macs(net.build(), (example,))
    for criterion in criteria:
        if criterion == "taylor" and net.name != "ResNet-56":
            continue
        options: dict[str, Any] = {"macs": budget, "utility": criterion, "calibration": x}
        if criterion == "taylor":
            options["loss"] = _own_labels
        plain, teacher = net.build(), net.build()
        started = time.process_time()
        ng.prune(plain, example, refit=False, **options)
        refitted = copy.deepcopy(plain)  # as ng.prune itself refits it
        edit = ng.reconstruct(refitted, teacher, x)
        seconds = time.process_time() - started
        once = accuracy(plain, net.test)
        yield _row(
            net, macs(refitted, (example,)), full, f"{criterion}", samples, once,
            accuracy(measured_anew(plain, x), net.test), accuracy(refitted, net.test), seconds,
        )  # fmt: skip
        say(f"{net.name}, macs={budget}, {criterion}, {samples} samples: {edit!r}")


def _own_labels(network: Any, batch: Any) -> torch.Tensor:
    """The loss with the network's own answers as labels."""
    x = batch if isinstance(batch, torch.Tensor) else batch[0]
    out = network(x)
    return nn.functional.cross_entropy(out, out.detach().argmax(1))


def _row(
    net: Trained, used: int, full: int, criterion: str, samples: int, once: float, anew: float,
    refit: float | None, seconds: float | None,
) -> Row:  # fmt: skip
    shown = "-" if refit is None else f"{refit:.2%}"
    values = (
        net.name, f"{used:,}", f"{used / full:.1%}", criterion, str(samples), f"{once:.2%}", f"{anew:.2%}",
        shown, "-" if seconds is None else f"{seconds:.1f}",
    )  # fmt: skip
    return dict(zip(_HEADS, values, strict=True))


def peer_row(net: Trained, budget: float, samples: int) -> Row | None:
    """Torch-Pruning at the same MACs, its batch norms measured on the same samples."""
    model: Any = net.build()
    example = net.test[0][:1]
    full = macs(model, (example,))
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    ignored: list[nn.Module] = list(last)
    if net.name.startswith("ResNet-") and net.name != "ResNet-8":
        stages = (model.layer1, model.layer2, model.layer3)
        ignored += [model.conv1, *[block.conv2 for stage in stages for block in stage]]
    try:
        _, pruned = search(lambda ratio: peer_pruned(model, ignored, example, ratio), example, full * budget)
    except Exception as error:
        say(f"Torch-Pruning on {net.name}: {error}")
        return None
    once = accuracy(pruned, net.test)
    anew = accuracy(measured_anew(pruned, net.calibration[:samples]), net.test)
    used = macs(pruned, (example,))
    return _row(net, used, full, "Torch-Pruning, l2", samples, once, anew, None, None)


def anchor_row(net: Trained, title: str, model: nn.Module) -> Row:
    """A network that others pruned and trained again."""
    example = net.test[0][:1]
    used, full = macs(model, (example,)), macs(net.build(), (example,))
    return {**_row(net, used, full, title, 0, 0, 0, accuracy(model, net.test), None), **_NOT_MEASURED}


_NOT_MEASURED = dict.fromkeys(("samples", "as pruned", "batch norms"), "-")


def cost(net: Trained, samples: int) -> Row:
    """The CPU time of a refit, with that of its solves apart, beside that of one run of the samples."""
    x, example = net.calibration[:samples], net.test[0][:1]
    teacher, model = net.build(), net.build()
    ng.prune(model, example, macs=0.5)
    with torch.no_grad():
        teacher(x[:64])
        started = time.process_time()
        for batch in torch.split(x, 64):
            teacher(batch)
        once = time.process_time() - started
    started = time.process_time()
    with solves() as solved:
        ng.reconstruct(model, teacher, x)
    seconds = time.process_time() - started
    return {
        "network": net.name, "samples": samples, "one run, CPU s": f"{once:.1f}",
        "refit, CPU s": f"{seconds:.1f}", "of it solves": f"{solved():.1f}",
        "without solves, in runs": f"{(seconds - solved()) / once:.1f}",
    }  # fmt: skip


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.accuracy --data ../shared/data --quick")
    arguments.add_argument("--quick", action="store_true", help="a part that takes less than five minutes")
    arguments.add_argument("--only", nargs="*", help="these networks alone")
    arguments.add_argument("--budgets", nargs="*", type=float, help="these fractions alone")
    arguments.add_argument("--criteria", nargs="*", help="these criteria alone")
    arguments.add_argument("--no-peer", action="store_true", help="without Torch-Pruning")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    nets, table = trained(given.data, given.seed), _QUICK if given.quick else _TABLE
    found: list[Row] = []
    base: list[Row] = []
    costs: list[Row] = []
    for name, (budgets, criteria, numbers) in table.items():
        if given.only and name not in given.only:
            continue
        net = nets[name]
        right, count = accuracy(net.build(), net.test), len(net.test[1])
        base.append({"network": name, "accuracy": f"{right:.2%}", "tested on": count})
        chosen = tuple(each for each in criteria if not given.criteria or each in given.criteria)
        for title, other in net.anchors:
            found.append(anchor_row(net, title, other()))
        costs.append(cost(net, max(numbers)))
        for budget in [each for each in budgets if not given.budgets or each in given.budgets]:
            for samples in numbers:
                found += rows(net, budget, chosen, samples)
            peers = None if given.no_peer else peer_row(net, budget, numbers[0])
            found += [] if peers is None else [peers]
            _write(given, base, found, costs)
    return 0


def _write(given: argparse.Namespace, base: list[Row], found: list[Row], costs: list[Row]) -> None:
    """Write what there is so far."""
    notes = (
        "Samples without labels, from data that is not tested on; no training. One standard deviation of an "
        "accuracy is about 0.8 points on 1,017 images. CPU s is all of ng.prune, with capture, criterion, "
        "program and refit."
    )
    title = "Accuracy without training"
    sections = [("Before", base), (title, found), ("Cost of the refit, macs=0.5", costs)]
    file = "accuracy_quick" if given.quick else "accuracy"
    write(given.out, file, merged(given.out, file, sections), notes)


if __name__ == "__main__":
    raise SystemExit(main())
