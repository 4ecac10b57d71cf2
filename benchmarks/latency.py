"""Latency budgets: asked, measured by `ng.prune`, and measured again in another process.

Each network is pruned to shares of its latency in a runtime. What was made is saved and timed beside the
network as it was, in 31 interleaved rounds of another process. Beside it, at equal measured latency: a budget
of multiply-accumulates corrected in the same way (a profile with one rate for all), and Torch-Pruning, whose
ratio is searched for by the same clock; the utility of each is the share of the l2 norms of neurons that the
best ones of its sizes have.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Row, minilm, parser, peer, resnet56, say, timm, torchvision, write
from benchmarks.unet import UNet
from naivegraph.latency.runtimes import runtime_of
from naivegraph.latency.stopwatch import clock_of, compare
from naivegraph.utility import utilities
from naivegraph.utility.ranking import NeuronRanking

SHARES = (0.75, 0.6, 0.45)
ROUNDS = 31

Made = tuple[nn.Module, tuple[Any, ...]]


def _image(size: int) -> tuple[torch.Tensor]:
    return (torch.randn(1, 3, size, size),)


def networks(data: Path) -> dict[str, Callable[[], Made]]:
    """The networks by name, each with an example."""

    def vision(name: str) -> Callable[[], Made]:
        """Make the maker of a network of torchvision."""
        return lambda: (getattr(torchvision(), name)(), _image(224))

    return {
        "resnet18": vision("resnet18"),
        "resnet50": vision("resnet50"),
        "mobilenet_v3_large": vision("mobilenet_v3_large"),
        "vit_small, 4 blocks": lambda: (
            timm().create_model("vit_small_patch16_224", depth=4), _image(224),
        ),
        "unet": lambda: (UNet(), _image(128)),
        "resnet56": lambda: (resnet56(data), _image(32)),
        "minilm": lambda: (minilm(), (torch.randint(1000, 20000, (1, 64)),)),
    }  # fmt: skip


@dataclasses.dataclass
class Case:
    """A network, an example, a runtime, and what to compare with."""

    name: str
    net: nn.Module
    args: tuple[Any, ...]
    runtime: str

    def again(self, pruned: nn.Module) -> tuple[float, float]:
        """The share of the latency that another process measures, and half of its interval."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pair.pt"
            torch.save((self.net, pruned, self.args), file)
            command = [
                sys.executable,
                "-m",
                "benchmarks.latency",
                "--again",
                str(file),
                "--runtime",
                self.runtime,
            ]
            threads = ["--threads", str(torch.get_num_threads())]
            done = subprocess.run([*command, *threads], capture_output=True, text=True, check=True)
        share, half = json.loads(done.stdout.splitlines()[-1])
        return share, half

    def utility(self, pruned: nn.Module) -> float:
        """The share of the neurons' l2 norms that the best neurons of these sizes have."""
        graph = ng.capture(self.net, self.args, verify=False)
        widths = graph.widths
        values = utilities(widths)
        tensors = dict(pruned.named_parameters()) | dict(pruned.named_buffers())
        kept = whole = 0.0
        for width in widths:
            place = next(
                ((n, d) for n, d in width.lives if widths.axes[n][d].terms == ((width.atom,),)), None
            )
            ranking = NeuronRanking(values[width], [], [])
            whole += float(ranking.sums[-1])
            size = width.size if place is None else tensors[place[0]].shape[place[1]]
            kept += float(ranking.sums[min(size, width.size)])
        return kept / whole


def again(file: Path, runtime: str) -> None:
    """Time a saved pair of networks; the last line is the share and half of its interval."""
    # A process that runs a network has loaded its weights and dropped what they came in, which changes how
    # much memory the C library keeps; so these are copies, too.
    net, pruned, args = copy.deepcopy(torch.load(file, weights_only=False))
    chosen = runtime_of(runtime)
    clock = clock_of(torch.device("cpu"), on_thread=chosen.on_thread)
    runs = [chosen.prepare(each.eval(), args, {}) for each in (pruned, net)]
    found = compare(runs[0], runs[1], clock, least=ROUNDS, most=ROUNDS, patience=300)
    print(json.dumps([found.value, (found.high - found.low) / 2]))


def by_macs(case: Case) -> ng.Profile:
    """A profile whose time is all in proportion to multiply-accumulates."""
    graph = ng.capture(case.net, case.args, verify=False)
    found = ng.profile(graph, runtime=case.runtime)
    rate = found.seconds / sum(call.macs for call in found.calls.values())
    calls = {
        name: dataclasses.replace(call, fixed=0.0, per_mac=rate, per_byte=0.0)
        for name, call in found.calls.items()
    }
    return dataclasses.replace(found, calls=calls, offset=0.0)


def by_peer(case: Case, share: float) -> nn.Module | None:
    """The network that Torch-Pruning's ratio makes whose latency is the share, by bisection."""
    pruning = peer()
    chosen = runtime_of(case.runtime)
    clock = clock_of(torch.device("cpu"), on_thread=chosen.on_thread)
    reference = chosen.prepare(case.net, case.args, {})
    low, high, best = 0.02, 0.95, None
    for _ in range(5):
        ratio = (low + high) / 2
        net = copy.deepcopy(case.net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1:]
            pruner = pruning.pruner.MagnitudePruner(
                net, case.args, importance=pruning.importance.MagnitudeImportance(p=2),
                pruning_ratio=ratio, ignored_layers=last, round_to=8,
            )  # fmt: skip
            pruner.step()
        try:
            found = compare(chosen.prepare(net, case.args, {}), reference, clock, most=25).value
        except RuntimeError:
            return None
        low, high = (ratio, high) if found > share else (low, ratio)
        if found <= share * 1.005:
            best = net
    return best


def measured(case: Case, share: float, compared: bool) -> Row:
    """One row of the table."""
    net = copy.deepcopy(case.net)
    started = time.process_time()
    report = ng.prune(net, case.args, latency=share, runtime=case.runtime, progress=say).latency
    seconds = time.process_time() - started
    assert report is not None
    found, half = case.again(net)
    row: dict[str, Any] = {
        "network": case.name,
        "asked": f"{share:.0%}",
        "rounds": str(report.rounds),
        "measured": f"{report.share:.1%}",
        "again": f"{found:.1%} ± {half:.1%}",
        "error": f"{found / share - 1:+.1%}",
        "CPU s": f"{seconds:.0f}",
        "utility": f"{case.utility(net):.1%}",
    }
    if report.unrounded is not None:
        row["unrounded"] = f"{report.unrounded.measured / report.measured:.2f} x the time"
    if compared:
        row |= _compared(case, share)
    return row


def _compared(case: Case, share: float) -> dict[str, str]:
    """The utility of a budget of multiply-accumulates, and of Torch-Pruning, at this latency."""
    out = {}
    other = copy.deepcopy(case.net)
    try:
        ng.prune(other, case.args, latency=share, runtime=case.runtime, profile=by_macs(case))
        out["utility by MACs"] = f"{case.utility(other):.1%}"
    except ng.EditError as error:
        out["utility by MACs"] = f"- ({type(error).__name__})"
    try:
        theirs = by_peer(case, share)
        out["Torch-Pruning"] = "-" if theirs is None else f"{case.utility(theirs):.1%}"
    except Exception as error:
        out["Torch-Pruning"] = f"- ({type(error).__name__})"
    return out


def main() -> None:
    """Measure, and write the table."""
    options = parser(__doc__, "python -m benchmarks.latency --networks resnet18 unet", threads=1)
    options.add_argument("--networks", nargs="+", default=None, help="some of the networks")
    options.add_argument("--shares", nargs="+", type=float, default=SHARES, help="latencies asked for")
    options.add_argument("--runtime", default="eager")
    options.add_argument("--compare", nargs="*", type=float, default=[0.6], help="shares to compare at")
    options.add_argument("--again", type=Path, default=None, help="time a saved pair; used by itself")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.again is not None:
        again(given.again, given.runtime)
        return
    rows: list[Row] = []
    for name, make in networks(given.data).items():
        if given.networks is not None and name not in given.networks:
            continue
        torch.manual_seed(given.seed)
        net, args = make()
        case = Case(name, net.eval(), args, given.runtime)
        for share in given.shares:
            say(f"{name}: {share:.0%} in {given.runtime}")
            try:
                rows.append(measured(case, share, share in given.compare))
            except ng.EditError as error:
                rows.append({"network": name, "asked": f"{share:.0%}", "measured": str(error)[:90]})
            gc.collect()
            _write(given.out, given.runtime, rows)


def _write(folder: Path, runtime: str, rows: list[Row]) -> None:
    errors = [abs(float(str(row["error"]).rstrip("%"))) for row in rows if "error" in row]
    middle = f"median distance {statistics.median(errors):.1f} %" if errors else "nothing measured"
    write(folder, f"latency_{runtime}", [(f"Latency in {runtime}", rows)], middle)


if __name__ == "__main__":
    main()
