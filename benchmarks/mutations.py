"""Mutations and crossover in long lines of descent: what is kept, what is refused, what comes out.

Lines start at small networks; each is a seed, so a failure can be looked at again (`--first N --lines 1`).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, write
from naivegraph import search
from naivegraph.errors import EditError
from naivegraph.search import Genome, Mutation
from naivegraph.search.evolution.mutation import tried

MOST_VERTICES = 24
LENGTH = 20  # mutations of a line
MOST_PARENTS = 200  # networks kept for crossover
SAID = 1000  # mutations between two lines of progress

# -- networks to start from --


class Residual(nn.Module):
    """A stem, a residual block, a stride, a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.down(x + self.inner(x).relu()).relu()
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Separable(nn.Module):
    """Depthwise and grouped convolutions, a concatenation, a pool."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.group = nn.Conv2d(3 * width, 2 * width, 3, padding=1, groups=width // 2)
        self.norm, self.pool = nn.BatchNorm2d(2 * width), nn.MaxPool2d(2)
        self.head = nn.Linear(2 * width * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        y = self.point(self.depth(x)).relu()
        x = self.pool(self.norm(self.group(torch.cat([x, y], 1))).relu())
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


def vectors(width: int) -> nn.Module:
    """Layers for rows of a table."""
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(),
        nn.Linear(width, 5),
    )  # fmt: skip


STARTS: list[Callable[[int], nn.Module]] = [Residual, Separable, vectors]


def started(number: int) -> Genome:
    """The network that a line starts from."""
    torch.manual_seed(number)
    make = STARTS[number % len(STARTS)]
    x = torch.randn(2, 6) if make is vectors else torch.randn(2, 3, 8, 8)
    net = make(2 * (2 + number % 4))
    for module in net.modules():  # so that norms are no identities
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return Genome(ng.capture(net.eval(), x))


# -- mutations --


class Verb(Mutation):
    """A verb of this package with arguments drawn at random, most of which make no sense."""

    def __call__(self, genome: Genome, rng: random.Random) -> str:
        """Change a genome in place."""
        graph = genome.graph
        names = [vertex.name for vertex in graph]
        one, two = rng.choice(names), rng.choice(names)
        verbs: list[Callable[[], Any]] = [
            lambda: ng.resize(graph, {one: rng.choice([-3, -1, 1, 2, 5])}),
            lambda: ng.resize(graph, {one: rng.choice([-2, 3]), two: rng.choice([-1, 4])}),
            lambda: ng.remove(graph, one),
            lambda: ng.remove(graph, (one, two)),
            lambda: ng.connect(graph, one, two),
            lambda: ng.disconnect(graph, one, two),
            lambda: ng.branch(graph, one, two),
            lambda: ng.duplicate(graph, one),
            lambda: ng.insert(graph, nn.ReLU(), after=one),
            lambda: ng.insert(graph, lambda size: nn.Linear(size, size), after=one),
            lambda: ng.resize_kernel(graph, {one: rng.choice([1, 2, 3, 5])}),
        ]
        place = rng.randrange(len(verbs))
        verbs[place]()
        return f"verb {place}: {one}, {two}"


GROWING: list[Mutation] = [
    search.wider(),
    search.wider(1.0, 3),
    search.deeper(),
    search.deeper(1),
    search.skip(),
    search.kernel(grow_only=True),
]
ALL: list[Mutation] = [
    *GROWING,
    search.narrower(),
    search.narrower(0.8, 3),
    search.shallower(),
    search.unskip(),
    search.kernel(),
    search.activation(),
    search.learning_rate(1e-4, 1e-1),
    Verb(),
    Verb(),
    Verb(),
]


@dataclasses.dataclass
class Tally:
    """What came of mutations."""

    done: int = 0
    refused: int = 0
    largest: float = 0.0
    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: list[str] = dataclasses.field(default_factory=list)

    def fail(self, kind: str, where: str) -> None:
        """Count a failure and remember an example."""
        self.failures[kind] += 1
        if self.failures[kind] <= 5:
            self.examples.append(f"{kind}: {where}")
            say(self.examples[-1])


def output(genome: Genome) -> Tensor:
    """What a network gives for its example."""
    with torch.no_grad():
        out: Tensor = genome.graph(*genome.graph.example.values())
    return out.clone()


def image(genome: Genome) -> tuple[Any, ...]:
    """All that a refusal has to leave as it was; weights bit for bit."""
    graph = genome.graph
    vertices = [(v.name, v.kind, id(v.target), repr(v.args), repr(v.kwargs)) for v in graph]
    state = {name: value.clone() for name, value in graph.module.state_dict().items()}
    return vertices, state, graph.sizes, search.structure_name(graph), dict(genome.recipe), output(genome)


def equal(one: Any, two: Any) -> bool:
    """Whether two images are equal, bit for bit."""
    if isinstance(one, Tensor):
        return bool(torch.equal(one, two))
    if isinstance(one, dict):
        return list(one) == list(two) and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, tuple):
        return all(equal(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)


def line(number: int, mutations: Sequence[Mutation], tallies: dict[str, Tally]) -> Iterator[Genome]:
    """One line of descent, checked after each mutation."""
    rng = random.Random(number)
    genome = started(number)
    for step in range(LENGTH):
        if len(genome.graph) > MOST_VERTICES:
            break
        mutation = rng.choice(mutations)
        kind = type(mutation).__name__
        child = changed(genome, mutation, rng, tallies.setdefault(kind, Tally()), f"{kind}, {number}/{step}")
        if child is not None:
            genome = child
    yield genome


def changed(
    genome: Genome, mutation: Mutation, rng: random.Random, tally: Tally, where: str
) -> Genome | None:
    """Mutate a copy, and check it; None if it cannot be gone on with."""
    child, before = copy.deepcopy(genome), image(genome)
    own = image(child)
    try:
        told = mutation(child, rng)
    except EditError as error:
        tally.refused += 1
        if not str(error):
            tally.fail("a refusal without words", where)
        if not equal(own, image(child)):
            tally.fail("a refusal that changed something", f"{where}: {str(error)[:200]}")
        return None
    except Exception as error:
        tally.fail("another error", f"{where}: {type(error).__name__}: {str(error)[:300]}")
        return None
    tally.done += 1
    if not equal(before[1:2], (genome.graph.module.state_dict(),)):
        tally.fail("the original changed", where)
    return child if checked(child, before[-1], mutation.keeps_function, tally, f"{where}: {told}") else None


def checked(child: Genome, before: Tensor, keeps: bool, tally: Tally, where: str) -> bool:
    """Check a network: its invariants, its run, what it computes, and that it comes back from data."""
    try:
        child.graph.lint()
        after = output(child)
        (x,) = child.graph.example.values()
        child.graph(torch.cat([x, x, x]))
        if after.shape != before.shape:
            return False  # as a search does, which proposes no such network
        if keeps:
            change = float((after - before).abs().max() / max(1.0, float(before.abs().max())))
            tally.largest = max(tally.largest, change)
            if not change <= 1e-5:
                tally.fail("the function changed", f"{where}: by {change:.2e}")
        again = Genome.of_data(*child.to_data())
        if not torch.allclose(output(again), after, atol=1e-5 * max(1.0, float(after.abs().max()))):
            tally.fail("another network came back from data", where)
        if search.structure_name(again.graph) != search.structure_name(child.graph):
            tally.fail("another name came back from data", where)
    except Exception as error:
        tally.fail("an invalid network", f"{where}: {type(error).__name__}: {str(error)[:300]}")
        return False
    return bool(torch.isfinite(after).all()) and float(after.abs().max()) < 1e4


def crossed(one: Genome, two: Genome, rng: random.Random, tally: Tally, where: str) -> None:
    """Join two networks, run and edit the child."""
    before = image(one), image(two)
    try:
        child, told = search.graft(one, two, rng)
    except EditError as error:
        if "no seams" not in str(error):
            tally.refused += 1
            tally.examples.append(f"{where}: {str(error)[:200]}")
        return
    except Exception as error:
        tally.fail("another error", f"{where}: {type(error).__name__}: {str(error)[:300]}")
        return
    if not equal(before, (image(one), image(two))):
        tally.fail("a parent changed", where)
    if output(child).shape != before[0][-1].shape:
        tally.fail("another shape", f"{where}: {told}")
    elif checked(child, output(child), False, tally, f"{where}: {told}"):
        if all(tried(mutation, child, rng) is None for mutation in (search.wider(), search.deeper())):
            tally.fail("a child that cannot be edited", f"{where}: {told}")
            return
        tally.done += 1


# -- the runs --


def descend(
    mutations: Sequence[Mutation], count: int, numbers: Iterator[int], what: str,
    report: Callable[[list[Row]], None],
) -> list[Genome]:  # fmt: skip
    """Lines of descent until so many mutations are made; reports on the way; the last networks."""
    tallies: dict[str, Tally] = {}
    last: list[Genome] = []
    made = 0
    while made < count and (number := next(numbers, None)) is not None:
        last = [*last[-MOST_PARENTS:], *line(number, mutations, tallies)]
        before, made = made, sum(tally.done for tally in tallies.values())
        if before // SAID != made // SAID:
            report(summed(tallies))
            say(f"{what}: {made} of {count}, line {number}")
    report(summed(tallies))
    return last


def summed(tallies: Mapping[str, Tally]) -> list[Row]:
    """A row for each kind of mutation, and one for all."""
    total = Tally()
    for tally in tallies.values():
        total.done, total.refused = total.done + tally.done, total.refused + tally.refused
        total.largest = max(total.largest, tally.largest)
        total.failures += tally.failures
    return [row(name, tally) for name, tally in [*sorted(tallies.items()), ("all", total)]]


def row(name: str, tally: Tally) -> Row:
    """A row of the table."""
    return {
        "mutation": name,
        "made": tally.done,
        "refused": tally.refused,
        "largest change of what is kept": f"{tally.largest:.1e}" if tally.largest else "",
        "failures": ", ".join(f"{kind}: {count}" for kind, count in tally.failures.items()) or "none",
    }


def crossings(parents: Sequence[Genome], pairs: int, rng: random.Random) -> list[Row]:
    """Random pairs of parents."""
    tally = Tally()
    for _ in range(pairs if len(parents) > 1 else 0):
        one, two = rng.sample(range(len(parents)), 2)
        crossed(parents[one], parents[two], rng, tally, f"{one}, {two}")
    alike = tally.done + tally.refused + sum(tally.failures.values())
    for example in tally.examples[:10]:
        say(example)
    return [
        {
            "pairs": pairs,
            "with seams alike": alike,
            "children that run and can be edited": f"{tally.done} ({tally.done / max(1, alike):.1%})",
            "refused": tally.refused,
            "failures": ", ".join(f"{kind}: {n}" for kind, n in tally.failures.items()) or "none",
        }
    ]


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.mutations --growing 100 --all 100 --pairs 20", threads=1)
    options.add_argument("--growing", type=int, default=1000, help="mutations that grow to make")
    options.add_argument("--all", type=int, default=5000, help="mutations of all kinds to make")
    options.add_argument("--pairs", type=int, default=500, help="pairs to cross")
    options.add_argument("--first", type=int, default=0, help="the number of the first line")
    options.add_argument("--lines", type=int, default=1_000_000, help="the most lines of each part")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    numbers = range(args.first, args.first + args.lines)
    notes = (
        "Lines of twenty mutations from three kinds of small networks, up to 24 vertices. Each child is "
        "linted, run on two batch sizes, and comes back from data with the same outputs and name. Change is "
        "the largest of an output, relative to the largest output where that is above one. A refusal has to "
        "leave vertices, weights, sizes, name and output bit for bit. `Verb`: a verb of the package with "
        "arguments drawn at random."
    )
    titles = ("Mutations that grow", "Mutations of all kinds", "Crossover")
    found: dict[str, list[Row]] = {}

    def report(title: str, rows: list[Row]) -> None:
        found[title] = rows
        write(args.out, "mutations", [(each, found[each]) for each in titles if each in found], notes)

    parents: list[Genome] = []
    for title, mutations, count in zip(titles, (GROWING, ALL), (args.growing, args.all), strict=False):
        if count:
            parents = descend(mutations, count, iter(numbers), title, functools.partial(report, title))
    if args.pairs:
        report(titles[2], crossings(parents, args.pairs, random.Random(args.seed)))


if __name__ == "__main__":
    main()
