"""Schemas walked into networks: how many seeds lead to one, beside a walk that decides sizes one node ahead.

Also schemas of known networks, and schemas without a network: whether the rules named are a smallest
conflict, and whether the change named compiles.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, torchvision, write
from naivegraph import search
from naivegraph.errors import SchemaError
from naivegraph.graph.build.nodes import Node, input_node
from naivegraph.ir.pytree import map_leaves
from naivegraph.search.schema.feature_shape import SizeBounds
from naivegraph.search.schema.indices import SeedIndices
from naivegraph.search.schema.operation import RefusedStep
from naivegraph.search.schema.size_model import SchemaRule
from naivegraph.search.schema.walk_steps import WalkStep
from naivegraph.search.schema.walker import Walker
from naivegraph.search.schema.write_graph import write_nodes
from tests.search.schema.infeasible import infeasible
from tests.search.schema.known import decoder_block, resnet18, small_unet
from tests.search.schema.test_explain import DROPPABLE, holds, without
from tests.search.schema.test_known_networks import DecoderBlock, UNet

NODES = (20, 40)
USUAL: dict[str, Any] = {"norm": "batch", "activation": "relu"}


def residual(tight: bool) -> search.Schema:
    """Residual blocks; tight: exactly 128 channels at the end."""
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=(8, 64), growth=search.scale(8, 32), **USUAL)
    one = s.node("one", search.conv(3), channels=(4, 256), growth=search.scale(0.5, 2), **USUAL)
    two = s.node("two", search.conv(3), channels=(4, 256), growth=search.scale(0.5, 2), norm="batch")
    total = s.node("sum", merge="add", inputs=2, activation="relu")
    down = s.node("down", search.conv(3, stride=2), channels=(8, 256), growth=search.scale(1, 2), **USUAL)
    pool = s.node("pool", search.global_pool(), channels=128 if tight else None)
    flat, head = s.node("flat", search.flatten()), s.node("head", search.dense(), channels=10)
    split = [search.new(one), search.new(total, priority=1)]
    stem.then(*split)
    one.then(two)
    two.then(search.join(total))
    total.then(*split, weight=2).then(down).then(pool)
    down.then(*split)
    pool.then(flat)
    flat.then(head)
    return s


def separable(tight: bool) -> search.Schema:
    """Blocks that squeeze, convolve depthwise and expand again, beside a way around them."""
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=(8, 64), growth=search.scale(8, 32), **USUAL)
    squeeze = s.node("squeeze", search.conv(1), channels=(4, 128), growth=search.scale(0.3, 0.7), **USUAL)
    depth = s.node("depth", search.depthwise(3), **USUAL)
    expand = s.node(
        "expand", search.conv(1), channels=(8, 256), multiple=4, growth=search.scale(1, 3), **USUAL
    )
    total = s.node("sum", merge="add", inputs=2, norm="batch")
    down = s.node("down", search.conv(2, stride=2, padding=0), spatial=(4, None), **USUAL)
    down.channels = SizeBounds(8, 256)
    pool = s.node("pool", search.global_pool(), channels=128 if tight else (16, 256))
    split = [search.new(squeeze), search.new(total, priority=1)]
    stem.then(*split)
    squeeze.then(depth)
    depth.then(expand)
    expand.then(search.join(total))
    total.then(*split, weight=2).then(down).then(pool)
    down.then(*split)
    return s


def unet(between: bool) -> search.Schema:
    """A U-Net, if wanted with a convolution before the concatenation."""
    s = search.Schema()
    enc = s.node("enc", search.conv(3), channels=(8, 64), growth=search.scale(1, 2), **USUAL)
    down = s.node("down", search.max_pool(2), spatial=(2, None))
    up_conv = search.conv_transpose(3, stride=2, padding=(0, 1), output_padding=(0, 1))
    up = s.node("up", up_conv, channels=(8, 64), growth=search.scale(0.5, 1))
    mid = s.node("mid", search.conv(3), channels=(8, 64), **USUAL)
    cat = s.node("cat", merge="concat", inputs=2, channels=(16, 96))
    dec = s.node("dec", search.conv(3), channels=(8, 64), growth=search.scale(0.5, 1), **USUAL)
    head = s.node("head", search.conv(1), channels=1)
    enc.then(search.new(down), search.new(cat, priority=1), weight=2).then(enc).then(up)
    down.then(enc)
    if between:
        up.then(mid)
        mid.then(search.join(cat))
    else:
        up.then(search.join(cat))
    cat.then(dec)
    dec.then(dec).then(up, weight=2).then(head)
    return s


SCHEMAS: dict[str, tuple[Callable[[], search.Schema], tuple[int, int, int]]] = {
    "residual, 128 channels at the end": (lambda: residual(True), (1, 28, 28)),
    "residual, loose": (lambda: residual(False), (1, 28, 28)),
    "separable, 128 channels at the end": (lambda: separable(True), (1, 28, 28)),
    "separable, loose": (lambda: separable(False), (1, 28, 28)),
    "U-Net, 28 px": (lambda: unet(False), (1, 28, 28)),
    "U-Net, convolution before concat, 28 px": (lambda: unet(True), (1, 28, 28)),
    "U-Net, convolution before concat, 31 px": (lambda: unet(True), (1, 31, 31)),
}


class LookaheadOne(Walker):
    """A walk that decides the sizes of each node at once, and sees what joins it, not further."""

    @property
    def most_turns(self) -> int:
        """More than the other way needs."""
        return 3000

    def fixed_after(self, step: WalkStep) -> None:
        """Fix the channels nearest to growth, and paddings; refuse the alternative where none fits."""
        for terms in step.numbers.values():
            for term in terms:
                self._fix(term, self.model.interval(term)[0])
        (given, *_) = step.given.values()
        channels = step.made.channels
        factor = 1.0
        if step.growing.growth is not None:
            factor = step.growing.growth(self.model.interval(given.channels)[0], random.Random(step.index))
        self._fix(channels, round(factor * self.model.interval(given.channels)[0]))

    def _fix(self, term: Any, wanted: int) -> None:
        model = self.model
        if model.fixed(term):
            return
        low, high = model.interval(term)
        start = min(max(wanted, low), high)
        rule = SchemaRule("lookahead", "operation", "no size fits")
        for off in sorted(range(low - start, min(high - start, 256) + 1), key=abs)[:64]:
            mark = model.mark()
            model.row(rule, [(1, term)], start + off, start + off)
            if model.propagate() is None:
                return
            model.undo(mark)
        raise RefusedStep(rule)


@dataclasses.dataclass
class Tally:
    """Counts of one way to walk."""

    found: int = 0
    right: int = 0
    deep: int = 0
    seconds: float = 0.0
    lengths: list[int] = dataclasses.field(default_factory=list)

    def row(self, name: str, way: str, seeds: int) -> Row:
        """A row of the table."""
        each = f"{1000 * self.seconds / self.found:.0f}" if self.found else "-"
        return {
            "schema": name,
            "walk": way,
            "seeds": seeds,
            "compiled": f"{100 * self.found / seeds:.1f} %",
            "shapes as torch's": f"{self.right} of {self.found}" if way == "program" else "",
            "20 to 40 nodes": f"{self.deep} of {self.found}",
            "median nodes": f"{statistics.median(self.lengths):g}" if self.lengths else "-",
            "CPU ms per success": each,
        }


@contextlib.contextmanager
def timed(tally: Tally) -> Iterator[None]:
    began = time.process_time()
    yield
    tally.seconds += time.process_time() - began


def shapes_agree(walk: search.Walk) -> bool:
    """Whether torch gives the shapes decided, by a run on tensors without values."""
    with torch.device("meta"), torch.no_grad():
        values: dict[int, Any] = {}
        sources = []
        for name, known in walk.inputs.items():
            source = input_node(name, size=known.channels)
            values[id(source)] = torch.empty(2, *known.sizes)
            sources.append(source)
        written, _ = write_nodes(sources, walk.steps)

        def value(node: Node) -> Any:
            """Return what torch gives for a node."""
            if id(node) not in values:
                args, kwargs = map_leaves(
                    (node.args, node.kwargs), lambda leaf: value(leaf) if isinstance(leaf, Node) else leaf
                )
                target: Any = node.target.eval() if isinstance(node.target, nn.Module) else node.target
                values[id(node)] = target(*args, **kwargs)
            return values[id(node)]

        return all(tuple(value(written[n]).shape[1:]) == step.made.sizes for n, step in enumerate(walk.steps))


def walks(seeds: int, compared: int) -> Iterator[Row]:
    """Both ways to walk, on every schema; the second for some of the seeds, as it can take long to fail."""
    for name, (make, shape) in SCHEMAS.items():
        schema = make()
        inputs, starts = schema.starts(shape)
        depths = schema.depths(starts, NODES)
        ours, ahead = Tally(), Tally()
        for seed in range(seeds):
            indices = SeedIndices(f"{seed} 0")
            with timed(ours):
                walk = schema.attempt(inputs, starts, depths, NODES, indices)
            if isinstance(walk, search.Walk):
                ours.found += 1
                ours.right += shapes_agree(walk)
                ours.deep += NODES[0] <= len(walk) <= NODES[1]
                ours.lengths.append(len(walk))
            if seed >= compared:
                continue
            with timed(ahead):
                walker = LookaheadOne(starts, depths, NODES, SeedIndices(f"{seed} 0"))
                found = walker.run()
            ahead.found += found
            if found:
                ahead.deep += NODES[0] <= len(walker.steps) <= NODES[1]
                ahead.lengths.append(len(walker.steps))
        yield ours.row(name, "program", seeds)
        yield ahead.row(name, "one node ahead", compared)
        say(f"{name}: {ours.found} of {seeds}, one node ahead {ahead.found} of {compared}")


def known_networks() -> list[Row]:
    """Names of known networks, as captured and as compiled of a schema."""
    image, pixels = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 32, 32)
    words = (torch.zeros(2, 10, 32), torch.zeros(2, 7, 24))
    shapes = {"x": search.tokens(10, 32), "memory": search.tokens(7, 24)}
    pairs = [
        ("ResNet-18 of torchvision", torchvision().resnet18(), image, resnet18().walk((3, 64, 64))),
        ("U-Net of two levels", UNet(), pixels, small_unet().walk((1, 32, 32), nodes=17)),
        ("decoder block with cross attention", DecoderBlock(), words, decoder_block().walk(shapes)),
    ]
    rows: list[Row] = []
    for name, module, example, walk in pairs:
        graph, compiled = ng.capture(module, example), walk.graph()
        names = search.structure_name(graph), search.structure_name(compiled)
        began = time.process_time()
        for _ in range(10):
            search.structure_name(graph)
        each = (time.process_time() - began) * 100
        rows.append(
            {
                "network": name,
                "captured": names[0][:12],
                "compiled": names[1][:12],
                "equal": names[0] == names[1],
                "vertices": len(graph.vertices),
                "CPU ms per name": f"{each:.1f}",
            }
        )
    return rows


def conflicts(count: int) -> list[Row]:
    """Schemas without a network, by the kind of conflict in them."""
    tallies: dict[str, list[tuple[bool, bool, int, int, float]]] = {}
    for seed in range(count):
        kind, schema, shape = infeasible(seed)
        began = time.process_time()
        explanation = schema.explain(shape)
        seconds = time.process_time() - began
        rules, model = explanation.rules, explanation.model
        smallest = bool(rules) and model is not None and not holds(model, set(rules))
        if model is not None:
            everything = {row.owner for row in model.rows}
            smallest &= all(holds(model, everything - {rule}) for rule in rules)
        smallest &= all(walks_without(schema, rule, shape) for rule in rules if rule.kind in DROPPABLE)
        compiles = False
        with contextlib.suppress(SchemaError):
            changed, other = explanation.changed()
            compiles = isinstance(changed.walk(other), search.Walk)
        tallies.setdefault(kind, []).append((smallest, compiles, len(rules), explanation.count, seconds))
        if seed % 20 == 19:
            say(f"{seed + 1} schemas without a network")
    return [conflict_row(kind, tally) for kind, tally in tallies.items()]


def walks_without(schema: search.Schema, rule: SchemaRule, shape: tuple[int, int, int]) -> bool:
    """Whether a schema has a network without a rule."""
    try:
        without(schema, rule).walk(shape)
    except SchemaError:
        return False
    return True


def conflict_row(kind: str, tally: Sequence[tuple[bool, bool, int, int, float]]) -> Row:
    """A row of the table."""
    smallest, compiles, named, rules, seconds = zip(*tally, strict=True)
    return {
        "conflict": kind,
        "schemas": len(tally),
        "any rule named less would do": f"{sum(smallest)} of {len(tally)}",
        "nearest change compiles": f"{sum(compiles)} of {len(tally)}",
        "rules named": f"{min(named)} to {max(named)}",
        "of": f"{min(rules)} to {max(rules)}",
        "median CPU s": f"{statistics.median(seconds):.2f}",
    }


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.schemas --seeds 100", threads=1)
    options.add_argument("--seeds", type=int, default=1000, help="seeds for each schema")
    options.add_argument("--compared", type=int, default=100, help="those also walked one node ahead")
    options.add_argument("--conflicts", type=int, default=200, help="schemas without a network")
    parts = ["walks", "known", "conflicts"]
    options.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to measure")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    out: Path = args.out
    notes = (
        "One walk per seed, no second attempt. Both ways draw the same topologies, go back where an "
        "alternative is impossible (500 turns at most; one node ahead 3,000), and ask for 20 to 40 nodes. "
        "One node ahead: sizes are decided when a node has its turn, nearest to its growth, with a view of "
        "what it joins. CPU time is of walk and sizes; a graph with weights, verified, comes on top."
    )
    sections: list[tuple[str, list[Row]]] = [
        ("Seeds that compile", []),
        ("Known networks", []),
        ("Schemas without a network", []),
    ]
    if "known" in args.parts:
        sections[1][1].extend(known_networks())
    if "conflicts" in args.parts:
        sections[2][1].extend(conflicts(args.conflicts))
    if "walks" in args.parts:
        for row in walks(args.seeds, min(args.seeds, args.compared)):
            sections[0][1].append(row)
            write(out, "schemas", sections, notes)  # what there is, should the rest not come
    write(out, "schemas", sections, notes)


if __name__ == "__main__":
    main()
