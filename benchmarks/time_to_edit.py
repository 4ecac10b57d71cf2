"""CPU seconds from a network and an example to the pruned network, beside Torch-Pruning, in one run.

One process per network, garbage collected before each measurement, repetitions interleaved,
medians of `time.process_time`. Ours is capture, relate, demands, pose, utilities, solve, plan and apply; "as
called" is `ng.prune` as a user calls it, which also runs the network to verify the capture and the result.
The peer's time is its pruner's constructor, which builds its graph, and `step()`; it and our `ratio=0.5` keep
half of every width, and all rank by l2.
"""

from __future__ import annotations

import copy
import cProfile
import gc
import io
import multiprocessing
import pstats
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.common import DEFAULT_DATA, Network, Row, networks, parser, peer, say, write
from naivegraph.costs import cost_named
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import Graph, capture
from naivegraph.prune.budget_program import pose
from naivegraph.solvers.budget import optimise
from naivegraph.utility import utilities
from naivegraph.widths import constraints_of, relate

NETWORKS = ("resnet50", "densenet121", "mobilenet_v3_large", "vit_base_patch16_224")
PHASES = ("capture", "relate", "demands", "pose", "utilities", "solve", "plan", "apply")
Seconds = dict[str, float]


class Clock:
    """CPU seconds of this process, by the name of each phase."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        """What passed since the last call, or since this clock was made, was `name`."""
        now = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def edit_by_phases(
    model: nn.Module, args: tuple[Any, ...], budget: str, kwargs: dict[str, Any] | None = None
) -> Seconds:
    """What `ng.prune` does at 50 %, without the runs that verify, phase by phase."""
    clock = Clock()
    graph = capture(model, args, kwargs, verify=False, fake=True)
    clock.lap("capture")
    widths = relate(graph)
    clock.lap("relate")
    constraints = constraints_of(widths)
    clock.lap("demands")
    posed = pose(widths, constraints, {})
    steps = posed.steps(1)
    clock.lap("pose")
    values = utilities(widths)
    clock.lap("utilities")
    if budget == "ratio":
        problem = posed.ratio(dict.fromkeys(widths.by_atom, 0.5), steps)
    else:
        macs = cost_named("macs")
        problem = posed.budgets(
            values, [posed.cost("macs", macs.products(widths), macs.limit(0.5, macs.value(widths)))], steps
        )
    clock.lap("pose")
    sizes = optimise(problem).k
    clock.lap("solve")
    kept = {
        width: posed.ranking(width, values[width]).best(int(size))
        for width, size in zip(posed.free, sizes, strict=True)
    }
    change = plan(widths, constraints, kept)
    clock.lap("plan")
    edit = apply(change, model)
    clock.lap("apply")
    del edit
    return clock.seconds


def edit_as_called(
    model: nn.Module, args: tuple[Any, ...], budget: str, kwargs: dict[str, Any] | None = None
) -> Seconds:
    """`ng.prune` itself."""
    clock = Clock()
    edit = ng.prune(model, args, kwargs, **{budget: 0.5})  # type: ignore[arg-type]
    clock.lap("as called")
    del edit
    return clock.seconds


def forward(model: nn.Module, args: tuple[Any, ...]) -> Seconds:
    """One run of the network, to compare with: all the others run it at least once."""
    clock = Clock()
    with torch.no_grad():
        model(*args)
    clock.lap("forward")
    return clock.seconds


# -- the peer --


def _attention_forward(layer: Any, x: torch.Tensor, **options: Any) -> torch.Tensor:
    """Timm's attention, the last reshape without a fixed size: the peer asks for such a forward."""
    batch, length, _ = x.shape
    qkv = layer.qkv(x).reshape(batch, length, 3, layer.num_heads, layer.head_dim).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    found = F.scaled_dot_product_attention(layer.q_norm(query), layer.k_norm(key), value)
    return layer.proj(found.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


def peer_heads(model: nn.Module) -> dict[nn.Module, int]:
    """The fused projections of attention layers with their numbers of heads, as the peer's example has it."""
    heads: dict[nn.Module, int] = {}
    layers: list[Any] = list(model.modules())
    for layer in layers:
        if hasattr(layer, "qkv") and hasattr(layer, "num_heads"):
            layer.forward = _attention_forward.__get__(layer)
            heads[layer.qkv] = layer.num_heads
    return heads


def peer_edit(model: nn.Module, args: tuple[Any, ...]) -> Seconds:
    """Torch-Pruning's graph and pruning; afterwards, not timed, a run to see that what it left works."""
    tp = peer()
    heads = peer_heads(model)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    clock = Clock()
    pruner = tp.pruner.BasePruner(
        model,
        args[0],
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[last],
        num_heads=heads,
    )
    clock.lap("peer graph")
    pruner.step()
    clock.lap("peer prune")
    layers: list[Any] = list(model.modules())
    for layer in layers:
        if getattr(layer, "qkv", None) in heads:
            layer.num_heads = pruner.num_heads[layer.qkv]
            layer.head_dim = layer.qkv.out_features // (3 * layer.num_heads)
    with torch.no_grad():
        model(*args)
    return clock.seconds


# -- measuring --


def _settle(threads: int, seed: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


def median_seconds(name: str, data: Path, repetitions: int) -> dict[str, Seconds]:
    """Medians over interleaved repetitions, after one round that warms up; runs in a process of its own."""
    network = networks(data)[name]
    pristine, args = network.build(), network.example(0)[0]
    ways: dict[str, Callable[[nn.Module], Seconds]] = {
        "ratio": lambda model: edit_by_phases(model, args, "ratio"),
        "ratio as called": lambda model: edit_as_called(model, args, "ratio"),
        "macs": lambda model: edit_by_phases(model, args, "macs"),
        "macs as called": lambda model: edit_as_called(model, args, "macs"),
        "peer": lambda model: peer_edit(model, args),
        "forward": lambda model: forward(model, args),
    }
    found: dict[str, list[Seconds]] = {way: [] for way in ways}
    for repetition in range(repetitions + 1):
        for way, run in ways.items():
            model = copy.deepcopy(pristine)
            gc.collect()
            seconds = run(model)
            if repetition:
                found[way].append(seconds)
            del model
    return {
        way: {phase: statistics.median(s[phase] for s in runs) for phase in runs[0]}
        for way, runs in found.items()
    }


def profiled(name: str, data: Path, budget: str, rows: int = 25) -> str:
    """Where the time of one edit goes, by the time spent in each function itself."""
    network = networks(data)[name]
    pristine, args = network.build(), network.example(0)[0]
    edit_by_phases(copy.deepcopy(pristine), args, budget)
    model, profile = copy.deepcopy(pristine), cProfile.Profile()
    gc.collect()
    profile.runcall(edit_by_phases, model, args, budget)
    stream = io.StringIO()
    pstats.Stats(profile, stream=stream).sort_stats("tottime").print_stats(rows)
    return stream.getvalue()


def relating(repetitions: int) -> list[Row]:
    """Relating ResNet-50 and the same network with four times as many channels everywhere."""
    graphs: dict[str, Graph] = {}
    network = networks(DEFAULT_DATA)["resnet50"]
    for factor in (1, 4):
        with torch.device("meta"):
            model = widened(network, factor)
        # Values do not matter here, and a small image captures faster.
        model.to_empty(device="cpu").load_state_dict({k: v * 0 for k, v in model.state_dict().items()})
        graphs[f"resnet50, {factor} times as wide"] = capture(
            model.eval(), torch.zeros(1, 3, 64, 64), verify=False
        )
    found: dict[str, list[float]] = {name: [] for name in graphs}
    for repetition in range(repetitions + 1):
        for name, graph in graphs.items():
            gc.collect()
            started = time.process_time()
            relate(graph)
            if repetition:
                found[name].append(time.process_time() - started)
    return [
        {
            "network": name,
            "relate ms (median)": f"{statistics.median(times) * 1e3:.1f}",
            "least": f"{min(times) * 1e3:.1f}",
            "widths": len(relate(graphs[name])),
            "neurons": sum(w.size for w in relate(graphs[name]).widths),
        }
        for name, times in found.items()
    ]


def widened(network: Network, factor: int) -> nn.Module:
    """The network with every channel count but the image's and the classes' times `factor`."""
    model = network.build()
    for path, layer in list(model.named_modules()):
        new: nn.Module
        if isinstance(layer, nn.Conv2d):
            first = layer.in_channels == 3
            inputs = layer.in_channels * (1 if first else factor)
            new = nn.Conv2d(
                inputs,
                layer.out_channels * factor,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                bias=False,
            )
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm2d(layer.num_features * factor)
        elif isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features * factor, layer.out_features)
        else:
            continue
        owner, _, own = path.rpartition(".")
        setattr(model.get_submodule(owner), own, new)
    return model


# -- tables --


def ratios(name: str, found: dict[str, Seconds]) -> Row:
    """One line: both tools' seconds and their ratios."""
    total = {way: sum(seconds.values()) for way, seconds in found.items()}
    row = {"network": name, "peer": f"{total['peer']:.3f}"}
    for budget in ("ratio", "macs"):
        for way in (budget, f"{budget} as called"):
            label = f"{way.replace(budget, f'{budget}=0.5', 1)}"
            row[f"ours, {label}"] = f"{total[way]:.3f}"
            row[f"/ peer, {label}"] = f"{total[way] / total['peer']:.2f}"
    return row


def phases(name: str, found: dict[str, Seconds]) -> list[Row]:
    """Milliseconds of every phase of ours, and the peer's two."""
    rows: list[Row] = []
    for budget in ("ratio", "macs"):
        seconds = found[budget]
        rows.append(
            {
                "network": name,
                "asked": f"{budget}=0.5",
                **{phase: f"{seconds[phase] * 1e3:.1f}" for phase in PHASES},
                "all": f"{sum(seconds.values()) * 1e3:.1f}",
                "one forward": f"{found['forward']['forward'] * 1e3:.1f}",
                "peer graph": f"{found['peer']['peer graph'] * 1e3:.1f}",
                "peer prune": f"{found['peer']['peer prune'] * 1e3:.1f}",
            }
        )
    return rows


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.time_to_edit --networks resnet50", threads=1)
    arguments.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    arguments.add_argument("--repetitions", type=int, default=5, help="measurements of each, interleaved")
    arguments.add_argument("--profile", choices=("ratio", "macs"), help="show hot spots instead of tables")
    given = arguments.parse_args()
    totals, by_phase = [], []
    torch.set_num_threads(given.threads)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, mp_context=spawn, max_tasks_per_child=1, initializer=_settle, initargs=(given.threads, given.seed)
    ) as pool:
        for name in given.networks:
            say(f"{name}: {given.repetitions} repetitions of each")
            if given.profile:
                print(name, pool.submit(profiled, name, given.data, given.profile).result())
                continue
            found = pool.submit(median_seconds, name, given.data, given.repetitions).result()
            totals.append(ratios(name, found))
            by_phase += phases(name, found)
        if given.profile:
            return 0
        say("relating ResNet-50")
        related = pool.submit(relating, given.repetitions * 2).result()
    write(
        given.out,
        "time_to_edit",
        [
            ("CPU seconds, and how they compare", totals),
            ("Phases, CPU milliseconds", by_phase),
            ("Relating alone", related),
        ],
        f"Medians of {given.repetitions} interleaved repetitions.",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
