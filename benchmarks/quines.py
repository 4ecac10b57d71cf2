"""Quines: networks that predict their own weights, told from zeros and constants, and after a resize."""

from __future__ import annotations

import time

import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, write
from naivegraph.weights import FixedPoint, Quine, quine

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "GELU": nn.GELU}


def body(activation: str, seed: int) -> nn.Module:
    """The network 16-24-24-1 of 1,033 weights."""
    torch.manual_seed(seed)
    act = ACTIVATIONS[activation]
    layers = nn.Linear(16, 24), act(), nn.Linear(24, 24), act(), nn.Linear(24, 1)
    return nn.Sequential(*layers).double()


def row(
    step: str, activation: str, seed: int, q: Quine, report: FixedPoint, times: tuple[float, float]
) -> Row:
    """A row of the table."""
    return {
        "activation": activation,
        "seed": seed,
        "search": step,
        "weights": report.weights,
        "kind": report.kind,
        "loss": f"{report.loss:.1e}",
        "relative": f"{report.relative:.1e}",
        "largest difference": f"{report.largest:.1e}",
        "mean / rms": f"{report.mean_share:.2f}",
        "norm kept": f"{report.norm_kept:.2f}",
        "gain": f"{q.gain:.1f}",
        "spectral radius": f"{report.radius:.1f}",
        "CPU s": f"{times[0]:.0f}",
        "s": f"{times[1]:.0f}",
    }


def solved(
    q: Quine, seconds: float, norm: tuple[float, float] | None = (0.7, 1.5)
) -> tuple[FixedPoint, tuple[float, float]]:
    """Solve, and measure the time."""
    cpu, wall = time.process_time(), time.perf_counter()
    report = q.solve(seconds, tolerance=1e-8, norm=norm)
    return report, (time.process_time() - cpu, time.perf_counter() - wall)


def rows(activation: str, seed: int, seconds: float) -> list[Row]:
    """A true quine, the same resized down and up, and a search that holds nothing."""
    found: list[Row] = []
    q = quine(body(activation, seed), dim=16)
    found.append(row("norm within .7 to 1.5", activation, seed, q, *solved(q, seconds)))
    for delta in (-4, 4):
        ng.resize(q.graph, {"0": delta})
        step = f"first layer resized by {delta:+d}"
        found.append(row(step, activation, seed, q, *solved(q, seconds)))
    free = quine(body(activation, seed), dim=16, gain=1.0)
    found.append(row("nothing held, gain 1", activation, seed, free, *solved(free, 20, None)))
    return found


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.quines --seeds 3", threads=1)
    options.add_argument("--seeds", type=int, default=3, help="networks of each activation")
    options.add_argument("--seconds", type=float, default=60, help="time of each search")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    found: list[Row] = []
    for activation in ACTIVATIONS:
        for seed in range(args.seeds):
            found += rows(activation, seed, args.seconds)
            say(f"{activation}, seed {seed}: {found[-4]['kind']}, loss {found[-4]['loss']}")
            write(
                args.out,
                "quines",
                [("16-24-24-1, codes of 16 numbers", found)],
                "Levenberg-Marquardt in float64 until a loss of 1e-8, with matrices; true: the relative loss "
                "is at most 1e-4, the norm at least 0.05 of that at the start, and mean / rms at most 0.95.",
            )


if __name__ == "__main__":
    main()
