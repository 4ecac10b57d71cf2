"""The program of a resize beside the dense formulation, which has a binary per neuron of every vertex.

The same residual network with concatenations at several widths, the same requests, the same HiGHS, one
thread. CPU seconds, medians of some repetitions. Building starts after the axes are related, which is told
apart; the dense formulation (that of the tests, as in NaiveNASlib) gets its correspondences for nothing.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from benchmarks.common import Row, parser, say, write
from naivegraph.edits.request.requests import Delta
from naivegraph.edits.resize_program.resize_program import AxisRequest, ResizeProgram
from naivegraph.network import capture
from naivegraph.solvers import Outcome, Program, Solution, solve
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from tests.edits.resize_program.dense import Dense, RequestLike
from tests.machine.correspond import Floats, Net, Node, Structure

NEURONS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TASKS = ("shrink exactly", "prune by utility", "grow")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One way of posing and solving one resize."""

    columns: int
    integers: int
    rows: int
    build: float
    solve: float
    objective: float
    outcome: Outcome

    @property
    def total(self) -> float:
        return self.build + self.solve


def network(unit: int, stages: int = 4, blocks: int = 3) -> list[Node]:
    """A residual network whose stream is made wider by concatenation after each stage.

    Args:
        unit: Half the neurons of the first stream.
        stages: How many stages.
        blocks: Residual blocks in each.
    """
    nodes = [Node("input", (), 3)]

    def append(kind: str, sources: tuple[int, ...], size: int) -> int:
        nodes.append(Node(kind, sources, size))
        return len(nodes) - 1

    stream = append("linear", (0,), 2 * unit)
    for _ in range(stages):
        size = nodes[stream].size
        for _ in range(blocks):
            inner = append("relu", (append("linear", (stream,), unit),), unit)
            stream = append("add", (stream, append("linear", (inner,), size)), size)
        branch = append("relu", (append("linear", (stream,), unit),), unit)
        stream = append("cat", (stream, branch), size + unit)
    append("linear", (stream,), 10)
    return nodes


def total(nodes: Sequence[Node]) -> int:
    """The neurons of all vertices."""
    return sum(node.size for node in nodes)


def requests(nodes: Sequence[Node], task: str) -> list[RequestLike]:
    """A fifth of the widest stream less or more; nothing for pruning by utility."""
    stream = len(nodes) - 2
    step = nodes[stream].size // 5
    asked = {"shrink exactly": Delta(-step), "grow": Delta(step)}
    return [RequestLike(stream, asked[task])] if task in asked else []


def values_of(nodes: Sequence[Node], task: str, seed: int) -> dict[int, Floats]:
    """What the neurons of every layer are worth: above zero, or a third of them below where that decides."""
    rng = np.random.default_rng(seed)
    mean, least = (0.5, -np.inf) if task == "prune by utility" else (1.0, 0.01)
    return {
        index: np.maximum(rng.normal(mean, 1.0, node.size), least)
        for index, node in enumerate(nodes)
        if node.kind == "linear"
    }


# -- both ways --


@dataclasses.dataclass(frozen=True)
class Related:
    """A network whose axes are related; it has no weights, only shapes."""

    net: Net
    widths: Widths
    constraints: SizeConstraints
    seconds: float

    @staticmethod
    def of(nodes: Sequence[Node]) -> Related:
        with torch.device("meta"):
            net = Net(nodes)
            graph = capture(net, net.example(), verify=False)
        began = time.process_time()
        widths = relate(graph, free_outputs=True)
        return Related(net, widths, constraints_of(widths), time.process_time() - began)

    def axis_requests(self, asked: Sequence[RequestLike]) -> list[AxisRequest]:
        """The requests as the library takes them."""
        vertices = [self.widths.graph[self.net.vertex_name(one.node)] for one in asked]
        return [
            AxisRequest(vertex, self.widths.output_axis(vertex), one.request)
            for vertex, one in zip(vertices, asked, strict=True)
        ]

    def values(self, told: Mapping[int, Floats]) -> dict[Width, Floats]:
        """The same values, by width: those of all layers that share it, added up."""
        sums = {width.atom: np.zeros(width.size) for width in self.widths}
        for index, numbers in told.items():
            axis = self.widths.output_axis(self.widths.graph[self.net.vertex_name(index)])
            offset = 0
            for atom in axis.atoms():
                sums[atom] += numbers[offset : offset + atom.length]
                offset += atom.length
        return {width: sums[width.atom] for width in self.widths}


def ours(related: Related, axis_requests: list[AxisRequest], values: dict[Width, Floats]) -> Measured:
    """Our program: from requests and values to which neurons stay."""
    gc.collect()
    began = time.process_time()
    posed = ResizeProgram(related.widths, related.constraints, axis_requests, values, None)
    built = time.process_time()
    found = solve(posed.program)
    if found.values is not None:
        posed.decided(found.values)
    return _measured(posed.program, built - began, time.process_time() - built, found)


def dense(structure: Structure, asked: list[RequestLike], told: dict[int, Floats], limit: float) -> Measured:
    """The dense formulation."""
    gc.collect()
    began = time.process_time()
    posed = Dense(structure, asked, told)
    posed.program.set_objective(list(posed.worth), list(posed.worth.values()))
    built = time.process_time()
    found = solve(posed.program, time_limit=limit)
    return _measured(posed.program, built - began, time.process_time() - built, found)


def _measured(program: Program, build: float, seconds: float, found: Solution) -> Measured:
    arrays = program.arrays()
    integers = int(arrays.integer.sum())
    count = len(arrays.cost)
    return Measured(count, integers, arrays.rows.count, build, seconds, found.objective, found.outcome)


def median(found: Sequence[Measured]) -> Measured:
    """The first of them, with the medians of the seconds."""
    build, solved = (statistics.median(getattr(m, part) for m in found) for part in ("build", "solve"))
    return dataclasses.replace(found[0], build=build, solve=solved)


# -- tables --


def compare(neurons: int, task: str, mine: Measured, other: Measured | None) -> Row:
    """One line: how many times larger and slower the dense one is."""
    row = {"neurons": f"{neurons:,}", "task": task}
    heads = ("columns", "integers", "rows", "build", "solve", "both", "objective")
    if other is None:
        return {**row, **dict.fromkeys(heads, "left out")}
    proven = other.outcome is Outcome.OPTIMAL
    same = abs(mine.objective - other.objective) <= 1e-6 * max(abs(mine.objective), 1.0)
    objective = "the same" if same else "not the same" if proven else "not found in time"
    return {
        **row,
        "columns": f"{other.columns / mine.columns:,.0f}",
        "integers": f"{other.integers / mine.integers:,.0f}",
        "rows": f"{other.rows / mine.rows:,.0f}",
        "build": f"{other.build / mine.build:,.0f}",
        "solve": f"{other.solve / mine.solve:,.0f}" + ("" if proven else " or more"),
        "both": f"{other.total / mine.total:,.0f}" + ("" if proven else " or more"),
        "objective": objective,
    }


def sizes(neurons: int, task: str, way: str, found: Measured, widths: int, relating: float) -> Row:
    """One line: all numbers of one way."""
    return {
        "neurons": f"{neurons:,}",
        "of widths": f"{widths:,}",
        "task": task,
        "way": way,
        "columns": f"{found.columns:,}",
        "integers": f"{found.integers:,}",
        "rows": f"{found.rows:,}",
        "relate ms": f"{relating * 1e3:.1f}" if way == "ours" else "",
        "build ms": f"{found.build * 1e3:.1f}",
        "solve ms": f"{found.solve * 1e3:.1f}",
        "both ms": f"{found.total * 1e3:.1f}",
        "ended": found.outcome.value,
    }


def measure(
    neurons: int, limit: float, most: int, repetitions: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """Both tables' lines for one width of the network."""
    unit = max(round(neurons / total(network(10_000)) * 10_000), 2)
    nodes = network(unit)
    related = Related.of(nodes)
    structure = Structure(nodes) if neurons <= most else None
    count = sum(width.size for width in related.widths)
    ratios, numbers = [], []
    for task in TASKS:
        asked, told = requests(nodes, task), values_of(nodes, task, seed)
        axis_requests, values = related.axis_requests(asked), related.values(told)
        say(f"{total(nodes):,} neurons: {task}")
        mine = median([ours(related, axis_requests, values) for _ in range(repetitions)])
        numbers.append(sizes(total(nodes), task, "ours", mine, count, related.seconds))
        other = None
        if structure is not None:
            times = 1 if neurons > 10_000 else min(repetitions, 3)
            other = median([dense(structure, asked, told, limit) for _ in range(times)])
            numbers.append(sizes(total(nodes), task, "dense", other, count, 0.0))
        ratios.append(compare(total(nodes), task, mine, other))
    return ratios, numbers


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.program_size --neurons 1000 10000")
    arguments.add_argument("--neurons", nargs="+", type=int, default=list(NEURONS), help="of all vertices")
    arguments.add_argument("--limit", type=float, default=60.0, help="seconds for one dense program")
    arguments.add_argument("--most", type=int, default=100_000, help="the most neurons for the dense one")
    arguments.add_argument("--repetitions", type=int, default=5, help="measurements of each")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    ratios: list[Row] = []
    numbers: list[Row] = []
    for neurons in given.neurons:
        lines = measure(neurons, given.limit, given.most, given.repetitions, given.seed)
        ratios += lines[0]
        numbers += lines[1]
    write(
        given.out,
        "program_size",
        [("How many times as much the dense formulation takes", ratios), ("All numbers", numbers)],
        f"Rows are counted without the tangents, which are added while solving. A dense program gets "
        f"{given.limit:g} s and is left out above {given.most:,} neurons.",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
